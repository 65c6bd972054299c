"""Blocks of an N5 dataset, read from their files and decoded in the calling thread.

A block is one file: a header with its shape, then big-endian elements, compressed as the dataset says
(https://github.com/saalfeldlab/n5#file-system-specification).  Nothing in it is trusted: its shape must be the one
of its place in the grid, and it must decode to exactly the size of that shape.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Overlap, Region, check_region, overlaps, region_shape
from ilastik_lazy.core.library_errors import require_room
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import CorruptChunkError, SourceNotFoundError, UnsupportedFilterError
from ilastik_lazy.storage.allowed import check_links
from ilastik_lazy.storage.compression.decoders import (
    CODEC_ERRORS,
    Bytes,
    gunzip,
    inflate_zlib,
    unblosc,
    unbz2,
    unlz4,
    unxz,
    unzstd,
)
from ilastik_lazy.storage.compression.scratch import scratch_bytes
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, read_into, require_unchanged, stamp_of

__all__ = ["COMPRESSIONS", "N5Source"]


def _gunzip(data: bytes, out: Bytes) -> None:
    """Undo gzip, or zlib for ``useZlib``; the first two bytes distinguish the two."""
    (gunzip if data[:2] == b"\x1f\x8b" else inflate_zlib)(data, out)


def _unlz4(data: bytes, out: Bytes) -> None:
    """Undo LZ4 as z5 writes it: one bare block."""
    unlz4(struct.pack("<I", out.size) + data, out)


_DECODERS: dict[str, Callable[[bytes, Bytes], None]] = {
    "gzip": _gunzip,
    "bzip2": unbz2,
    "xz": unxz,
    "zstd": unzstd,
    "lz4": _unlz4,
    "blosc": unblosc,
}


def _decode(compression: str, data: bytes, out: Bytes) -> None:
    if compression == "lz4" and data.startswith(b"LZ4Block"):
        # z5, with which ilastik reads N5, cannot decode it either.
        raise UnsupportedFilterError("LZ4 in the frames of Java is not supported: save it again with gzip")
    try:
        _DECODERS[compression](data, out)
    except CODEC_ERRORS as error:
        require_room(out.size)
        raise CorruptChunkError(f"the {compression} stream is damaged ({error})") from error


COMPRESSIONS = frozenset({"none", *_DECODERS})
"""Values of `Storage.compression` that `N5Source` decodes."""


@dataclass(frozen=True, slots=True)
class N5Source:
    """One N5 dataset."""

    spec: ArraySpec
    folder: str
    """Folder of ``attributes.json`` and the blocks."""
    stamp: Stamp
    """Stamp of ``attributes.json``, which every writer replaces with the dataset."""
    roots: tuple[str, ...] = ()
    """Folders outside `folder` that symbolic links may lead to."""
    contents: str = ""
    """Version of the blocks at opening, if they were checked: ``attributes.json`` does not change with them."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        attributes = os.path.join(self.folder, "attributes.json")
        require_unchanged(attributes, self.stamp)
        out = np.empty(region_shape(region), self.spec.dtype)
        if out.size:
            known: set[str] = set()
            for overlap in overlaps(region, self.spec.chunks):
                self._read_block(self._path_of(overlap, known), overlap, out[overlap.target])
        # A dataset deleted during the read would look like one with empty blocks only.
        require_unchanged(attributes, self.stamp)
        return out

    def _path_of(self, overlap: Overlap, known: set[str]) -> str:
        """Return the path of a block, after checking links; `known` are folders that were checked already."""
        path = self.folder
        for index in reversed(overlap.chunk):
            path = f"{path}{os.sep}{index}"
        check_links(path, self.folder, self.roots, known)
        return path

    def _read_block(self, path: str, overlap: Overlap, target: np.ndarray[Any, Any]) -> None:
        try:
            stamp = stamp_of(path)
        except SourceNotFoundError:
            # N5 leaves out empty blocks, and so does ilastik, through z5: a segmentation has many.
            target[...] = 0
            return
        spec = self.spec
        most = math.prod(spec.chunks) * spec.dtype.itemsize
        # Incompressible data grow by a few bytes; a larger block is not read.
        if stamp.size > most + most // 8 + 4096:
            raise CorruptChunkError(f"{path} has {stamp.size} bytes for a block of {most}: damaged")
        with opened(path, stamp) as fd:
            try:
                shape, start = self._header(fd, path, stamp.size, overlap)
                if spec.storage.compression == "none":
                    self._plain_block(fd, path, start, stamp.size, shape, overlap, target)
                    return
                data = read_exactly(fd, stamp.size - start, start, path)
                found = scratch_bytes(math.prod(shape) * spec.dtype.itemsize)
                _decode(spec.storage.compression, data, found)
            except (CorruptChunkError, UnsupportedFilterError) as error:
                raise type(error)(f"{path}: the block cannot be decoded: {error}") from error
        self._put(found, shape, overlap.inside, target)

    def _header(self, fd: int, path: str, size: int, overlap: Overlap) -> tuple[tuple[int, ...], int]:
        """Return the stored shape of the block, and the offset of its elements."""
        ndim = self.spec.ndim
        start = 4 + 4 * ndim
        if size < start:
            raise CorruptChunkError(f"it has {size} bytes, fewer than its header")
        mode, rank, *lengths = struct.unpack(f">HH{ndim}I", read_exactly(fd, start, 0, path))
        if mode != 0 or rank != ndim:
            raise CorruptChunkError(f"its header states mode {mode} and {rank} dimensions instead of 0 and {ndim}")
        shape = tuple(reversed(lengths))
        for index, stored, chunk, length in zip(overlap.chunk, shape, self.spec.chunks, self.spec.shape, strict=True):
            # Writers differ at the upper edge: z5 and Java clip the block, tensorstore pads it.
            if not min(chunk, length - index * chunk) <= stored <= chunk:
                raise CorruptChunkError(f"its header has shape {shape}, expected {self.spec.chunks} or the edge of it")
        return shape, start

    def _plain_block(
        self, fd: int, path: str, start: int, size: int,
        shape: tuple[int, ...], overlap: Overlap, target: np.ndarray[Any, Any],
    ) -> None:  # fmt: skip
        """Read the wanted slab along the first axis of a block without compression."""
        nbytes = math.prod(shape) * self.spec.dtype.itemsize
        if size - start != nbytes:
            raise CorruptChunkError(f"it has {size - start} bytes instead of {nbytes}")
        first, row = overlap.inside[0], nbytes // shape[0]
        slab = np.empty((first.stop - first.start) * row, np.uint8)
        read_into(fd, slab.data, start + first.start * row, path)
        inside = (slice(None), *overlap.inside[1:])
        self._put(slab, (first.stop - first.start, *shape[1:]), inside, target)

    def _put(
        self, found: bytes | bytearray | Bytes, shape: tuple[int, ...], inside: Region, target: np.ndarray[Any, Any]
    ) -> None:
        """Copy the wanted part into `target` and swap its bytes."""
        # As unsigned integers: three times as fast as floats, and NaN payloads are kept.
        unsigned = np.dtype(f"u{self.spec.dtype.itemsize}")
        values = np.frombuffer(found, unsigned.newbyteorder(">")).reshape(shape)
        target.view(unsigned)[...] = values[inside]
