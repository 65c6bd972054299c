"""PNGs of which Pillow makes pixels that the file does not hold."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest

from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.errors import CorruptChunkError, CorruptFileError
from ilastik_lazy.formats import picture
from ilastik_lazy.formats import png as png_files
from ilastik_lazy.formats.location import Location
from tests.support.makers import some_data

Image = pytest.importorskip("PIL.Image")
RGB = some_data((23, 31, 3), "u1")


def part(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(data=RGB, *, rows=None, interlaced=None, between=b""):
    """By the specification alone: rows without a filter, in two parts; with `interlaced`, passes of Adam7."""
    rows = data.shape[0] if rows is None else rows
    color = {1: 0, 2: 4, 3: 2, 4: 6}[data.shape[2] if data.ndim == 3 else 1]
    head = struct.pack(">IIBBBBB", data.shape[1], rows, 8, color, 0, 0, interlaced is not None)
    passes = interlaced or [(0, 0, 1, 1)]
    found = b"".join(
        b"\0" + row.tobytes() for x, y, right, down in passes for row in data[y::down, x::right] if row.size
    )
    stream = zlib.compress(found)
    middle = len(stream) // 2
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", stream[:middle]) + between
        + part(b"IDAT", stream[middle:]) + part(b"IEND", b"")
    )  # fmt: skip


def values_of(path, content):
    path.write_bytes(content)
    source = picture.open_image(Location.parse(path), DEFAULTS)
    return source.read(tuple(slice(0, length) for length in source.spec.shape))


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


@pytest.mark.parametrize("shape", [(23, 31, 3), (1, 1), (3, 2), (8, 9, 4), (5, 1, 2)])
@pytest.mark.parametrize("interlaced", [None, ADAM7])
def test_whole_pictures_are_read(tmp_path, shape, interlaced):
    data = some_data(shape, "u1")
    np.testing.assert_array_equal(values_of(tmp_path / "a.png", png(data, interlaced=interlaced)), data, strict=True)


@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "P", "1", "I;16"])
def test_an_inflated_picture_is_the_same_to_other_readers(kind):
    target = io.BytesIO()
    shown = Image.fromarray(some_data((9, 11), "u2")) if kind == "I;16" else Image.fromarray(RGB).convert(kind)
    shown.save(target, "PNG")
    inflated = png_files.inflated_png(target.getvalue())
    Image.open(io.BytesIO(inflated)).verify()
    found = Image.open(io.BytesIO(inflated))
    assert (found.mode, found.getpalette()) == (kind, shown.getpalette())
    np.testing.assert_array_equal(np.asarray(found), np.asarray(shown))


def test_a_picture_too_large_for_one_part_is_read_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(png_files, "_MOST_BYTES", 100)
    assert png_files.inflated_png(png()) == png()
    np.testing.assert_array_equal(values_of(tmp_path / "a.png", png()), RGB)


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("width", [7, 8, 9])
def test_rows_of_bits_are_counted_in_bytes(tmp_path, mode, width):
    colors = Image.fromarray(some_data((5, width, 3), "u1"))
    picture_of_bits = colors.quantize(4) if mode == "P" else colors.convert(mode)
    picture_of_bits.save(tmp_path / "b.png", bits=2) if mode == "P" else picture_of_bits.save(tmp_path / "b.png")
    wanted = picture_of_bits.convert("L" if mode == "1" else "RGB")
    np.testing.assert_array_equal(values_of(tmp_path / "a.png", (tmp_path / "b.png").read_bytes()), np.asarray(wanted))


def with_palette(colors):
    target = io.BytesIO()
    Image.fromarray(RGB).quantize(16).save(target, "PNG")
    content = target.getvalue()
    start = content.index(b"PLTE") - 4
    made = b"" if colors is None else part(b"PLTE", colors)
    return content[:start] + made + content[start + 12 + struct.unpack_from(">I", content, start)[0] :]


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGED = {
    "rows that are not there": (png(rows=40), "inflates to"),
    "rows too many": (png(rows=20), "."),
    "a checksum": (flipped(png(), png().index(b"IEND") - 9), "checksum is wrong"),
    "pixels": (flipped(png(), len(png()) // 2), "checksum is wrong"),
    "a part in the middle of the pixels": (png(between=part(b"tEXt", b"a\0b")), "out of place"),
    "two headers": (png(between=png()[8:33]), "out of place"),
    "no colors": (with_palette(None), "colors are missing"),
    "half a color": (with_palette(bytes(16)), "colors are missing, or damaged"),
    "too many colors": (with_palette(bytes(771)), "."),
    "a part that nobody knows": (png()[:33] + part(b"ABCD", b"") + png()[33:], "unknown, and needed"),
    "no end": (png()[:-12], "cut off"),
    "a part beyond the end": (png()[:-12] + struct.pack(">I", 2**31) + b"IEND" + bytes(4), "cut off"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_that_pillow_lets_pass_is_an_error(tmp_path, case):
    content, message = DAMAGED[case]
    with pytest.raises((CorruptChunkError, CorruptFileError), match=rf"a\.png.*{message}"):
        values_of(tmp_path / "a.png", content)
