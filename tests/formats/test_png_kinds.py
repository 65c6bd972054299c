"""Every kind of PNG that there is: bit depth, colour type, transparency, interlace, and the parts about colour.

The files are written here, byte by byte, so that the samples are known without a decoder;
Pillow is asked as well where it keeps all bits.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ilastik_lazy as il

PIL = pytest.importorskip("PIL.Image", reason="pip install 'ilastik_lazy[images]'")
pytest.importorskip("imagecodecs", reason="pip install 'ilastik_lazy[fast]'")

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PARTS = {
    "plain": b"",
    "gamma": b"gAMA" + struct.pack(">I", 45455),
    "sRGB": b"sRGB\0",
    "profile": b"iCCP" + b"p\0\0" + zlib.compress(b"no profile of any use" * 20),
}
KINDS = [
    pytest.param(color, depth, is_interlaced, is_transparent, id=f"{color}-{depth}-{is_interlaced}-{is_transparent}")
    for color, depths in DEPTHS.items()
    for depth in depths
    for is_interlaced in (0, 1)
    for is_transparent in ((0, 1) if color in (0, 2, 3) else (0,))
]


def part(content: bytes) -> bytes:
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def rows(samples: np.ndarray[Any, Any], depth: int) -> bytes:
    """Rows as they are compressed, each without a filter."""
    if depth == 16:
        lines = samples.astype(">u2").view("u1")
    elif depth == 8:
        lines = samples.astype("u1")
    else:
        bits = (samples[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = np.packbits(bits.astype("u1").reshape(len(samples), -1), axis=1)
    return b"".join(b"\0" + line.tobytes() for line in lines.reshape(len(samples), -1))


def write_png(
    path: Path, color: int, depth: int, *, is_interlaced: bool, is_transparent: bool, about: bytes, width: int = 11
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Samples, and the colours of a palette."""
    random = np.random.default_rng(10 * depth + color)
    samples = random.integers(0, 2**depth, (9, width, SAMPLES[color]))
    palette = random.integers(0, 256, (2 ** min(depth, 8), 3)).astype("u1")
    made = b"\x89PNG\r\n\x1a\n"
    made += part(b"IHDR" + struct.pack(">IIBBBBB", width, 9, depth, color, 0, 0, int(is_interlaced)))
    made += part(about) if about else b""
    made += part(b"PLTE" + palette.tobytes()) if color == 3 else b""
    if is_transparent:
        first = b"".join(struct.pack(">H", int(sample)) for sample in samples[0, 0])
        made += part(b"tRNS" + (b"\x40" if color == 3 else first))
    passes = PASSES if is_interlaced else ((0, 0, 1, 1),)
    parts = [samples[top::down, left::right] for left, top, right, down in passes]
    made += part(b"IDAT" + zlib.compress(b"".join(rows(each, depth) for each in parts if each.size))) + part(b"IEND")
    path.write_bytes(made)
    return samples, palette


@pytest.mark.parametrize(("color", "depth", "is_interlaced", "is_transparent"), KINDS)
# In one column, passes of interlaced pictures are empty; what is said about colour does not matter to that.
@pytest.mark.parametrize(("width", "abouts"), [(11, list(PARTS)), (1, ["plain"])], ids=["wide", "narrow"])
def test_every_kind_has_the_samples_of_its_file(
    tmp_path: Path, color: int, depth: int, is_interlaced: bool, is_transparent: bool, width: int, abouts: list[str]
) -> None:
    path = tmp_path / "a.png"
    for name in abouts:
        if name == "profile" and depth == 16:
            continue  # libpng prints what it thinks of it
        samples, palette = write_png(
            path, color, depth, is_interlaced=is_interlaced, is_transparent=is_transparent, about=PARTS[name],
            width=width,
        )  # fmt: skip
        expected = samples[..., 0] * (255 // (2**depth - 1) if depth < 8 else 1) if color == 0 else samples
        if color == 3:
            expected = palette[samples[..., 0]]
            if is_transparent:
                alpha = np.where(samples == 0, 0x40, 255)
                expected = np.concatenate([expected, alpha], axis=-1)
        found = il.open_dataarray(path)
        assert found.dtype == ("u2" if depth == 16 else "u1")
        np.testing.assert_array_equal(found, expected)
        if depth <= 8 and color != 3:
            with PIL.open(path) as picture:
                np.testing.assert_array_equal(found, np.asarray(picture.convert("L" if color == 0 else None)))
