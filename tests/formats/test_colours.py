"""Colour pictures and pictures with a palette: what their channels and values are called, and how they are coloured."""

import numpy as np
import pytest
import tifffile
from PIL import Image

import ilastik_lazy as il
from ilastik_lazy.core.display import channels_of
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from tests.support.children import run_command as run

RGB = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
INDICES = np.random.default_rng(1).integers(0, 3, (8, 9), np.uint8)
COLORS = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_channels_of_a_colour_picture_are_red_green_and_blue(tmp_path, name):
    if name == "a.png":
        Image.fromarray(RGB).save(tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, RGB, photometric="rgb")
    found = il.open_dataarray(tmp_path / name)
    assert found["c"].values.tolist() == ["red", "green", "blue"]
    np.testing.assert_array_equal(found.sel(c="green"), RGB[..., 1])
    shown = channels_of(open_source(Location(str(tmp_path / name))).spec, [(3.0, 9.0)] * 3)
    assert [channel.color for channel in shown] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert {channel.contrast for channel in shown} == {(0.0, 255.0)}


def test_alpha_has_a_name_too_and_channels_of_gray_have_none(tmp_path):
    Image.fromarray(np.dstack([RGB, RGB[..., :1]])).save(tmp_path / "a.png")
    assert il.open_dataarray(tmp_path / "a.png")["c"].values.tolist() == ["red", "green", "blue", "alpha"]
    tifffile.imwrite(tmp_path / "b.tif", RGB, photometric="minisblack", planarconfig="contig")
    assert "c" not in il.open_dataarray(tmp_path / "b.tif").coords


def palette_picture(path):
    if path.suffix == ".tif":
        table = np.zeros((3, 256), np.uint16)
        table[:, : len(COLORS)] = np.array(COLORS).T * 257
        tifffile.imwrite(path, INDICES, photometric="palette", colormap=table)
        return path
    picture = Image.fromarray(INDICES).convert("P")
    picture.putdata(INDICES.ravel().tolist())
    picture.putpalette([value for color in COLORS for value in color])
    picture.save(path)
    return path


@pytest.mark.filterwarnings("ignore:.*names no axes")
@pytest.mark.parametrize("suffix", [".png", ".gif", ".tif", ".tiff"])
def test_indices_of_a_palette_are_the_classes_of_a_segmentation(tmp_path, suffix):
    for found in (
        il.open_dataarray(palette_picture(tmp_path / f"x_Simple Segmentation{suffix}")),
        il.open_dataarray(palette_picture(tmp_path / f"x{suffix}"), kind="segmentation"),
    ):
        assert found.dims == ("y", "x")
        np.testing.assert_array_equal(found, INDICES)
        assert found.attrs["ilastik_kind"] == "segmentation"
        assert found.attrs["flag_colors"] == "#ff0000 #00ff00"


def test_a_photograph_with_a_palette_stays_a_colour_picture(tmp_path):
    found = il.open_dataarray(palette_picture(tmp_path / "photo.png"))
    np.testing.assert_array_equal(found, np.array(COLORS, np.uint8)[INDICES])
    assert found["c"].values.tolist() == ["red", "green", "blue"]


def test_a_palette_of_a_tiff_is_no_colour_of_intensities(tmp_path):
    found = il.open_dataarray(palette_picture(tmp_path / "lut.tif"))
    np.testing.assert_array_equal(found, tifffile.imread(tmp_path / "lut.tif"), strict=False)
    assert "flag_colors" not in found.attrs


def test_pages_with_a_palette_of_eight_bits_are_classes_too(tmp_path):
    # Against the specification, and common; Pillow writes the other sort.
    table = np.array(COLORS, np.uint16).T.repeat([1, 1, 254], axis=1)
    path = tmp_path / "x_Object Predictions.tif"
    tifffile.imwrite(path, np.stack([INDICES] * 3), photometric="palette", colormap=table, metadata={"axes": "ZYX"})
    found = il.open_dataarray(path)
    assert found.attrs["flag_colors"].split()[:2] == ["#ff0000", "#00ff00"]
    np.testing.assert_array_equal(found, np.stack([INDICES] * 3))


def test_the_command_converts_the_colours_of_a_palette(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = palette_picture(tmp_path / "x.tif")
    made = run("convert", path, tmp_path / "x.zarr", "--kind", "segmentation", "--axes", "yx", "--quiet")
    assert made.returncode == 0, made.stderr
    label = zarr.open_group(tmp_path / "x.zarr", mode="r").attrs["ome"]["image-label"]
    assert [color["rgba"][:3] for color in label["colors"]] == [[255, 0, 0], [0, 255, 0]]
