"""Imaris' files: one pyramid t c z y x without its padding, where its voxels lie, and attributes that lie."""

from __future__ import annotations

import contextlib

import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.errors import DatasetNotFoundError, IlastikLazyError, MetadataError, MetadataWarning
from ilastik_lazy.formats import hdf5
from ilastik_lazy.formats.location import Location
from tests.support.children import run_command
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data

FIRST = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"


def text(group, name, value):
    """Write an attribute as Imaris does: an array of letters."""
    group.attrs[name] = np.array([letter.encode("latin-1") for letter in str(value)], "S1")


def write(path):
    """Write two levels, two time points and two channels, padded to chunks of (4, 8, 8); return the finest level."""
    data = some_data((2, 2, 5, 14, 11), "u2")
    with h5py.File(path, "w") as file:
        for level, values in enumerate((data, data[..., ::2, ::2])):
            size = values.shape[2:]
            for time in range(2):
                for channel in range(2):
                    group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {channel}")
                    padding = [(0, -n % chunk) for n, chunk in zip(size, (4, 8, 8), strict=True)]
                    padded = np.pad(values[time, channel], padding, constant_values=9999)
                    group.create_dataset("Data", data=padded, chunks=(4, 8, 8), compression="gzip", compression_opts=2)
                    group.create_dataset("Histogram", data=np.ones(256, "u8"))
                    for name, length in zip("ZYX", size, strict=True):
                        text(group, f"ImageSize{name}", length)
        image = file.create_group("DataSetInfo/Image")
        for name, value in {"X": 11, "Y": 14, "Z": 5, "T": 2, "Unit": "um"}.items():
            text(image, name, value)
        for axis, (first, last) in enumerate([(10, 15.5), (-7, 0), (0, 10)]):
            text(image, f"ExtMin{axis}", first)
            text(image, f"ExtMax{axis}", last)
        for channel, (name, color) in enumerate([("DAPI", "0.000 0.000 1.000"), ("GFP", "0.200 1.000 0.000")]):
            group = file.create_group(f"DataSetInfo/Channel {channel}")
            text(group, "Name", name)
            text(group, "Color", color)
    return data


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "a.ims")
    return tmp_path / "a.ims"


class TestImaris(SourceContract):
    most_pickled = 5000

    @pytest.fixture
    def stored(self, tmp_path):
        data = write(tmp_path / "a.ims")
        return Stored(tmp_path / "a.ims", hdf5.open_image(Location.parse(tmp_path / "a.ims"), OpenOptions()), data)


@pytest.mark.parametrize("trust", ["local", "untrusted"])
def test_a_file_of_imaris_is_one_pyramid_without_padding(tmp_path, trust):
    data = write(tmp_path / "a.ims")
    tree = il.open_datatree(tmp_path / "a.ims", trust=trust)
    assert set(tree.groups) == {"/", "/scale0", "/scale1"}
    fine, coarse = tree["scale0/image"], tree["scale1/image"]
    assert fine.dims == ("t", "c", "z", "y", "x")
    np.testing.assert_array_equal(fine.values, data, strict=True)
    np.testing.assert_array_equal(coarse.values, data[..., ::2, ::2], strict=True)
    assert fine.coords["c"].values.tolist() == ["DAPI", "GFP"]
    # By hand: 11 voxels from 10 to 15.5, and their centres; 6 voxels of the coarse level over the same range.
    np.testing.assert_allclose(fine.coords["x"], 10.25 + 0.5 * np.arange(11))
    np.testing.assert_allclose(fine.coords["z"], 1 + 2 * np.arange(5))
    np.testing.assert_allclose(coarse.coords["x"], 10 + 5.5 / 6 * (np.arange(6) + 0.5))
    assert fine.coords["y"].attrs["units"] == "micrometer"
    source = hdf5.open_image(Location.parse(tmp_path / "a.ims"), OpenOptions())
    assert source.spec.channel_colors == ((0, 0, 255), (51, 255, 0))
    assert source.spec.storage.access == "direct"


def test_a_level_and_a_padded_dataset_have_paths(path):
    assert il.open_dataarray(path).sizes["x"] == 11
    assert il.open_dataarray(path, "scale1").sizes["x"] == 6
    assert il.open_dataarray(f"{path}/scale1").sizes["x"] == 6
    assert il.open_dataarray(path, f"{FIRST}/Data", axes="zyx").shape == (8, 16, 16)
    with pytest.raises(DatasetNotFoundError, match="it holds scale0, scale1"):
        il.open_dataarray(path, "scale2")


def test_the_commands_take_a_file_of_imaris(path, tmp_path):
    listed = run_command("info", path)
    assert listed.returncode == 0, listed.stderr
    assert "scale0" in listed.stdout
    assert "channels DAPI, GFP\n" in listed.stdout, "they are no classes"
    checked = run_command("doctor", path)
    assert checked.returncode == 0, checked.stderr
    converted = run_command("convert", path, tmp_path / "a.zarr", "--quiet")
    assert converted.returncode == 0, converted.stderr
    with h5py.File(path) as file:
        wanted = file[f"{FIRST}/Data"][:5, :14, :11]
    level = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]["multiscales"][0]["datasets"][0]["path"]
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / level, mode="r")[0, 0], wanted)


@pytest.mark.parametrize("value", [None, "many", "0", "-3", "17", "9" * 30])
def test_a_size_that_lies_is_an_error(path, value):
    with h5py.File(path, "r+") as file:
        del file[FIRST].attrs["ImageSizeX"]
        del file[FIRST.replace("Channel 0", "Channel 1")].attrs["ImageSizeX"]
        if value is not None:
            text(file[FIRST], "ImageSizeX", value)
            text(file[FIRST.replace("Channel 0", "Channel 1")], "ImageSizeX", value)
    warned = pytest.warns(MetadataWarning, match="X=11") if value == "17" else contextlib.nullcontext()
    with warned, pytest.raises(MetadataError, match=r"padding is not known|too small for the image size"):
        il.open_dataarray(path)


def test_channels_of_several_sizes_and_missing_time_points_are_errors(path):
    with h5py.File(path, "r+") as file:
        text(file[FIRST], "ImageSizeX", 10)
    with pytest.raises(MetadataError, match="several sizes"):
        il.open_dataarray(path)
    with h5py.File(path, "r+") as file:
        file.move("DataSet/ResolutionLevel 0/TimePoint 1", "DataSet/ResolutionLevel 0/TimePoint 2")
    with pytest.raises(MetadataError, match="holds 2 of TimePoint, not 1"):
        il.open_dataarray(path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("ExtMax0", "10", "ExtMax0=10"), ("ExtMin2", "nan", "ExtMin2=nan"), ("ExtMax1", "wide", "ExtMax1=wide")],
)
def test_extents_that_make_no_sense_are_unknown(path, name, value, said):
    with h5py.File(path, "r+") as file:
        text(file["DataSetInfo/Image"], name, value)
    with pytest.warns(MetadataWarning, match=said):
        assert "x" not in il.open_dataarray(path).coords


def test_other_numbers_and_colours_that_lie_are_warned_of(path):
    with h5py.File(path, "r+") as file:
        text(file["DataSetInfo/Image"], "T", 7)
        text(file["DataSetInfo/Channel 1"], "Color", "1 2 3")
    with pytest.warns(MetadataWarning) as caught:
        assert il.open_dataarray(path).sizes["t"] == 2
    messages = " ".join(str(one.message) for one in caught)
    assert "states T=7" in messages
    assert "colour '1 2 3'" in messages


def test_links_out_of_the_file_are_not_followed(path, tmp_path):
    write(tmp_path / "other.ims")
    with h5py.File(path, "r+") as file:
        del file[f"{FIRST}/Data"]
        file[f"{FIRST}/Data"] = h5py.ExternalLink("other.ims", f"{FIRST}/Data")
    with pytest.raises(IlastikLazyError, match="not followed"):
        il.open_dataarray(path)
