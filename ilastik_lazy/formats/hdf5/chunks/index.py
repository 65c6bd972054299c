"""Where each chunk of an HDF5 dataset lies in its file.

Three arrays, made once per process and file version, and never pickled: 10^6 chunks take 16 MB
here, and 200 MB as a dict.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.core.grid import grid_shape
from ilastik_lazy.core.options import Trust
from ilastik_lazy.errors import CorruptFileError, IncompleteSourceWarning, IntegrityWarning
from ilastik_lazy.formats.hdf5.chunks.absent import COUNTED_AT_OPENING, incomplete_message
from ilastik_lazy.formats.hdf5.chunks.btree import ChunkRows, chunk_rows
from ilastik_lazy.formats.hdf5.chunks.header import EXTENSIBLE_ARRAY, header_of, layout_at
from ilastik_lazy.formats.hdf5.file import dataset_at, open_hdf5
from ilastik_lazy.formats.hdf5.layout import pipeline_of
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import Stamp, opened, read_up_to, require_unchanged
from ilastik_lazy.storage.isolation import in_child
from ilastik_lazy.warning import warn

__all__ = [
    "ABSENT",
    "CROSSED",
    "OUTSIDE",
    "ChunkIndex",
    "chunk_index",
    "read_index",
]

ABSENT = -1
"""Offset of a chunk that was never written: it reads as the fill value."""
OUTSIDE = -2
"""Offset of a chunk whose bytes cannot lie in the file."""
CROSSED = -3
"""Offset of a chunk that shares bytes with another one."""

_FLETCHER32 = 3
_ALL_FILTERS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """Offset, size and filter mask of each chunk, in the shape of the chunk grid."""

    offsets: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.uint32]]
    masks: np.ndarray[Any, np.dtype[np.uint32]] | None
    """None where no chunk leaves out a filter, as in all files of ilastik."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, with what is needed to find it again."""
        return 2048 + self.offsets.nbytes + self.sizes.nbytes + (0 if self.masks is None else self.masks.nbytes)

    @property
    def absent(self) -> int:
        """Number of chunks that were never written."""
        return int(np.count_nonzero(self.offsets == ABSENT))


def _rows_by_library(dataset: h5py.Dataset) -> list[ChunkRows]:
    """List the chunks with libhdf5, one call for each."""
    rows: list[tuple[int, ...]] = []

    def collect(info: Any) -> None:
        rows.append((*info.chunk_offset, info.byte_offset, info.size, info.filter_mask))

    dataset.id.chunk_iter(collect)
    table = np.array(rows, np.uint64).reshape(-1, dataset.ndim + 3)
    return [ChunkRows(table[:, :-3], table[:, -3], table[:, -2], table[:, -1])]


@functools.cache
def _misnames_chunks() -> bool:
    """Whether libhdf5 is one that names wrong places in `chunk_iter` (all up to 2.0 do).

    An extensible array counts its chunks with the unlimited axis first; libhdf5 takes that number apart as if
    the axes were in their own order.
    """
    named: list[tuple[int, ...]] = []
    with h5py.File("probe", "w", libver="latest", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("probe", (2, 1), "u1", chunks=(1, 1), maxshape=(2, None))
        dataset[1, 0] = 1
        dataset.id.chunk_iter(lambda info: named.append(tuple(info.chunk_offset)))
    return named != [(1, 0)]


def _named_right(part: ChunkRows, chunks: tuple[int, ...], maxshape: tuple[int | None, ...]) -> ChunkRows:
    """Correct the places of chunks in an extensible array."""
    unlimited = maxshape.index(None)
    if unlimited == 0 or not _misnames_chunks():
        return part
    lengths = [1 if most is None else -(-most // chunk) for most, chunk in zip(maxshape, chunks, strict=True)]
    scaled = part.origins // np.array(chunks, np.uint64)
    number = scaled[:, unlimited]
    for axis in range(unlimited + 1, len(chunks)):
        number = number * np.uint64(lengths[axis]) + scaled[:, axis]
    origins = np.empty_like(part.origins)
    order = [unlimited, *(axis for axis in range(len(chunks)) if axis != unlimited)]
    for axis in reversed(order[1:]):
        number, along = np.divmod(number, np.uint64(lengths[axis]))
        origins[:, axis] = along * np.uint64(chunks[axis])
    origins[:, unlimited] = number * np.uint64(chunks[unlimited])
    return part._replace(origins=origins)


def _behind_user_block(rows: list[ChunkRows], dataset: h5py.Dataset, fd: int, path: str) -> list[ChunkRows]:
    """Correct `rows` to offsets from the start of the file.

    A user block shifts all addresses.  HDF5 2.0 includes it in offsets, older versions do not: one chunk shows which.
    """
    shift, first = dataset.file.userblock_size, rows[0]
    if not shift or not len(first.offsets):
        return rows
    _, stored = dataset.id.read_direct_chunk(tuple(int(i) for i in first.origins[0]))
    if read_up_to(fd, len(stored), int(first.offsets[0]), path) == stored:
        return rows
    return [part._replace(offsets=part.offsets + np.uint64(shift)) for part in rows]


def _beyond(
    rows: list[ChunkRows],
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    maxshape: tuple[int | None, ...],
    location: Location,
) -> int:
    """Count the chunks beyond the shape, which only a dataset that once was larger may have.

    Raises
    ------
    CorruptFileError
        A chunk begins where none can: its place is damaged, and it would be missing elsewhere.
    """
    beyond = 0
    for part in rows:
        outside = np.zeros(len(part.offsets), bool)
        for axis, (length, chunk, most) in enumerate(zip(shape, chunks, maxshape, strict=True)):
            origins, step = part.origins[:, axis], np.uint64(chunk)
            if (origins // step * step != origins).any() or (most is not None and (origins >= max(1, most)).any()):
                raise CorruptFileError(f"{location}: a chunk begins at an impossible position: its index is damaged")
            outside |= origins >= length
        beyond += int(np.count_nonzero(outside))
    return beyond


def _index_from_rows(
    rows: list[ChunkRows], shape: tuple[int, ...], chunks: tuple[int, ...], file_size: int
) -> ChunkIndex:
    """Arrange `rows` on the grid, and mark the chunks whose bytes cannot be theirs."""
    grid = grid_shape(shape, chunks)
    offsets = np.full(math.prod(grid), ABSENT, np.int64)
    sizes = np.zeros(math.prod(grid), np.uint32)
    masks = np.zeros(math.prod(grid), np.uint32) if any(part.masks.any() for part in rows) else None
    for part in rows:
        place = np.zeros(len(part.offsets), np.uint64)
        inside = np.ones(len(part.offsets), bool)
        for axis, (length, chunk) in enumerate(zip(grid, chunks, strict=True)):
            along = part.origins[:, axis] // np.uint64(chunk)
            # Chunks beyond the shape may remain of a dataset that was made smaller.
            inside &= along < length
            place = place * np.uint64(length) + along
        start, size = part.offsets, part.sizes.astype(np.uint64)
        # Bytes 0..47 hold the superblock; a sum beyond 2^64 would wrap, so the size is subtracted.
        end = np.uint64(file_size)
        fits = (start >= 48) & (start <= end) & (size <= end - np.minimum(start, end))
        where = place[inside].astype(np.int64)
        offsets[where] = np.where(fits, start, 0).astype(np.int64)[inside]
        offsets[where[~fits[inside]]] = OUTSIDE
        sizes[where] = part.sizes[inside]
        if masks is not None:
            masks[where] = part.masks[inside]
    _mark_crossed(offsets, sizes)
    return ChunkIndex(offsets.reshape(grid), sizes.reshape(grid), None if masks is None else masks.reshape(grid))


def _with_plain_edges(index: ChunkIndex, shape: tuple[int, ...], chunks: tuple[int, ...]) -> ChunkIndex:
    """Set the masks of chunks at the upper edges, of a dataset that applies no filter to them."""
    masks = np.zeros(index.offsets.shape, np.uint32) if index.masks is None else index.masks
    for axis, (length, chunk) in enumerate(zip(shape, chunks, strict=True)):
        if length % chunk:
            np.moveaxis(masks, axis, 0)[-1] = _ALL_FILTERS
    return replace(index, masks=masks)


def _mark_crossed(offsets: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]) -> None:
    """Mark chunks that share bytes with another one."""
    order = np.argsort(offsets, kind="stable")
    order = order[np.searchsorted(offsets[order], 0) :]
    starts = offsets[order]
    ends = np.maximum.accumulate(starts + sizes[order])
    shares = starts[1:] < ends[:-1]
    if shares.any():
        offsets[order[1:][shares]] = CROSSED
        offsets[order[:-1][shares]] = CROSSED


def read_index(location: Location, shape: tuple[int, ...], chunks: tuple[int, ...], stamp: Stamp) -> ChunkIndex:
    """Return the index of the dataset at `location`, read anew (see `chunk_index`)."""
    assert location.internal_path is not None
    require_unchanged(location.path, stamp)
    with open_hdf5(location.path) as file:
        dataset = dataset_at(file, location.internal_path)
        rows, base = None, file.userblock_size
        with opened(location.path, stamp) as fd:
            header, most = header_of(dataset), math.prod(grid_shape(shape, chunks))
            layout = layout_at(location.path, fd, header, base)
            if not base:
                rows = chunk_rows(location.path, fd, header, len(shape), most, stamp.size)
            if rows is None:
                rows = _rows_by_library(dataset)
                if layout is not None and layout.index == EXTENSIBLE_ARRAY:
                    rows = [_named_right(part, chunks, dataset.maxshape) for part in rows]
                rows = _behind_user_block(rows, dataset, fd, location.path)
        filters = pipeline_of(dataset).filters
        beyond = _beyond(rows, shape, chunks, dataset.maxshape, location)
    require_unchanged(location.path, stamp)
    index = _index_from_rows(rows, shape, chunks, stamp.size)
    stored = sum(len(part.offsets) for part in rows)
    if stored - beyond != index.offsets.size - index.absent:
        raise CorruptFileError(f"{location}: chunks are stored twice: its index is damaged")
    if layout is not None and layout.plain_edges and filters:
        index = _with_plain_edges(index, shape, chunks)
    # The count at opening includes chunks beyond the shape.
    if index.absent and (index.offsets.size > COUNTED_AT_OPENING or stored >= index.offsets.size):
        warn(incomplete_message(location, index.absent, index.offsets.size), IncompleteSourceWarning)
    if _FLETCHER32 in filters and index.masks is not None:
        bit = np.uint32(1 << filters.index(_FLETCHER32))
        if np.any(index.masks & bit):
            warn(f"{location}: some chunks were written without their checksum", IntegrityWarning)
    return index


def _index_from_child(location: Location, shape: tuple[int, ...], chunks: tuple[int, ...], stamp: Stamp) -> ChunkIndex:
    """Let a child process read the index, and check that it fits this grid and this file."""
    grid = grid_shape(shape, chunks)
    most_bytes = 16 * math.prod(grid)
    index = in_child(location.path, read_index, location, shape, chunks, stamp, most_bytes=most_bytes)
    masks = [] if index.masks is None else [index.masks]
    parts: list[np.ndarray[Any, Any]] = [index.offsets, index.sizes, *masks]
    types = [part.dtype for part in parts]
    if any(part.shape != grid for part in parts) or types != [np.int64, np.uint32, np.uint32][: len(parts)]:
        raise CorruptFileError(f"{location}: what the HDF5 library says of its chunks makes no sense")
    is_outside = (index.offsets >= 0) & (index.offsets > stamp.size - index.sizes.astype(np.int64))
    return replace(index, offsets=np.where(is_outside, OUTSIDE, index.offsets))


# Kept out of the sources' own state: dask would pickle it into every task.
_indexes: ByteCache[ChunkIndex] = ByteCache(lambda index: index.nbytes)


def chunk_index(
    location: Location, shape: tuple[int, ...], chunks: tuple[int, ...], stamp: Stamp, trust: Trust = "local"
) -> ChunkIndex:
    """Return the index of the dataset at `location`, in the version of the file that `stamp` states.

    Raises
    ------
    SourceChangedError
        The file has changed since.
    """
    read = read_index if trust == "local" else _index_from_child
    return _indexes.get((location, shape, chunks, stamp, trust), lambda: read(location, shape, chunks, stamp))
