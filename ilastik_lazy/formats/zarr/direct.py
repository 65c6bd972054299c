"""Read Zarr chunks straight from their files or objects, so that threads run in parallel.

zarr-python passes each chunk through one event loop; here a read is a `pread` (or a request) and a decompression
for each chunk.  A shard index that points past the end of its shard is an error here; zarr-python 3.1 silently reads
fill values.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Overlap, Region, check_region, grid_shape, overlaps, region_shape
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import (
    CorruptChunkError,
    IncompleteSourceWarning,
    LimitExceededError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
)
from ilastik_lazy.formats.zarr.files import LocalFiles, StoredFile, Version, ZarrFiles
from ilastik_lazy.formats.zarr.layout import ArrayLayout
from ilastik_lazy.formats.zarr.shard_index import NO_CHUNK, ShardIndex
from ilastik_lazy.formats.zarr.zip_files import ZipFiles
from ilastik_lazy.storage.compression.scratch import scratch_bytes
from ilastik_lazy.warning import warn

__all__ = ["COUNTED_AT_OPENING", "ZarrSource", "count_absent"]

# Listing this many files takes 50 ms on a local disk.
COUNTED_AT_OPENING = 20_000


def count_absent(files: LocalFiles | ZipFiles, folder: str, layout: ArrayLayout) -> tuple[int, int] | None:
    """Return the numbers of missing and of expected files of an array; None if there are too many to check."""
    grid = grid_shape(layout.shape, layout.files)
    if (count := math.prod(grid)) > COUNTED_AT_OPENING:
        return None
    wanted = defaultdict(set)
    for position in itertools.product(*map(range, grid)):
        above, _, name = layout.key(position).rpartition("/")
        wanted[above].add(name)
    absent, known = 0, set[str]()
    for above, names in wanted.items():
        files.check_links(os.path.join(folder, above), known)
        absent += len(names.difference(files.names(os.path.join(folder, above))))
    return absent, count


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """An array of Zarr version 2 or 3."""

    spec: ArraySpec
    files: ZarrFiles
    folder: str
    """Folder of the array."""
    metadata_path: str
    version: Version
    """Version of the metadata file, which changes when the array is written again."""
    layout: ArrayLayout
    is_complete: bool | None
    """Whether every file existed at opening; None if there were too many to check."""
    contents: str = ""
    """Version of the chunk files at opening, if these were checked: metadata do not change with a chunk."""
    coarser: tuple[str, ...] = ()
    """Folders of the arrays of lower resolution that belong to the same image."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        out = np.empty(region_shape(region), self.spec.dtype)
        if out.size:
            with self.files.unchanged(self.metadata_path, self.version):
                self.files.each(
                    lambda part: self._read_file(part, out[part.target]), overlaps(region, self.layout.files)
                )
        return out

    def _read_file(self, part: Overlap, target: np.ndarray[Any, Any]) -> None:
        """Fill `target` with the wanted part of one file."""
        path = os.path.join(self.folder, self.layout.key(part.chunk))
        try:
            with self.files.opened(path) as file:
                if self.layout.index is None:
                    self._read_chunk(self._whole(file, path, part), path, part, target)
                else:
                    self._read_shard(file, path, self.layout.index, part, target)
        except SourceNotFoundError as error:
            if self.is_complete:
                raise SourceChangedError(f"{path} is gone since the array was opened") from error
            self._warn_of(path)
            target[...] = self.layout.fill_value

    def _read_shard(
        self, file: StoredFile, path: str, index: ShardIndex, part: Overlap, target: np.ndarray[Any, Any]
    ) -> None:
        while True:
            try:
                return self._read_parts(file, path, index, part, target)
            except (SourceError, CorruptChunkError):
                # With the index of an earlier reading, a shard that is shorter now may end before the chunk.
                if not file.forget():
                    raise

    def _read_parts(
        self, file: StoredFile, path: str, index: ShardIndex, part: Overlap, target: np.ndarray[Any, Any]
    ) -> None:
        stored, size = file.edge(index.nbytes, at_start=index.at_start)
        table = index.decoded(stored, size, path)
        wanted = []
        for overlap in overlaps(part.inside, self.layout.chunks):
            offset, nbytes = map(int, table[overlap.chunk])
            if offset == nbytes == NO_CHUNK:
                if file.forget():  # it may have been written since
                    self._read_parts(file, path, index, part, target)
                    return
                target[overlap.target] = self.layout.fill_value
                continue
            if offset + nbytes > size:
                raise CorruptChunkError(
                    f"{path}: the chunk {overlap.chunk} lies past the end of its shard: the file is damaged"
                )
            if offset < index.nbytes if index.at_start else offset + nbytes > size - index.nbytes:
                raise CorruptChunkError(
                    f"{path}: the chunk {overlap.chunk} overlaps the index of its shard: the file is damaged"
                )
            self._check_size(nbytes, path, overlap)
            wanted.append((offset, nbytes, overlap))
        wanted.sort(key=lambda entry: entry[0])
        data = file.parts([(offset, nbytes) for offset, nbytes, _ in wanted])
        for (_, _, overlap), chunk in zip(wanted, data, strict=True):
            self._read_chunk(chunk, path, overlap, target[overlap.target])

    def _whole(self, file: StoredFile, path: str, overlap: Overlap) -> bytes:
        try:
            data = file.whole(self._most_bytes)
        except LimitExceededError as error:
            raise CorruptChunkError(f"{path}: the chunk {overlap.chunk} is damaged: {error}") from error
        self._check_size(len(data), path, overlap)
        return data

    @property
    def _most_bytes(self) -> int:
        """Largest valid stored size: data that cannot be compressed grow by a few bytes."""
        return self.layout.chunk_nbytes + self.layout.chunk_nbytes // 8 + 4096

    def _check_size(self, size: int, path: str, overlap: Overlap) -> None:
        if not 0 < size <= self._most_bytes:
            raise CorruptChunkError(
                f"{path}: the chunk {overlap.chunk} has {size} bytes for {self.layout.chunk_nbytes}: it is damaged"
            )

    def _read_chunk(self, data: bytes, path: str, overlap: Overlap, target: np.ndarray[Any, Any]) -> None:
        """Decode a chunk into `target` if that is contiguous; else into a buffer, and copy the wanted part."""
        layout = self.layout
        is_plain = layout.order is None and layout.stored == layout.dtype
        direct = overlap.whole and is_plain and target.flags.c_contiguous
        out = target.reshape(-1).view(np.uint8) if direct else scratch_bytes(layout.chunk_nbytes)
        try:
            layout.codec.decode_into(data, out)
        except CorruptChunkError as error:
            raise CorruptChunkError(f"{path}: the chunk {overlap.chunk} cannot be decoded: {error}") from error
        if not direct:
            target[...] = self._in_order(out.view(layout.stored))[overlap.inside]

    def _in_order(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the elements of a chunk as an array with the axes in their order."""
        chunks, order = self.layout.chunks, self.layout.order
        if order is None:
            return values.reshape(chunks)
        return values.reshape([chunks[i] for i in order]).transpose(np.argsort(order))

    def _warn_of(self, path: str) -> None:
        """Warn of a missing file, if opening did not check."""
        if self.is_complete is None:
            where = self.spec.storage.location
            warn(
                f"{where}: {os.path.basename(path)} and perhaps others were never written and read as the fill value",
                IncompleteSourceWarning,
            )
