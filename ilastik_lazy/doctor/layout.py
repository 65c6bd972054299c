"""Checks of how an image is stored: shape and size of its chunks, compression, and by what it is read.

An image that fits into one block is read whole at once, however it is stored: nothing is said of it.
"""

from __future__ import annotations

import math
import shlex
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import BLOCK_BYTES_MOST
from ilastik_lazy.core.size_text import counted, human_bytes
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.doctor.finding import Finding
from ilastik_lazy.errors import remedy
from ilastik_lazy.formats.suffixes import HDF5_SUFFIXES
from ilastik_lazy.listing.statements import access_of, is_read_directly

__all__ = ["chunk_shape", "chunk_size", "read_in_one_thread", "uncompressed"]

# A chunk costs some 20 us beside its decoding, as much as decoding 8 kB of gzip, or reading 40 kB without compression.
# Chunks of 1.7 and 4.1 kB were read 5.3 and 4.1 times as slowly as chunks of 262 kB (gzip); of 2 kB, 21 times (none).
_LEAST_CHUNK, _BYTES_OF_A_CALL, _PLAIN_BYTES_OF_A_CALL = 8_000, 8_000, 40_000
_MOST_CHUNK = 64 * 2**20
# Chunks of ilastik are near cubes, which decode some 50 to 100 times what a plane shows, across every axis.
_TIMES_ACROSS, _TIMES_A_CUBE = 128, 4
_TIMES_ALONG_TC = 4
_WORTH_COMPRESSING = 0.8
_NO_COMPRESSION = {"none", "shuffle", "fletcher32", "crc32c", "crc32", "adler32"}


def chunk_shape(spec: ArraySpec) -> Iterator[Finding]:
    """Find chunks that suit planes along one axis at the cost of those along another."""
    if _is_small(spec) or spec.storage.layout != "chunked":
        return
    space = [i for i, axis in enumerate(spec.axes) if axis.name in "zyx" and spec.shape[i] > 1]
    cube = math.prod(min(spec.chunks[i], spec.shape[i]) for i in space) ** (1 / max(1, len(space)))
    costs = {spec.dims[i]: _times_decoded(spec, i) for i in space}
    # A picture has no planes but the one.
    if len(costs) == 3 and max(costs.values()) >= max(_TIMES_ACROSS, _TIMES_A_CUBE * cube):
        times = ", ".join(f"{name} {cost:,.0f}" for name, cost in costs.items())
        worst = max(costs, key=lambda name: costs[name])
        yield _unsuitable(
            spec,
            f"a plane across {worst} decodes {costs[worst]:,.0f} times the voxels that it shows (times across {times})",
        )
    others = {
        axis.name: _times_decoded(spec, i)
        for i, axis in enumerate(spec.axes)
        if axis.name in "tc" and spec.shape[i] > 1
    }
    for name, cost in others.items():
        if cost >= _TIMES_ALONG_TC:
            what = {"t": "one frame", "c": "one channel"}[name]
            yield _unsuitable(spec, f"{what} decodes {cost:,.0f} times the voxels that it shows")


def _unsuitable(spec: ArraySpec, cost: str) -> Finding:
    chunk = ", ".join(f"{dim} {length}" for dim, length in zip(spec.dims, spec.chunks, strict=True))
    return Finding(
        "chunk-shape",
        "warning",
        f"chunks of {chunk}: {cost}",
        "a chunk can only be decoded as a whole; means and other reductions over the whole image are not slower",
        _store_anew(spec),
    )


def chunk_size(spec: ArraySpec) -> Iterator[Finding]:
    """Find chunks that are very small or very large."""
    if _is_small(spec) or spec.storage.layout != "chunked":
        return
    nbytes, count = math.prod(spec.chunks) * spec.dtype.itemsize, math.prod(spec.grid)
    if nbytes < _LEAST_CHUNK:
        times = 1 + (_BYTES_OF_A_CALL if _is_compressed(spec) else _PLAIN_BYTES_OF_A_CALL) / nbytes
        yield Finding(
            "chunk-size",
            "warning",
            f"{counted(count, 'chunk')} of only {human_bytes(nbytes)}: reading takes about {times:.0f} times "
            "as long as with ilastik's chunks of 512 kB",
            "each chunk costs some 20 microseconds, and an entry in the index, however little is in it",
            _store_anew(spec),
        )
    elif nbytes > _MOST_CHUNK:
        held = human_bytes(nbytes * spec.storage.buffers)
        yield Finding(
            "chunk-size",
            "warning",
            f"chunks of {human_bytes(nbytes)}: a single voxel decodes one, and each thread needs up to {held} for that",
            "a chunk can only be decoded as a whole, by one thread",
            _store_anew(spec),
        )


def read_in_one_thread(spec: ArraySpec) -> Iterator[Finding]:
    """Find images that are not read past a library with a lock."""
    if not _is_small(spec) and not is_read_directly(spec):
        yield Finding(
            "one-thread",
            "warning",
            f"it is read {access_of(spec)}",
            "more processors do not make it faster",
            _store_anew(spec),
        )


def uncompressed(spec: ArraySpec, samples: Sequence[np.ndarray[Any, Any]]) -> Iterator[Finding]:
    """Find data without compression; what of them was read shows what it would save."""
    if _is_small(spec) or _is_compressed(spec) or spec.is_unpacked or spec.storage.layout == "virtual" or not samples:
        return
    parts = [np.ascontiguousarray(sample).reshape(-1)[: 2**20].tobytes() for sample in samples]
    share = sum(len(zlib.compress(part, 1)) for part in parts) / max(1, sum(map(len, parts)))
    if share > _WORTH_COMPRESSING:
        return
    yield Finding(
        "uncompressed",
        "warning",
        f"{human_bytes(spec.nbytes)} without compression ({spec.storage.layout} layout): gzip makes about "
        f"{human_bytes(share * spec.nbytes)} of it, by the chunks that were read",
        f"it takes {1 / share:,.1f} times the space, also on its way over a network",
        _store_anew(spec),
    )


def _is_small(spec: ArraySpec) -> bool:
    return spec.nbytes <= BLOCK_BYTES_MOST


def _times_decoded(spec: ArraySpec, axis: int) -> float:
    """Return how many voxels are read for each one of a plane across `axis`."""
    is_plain = spec.storage.compression == "none" and is_read_directly(spec)
    if axis == 0 and is_plain and spec.storage.path.lower().endswith((*HDF5_SUFFIXES, ".n5")):
        return 1.0  # rows along the first axis are read alone
    return float(min(spec.chunks[axis], spec.shape[axis]))


def _is_compressed(spec: ArraySpec) -> bool:
    return not set(spec.storage.compression.split("+")) <= _NO_COMPRESSION


def _store_anew(spec: ArraySpec) -> str:
    """Say how to store an image in other chunks."""
    location = spec.storage.location
    quoted = shlex.quote(location)
    return "store it anew: " + remedy(
        f"il.to_ilastik({location!r}, 'new.h5') or il.to_ome_zarr({location!r}, 'new.zarr')",
        f"ilastik-lazy export {quoted} new.h5, or ilastik-lazy convert {quoted} new.zarr",
    )
