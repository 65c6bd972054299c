"""Zarr chunks read straight from their files, so that threads run in parallel.

zarr-python passes each chunk through one event loop; here a read is a `pread` and a decompression
for each chunk.  And what it reads as fill value without a word, an index that points past
the end of its shard (zarr-python 3.1), is an error here.
"""

from __future__ import annotations

import itertools
import math
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

from ilastik_lazy.chunks import Overlap, Region, check_region, grid_shape, overlaps, region_shape
from ilastik_lazy.errors import (
    CorruptChunkError,
    IncompleteSourceWarning,
    SourceChangedError,
    SourceIOError,
    SourceNotFoundError,
)
from ilastik_lazy.files import Stamp, opened, read_exactly, require_unchanged, stamp_of
from ilastik_lazy.sources.scratch import scratch_bytes
from ilastik_lazy.sources.zarr_layout import ArrayLayout, ShardIndex
from ilastik_lazy.sources.zarr_store import check_links
from ilastik_lazy.spec import ArraySpec

__all__ = ["COUNTED_AT_OPENING", "ZarrSource", "count_absent"]

# Looking for this many files takes 50 ms on a local disk.
COUNTED_AT_OPENING = 20_000
_MISSING = 2**64 - 1


def count_absent(folder: str, layout: ArrayLayout) -> tuple[int, int] | None:
    """Number of files that an array lacks, and should have; None where there are too many to look for."""
    grid = grid_shape(layout.shape, layout.files)
    if (count := math.prod(grid)) > COUNTED_AT_OPENING:
        return None
    wanted = defaultdict(set)
    for position in itertools.product(*map(range, grid)):
        above, _, name = layout.key(position).rpartition("/")
        wanted[above].add(name)
    absent = 0
    for above, names in wanted.items():
        try:
            present = os.listdir(os.path.join(folder, above))
        except (FileNotFoundError, NotADirectoryError):
            present = []
        except OSError as error:
            raise SourceIOError(f"cannot list {os.path.join(folder, above)}: {error.strerror}") from error
        absent += len(names.difference(present))
    return absent, count


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """An array of Zarr version 2 or 3 in a local folder."""

    spec: ArraySpec
    root: str
    """Folder that no symbolic link may leave."""
    folder: str
    """Folder of the array."""
    metadata_path: str
    stamp: Stamp
    """Of the metadata: an array that is written anew has others."""
    layout: ArrayLayout
    is_complete: bool | None
    """Whether every file was there at opening; None where these were too many to look."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`)."""
        check_region(region, self.spec.shape)
        out = np.empty(region_shape(region), self.spec.dtype)
        if out.size:
            require_unchanged(self.metadata_path, self.stamp)
            for part in overlaps(region, self.layout.files):
                self._read_file(part, out[part.target])
            require_unchanged(self.metadata_path, self.stamp)
        return out

    def _read_file(self, part: Overlap, target: np.ndarray[Any, Any]) -> None:
        """Fill `target` with the part of one file that is wanted."""
        path = os.path.join(self.folder, self.layout.key(part.chunk))
        check_links(self.root, path)
        try:
            stamp = stamp_of(path)
        except SourceNotFoundError as error:
            if self.is_complete:
                raise SourceChangedError(f"{path} is gone since the array was opened") from error
            self._warn_of(path)
            target[...] = self.layout.fill_value
            return
        with opened(path, stamp) as fd:
            if self.layout.index is None:
                self._read_chunk(fd, 0, stamp.size, path, part, target)
            else:
                self._read_shard(fd, stamp.size, path, self.layout.index, part, target)

    def _read_shard(
        self, fd: int, size: int, path: str, index: ShardIndex, part: Overlap, target: np.ndarray[Any, Any]
    ) -> None:
        table = _index_of(fd, size, path, index)
        for overlap in overlaps(part.inside, self.layout.chunks):
            offset, nbytes = map(int, table[overlap.chunk])
            if offset == nbytes == _MISSING:
                target[overlap.target] = self.layout.fill_value
                continue
            if offset + nbytes > size:
                raise CorruptChunkError(f"{path}: the chunk {overlap.chunk} lies past the end of its shard")
            self._read_chunk(fd, offset, nbytes, path, overlap, target[overlap.target])

    def _read_chunk(
        self, fd: int, offset: int, size: int, path: str, overlap: Overlap, target: np.ndarray[Any, Any]
    ) -> None:
        """Decode a chunk into its place, if that is contiguous; else beside it, and copy the part that is wanted."""
        layout, nbytes = self.layout, self.layout.chunk_nbytes
        # What cannot be compressed grows by a few bytes: a larger chunk is not read at all.
        if not 0 < size <= nbytes + nbytes // 8 + 4096:
            raise CorruptChunkError(f"{path}: the chunk {overlap.chunk} has {size} bytes for {nbytes}: damaged")
        data = read_exactly(fd, size, offset, path)
        is_plain = layout.order is None and layout.stored == layout.dtype
        direct = overlap.whole and is_plain and target.flags.c_contiguous
        out = target.reshape(-1).view(np.uint8) if direct else scratch_bytes(nbytes)
        try:
            layout.codec.decode_into(data, out)
        except CorruptChunkError as error:
            raise CorruptChunkError(f"{path}: the chunk {overlap.chunk} cannot be decoded: {error}") from error
        if not direct:
            target[...] = self._in_order(out.view(layout.stored))[overlap.inside]

    def _in_order(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The elements of a chunk, as an array with the axes in their order."""
        chunks, order = self.layout.chunks, self.layout.order
        if order is None:
            return values.reshape(chunks)
        return values.reshape([chunks[i] for i in order]).transpose(np.argsort(order))

    def _warn_of(self, path: str) -> None:
        """Say that a file is missing, where opening did not."""
        if self.is_complete is None:
            where = self.spec.storage.location
            warnings.warn(
                f"{where}: {os.path.basename(path)} and perhaps others were never written: they read as fill value",
                IncompleteSourceWarning,
                stacklevel=2,
            )


def _index_of(fd: int, size: int, path: str, index: ShardIndex) -> np.ndarray[Any, Any]:
    """Offset and size of each chunk in a shard, which has `size` bytes."""
    if size < index.nbytes:
        raise CorruptChunkError(f"{path}: a shard of {size} bytes cannot hold its index of {index.nbytes}: cut off")
    stored = read_exactly(fd, index.nbytes, 0 if index.at_start else size - index.nbytes, path)
    table = stored[: 16 * math.prod(index.shape)]
    if index.has_checksum and int.from_bytes(stored[-4:], "little") != google_crc32c.value(table):
        raise CorruptChunkError(f"{path}: the index of the shard is damaged or cut off (its checksum is wrong)")
    return np.frombuffer(table, "<u8").reshape(*index.shape, 2)
