"""Decode the bytes of one Zarr chunk, in any thread, without trusting them.

Codecs are a fixed list, without plug-ins.  A chunk that does not decode to exactly its size is an error, and no
header decides how much memory is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numcodecs
import numpy as np

from ilastik_lazy.core.library_errors import require_room
from ilastik_lazy.errors import CorruptChunkError, MetadataError, UnsafeFileError, UnsupportedFilterError
from ilastik_lazy.storage.compression.decoders import (
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
# Filters of numcodecs that are deterministic and configured by numbers and texts only.
_FILTERS = ("shuffle", "delta", "fixedscaleoffset", "quantize", "bitround")
_CHECKSUMS = ("crc32c",)

# Memory of a step at its worst, in chunks, where that is more than its result.
_BUFFERS = {"gzip": 2, "bz2": 2, "lzma": 2, "fixedscaleoffset": 5}


@dataclass(frozen=True, slots=True)
class Step:
    """One codec that turns bytes into bytes."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """All codecs of an array, in the order in which they encode."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Names of the steps, such as ``shuffle+zlib``; ``none`` if there are none."""
        return "+".join(step.name for step in self.steps) or "none"

    def decode_into(self, data: bytes, out: Bytes) -> None:
        """Decode the stored bytes of one chunk into `out`, a contiguous view of all its bytes.

        Raises
        ------
        CorruptChunkError
            The bytes are damaged, too few, too many, or fail a checksum.
        """
        try:
            self._decode(data, out)
        except (*CODEC_ERRORS, ArithmeticError) as error:
            require_room(out.size)
            raise CorruptChunkError(" ".join(str(error).split())[:120] or type(error).__name__) from error

    @property
    def buffers(self) -> int:
        """Buffers of the size of a chunk (see `Storage.buffers`): stored, decoded, and the results between steps."""
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
                # Values that overflow the element type would wrap around with at most a numpy warning.
                with np.errstate(divide="raise", over="raise", invalid="raise"):
                    decoded = numcodecs.get_codec({"id": step.name, **dict(step.options)}).decode(data)
                data = np.ascontiguousarray(decoded).reshape(-1).view(np.uint8)
            if len(data) != size and size >= 0:
                raise CorruptChunkError(f"it holds {len(data)} bytes instead of {size}")
        if len(data) != out.size:
            raise CorruptChunkError(f"it holds {len(data)} bytes instead of {out.size}")
        out[:] = np.frombuffer(data, np.uint8)


def _encoded_size(step: Step, size: int) -> int:
    """Return the number of bytes after `step`; -1 if it depends on the data."""
    if size < 0 or step.name in _COMPRESSORS:
        return -1
    if step.name in _CHECKSUMS:
        return size + 4
    options = dict(step.options)
    if "dtype" in options and (encoded := options.get("astype")):
        return int(size // np.dtype(options["dtype"]).itemsize * np.dtype(encoded).itemsize)
    return size


def _checked_crc32c(data: bytes | Bytes) -> bytes:
    """Verify the checksum in the last 4 bytes, and remove it."""
    data = bytes(data)
    if len(data) < 4 or struct.unpack("<I", data[-4:])[0] != google_crc32c.value(data[:-4]):
        raise CorruptChunkError("its crc32c checksum is wrong")
    return data[:-4]


def chunk_codec(codecs: list[tuple[str, Mapping[str, Any]]], where: str) -> ChunkCodec:
    """Return the codec of an array from the names and options of its steps.

    Raises
    ------
    UnsafeFileError
        A step loads pickles.
    UnsupportedFilterError
        A step is not on this module's list.
    """
    steps = tuple(_step(name.removeprefix("numcodecs."), options, where) for name, options in codecs)
    compressors = [step for step in steps if step.name in _COMPRESSORS]
    if len(compressors) > 1:
        raise UnsupportedFilterError(f"{where} is compressed twice, by {' and '.join(s.name for s in compressors)}")
    return ChunkCodec(steps)


def _step(name: str, options: Mapping[str, Any], where: str) -> Step:
    if name == "pickle":
        raise UnsafeFileError(f"{where} is stored as pickles, which can run code when they are read: refused")
    if name in _COMPRESSORS or name in _CHECKSUMS:
        return Step(name)
    if name not in _FILTERS:
        raise UnsupportedFilterError(
            f"{where} is encoded with {ascii(name)[:40]}, which is not supported: "
            f"write it again with one of {', '.join((*_COMPRESSORS, *_FILTERS, *_CHECKSUMS))}"
        )
    kept = {key: value for key, value in options.items() if isinstance(value, str | int | float)}
    for key in ("dtype", "astype"):
        if key in kept and not _is_numeric(kept[key]):
            raise MetadataError(
                f"{where}: the filter {name} has {key} {ascii(kept[key])[:40]}, expected a type of numbers"
            )
    try:
        numcodecs.get_codec({"id": name, **kept})
    except (TypeError, ValueError) as error:
        raise MetadataError(f"{where}: the filter {name} has invalid options {ascii(kept)[:80]}") from error
    return Step(name, tuple(sorted(kept.items())))


def _is_numeric(text: object) -> bool:
    try:
        return isinstance(text, str) and np.dtype(text).kind in "iuf"
    except TypeError:
        return False
