"""HDF5 datasets in any layout that libhdf5 can write, chosen at random."""

from __future__ import annotations

import ctypes
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5p, h5s, h5t, h5z

# What h5py does not hand on; the library is found through the modules linked against it, on Windows beside them.
_libhdf5 = ctypes.CDLL(str(Path(h5p.__file__).with_name("hdf5.dll")) if os.name == "nt" else h5p.__file__)
_libhdf5.H5Pset_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_uint]
_libhdf5.H5Pget_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_void_p]
_libhdf5.H5Pset_istore_k.argtypes = [ctypes.c_int64, ctypes.c_uint]

Rng = np.random.Generator

VERSIONS = [
    version
    for version in ("earliest", "v18", "v108", "v110", "v112", "v114", "v200", "latest")
    if version == "latest" or version in h5py._hl.files.libver_dict
]
_DTYPES = [f"{order}{kind}" for order in "<>" for kind in ("i1", "i2", "i4", "i8", "u2", "u8", "f2", "f4", "f8")]
_ODD = ("?", "u1", "enum", "12 bits", "bits", "longdouble", "complex")
_STRATEGIES = (
    h5f.FSPACE_STRATEGY_FSM_AGGR,
    h5f.FSPACE_STRATEGY_PAGE,
    h5f.FSPACE_STRATEGY_AGGR,
    h5f.FSPACE_STRATEGY_NONE,
)


def set_plain_edges(plist: Any) -> None:
    """Chunks that reach beyond the shape go through no filter (`H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS`)."""
    assert _libhdf5.H5Pset_chunk_opts(plist.id, 2) >= 0


def has_plain_edges(dataset: h5py.Dataset) -> bool:
    """Whether `set_plain_edges` was called for it."""
    plist, options = dataset.id.get_create_plist(), ctypes.c_uint()
    assert _libhdf5.H5Pget_chunk_opts(plist.id, ctypes.byref(options)) >= 0
    return bool(options.value)


@dataclass(frozen=True)
class Written:
    """A dataset in a new file."""

    path: Path
    name: str
    """One of its names; a link, perhaps."""


def chance(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def one_of(rng: Rng, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _file_plist(rng: Rng) -> Any:
    plist = h5p.create(h5p.FILE_CREATE)
    if chance(rng, 0.2):
        plist.set_userblock(one_of(rng, (512, 1024, 4096)))
    if chance(rng, 0.3):
        plist.set_file_space_strategy(one_of(rng, _STRATEGIES), chance(rng, 0.5), int(rng.integers(1, 50)))
    if chance(rng, 0.2):
        plist.set_file_space_page_size(one_of(rng, (512, 4096)))
    if chance(rng, 0.1):
        _libhdf5.H5Pset_istore_k(plist.id, one_of(rng, (1, 2, 16, 100)))
    if chance(rng, 0.3):
        plist.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
    return plist


def _type(rng: Rng) -> tuple[Any, np.dtype[Any]]:
    """A type as stored, and the numbers that are written."""
    name = one_of(rng, _DTYPES) if chance(rng, 0.8) else one_of(rng, _ODD)
    if name == "enum":
        return h5t.py_create(h5py.enum_dtype({"a": 0, "b": 7}, "i2"), logical=True), np.dtype("i2")
    if name == "12 bits":
        made = h5t.STD_U16LE.copy()
        made.set_precision(12)
        return made, np.dtype("u2")
    if name == "bits":
        return h5t.STD_B8LE.copy(), np.dtype("u1")
    dtype = np.dtype(name)
    return h5t.py_create(dtype, logical=True), dtype


def _values(rng: Rng, shape: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = (limits.min, limits.max) if chance(rng, 0.5) else (0, 100)
        values = rng.integers(low, high, shape, dtype=dtype.newbyteorder("="), endpoint=True)
    else:
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4)
        values[rng.random(shape) < 0.1] = np.nan
    values[rng.random(shape) < 0.3] = 7
    return values.astype(dtype)


def _set_filters(plist: Any, rng: Rng, chunks: tuple[int, ...]) -> None:
    names = ["shuffle", "gzip", "fletcher32", "gzip", "shuffle", "fletcher32"]
    if chance(rng, 0.25):
        names += ["lzf", "szip", "scaleoffset", "nbit"]
    chosen = rng.permutation(names)[: rng.integers(0, 4)].tolist()
    # libhdf5 writes beyond its memory where these see anything but the elements of a chunk.
    for first in [name for name in chosen if name in ("szip", "scaleoffset", "nbit")][:1]:
        chosen = [first, *(name for name in chosen if name not in ("szip", "scaleoffset", "nbit"))]
    for name in chosen:
        if name == "shuffle":
            plist.set_shuffle()
        elif name == "gzip":
            plist.set_deflate(int(rng.integers(0, 10)))
        elif name == "fletcher32":
            plist.set_fletcher32()
        elif name == "lzf":
            plist.set_filter(h5z.FILTER_LZF, h5z.FLAG_OPTIONAL)
        elif name == "nbit":
            plist.set_filter(h5z.FILTER_NBIT, h5z.FLAG_OPTIONAL)
        elif name == "szip" and h5z.filter_avail(h5z.FILTER_SZIP):
            plist.set_szip(one_of(rng, (h5z.SZIP_EC_OPTION_MASK, h5z.SZIP_NN_OPTION_MASK)), 2)
        elif name == "scaleoffset":
            plist.set_scaleoffset(one_of(rng, (h5z.SO_INT, h5z.SO_FLOAT_DSCALE)), int(rng.integers(0, 4)))
    if chance(rng, 0.3):
        set_plain_edges(plist)


def _dataset_plist(rng: Rng, chunks: tuple[int, ...] | None, dtype: np.dtype[Any]) -> Any:
    plist = h5p.create(h5p.DATASET_CREATE)
    if chunks is not None:
        plist.set_chunk(chunks)
        _set_filters(plist, rng, chunks)
    elif chance(rng, 0.3):
        plist.set_layout(h5d.COMPACT)
    if chance(rng, 0.3):
        plist.set_fill_value(_values(rng, (1,), dtype)[:1])
    if chance(rng, 0.5):
        plist.set_fill_time(one_of(rng, (h5d.FILL_TIME_ALLOC, h5d.FILL_TIME_NEVER, h5d.FILL_TIME_IFSET)))
    if chance(rng, 0.5):
        plist.set_alloc_time(one_of(rng, (h5d.ALLOC_TIME_EARLY, h5d.ALLOC_TIME_LATE, h5d.ALLOC_TIME_INCR)))
    plist.set_obj_track_times(chance(rng, 0.5))
    if chance(rng, 0.3):
        plist.set_attr_creation_order(h5p.CRT_ORDER_TRACKED)
    if chance(rng, 0.2):
        plist.set_attr_phase_change(3, 2)
    return plist


def _a_region(rng: Rng, shape: Any) -> tuple[slice, ...]:
    return tuple(slice(*sorted(rng.integers(0, length + 1, 2).tolist())) for length in shape)


def _modify(dataset: h5py.Dataset, dtype: np.dtype[Any], most: tuple[int | None, ...], rng: Rng) -> None:
    """Write everything, parts, single chunks as stored; make it larger and smaller."""
    for _ in range(int(rng.integers(0, 6))):
        what = rng.random()
        if what < 0.3:
            dataset[...] = _values(rng, dataset.shape, dtype)
        elif what < 0.6:
            part = _a_region(rng, dataset.shape)
            dataset[part] = _values(rng, dataset[part].shape, dtype)
        elif what < 0.75 and dataset.chunks is not None and dataset.size and dtype.kind in "iuf":
            _write_one_chunk(dataset, dtype, rng)
        elif dataset.chunks is not None and not has_plain_edges(dataset):
            # libhdf5 2.0 frees the memory of unfiltered edges with the wrong allocator when it resizes them, and
            # damages the heap (valgrind: H5D__chunk_lock, below H5Dset_extent).
            bounds = [(end or length + 6) for end, length in zip(most, dataset.shape, strict=True)]
            dataset.resize([int(rng.integers(0 if chance(rng, 0.1) else 1, max(end, 1) + 1)) for end in bounds])


def _write_one_chunk(dataset: h5py.Dataset, dtype: np.dtype[Any], rng: Rng) -> None:
    """Write a chunk as stored, with some of its filters left out."""
    assert dataset.chunks is not None
    chunk = [int(rng.integers(-(-n // c))) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
    first = tuple(i * c for i, c in zip(chunk, dataset.chunks, strict=True))
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    stored, mask = _values(rng, dataset.chunks, dtype).tobytes(), 0
    for number, code in enumerate(filters):
        if code == h5z.FILTER_DEFLATE and chance(rng, 0.7):
            stored = zlib.compress(stored)
        elif code == h5z.FILTER_SHUFFLE and chance(rng, 0.7):
            whole = len(stored) // dtype.itemsize * dtype.itemsize
            stored = np.frombuffer(stored[:whole], np.uint8).reshape(-1, dtype.itemsize).T.tobytes() + stored[whole:]
        else:
            mask |= 1 << number
    is_edge = any(f + c > n for f, c, n in zip(first, dataset.chunks, dataset.shape, strict=True))
    if is_edge and mask != (1 << len(filters)) - 1:
        return  # with plain edges libhdf5 would read beyond what is there
    dataset.id.write_direct_chunk(first, stored, filter_mask=mask)


def write_random(path: Path, rng: Rng) -> Written:
    """Write a file with one dataset among others."""
    ndim = int(rng.choice([1, 2, 3, 4, 5], p=[0.04, 0.36, 0.3, 0.2, 0.1]))
    longest = (200, 30, 12, 8, 6)[ndim - 1]
    shape = tuple(int(rng.integers(0 if chance(rng, 0.03) else 1, longest)) for _ in range(ndim))
    chunked = chance(rng, 0.93)
    chunks = tuple(int(rng.integers(1, longest // 2 + 2)) for _ in shape) if chunked else None
    growing = rng.random(ndim) < rng.choice([0.0, 0.3, 0.3, 1.0])
    most = tuple(
        None if grows and chunked else length + int(chunked) * int(rng.integers(0, 8) * chance(rng, 0.5))
        for length, grows in zip(shape, growing, strict=True)
    )
    if chunks is not None:  # HDF5 wants no chunk larger than the dataset may ever be
        chunks = tuple(c if end is None else max(1, min(c, end)) for c, end in zip(chunks, most, strict=True))
    stored, dtype = _type(rng)
    access = h5p.create(h5p.FILE_ACCESS)
    low = one_of(rng, VERSIONS)
    access.set_libver_bounds(h5py._hl.files.libver_dict[low], h5py._hl.files.libver_dict["latest"])
    plist = _dataset_plist(rng, chunks, dtype)
    with h5py.File(h5f.create(str(path).encode(), h5f.ACC_TRUNC, _file_plist(rng), access)) as file:
        file.create_dataset("before", data=np.arange(int(rng.integers(1, 500))))
        home = file.require_group("a/b") if chance(rng, 0.3) else file["/"]
        space = h5s.create_simple(shape, tuple(h5s.UNLIMITED if end is None else end for end in most))
        dataset = h5py.Dataset(h5d.create(home.id, b"d", stored, space, plist))
        name = dataset.name.strip("/")
        _add_attributes(dataset, rng)
        if chance(rng, 0.1) and low == "latest" and not file.userblock_size:
            file.swmr_mode = True
            _modify(dataset, dtype, most, rng)
            return Written(path, name)
        _modify(dataset, dtype, most, rng)
        if chance(rng, 0.3):
            del file["before"]
            file.create_dataset("after", data=np.arange(int(rng.integers(1, 500))))
        if chance(rng, 0.2):
            file["soft"], name = h5py.SoftLink(f"/{name}"), "soft"
        elif chance(rng, 0.2):
            file["hard"], name = dataset, "hard"
    if chance(rng, 0.3):
        with h5py.File(path, "r+", libver=one_of(rng, (None, "latest"))) as file:
            _modify(file[name], dtype, most, rng)
            _add_attributes(file[name], rng)
    return Written(path, name)


def _add_attributes(dataset: h5py.Dataset, rng: Rng) -> None:
    for number in range(int(rng.integers(0, 15) * chance(rng, 0.4))):
        dataset.attrs[f"attribute {number} {rng.integers(1000)}"] = "x" * int(rng.integers(1, 300))
