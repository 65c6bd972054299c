"""`open_datatree`: a node for each level of a pyramid, and for each image of other files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.api import open_datatree
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import AxesError, DatasetNotFoundError


@pytest.fixture
def pyramid(tmp_path):
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    il.to_ome_zarr(prob, tmp_path / "a.zarr", levels=3)
    return tmp_path / "a.zarr"


def test_our_own_store_is_the_tree_that_plain_xarray_finds(pyramid):
    tree = open_datatree(pyramid)
    assert tree.groups == ("/", "/scale0", "/scale1", "/scale2")
    with xr.open_datatree(pyramid, engine="zarr", consolidated=False, chunks=None) as plain:
        for name, node in tree.children.items():
            assert list(node.data_vars) == ["image"]
            xr.testing.assert_equal(node.to_dataset().compute(), plain[name].to_dataset())


def test_nodes_are_lazy_in_the_blocks_that_were_asked_for(pyramid):
    assert open_datatree(pyramid)["scale0/image"].chunks is not None
    assert open_datatree(pyramid, chunks=None)["scale0/image"].chunks is None
    assert open_datatree(pyramid, chunks={"z": 10})["scale1/image"].chunks[1][0] == 10


def test_dims_are_moved(pyramid):
    assert open_datatree(pyramid, order="zyxc")["scale1/image"].dims == ("z", "y", "x", "c")


def test_label_images_have_nodes_below_labels(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr")
    entry = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "s0"}, {"path": "s1"}]}
    for group in (root, root.create_group("labels/cells")):
        group.attrs["ome"] = {"version": "0.5", "multiscales": [entry]}
        for level, length in enumerate((8, 4)):
            group.create_array(f"s{level}", data=np.full((length, length), level + 1, "u2"))
    tree = open_datatree(tmp_path / "a.zarr")
    assert [node for node in tree.groups if "scale" in node] == [
        "/scale0", "/scale1", "/labels/cells/scale0", "/labels/cells/scale1",
    ]  # fmt: skip
    assert tree["labels/cells/scale1/image"].attrs["ilastik_kind"] == "labels"
    assert int(tree["labels/cells/scale1/image"].max()) == 2


def test_one_level_of_a_store_is_a_tree_of_one_node(pyramid):
    tree = open_datatree(f"{pyramid}/scale1")
    assert tree.groups == ("/", "/image")


def test_each_image_of_another_file_has_a_node(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("exported_data", "volume/raw", "volume/labels"):
            file[name] = np.zeros((3, 4), "u1")
    tree = open_datatree(tmp_path / "a.h5", axes="yx")
    assert [leaf.path for leaf in tree.leaves] == ["/exported_data", "/volume/labels", "/volume/raw"]
    assert tree["volume/raw/image"].dims == ("y", "x")


def test_images_inside_one_another_lie_flat(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr")
    entry = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
    for group in (root, root.create_group("scale0")):
        group.attrs["ome"] = {"version": "0.5", "multiscales": [entry]}
        group.create_array("0", data=np.ones((4, 4 + ("scale0" in group.path)), "u2"))
    assert set(open_datatree(tmp_path / "a.zarr").children) == {"scale0", "scale0_scale0"}


def test_what_cannot_be_opened_is_an_error(tmp_path, pyramid):
    zarr.create_group(tmp_path / "empty.zarr")
    with pytest.raises(DatasetNotFoundError, match="holds no image"):
        open_datatree(tmp_path / "empty.zarr")
    with pytest.raises(AxesError):
        open_datatree(pyramid, order="zyq")
