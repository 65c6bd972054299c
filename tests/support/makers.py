"""Small HDF5 exports in every physical layout that a file may have, and minimal projects."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TYPE_FLAGS = {"t": 8, "z": 2, "y": 2, "x": 2, "c": 1}

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip", "compression_opts": 1},
    "shuffle+gzip": {"compression": "gzip", "shuffle": True},
    "gzip+fletcher32": {"compression": "gzip", "fletcher32": True},
    "shuffle+gzip+fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "fletcher32": {"fletcher32": True},
    "lzf": {"compression": "lzf"},
    "szip": {"compression": "szip"},
}


def axistags(axes: str, resolution: Mapping[str, float] | None = None) -> str:
    """The JSON that vigra writes."""
    entries = [
        {"key": a, "typeFlags": TYPE_FLAGS.get(a, 64), "resolution": (resolution or {}).get(a, 0), "description": ""}
        for a in axes
    ]
    return json.dumps({"axes": entries}, indent=2)


def some_data(shape: Sequence[int], dtype: Any = "<f4", seed: int = 0) -> np.ndarray[Any, Any]:
    """Values over the whole range of `dtype`, with runs that compress."""
    dtype, rng = np.dtype(dtype), np.random.default_rng((seed, *shape))
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "f":
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-4, 4, shape)
        values[rng.random(shape) < 0.05] = np.nan
        values[rng.random(shape) < 0.3] = 0.25
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype=dtype.newbyteorder("="), endpoint=True)
    values[rng.random(shape) < 0.3] = 7
    return values.astype(dtype)


def chunk_slices(shape: Sequence[int], chunks: Sequence[int]) -> dict[tuple[int, ...], tuple[slice, ...]]:
    """What each chunk covers, by its first element."""
    starts = [range(0, length, chunk) for length, chunk in zip(shape, chunks, strict=True)]
    return {first: tuple(map(slice, first, np.add(first, chunks))) for first in itertools.product(*starts)}


def write_hdf5_export(
    path: Path,
    data: np.ndarray[Any, Any],
    *,
    axes: str | None = "zyxc",
    internal_path: str = "exported_data",
    chunks: tuple[int, ...] | None = None,
    filters: str = "none",
    scaleoffset: int | None = None,
    compact: bool = False,
    libver: str | None = None,
    userblock: int = 0,
    resizable: bool = False,
    fill: Any = None,
    missing: Sequence[tuple[int, ...]] = (),
    masks: Mapping[tuple[int, ...], int] | None = None,
    resolution: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> np.ndarray[Any, Any]:
    """Write one export, and return what a reader must find in it.

    `missing` names chunks (by first element) that are not written; `masks` names chunks written
    with filters left out, bit k for filter k.  Without `chunks` the layout is contiguous.
    """
    options = dict(FILTERS[filters])
    if scaleoffset is not None:
        options["scaleoffset"] = scaleoffset
    if compact:
        options["dcpl"] = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        options["dcpl"].set_layout(h5py.h5d.COMPACT)
    if resizable:
        options["maxshape"] = (None,) * data.ndim
    expected = data.copy()
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        dataset = file.create_dataset(internal_path, data.shape, data.dtype, chunks=chunks, fillvalue=fill, **options)
        if missing:
            for first, part in chunk_slices(data.shape, chunks).items():
                if first in missing:
                    expected[part] = 0 if fill is None else fill
                else:
                    dataset[part] = data[part]
        elif data.size:
            dataset[...] = data
        for first, mask in (masks or {}).items():
            stored = _encoded(data, first, chunks, filters, mask)
            dataset.id.write_direct_chunk(first, stored, filter_mask=mask)
        if axes is not None:
            dataset.attrs["axistags"] = axistags(axes, resolution)
            for dimension, axis in zip(dataset.dims, axes, strict=False):
                dimension.label = axis
        if units is not None:
            dataset.attrs["axis_units"] = json.dumps(units)
        for name, value in (attributes or {}).items():
            dataset.attrs[name] = value
        for name, array in (extra or {}).items():
            file.create_dataset(name, data=array)
    return expected


def _encoded(
    data: np.ndarray[Any, Any], first: tuple[int, ...], chunks: tuple[int, ...], filters: str, mask: int
) -> bytes:
    """Stored bytes of one chunk, with the filters that `mask` names left out."""
    chunk = np.zeros(chunks, data.dtype)
    part = data[tuple(map(slice, first, np.add(first, chunks)))]
    chunk[tuple(map(slice, part.shape))] = part
    stored = chunk.tobytes()
    for number, name in enumerate(filters.split("+")):
        if mask >> number & 1:
            continue
        if name == "shuffle":
            stored = np.frombuffer(stored, np.uint8).reshape(-1, data.dtype.itemsize).T.tobytes()
        elif name == "gzip":
            stored = zlib.compress(stored)
        else:
            raise NotImplementedError(f"no mask for {name}")
    return stored


SHAPE, CHUNKS = (7, 9, 10, 2), (3, 4, 4, 1)  # never divides the shape

DIRECT_LAYOUTS: dict[str, dict[str, Any]] = {
    "user block": {"filters": "gzip", "userblock": 512},
    "gzip": {"filters": "gzip"},
    "plain": {"filters": "none"},
    "shuffle": {"filters": "shuffle+gzip"},
    "checksum": {"filters": "gzip+fletcher32"},
    "all filters": {"filters": "shuffle+gzip+fletcher32"},
    "checksum without gzip": {"filters": "fletcher32"},
    "big-endian": {"filters": "shuffle+gzip", "dtype": ">u2"},
    "latest": {"filters": "gzip", "libver": "latest"},
    "resizable": {"filters": "gzip", "resizable": True},
    "resizable latest": {"filters": "none", "resizable": True, "libver": "latest"},
    "one chunk": {"filters": "gzip", "chunks": SHAPE, "libver": "latest"},
    "filters left out": {
        "filters": "shuffle+gzip",
        "dtype": "<i4",
        "masks": {(0, 0, 0, 0): 0b10, (3, 4, 4, 1): 0b11, (6, 8, 8, 1): 0b01},
    },
}

H5PY_LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {"chunks": None},
    "compact": {"chunks": None, "compact": True},
    "lzf": {"filters": "lzf"},
    "scaleoffset": {"scaleoffset": 0, "dtype": "<i4", "small": True},
    "bool": {"filters": "gzip", "dtype": "?"},
} | ({"szip": {"filters": "szip"}} if h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP) else {})


def write_layout(path: Path, layout: Mapping[str, Any], shape: Sequence[int] = SHAPE) -> np.ndarray[Any, Any]:
    """Write an export in one of the layouts above, and return what a reader must find in it."""
    options = {"chunks": CHUNKS} | dict(layout)
    data = some_data(shape, options.pop("dtype", "<f4"))
    if options.pop("small", False):  # what scaleoffset shortens without loss
        data = (data % 1000).astype(data.dtype)
    return write_hdf5_export(path, data, **options)


def write_ilp(
    path: Path,
    names: Sequence[str] | None = ("nucleus", "background"),
    colors: Sequence[tuple[int, int, int]] | None = ((255, 0, 0), (0, 255, 0)),
    *,
    applet: str = "PixelClassification",
    more: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write as much of a project as names its classes; `more` are further applets and their names."""
    with h5py.File(path, "w") as file:
        file["ilastikVersion"], file["workflowName"] = b"1.4.0", b"Pixel Classification"
        file.create_group("Input Data")
        for group, labels in {applet: names, **(more or {})}.items():
            if labels is not None:
                file[f"{group}/LabelNames"] = np.array([name.encode() for name in labels])
        if names is not None and colors is not None:
            file[f"{applet}/LabelColors"] = np.array(colors, np.int64)
    return path
