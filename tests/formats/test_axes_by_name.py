"""Images of one file with different axes: `axes` by the name of each image."""

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError, AxesError
from tests.support.children import run_command as run

AXES = {"raw": "CZYX", "label*": "zyx"}


@pytest.fixture
def raw_and_label(tmp_path):
    path = str(tmp_path / "train.h5")
    with h5py.File(path, "w") as file:
        file["raw"] = np.zeros((2, 5, 6, 7), np.uint8)
        file["labels/label_a"] = np.zeros((5, 6, 7), np.uint16)
    return path


@pytest.mark.parametrize("trust", ["local", "untrusted"])
def test_raw_and_label_of_one_file_have_axes_of_their_own(raw_and_label, trust):
    found = il.open_dataset(raw_and_label, axes=AXES, trust=trust)
    assert found["raw"].dims == ("c", "z", "y", "x")
    assert found["label_a"].dims == ("z", "y", "x")
    tree = il.open_datatree(raw_and_label, axes={"raw": "czyx", "labels/label_a": "zyx"}, trust=trust)
    assert tree["raw/image"].dims == ("c", "z", "y", "x")
    assert tree["labels/label_a/image"].dims == ("z", "y", "x")


def test_images_of_n5_and_zarr_have_axes_of_their_own(tmp_path):
    path = tmp_path / "two.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("raw", shape=(2, 5, 6, 7), dtype="u1")[...] = 1
    group.create_array("label", shape=(5, 6, 7), dtype="u1")[...] = 1
    found = il.open_dataset(path, axes={"raw": "tzyx", "label": "zyx"})
    assert (found["raw"].dims, found["label"].dims) == (("t", "z", "y", "x"), ("z", "y", "x"))
    assert il.open_dataarray(path, "raw", axes={"raw": "czyx"}).dims == ("c", "z", "y", "x")


def test_engine_takes_axes_by_name(raw_and_label):
    found = xr.open_dataset(raw_and_label, engine="ilastik", axes=AXES)
    assert found["raw"].dims == ("c", "z", "y", "x")


def test_axes_that_do_not_fit_name_dataset_and_shape(raw_and_label):
    with pytest.raises(AxesError, match=r"names 4 axes, but .*train.h5/labels/label_a has 3 dimensions, shape \(5, 6"):
        il.open_dataset(raw_and_label, axes="czyx")


def test_axes_for_an_image_that_is_not_there_are_refused(raw_and_label):
    with pytest.raises(ArgumentError, match=r"'lable', which is not in .*; it holds labels/label_a, raw"):
        il.open_dataset(raw_and_label, axes={"lable": "zyx", "raw": "czyx"})
    with pytest.raises(AxesError, match="unknown axis 'q'"):
        il.open_dataset(raw_and_label, axes={"raw": "czyq"})


def test_info_takes_axes_by_name(raw_and_label):
    said = run("info", raw_and_label, "--axes", "raw=czyx,label*=zyx")
    assert said.returncode == 0, said.stderr
    assert "c 2  z 5  y 6  x 7" in said.stdout


@pytest.mark.filterwarnings("ignore:.*names no axes")
def test_a_name_that_no_image_has_is_refused_by_all(raw_and_label):
    for opened in (il.open_dataset, lambda path, axes: il.open_dataarray(path, "raw", axes=axes)):
        with pytest.raises(ArgumentError, match="axes= names an image 'lable', which is not in"):
            opened(raw_and_label, axes={"lable": "zyx"})
    assert il.open_dataarray(raw_and_label, "raw", axes={"label*": "zyx", "raw": "czyx"}).dims == ("c", "z", "y", "x")
