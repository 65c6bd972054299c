"""Pictures: values beside those of other decoders, and nothing given that the file does not hold."""

from __future__ import annotations

import hashlib
import io
import sys
import warnings

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.options import DEFAULTS, Limits, OpenOptions
from ilastik_lazy.errors import (
    AxesError,
    CorruptChunkError,
    CorruptFileError,
    DatasetNotFoundError,
    FormatError,
    LimitExceededError,
    MetadataError,
    MissingExtraError,
    UnsupportedFilterError,
)
from ilastik_lazy.formats import picture
from ilastik_lazy.formats.location import Location
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.shared_files import shared_path

Image = pytest.importorskip("PIL.Image")
imagecodecs = pytest.importorskip("imagecodecs")


def opened(path, inside=None, axes=None, limits=None):
    return picture.open_image(Location.parse(path, inside), OpenOptions(axes, limits or Limits()))


def whole(source):
    return tuple(slice(0, length) for length in source.spec.shape)


# Written without Pillow, or by Pillow from arrays: in each case the array is the independent answer.
GRAY, GRAY16 = some_data((23, 31), "u1"), some_data((23, 31), "u2")
RGB, RGB16 = some_data((23, 31, 3), "u1"), some_data((23, 31, 3), "u2")
RGBA, RGBA16, LA16 = some_data((23, 31, 4), "u1"), some_data((23, 31, 4), "u2"), some_data((23, 31, 2), "u2")


def by_pillow(data, name):
    target = io.BytesIO()
    Image.fromarray(data).save(target, name)
    return target.getvalue()


LOSSLESS = {
    "gray.png": (GRAY, imagecodecs.png_encode(GRAY)),
    "gray16.png": (GRAY16, imagecodecs.png_encode(GRAY16)),
    "rgb.png": (RGB, imagecodecs.png_encode(RGB)),
    "rgb16.png": (RGB16, imagecodecs.png_encode(RGB16)),
    "rgba.png": (RGBA, imagecodecs.png_encode(RGBA)),
    "rgba16.png": (RGBA16, imagecodecs.png_encode(RGBA16)),
    "la16.png": (LA16, imagecodecs.png_encode(LA16)),
    "gray.bmp": (GRAY, by_pillow(GRAY, "BMP")),
    "rgb.bmp": (RGB, by_pillow(RGB, "BMP")),
    "gray.pgm": (GRAY, b"P5\n31 23\n255\n" + GRAY.tobytes()),
    "gray16.pgm": (GRAY16, b"P5\n31 23\n65535\n" + GRAY16.astype(">u2").tobytes()),
    "rgb.ppm": (RGB, b"P6\n# a comment\n31 23\n255\n" + RGB.tobytes()),
    "rgb16.ppm": (RGB16, b"P6\n31 23\n65535\n" + RGB16.astype(">u2").tobytes()),
}


class TestPictureSource(SourceContract):
    @pytest.fixture(params=LOSSLESS)
    def stored(self, request, tmp_path):
        path = tmp_path / request.param
        data, content = LOSSLESS[request.param]
        path.write_bytes(content)
        return Stored(path, opened(path), data)

    def test_axes_are_yx_and_samples(self, stored):
        assert "".join(stored.source.spec.dims) == ("yx" if stored.data.ndim == 2 else "yxc")


def test_jpeg_is_what_another_decoder_gives(tmp_path):
    content = imagecodecs.jpeg8_encode(RGB, level=90)
    (tmp_path / "a.jpg").write_bytes(content)
    source = opened(tmp_path / "a.jpg")
    found = source.read(whole(source)).astype(int)
    # Two versions of libjpeg may round differently.
    assert np.abs(found - imagecodecs.jpeg8_decode(content)).max() <= 2


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_palettes_give_their_colors(tmp_path, name):
    indexed = Image.fromarray(RGB).quantize(7)
    indexed.save(tmp_path / name)
    source = opened(tmp_path / name)
    assert source.spec.shape == (23, 31, 3)
    palette = np.array(indexed.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(source.read(whole(source)), palette[np.asarray(indexed)])


def test_bilevel_pictures_give_0_and_255(tmp_path):
    data = GRAY > 100
    Image.fromarray(data).save(tmp_path / "a.png")
    source = opened(tmp_path / "a.png")
    np.testing.assert_array_equal(source.read(whole(source)), data * np.uint8(255), strict=True)


def test_ilastiks_own_pictures():
    path = shared_path("ilastik-files", "writer", "images", "img_yx_uint8.png")
    source = opened(path)
    assert ("".join(source.spec.dims), source.spec.shape, source.spec.dtype) == ("yx", (37, 53), np.uint8)
    stated = "8b02f508bac000b2b481e8897b39a5c7075bf9573ff54a4bba0bb6b908cfe75f"
    assert hashlib.sha256(source.read(whole(source)).tobytes()).hexdigest() == stated


@pytest.mark.shared
def test_a_picture_of_a_workflow_of_ilastik():
    path = shared_path("ilastik-files", "workflows", "pixel_classification", "pc_2d3c__Simple-Segmentation__png.png")
    source = opened(path)
    np.testing.assert_array_equal(source.read(whole(source)), imagecodecs.png_decode(path.read_bytes()), strict=True)
    assert source.spec.shape == (73, 187)


def test_the_only_image_is_called_image(tmp_path):
    (tmp_path / "a.png").write_bytes(LOSSLESS["rgb.png"][1])
    location = Location.parse(tmp_path / "a.png")
    assert picture.images(location, DEFAULTS) == ["image"]
    assert opened(tmp_path / "a.png", "image").spec.shape == RGB.shape
    with pytest.raises(DatasetNotFoundError):
        opened(tmp_path / "a.png", "other")


def test_axes_of_the_caller_count(tmp_path):
    (tmp_path / "a.png").write_bytes(LOSSLESS["rgb.png"][1])
    assert opened(tmp_path / "a.png", axes="zyx").spec.dims == ("z", "y", "x")
    with pytest.raises(AxesError):
        opened(tmp_path / "a.png", axes="yx")


def test_recognises_by_name_and_by_signature_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    (tmp_path / "a").write_bytes(LOSSLESS["rgb.png"][1])
    (tmp_path / "b").write_bytes(b"no picture")
    (tmp_path / "c.JPG").write_bytes(b"")
    found = {name: picture.recognises(Location.parse(tmp_path / name), DEFAULTS) for name in ("a", "b", "c.JPG", ".")}
    assert found == {"a": True, "b": False, "c.JPG": True, ".": False}
    with pytest.raises(MissingExtraError, match=r"pip install 'ilastik_lazy\[images\]'"):
        opened(tmp_path / "a")


def test_without_imagecodecs_16_bits_a_color_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    (tmp_path / "a.png").write_bytes(LOSSLESS["rgb16.png"][1])
    with pytest.raises(MissingExtraError, match="16 bits"):
        opened(tmp_path / "a.png")


def test_values_that_would_be_scaled_are_refused(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5\n31 23\n100\n" + GRAY.tobytes())
    with pytest.raises(UnsupportedFilterError, match="100"):
        opened(tmp_path / "a.pgm")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(GRAY), Image.fromarray(GRAY[::-1].copy())]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(MetadataError, match="2 pictures"):
        opened(tmp_path / "a.gif")


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.9])
def test_a_cut_picture_is_an_error(tmp_path, name, part):
    path = tmp_path / name
    content = LOSSLESS[name][1]
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises((CorruptFileError, CorruptChunkError), match=name):
        (source := opened(path)).read(whole(source))


def test_damaged_pixels_are_an_error(tmp_path):
    content = bytearray(LOSSLESS["rgb.png"][1])
    content[len(content) // 2 : len(content) // 2 + 20] = bytes(20)
    (tmp_path / "a.png").write_bytes(content)
    source = opened(tmp_path / "a.png")
    with pytest.raises(CorruptChunkError, match=r"a\.png"):
        source.read(whole(source))


def test_what_pillow_would_run_is_not_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(FormatError):
        opened(tmp_path / "a.png")


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5\n100000 100000\n255\n")
    with pytest.raises(LimitExceededError, match=r"set PIL\.Image\.MAX_IMAGE_PIXELS"):
        opened(tmp_path / "a.pgm")
    (tmp_path / "b.png").write_bytes(LOSSLESS["rgb.png"][1])
    for limits in (Limits(chunk_bytes=100), Limits(axis_length=20)):
        with pytest.raises(LimitExceededError):
            opened(tmp_path / "b.png", limits=limits)


def test_a_large_picture_is_opened_without_a_warning(tmp_path):
    """Pillow warns of "decompression bombs" from 89 million pixels on; limits are `Limits`' business."""
    from PIL import Image

    Image.new("L", (9500, 9500), 7).save(tmp_path / "a.png", compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = il.open_dataarray(tmp_path / "a.png", axes="yx")
    assert image.shape == (9500, 9500)
