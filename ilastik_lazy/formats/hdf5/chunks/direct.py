"""HDF5 chunks read straight from the file, so that threads run in parallel.

h5py serialises every call behind one lock, decompression too.  Here h5py locates all
chunks once; a read is then a `pread` and a decompression for each chunk, and needs no open handle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.grid import Overlap, Region, check_region, overlaps, region_shape
from ilastik_lazy.core.options import Trust
from ilastik_lazy.core.spec import ArraySpec, CountedChunks, EncodedChunks, Keep
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.formats.hdf5.chunks.filters import Pipeline
from ilastik_lazy.formats.hdf5.chunks.index import ABSENT, OUTSIDE, ChunkIndex, chunk_index
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.compression.scratch import scratch_bytes
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, read_into

__all__ = ["DirectHdf5Source"]


class _StoredChunk(NamedTuple):
    """Where one chunk lies, and what it is."""

    fd: int
    offset: int
    size: int
    """Bytes as stored."""
    mask: int
    """Filters that were left out."""
    nbytes: int
    """Bytes when decoded."""


@dataclass(frozen=True, slots=True)
class DirectHdf5Source(EncodedChunks, CountedChunks):
    """A chunked HDF5 dataset whose filters `Pipeline` can undo."""

    spec: ArraySpec
    location: Location
    stamp: Stamp
    pipeline: Pipeline
    fill_value: Any
    """What a chunk that was never written reads as; None where that is an error."""
    trust: Trust = "local"
    """Whether this process may ask the HDF5 library where the chunks lie."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        return self._read(region, None)

    @property
    def chunk_codec(self) -> str:
        """``zlib`` where the only filter is gzip, whose chunks are zlib streams."""
        return "zlib" if self.pipeline.name == "gzip" else ""

    def read_encoded(self, region: Region, keep: Keep) -> np.ndarray[Any, Any]:
        """Read `region`, and hand out its chunks as stored (see `EncodedChunks`)."""
        return self._read(region, keep)

    def encoded(self, chunk: tuple[int, ...]) -> bytes | None:
        """Return a chunk as stored (see `EncodedChunks`)."""
        first = [i * length for i, length in zip(chunk, self.spec.chunks, strict=True)]
        region = tuple(slice(start, start + 1) for start in first)
        check_region(region, self.spec.shape)
        stream = None
        for stored, _ in self._chunks(region):
            if stored.offset != ABSENT and not stored.mask:
                stream = read_exactly(stored.fd, stored.size, stored.offset, self.location.path)
        return stream

    def _read(self, region: Region, keep: Keep | None) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        out = np.empty(region_shape(region), self.spec.dtype)
        if out.size:
            for chunk, overlap in self._chunks(region):
                target = out[overlap.target]
                if chunk.offset == ABSENT:
                    if self.fill_value is None:
                        raise CorruptChunkError(f"{self._name(overlap)} was never written, or its index is damaged")
                    target[...] = self.fill_value
                elif not self.pipeline.filters:
                    self._plain_chunk(chunk, overlap, target)
                else:
                    self._filtered_chunk(chunk, overlap, target, keep)
        return out

    def count_absent(self) -> int:
        return self._index.absent

    @property
    def _index(self) -> ChunkIndex:
        return chunk_index(self.location, self.spec.shape, self.spec.chunks, self.stamp, self.trust)

    def check(self, region: Region) -> None:
        """Raise `CorruptChunkError` if a chunk that `region` touches is damaged, as far as can be checked.

        For reads through libhdf5, which returns uninitialised memory for a stream that ends early.
        """
        for chunk, overlap in self._chunks(region):
            if chunk.offset != ABSENT:
                data = read_exactly(chunk.fd, chunk.size, chunk.offset, self.location.path)
                self._undo(self.pipeline.check, data, chunk, scratch_bytes(chunk.nbytes), overlap)

    def _chunks(self, region: Region) -> Iterator[tuple[_StoredChunk, Overlap]]:
        """Yield the chunks that `region` touches while the file is open; raise if it changes meanwhile."""
        spec = self.spec
        index = self._index
        nbytes = math.prod(spec.chunks) * spec.dtype.itemsize
        with opened(self.location.path, self.stamp) as fd:
            for overlap in overlaps(region, spec.chunks):
                offset, mask = int(index.offsets[overlap.chunk]), 0
                if offset < 0 and offset != ABSENT:
                    raise self._misplaced(offset, overlap)
                if index.masks is not None:
                    mask = int(index.masks[overlap.chunk])
                # What cannot be compressed grows by a few bytes: a larger chunk is not read at all.
                if (size := int(index.sizes[overlap.chunk])) > nbytes + nbytes // 8 + 4096:
                    raise CorruptChunkError(f"{self._name(overlap)} would hold {size} bytes for {nbytes}: damaged")
                yield _StoredChunk(fd, offset, size, mask, nbytes), overlap

    def _filtered_chunk(
        self, chunk: _StoredChunk, overlap: Overlap, target: np.ndarray[Any, Any], keep: Keep | None
    ) -> None:
        """Inflate a chunk into its place, if that is contiguous; else beside it, and copy the part that is wanted."""
        data = read_exactly(chunk.fd, chunk.size, chunk.offset, self.location.path)
        in_place = overlap.whole and target.flags.c_contiguous
        decoded = target.reshape(-1).view(np.uint8) if in_place else scratch_bytes(chunk.nbytes)
        self._undo(self.pipeline.decode_into, data, chunk, decoded, overlap)
        if not in_place:
            target[...] = decoded.view(self.spec.dtype).reshape(self.spec.chunks)[overlap.inside]
        if keep is not None and not chunk.mask:
            keep(overlap.chunk, data, decoded)

    def _plain_chunk(self, chunk: _StoredChunk, overlap: Overlap, target: np.ndarray[Any, Any]) -> None:
        """Read the wanted slab, along the first axis, of a chunk without filters."""
        if chunk.size != chunk.nbytes:
            raise CorruptChunkError(f"{self._name(overlap)} holds {chunk.size} bytes instead of {chunk.nbytes}")
        if overlap.whole and target.flags.c_contiguous:
            read_into(chunk.fd, target.reshape(-1).view(np.uint8).data, chunk.offset, self.location.path)
            return
        first, row = overlap.inside[0], chunk.nbytes // self.spec.chunks[0]
        buffer = scratch_bytes((first.stop - first.start) * row)
        read_into(chunk.fd, buffer.data, chunk.offset + first.start * row, self.location.path)
        slab = buffer.view(self.spec.dtype).reshape(-1, *self.spec.chunks[1:])
        target[...] = slab[(slice(None), *overlap.inside[1:])]

    def _undo(
        self,
        filters: Callable[[bytes, int, np.ndarray[Any, Any]], None],
        data: bytes,
        chunk: _StoredChunk,
        out: np.ndarray[Any, Any],
        overlap: Overlap,
    ) -> None:
        try:
            filters(data, chunk.mask, out)
        except CorruptChunkError as error:
            raise CorruptChunkError(f"{self._name(overlap)} cannot be decoded: {error}") from error

    def _name(self, overlap: Overlap) -> str:
        first = tuple(i * length for i, length in zip(overlap.chunk, self.spec.chunks, strict=True))
        return f"{self.location}: the chunk at {first}"

    def _misplaced(self, offset: int, overlap: Overlap) -> CorruptChunkError:
        what = "lies outside the file" if offset == OUTSIDE else "shares its bytes with another chunk"
        return CorruptChunkError(f"{self._name(overlap)} {what}, which is damaged or cut off")
