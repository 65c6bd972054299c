"""Undo Zarr's codecs on the bytes of one chunk, in any thread, and never trust them.

A list of codecs by name, and no plug-ins: a chunk decodes to exactly its size or is an error,
and no header decides how much memory is taken.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
from numcodecs import blosc, lz4, zstd

from ilastik_lazy.errors import CorruptChunkError, MetadataError, UnsafeFileError, UnsupportedFilterError
from ilastik_lazy.sources.filters import Pipeline

__all__ = ["ChunkCodec", "Step", "chunk_codec"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

# What numcodecs, zlib, bz2 and lzma raise for bytes that are no stream of theirs.
_CODEC_ERRORS = (ValueError, RuntimeError, TypeError, OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError)
_ZLIB = Pipeline((1,), 1)


def _inflate_zlib(data: bytes, out: Bytes) -> None:
    _ZLIB.decode_into(data, 0, out)


def _with_stream(make: Callable[[], Any]) -> Callable[[bytes, Bytes], None]:
    """A decoder of the standard library, which stops after one byte too many."""

    def decode(data: bytes, out: Bytes) -> None:
        stream = make()
        found = stream.decompress(data, out.size + 1)
        # `eof` is set only after the checksum behind the data was read and found right.
        if len(found) != out.size or not stream.eof:
            raise CorruptChunkError(f"it decodes to {len(found)} bytes instead of {out.size}, or has no end")
        out[:] = np.frombuffer(found, np.uint8)

    return decode


def _gunzip(data: bytes, out: Bytes) -> None:
    # The last 4 bytes of a gzip stream are its length: libdeflate takes that much memory.
    if len(data) < 18 or struct.unpack("<I", data[-4:])[0] != out.size:
        raise CorruptChunkError(f"it is no gzip stream of {out.size} bytes")
    try:
        from deflate import DeflateError, gzip_decompress
    except ImportError:
        _with_stream(lambda: zlib.decompressobj(31))(data, out)
        return
    try:
        found = gzip_decompress(data)
    except DeflateError as error:
        raise CorruptChunkError(f"the gzip stream is damaged ({error})") from error
    if len(found) != out.size:
        raise CorruptChunkError(f"it inflates to {len(found)} bytes instead of {out.size}")
    out[:] = np.frombuffer(found, np.uint8)


def _unzstd(data: bytes, out: Bytes) -> None:
    # A frame of fewer bytes would leave the rest of `out` as it was in memory.
    if (promised := _zstd_content_size(data)) not in (None, out.size):
        raise CorruptChunkError(f"zstd promises {promised} bytes instead of {out.size}")
    zstd.decompress(data, out)


def _zstd_content_size(data: bytes) -> int | None:
    """What the frame header says, https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1; None where it says nothing."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        raise CorruptChunkError("it is no zstd stream")
    flags = data[4]
    is_single = flags >> 5 & 1
    start = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    length = (is_single, 2, 4, 8)[flags >> 6]
    if length == 0:
        return None
    return int.from_bytes(data[start : start + length], "little") + 256 * (length == 2)


def _unblosc(data: bytes, out: Bytes) -> None:
    # c-blosc believes these: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
    if len(data) < 16:
        raise CorruptChunkError(f"{len(data)} bytes are too few for a blosc header")
    nbytes, block, stored = struct.unpack("<III", data[4:16])
    if nbytes != out.size or stored != len(data) or (nbytes and not 0 < block <= nbytes):
        raise CorruptChunkError(f"blosc promises {nbytes} bytes from {stored}; expected {out.size} from {len(data)}")
    blosc.decompress(data, out)


def _unlz4(data: bytes, out: Bytes) -> None:
    if len(data) < 4 or struct.unpack("<I", data[:4])[0] != out.size:
        raise CorruptChunkError(f"lz4 does not promise {out.size} bytes")
    lz4.decompress(data, out)


_COMPRESSORS: dict[str, Callable[[bytes, Bytes], None]] = {
    "zlib": _inflate_zlib,
    "gzip": _gunzip,
    "blosc": _unblosc,
    "zstd": _unzstd,
    "lz4": _unlz4,
    "bz2": _with_stream(bz2.BZ2Decompressor),
    "lzma": _with_stream(lzma.LZMADecompressor),
}
# numcodecs' filters that give the same bytes for the same input, and take nothing but numbers.
_FILTERS = ("shuffle", "delta", "fixedscaleoffset", "quantize", "bitround")
_CHECKSUMS = ("crc32c",)


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
        except _CODEC_ERRORS as error:
            raise CorruptChunkError(" ".join(str(error).split())[:120] or type(error).__name__) from error

    def _decode(self, data: bytes, out: Bytes) -> None:
        sizes = [out.size]
        for step in self.steps:
            sizes.append(_encoded_size(step, sizes[-1]))
        for step, size in zip(reversed(self.steps), reversed(sizes[:-1]), strict=True):
            if (decode := _COMPRESSORS.get(step.name)) is not None:
                target = out if step is self.steps[0] else np.empty(size, np.uint8)
                decode(data, target)
                if target is out:
                    return
                data = target.tobytes()
            elif step.name in _CHECKSUMS:
                data = _checked_crc32c(data)
            else:
                decoded = numcodecs.get_codec({"id": step.name, **dict(step.options)}).decode(data)
                data = np.ascontiguousarray(decoded).tobytes()
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


def _checked_crc32c(data: bytes) -> bytes:
    """Verify the checksum in the last 4 bytes and cut it off."""
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
