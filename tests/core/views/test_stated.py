"""What the caller states about an image beyond its file: voxel size, no single channel."""

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.core.views.stated import parse_voxel_size
from ilastik_lazy.errors import ArgumentError
from tests.support.children import run_command as run
from tests.support.makers import axistags


@pytest.fixture
def stored(tmp_path):
    path = str(tmp_path / "cells_Simple Segmentation.h5")
    with h5py.File(path, "w") as file:
        file["exported_data"] = np.arange(60, dtype=np.uint8).reshape(3, 4, 5, 1)
        file["exported_data"].attrs["axistags"] = axistags("zyxc", {"z": 3.0})
    return path


def test_a_voxel_size_of_the_caller_becomes_coordinates_with_units(stored):
    for sizes in ("z=2um,y=500 nm,X=0.5µm", {"z": "2 um", "y": "500nm", "x": "0.5 micron"}):
        found = il.open_dataarray(stored, voxel_size=sizes)
        np.testing.assert_array_equal(found["z"], [0, 2, 4])
        np.testing.assert_array_equal(found["y"], [0, 500, 1000, 1500])
        assert [found[dim].units for dim in "zyx"] == ["micrometer", "nanometer", "micrometer"]
    assert il.open_dataset(stored, voxel_size="z=2um")["z"].units == "micrometer"
    assert xr.open_dataset(stored, engine="ilastik", voxel_size="z=2um")["z"].units == "micrometer"


def test_a_number_has_the_unit_of_the_file_and_other_axes_stay(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((3, 4, 5), np.uint8)
        file["data"].attrs["element_size_um"] = [1.0, 0.5, 0.25]
    found = il.open_dataarray(tmp_path / "a.h5", voxel_size={"z": 2})
    assert (found["z"].values[1], found["z"].units, found["y"].values[1]) == (2.0, "micrometer", 0.5)


def test_a_voxel_size_is_converted_along(stored, tmp_path):
    said = run("convert", stored, tmp_path / "out.zarr", "--voxel-size", "z=2um,y=0.5um,x=0.5um", "-q")
    assert said.returncode == 0, said.stderr
    found = il.open_dataarray(tmp_path / "out.zarr")
    assert [float(found[dim][1]) for dim in "zyx"] == [2.0, 0.5, 0.5]
    assert "z 2" in run("info", stored, "--voxel-size", "z=2um,y=0.5um,x=0.5um").stdout


@pytest.mark.parametrize(
    "sizes", ["", "2um", "z=0um", "z=-1um", "z=2um,Z=3um", "q=2um", "z=2kg", "z=1.2.3", "t=2um", "c=1", {}, "z=nan", 5]
)
def test_voxel_sizes_that_make_no_sense_are_refused(sizes):
    with pytest.raises(ArgumentError, match="voxel_size"):
        parse_voxel_size(sizes)


def test_a_voxel_size_of_an_axis_that_is_not_there_names_image_and_shape(stored):
    with pytest.raises(ArgumentError, match=r"names t, and .*exported_data has the axes zyxc, shape \(3, 4, 5, 1\)"):
        il.open_dataarray(stored, voxel_size="t=5s")


def test_squeeze_drops_the_single_channel_of_classes_and_ids_alone(stored, tmp_path):
    assert il.open_dataarray(stored).dims == ("z", "y", "x", "c")
    found = il.open_dataarray(stored, squeeze=True)
    assert found.dims == ("z", "y", "x")
    np.testing.assert_array_equal(found, np.arange(60).reshape(3, 4, 5))
    assert il.open_dataset(stored, squeeze=True)["exported_data"].dims == ("z", "y", "x")
    np.save(tmp_path / "raw.npy", np.zeros((4, 5, 1)))
    assert il.open_dataarray(tmp_path / "raw.npy", axes="yxc", squeeze=True).dims == ("y", "x", "c")
    ids = il.open_dataarray(tmp_path / "raw.npy", axes="yxc", kind="object identities", squeeze=True)
    assert ids.dims == ("y", "x")
