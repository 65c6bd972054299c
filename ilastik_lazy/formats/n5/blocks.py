"""Blocks of an N5 dataset, read straight from their files by the thread that wants them.

A block is one file: a header with its shape, then big-endian elements, compressed as the dataset says
(https://github.com/saalfeldlab/n5#file-system-specification).  Nothing in it is trusted: it decodes to
exactly the size of its shape, and its shape is the one that its place in the grid asks for.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.foreign_errors import require_room
from ilastik_lazy.core.grid import Overlap, Region, check_region, overlaps, region_shape
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import CorruptChunkError, SourceNotFoundError, UnsupportedFilterError
from ilastik_lazy.storage.allowed import check_links
from ilastik_lazy.storage.compression.scratch import scratch_bytes
from ilastik_lazy.storage.compression.streams import (
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
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, read_into, require_unchanged, stamp_of

__all__ = ["COMPRESSIONS", "N5Source"]


def _gunzip(data: bytes, out: Bytes) -> None:
    """Undo gzip, or zlib where the writer chose ``useZlib``: no stream can begin as both."""
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
"""Values of `Storage.compression` that an `N5Source` can undo."""


@dataclass(frozen=True, slots=True)
class N5Source:
    """One N5 dataset."""

    spec: ArraySpec
    folder: str
    """Where its ``attributes.json`` and its blocks lie."""
    stamp: Stamp
    """Of ``attributes.json``, which every writer makes anew with the dataset; the blocks have none."""
    roots: tuple[str, ...] = ()
    """Folders that symbolic links may lead to beside `folder`."""
    contents: str = ""
    """Version of its blocks at opening, where these were looked at: ``attributes.json`` does not change with them."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`)."""
        check_region(region, self.spec.shape)
        attributes = os.path.join(self.folder, "attributes.json")
        require_unchanged(attributes, self.stamp)
        out = np.empty(region_shape(region), self.spec.dtype)
        if out.size:
            known: set[str] = set()
            for overlap in overlaps(region, self.spec.chunks):
                self._read_block(self._path_of(overlap, known), overlap, out[overlap.target])
        # A dataset that is deleted meanwhile would look like one whose blocks were all empty.
        require_unchanged(attributes, self.stamp)
        return out

    def _path_of(self, overlap: Overlap, known: set[str]) -> str:
        """Path of a block; `known` are the folders on the way there that were looked at already."""
        path = self.folder
        for index in reversed(overlap.chunk):
            path = f"{path}{os.sep}{index}"
        check_links(path, self.folder, self.roots, known)
        return path

    def _read_block(self, path: str, overlap: Overlap, target: np.ndarray[Any, Any]) -> None:
        try:
            stamp = stamp_of(path)
        except SourceNotFoundError:
            # N5 leaves out empty blocks, and so does z5, with which ilastik writes: a segmentation has many.
            target[...] = 0
            return
        spec = self.spec
        most = math.prod(spec.chunks) * spec.dtype.itemsize
        # What cannot be compressed grows by a few bytes: a larger block is not read at all.
        if stamp.size > most + most // 8 + 4096:
            raise CorruptChunkError(f"{path} would hold {stamp.size} bytes for {most}: damaged")
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
        """Shape of the block as stored, and where its elements begin."""
        ndim = self.spec.ndim
        start = 4 + 4 * ndim
        if size < start:
            raise CorruptChunkError(f"{size} bytes are fewer than its header has")
        mode, rank, *lengths = struct.unpack(f">HH{ndim}I", read_exactly(fd, start, 0, path))
        if mode != 0 or rank != ndim:
            raise CorruptChunkError(f"its header says mode {mode} and {rank} dimensions instead of 0 and {ndim}")
        shape = tuple(reversed(lengths))
        for index, stored, chunk, length in zip(overlap.chunk, shape, self.spec.chunks, self.spec.shape, strict=True):
            # At the upper edge writers differ: z5 and Java clip the block, tensorstore pads it.
            if not min(chunk, length - index * chunk) <= stored <= chunk:
                raise CorruptChunkError(f"its header says shape {shape}, expected {self.spec.chunks} or the edge of it")
        return shape, start

    def _plain_block(
        self, fd: int, path: str, start: int, size: int,
        shape: tuple[int, ...], overlap: Overlap, target: np.ndarray[Any, Any],
    ) -> None:  # fmt: skip
        """Of a block stored as it is, read only the slab along its first axis that is wanted."""
        nbytes = math.prod(shape) * self.spec.dtype.itemsize
        if size - start != nbytes:
            raise CorruptChunkError(f"it holds {size - start} bytes instead of {nbytes}")
        first, row = overlap.inside[0], nbytes // shape[0]
        slab = np.empty((first.stop - first.start) * row, np.uint8)
        read_into(fd, slab.data, start + first.start * row, path)
        inside = (slice(None), *overlap.inside[1:])
        self._put(slab, (first.stop - first.start, *shape[1:]), inside, target)

    def _put(
        self, found: bytes | bytearray | Bytes, shape: tuple[int, ...], inside: Region, target: np.ndarray[Any, Any]
    ) -> None:
        """Copy the wanted part into `target`, and turn its bytes round on the way."""
        # As unsigned integers: three times as fast as floats, and no NaN can lose its payload.
        unsigned = np.dtype(f"u{self.spec.dtype.itemsize}")
        values = np.frombuffer(found, unsigned.newbyteorder(">")).reshape(shape)
        target.view(unsigned)[...] = values[inside]
