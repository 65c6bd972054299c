"""Inflate PNG files, with checks that Pillow does not make.

Pillow ignores checksums when it decodes, and leaves the rest of the picture black if the pixels end early.
Its `verify` tests the checksums, and accepts missing rows and missing colors.  Rows can only be counted where they are
inflated; Pillow gets them inflated, since libdeflate needs half the time of its zlib.
https://www.w3.org/TR/png-3/#5DataRep
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from deflate import crc32, zlib_compress

from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.storage.compression.decoders import inflate_zlib

__all__ = ["inflated_png"]

_START = 8
_MOST_BYTES = 2**31 - 1
"""Largest part that a PNG may have."""
_KNOWN = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row of each pass of an interlaced picture, and the steps between their pixels.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def inflated_png(data: bytes) -> bytes:
    """Return a PNG with its pixels inflated, in the blocks that zlib calls stored.

    Raises
    ------
    CorruptChunkError
        A checksum is wrong, or pixels are missing.
    """
    at, is_over = _START, False
    header, has_palette = b"", False
    pixels: list[tuple[int, int]] = []
    while not is_over:
        if at + 12 > len(data):
            raise CorruptChunkError("it is cut off")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise CorruptChunkError(f"its part {kind!a} at byte {at} is cut off")
        if crc32(memoryview(data)[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise CorruptChunkError(f"its part {kind!a} at byte {at} is damaged: the checksum is wrong")
        # Readers differ in which of two headers they use, and where they stop.
        if (kind == b"IHDR") != (at == _START) or (kind == b"IDAT" and pixels and pixels[-1][1] + 4 != at):
            raise CorruptChunkError(f"its part {kind!a} at byte {at} is out of place")
        # Readers may skip a part whose first letter is lower case.
        if kind not in _KNOWN and not kind[0] & 0x20:
            raise CorruptChunkError(f"its part {kind!a} at byte {at} is unknown, and needed")
        has_palette |= kind == b"PLTE" and length % 3 == 0 and 0 < length <= 3 * 256
        if kind == b"IHDR":
            header = data[at + 8 : end]
        elif kind == b"IDAT" and header[9] == _PALETTE and not has_palette:
            raise CorruptChunkError("its colors are missing, or damaged")
        elif kind == b"IDAT":
            pixels.append((at + 8, end))
        is_over = kind == b"IEND"
        at = end + 4
    stored = zlib_compress(_rows(b"".join(data[start:stop] for start, stop in pixels), header), 0)
    if len(stored) > _MOST_BYTES:
        return data
    head, checksum = struct.pack(">I", len(stored)), struct.pack(">I", crc32(stored, crc32(b"IDAT")))
    return b"".join((data[: pixels[0][0] - 8], head, b"IDAT", stored, checksum, data[pixels[-1][1] + 4 :]))


def _rows(stream: bytes, header: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rows = np.empty(_nbytes(header), np.uint8)
    inflate_zlib(stream, rows)
    return rows


def _nbytes(header: bytes) -> int:
    """Return the size of all rows before compression; each starts with a byte for its filter."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, right, down in passes:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * depth * _SAMPLES[color] // 8))
    return total
