"""Decompress one chunk of N5 or Zarr, or the pixels of PNG, in any thread.

A stream that does not decode to exactly the requested size is an error, and no header decides how much memory is
allocated.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from deflate import DeflateError, gzip_decompress
from numcodecs import blosc, lz4, zstd

from ilastik_lazy.core.library_errors import require_room
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.storage.compression.inflating import Bytes, StreamError, inflate

__all__ = ["CODEC_ERRORS", "Bytes", "gunzip", "inflate_zlib", "unblosc", "unbz2", "unlz4", "unlzma", "unxz", "unzstd"]

# Errors of numcodecs, deflate, zlib, bz2 and lzma for invalid streams.
CODEC_ERRORS = (
    ValueError, RuntimeError, TypeError, OSError, EOFError, zlib.error, lzma.LZMAError, DeflateError,
)  # fmt: skip
# xz -9 needs 65 MiB; a stream may claim a dictionary of 4 GiB.
_LZMA_MEMORY = 256 * 2**20


def inflate_zlib(data: bytes, out: Bytes) -> None:
    """Decompress zlib."""
    try:
        inflate(data, out)
    except StreamError as error:
        require_room(out.size)
        raise CorruptChunkError(str(error)) from error


def gunzip(data: bytes, out: Bytes) -> None:
    """Decompress gzip."""
    # The last 4 bytes of a gzip stream are its decoded length, which libdeflate allocates.
    if len(data) < 18 or struct.unpack("<I", data[-4:])[0] != out.size:
        raise CorruptChunkError(f"it is not a gzip stream of {out.size} bytes")
    found = gzip_decompress(data, out.size)
    if len(found) != out.size:
        raise CorruptChunkError(f"it inflates to {len(found)} bytes instead of {out.size}")
    out[:] = np.frombuffer(found, np.uint8)


def _with_stream(make: Callable[[], Any]) -> Callable[[bytes, Bytes], None]:
    """Return a decoder that uses the standard library, and stops after one byte too many."""

    def decode(data: bytes, out: Bytes) -> None:
        stream = make()
        found = stream.decompress(data, out.size + 1)
        # `eof` is set only after the checksum behind the data was verified.
        if len(found) != out.size or not stream.eof:
            raise CorruptChunkError(f"it decodes to {len(found)} bytes instead of {out.size}, or has no end")
        out[:] = np.frombuffer(found, np.uint8)

    return decode


unbz2 = _with_stream(bz2.BZ2Decompressor)
unlzma = _with_stream(lambda: lzma.LZMADecompressor(lzma.FORMAT_AUTO, _LZMA_MEMORY))
unxz = _with_stream(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY))


def unzstd(data: bytes, out: Bytes) -> None:
    """Decompress Zstandard."""
    # A frame of fewer bytes would leave the rest of `out` uninitialised.
    if (promised := _zstd_content_size(data)) not in (None, out.size):
        raise CorruptChunkError(f"zstd promises {promised} bytes instead of {out.size}")
    zstd.decompress(data, out)


def _zstd_content_size(data: bytes) -> int | None:
    """Return the size in the frame header (https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1), None if absent."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        raise CorruptChunkError("it is not a zstd stream")
    flags = data[4]
    is_single = flags >> 5 & 1
    start = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    length = (is_single, 2, 4, 8)[flags >> 6]
    if length == 0:
        return None
    return int.from_bytes(data[start : start + length], "little") + 256 * (length == 2)


def unblosc(data: bytes, out: Bytes) -> None:
    """Decompress Blosc, with any inner compressor."""
    # c-blosc trusts these numbers: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
    if len(data) < 16:
        raise CorruptChunkError(f"{len(data)} bytes are too few for a blosc header")
    nbytes, block, stored = struct.unpack("<III", data[4:16])
    if nbytes != out.size or stored != len(data) or (nbytes and not 0 < block <= nbytes):
        raise CorruptChunkError(f"blosc promises {nbytes} bytes from {stored}; expected {out.size} from {len(data)}")
    blosc.decompress(data, out)


def unlz4(data: bytes, out: Bytes) -> None:
    """Decompress one LZ4 block after its decoded size, as numcodecs writes it."""
    if len(data) < 4 or struct.unpack("<I", data[:4])[0] != out.size:
        raise CorruptChunkError(f"lz4 does not promise {out.size} bytes")
    lz4.decompress(data, out)
