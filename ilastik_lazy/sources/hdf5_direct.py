"""HDF5 chunks read straight from the file, so that threads run in parallel.

h5py serialises every call behind one lock, decompression too.  Here it is asked once where each
chunk lies; a read is then a `pread` and a decompression for each chunk, and needs no open handle.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.chunks import Overlap, Region, check_region, overlaps, region_shape
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.files import Stamp, opened, read_exactly, read_into
from ilastik_lazy.location import Location
from ilastik_lazy.sources.filters import Pipeline
from ilastik_lazy.sources.hdf5_index import ABSENT, CROSSED, OUTSIDE, ChunkIndex, chunk_index
from ilastik_lazy.spec import ArraySpec

__all__ = ["DirectHdf5Source"]

_scratch = threading.local()


def _scratch_bytes(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A buffer of this thread's own: fresh pages for each chunk would cost 20-30 % of the decoding."""
    buffer: np.ndarray[Any, np.dtype[np.uint8]] | None = getattr(_scratch, "buffer", None)
    if buffer is None or buffer.size < size or buffer.size > 4 * size + 2**20:
        buffer = _scratch.buffer = np.empty(size, np.uint8)
    return buffer[:size]


@dataclass(frozen=True, slots=True)
class DirectHdf5Source:
    """A chunked HDF5 dataset whose filters `Pipeline` can undo."""

    spec: ArraySpec
    location: Location
    stamp: Stamp
    pipeline: Pipeline
    fill_value: Any

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`)."""
        check_region(region, self.spec.shape)
        out = np.empty(region_shape(region), self.spec.dtype)
        if out.size == 0:
            return out
        index = chunk_index(self.location, self.spec.shape, self.spec.chunks, self.stamp)
        with opened(self.location.path, self.stamp) as fd:
            for overlap in overlaps(region, self.spec.chunks):
                self._read_chunk(fd, index, overlap, out[overlap.target])
        return out

    def check(self, region: Region) -> None:
        """Decode all chunks that `region` touches, and raise what is wrong with them.

        For those who have libhdf5 read: it takes leftover memory for the pixels of a stream that ends early.
        """
        index = chunk_index(self.location, self.spec.shape, self.spec.chunks, self.stamp)
        with opened(self.location.path, self.stamp) as fd:
            for overlap in overlaps(region, self.spec.chunks):
                scratch = np.empty(region_shape(overlap.inside), self.spec.dtype)
                self._read_chunk(fd, index, overlap, scratch)

    def _read_chunk(self, fd: int, index: ChunkIndex, overlap: Overlap, target: np.ndarray[Any, Any]) -> None:
        """Bring what `overlap` wants of its chunk into `target`, a view of the result."""
        offset, size = int(index.offsets[overlap.chunk]), int(index.sizes[overlap.chunk])
        if offset == ABSENT:
            target[...] = self.fill_value
            return
        self._check_extent(offset, overlap)
        mask = 0 if index.masks is None else int(index.masks[overlap.chunk])
        if self.pipeline.is_plain:
            self._read_plain(fd, offset, size, overlap, target)
            return
        data = read_exactly(fd, size, offset, self.location.path)
        if overlap.whole and target.flags.c_contiguous:
            self.pipeline.decode_into(data, mask, target.reshape(-1).view(np.uint8), self._name(overlap))
            return
        buffer = _scratch_bytes(self._chunk_nbytes)
        self.pipeline.decode_into(data, mask, buffer, self._name(overlap))
        target[...] = buffer.view(self.spec.dtype).reshape(self.spec.chunks)[overlap.inside]

    def _read_plain(self, fd: int, offset: int, size: int, overlap: Overlap, target: np.ndarray[Any, Any]) -> None:
        """Of a chunk stored as it is, read only the slab along its first axis that is wanted."""
        if size != self._chunk_nbytes:
            raise CorruptChunkError(f"{self._name(overlap)} holds {size} bytes instead of {self._chunk_nbytes}")
        if overlap.whole and target.flags.c_contiguous:
            read_into(fd, target.reshape(-1).view(np.uint8).data, offset, self.location.path)
            return
        first, rows = overlap.inside[0], self._chunk_nbytes // self.spec.chunks[0]
        buffer = _scratch_bytes((first.stop - first.start) * rows)
        read_into(fd, buffer.data, offset + first.start * rows, self.location.path)
        slab = buffer.view(self.spec.dtype).reshape(-1, *self.spec.chunks[1:])
        target[...] = slab[(slice(None), *overlap.inside[1:])]

    @property
    def _chunk_nbytes(self) -> int:
        return int(np.prod(self.spec.chunks, dtype=np.int64)) * self.spec.dtype.itemsize

    def _name(self, overlap: Overlap) -> str:
        first = tuple(i * length for i, length in zip(overlap.chunk, self.spec.chunks, strict=True))
        return f"{self.location}: the chunk at {first}"

    def _check_extent(self, offset: int, overlap: Overlap) -> None:
        if offset == OUTSIDE:
            raise CorruptChunkError(f"{self._name(overlap)} lies outside the file, which is damaged or cut off")
        if offset == CROSSED:
            raise CorruptChunkError(f"{self._name(overlap)} shares its bytes with another chunk: the file is damaged")
