"""Undo Zarr's codecs on the bytes of one chunk, in any thread, and never trust them.

A list of codecs by name, and no plug-ins: a chunk decodes to exactly its size or is an error,
and no header decides how much memory is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numcodecs
import numpy as np

from ilastik_lazy.core.foreign_errors import require_room
from ilastik_lazy.errors import CorruptChunkError, MetadataError, UnsafeFileError, UnsupportedFilterError
from ilastik_lazy.storage.compression.streams import (
    CODEC_ERRORS,
    Bytes,
    gunzip,
    inflate_zlib,
    unblosc,
    unbz2,
    unlz4,
    unlzma,
    unzstd,
)

__all__ = ["ChunkCodec", "Step", "chunk_codec"]

_COMPRESSORS: dict[str, Callable[[bytes, Bytes], None]] = {
    "zlib": inflate_zlib,
    "gzip": gunzip,
    "blosc": unblosc,
    "zstd": unzstd,
    "lz4": unlz4,
    "bz2": unbz2,
    "lzma": unlzma,
}
# numcodecs' filters that give the same bytes for the same input, and take nothing but numbers.
_FILTERS = ("shuffle", "delta", "fixedscaleoffset", "quantize", "bitround")
_CHECKSUMS = ("crc32c",)

# Chunks' worth of memory that a step takes at its worst, where that is more than its result.
_BUFFERS = {"gzip": 2, "bz2": 2, "lzma": 2, "fixedscaleoffset": 5}


@dataclass(frozen=True, slots=True)
class Step:
    """One codec from bytes to bytes."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """All steps of an array, in the order of writing."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Such as ``shuffle+zlib``; ``none`` without steps."""
        return "+".join(step.name for step in self.steps) or "none"

    def decode_into(self, data: bytes, out: Bytes) -> None:
        """Decode the stored bytes of one chunk into `out`, a contiguous view of all its bytes.

        Raises
        ------
        CorruptChunkError
            The bytes are damaged, too few or too many, or a checksum is wrong.
        """
        try:
            self._decode(data, out)
        except (*CODEC_ERRORS, ArithmeticError) as error:
            require_room(out.size)
            raise CorruptChunkError(" ".join(str(error).split())[:120] or type(error).__name__) from error

    @property
    def buffers(self) -> int:
        """See `Storage.buffers`: as stored, decoded, and what each step makes that does not decode into its place."""
        made = [_BUFFERS.get(step.name, 1) for step in self.steps]
        if made and self.steps[0].name in _COMPRESSORS:
            made[0] -= 1
        return 2 + sum(made)

    def _decode(self, data: bytes | Bytes, out: Bytes) -> None:
        sizes = [out.size]
        for step in self.steps:
            sizes.append(_encoded_size(step, sizes[-1]))
        for step, size in zip(reversed(self.steps), reversed(sizes[:-1]), strict=True):
            if (decode := _COMPRESSORS.get(step.name)) is not None:
                target = out if step is self.steps[0] else np.empty(size, np.uint8)
                decode(bytes(data), target)
                if target is out:
                    return
                data = target
            elif step.name in _CHECKSUMS:
                data = _checked_crc32c(data)
            else:
                # Numbers that no element can hold would be cut to others, with a warning of numpy's at the most.
                with np.errstate(divide="raise", over="raise", invalid="raise"):
                    decoded = numcodecs.get_codec({"id": step.name, **dict(step.options)}).decode(data)
                data = np.ascontiguousarray(decoded).reshape(-1).view(np.uint8)
            if len(data) != size and size >= 0:
                raise CorruptChunkError(f"it holds {len(data)} bytes instead of {size}")
        if len(data) != out.size:
            raise CorruptChunkError(f"it holds {len(data)} bytes instead of {out.size}")
        out[:] = np.frombuffer(data, np.uint8)


def _encoded_size(step: Step, size: int) -> int:
    """Bytes after `step`; -1 where only the data tell."""
    if size < 0 or step.name in _COMPRESSORS:
        return -1
    if step.name in _CHECKSUMS:
        return size + 4
    options = dict(step.options)
    if "dtype" in options and (encoded := options.get("astype")):
        return int(size // np.dtype(options["dtype"]).itemsize * np.dtype(encoded).itemsize)
    return size


def _checked_crc32c(data: bytes | Bytes) -> bytes:
    """Verify the checksum in the last 4 bytes and cut it off."""
    data = bytes(data)
    if len(data) < 4 or struct.unpack("<I", data[-4:])[0] != google_crc32c.value(data[:-4]):
        raise CorruptChunkError("its crc32c checksum is wrong")
    return data[:-4]


def chunk_codec(codecs: list[tuple[str, Mapping[str, Any]]], where: str) -> ChunkCodec:
    """The codec of an array, from the names and options of its steps.

    Raises
    ------
    UnsafeFileError
        A step unpickles.
    UnsupportedFilterError
        A step is not on the list of this module.
    """
    steps = tuple(_step(name.removeprefix("numcodecs."), options, where) for name, options in codecs)
    compressors = [step for step in steps if step.name in _COMPRESSORS]
    if len(compressors) > 1:
        raise UnsupportedFilterError(f"{where} is compressed twice, by {' and '.join(s.name for s in compressors)}")
    return ChunkCodec(steps)


def _step(name: str, options: Mapping[str, Any], where: str) -> Step:
    if name == "pickle":
        raise UnsafeFileError(f"{where} is stored as pickles, which run code when they are read: refused")
    if name in _COMPRESSORS or name in _CHECKSUMS:
        return Step(name)
    if name not in _FILTERS:
        raise UnsupportedFilterError(
            f"{where} is encoded with {ascii(name)[:40]}, which cannot be decoded here "
            f"(known are {', '.join((*_COMPRESSORS, *_FILTERS, *_CHECKSUMS))}): write it again with one of these"
        )
    kept = {key: value for key, value in options.items() if isinstance(value, str | int | float)}
    for key in ("dtype", "astype"):
        if key in kept and not _is_numeric(kept[key]):
            raise MetadataError(f"{where}: the filter {name} has {key} {ascii(kept[key])[:40]}, no number type")
    try:
        numcodecs.get_codec({"id": name, **kept})
    except (TypeError, ValueError) as error:
        raise MetadataError(
            f"{where}: the filter {name} has options {ascii(kept)[:80]}, which make no sense"
        ) from error
    return Step(name, tuple(sorted(kept.items())))


def _is_numeric(text: object) -> bool:
    try:
        return isinstance(text, str) and np.dtype(text).kind in "iuf"
    except TypeError:
        return False
