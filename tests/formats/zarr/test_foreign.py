"""OME-Zarr as other programs write it, also where it leaves out what it should say."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import DatasetNotFoundError, MetadataError, MetadataWarning
from tests.support.makers import some_data

DATA = some_data((4, 6, 8), "u2")
AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
IMAGE = {"multiscales": [{"version": "0.4", "axes": AXES, "datasets": [{"path": "0"}]}]}


def write(folder, arrays, attributes):
    """A store with arrays, and attributes by group."""
    root = zarr.open_group(folder, mode="w", zarr_format=2)
    for path, data in arrays.items():
        root.create_array(path, data=data, chunks=tuple(-(-n // 2) for n in data.shape))
    for path, content in attributes.items():
        (root.require_group(path) if path else root).attrs.update(content)
    return folder


def multiscale(**changes):
    return {"multiscales": [{"version": "0.4", "axes": AXES, "datasets": [{"path": "0"}], **changes}]}


def test_version_0_1_has_five_axes_and_says_so_nowhere(tmp_path):
    data = some_data((2, 3, 4, 6, 8), "u2")
    write(tmp_path / "a.zarr", {"0": data}, {"": {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}})
    array = il.open_dataarray(tmp_path / "a.zarr")
    assert array.dims == tuple("tczyx")
    assert not array.coords
    np.testing.assert_array_equal(array.values, data)


def test_version_0_1_with_other_dimensions_says_what_to_do(tmp_path):
    write(tmp_path / "a.zarr", {"0": DATA}, {"": {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}})
    with pytest.raises(MetadataError, match="pass axes="):
        il.open_dataarray(tmp_path / "a.zarr")
    assert il.open_dataarray(tmp_path / "a.zarr", axes="zyx").dims == tuple("zyx")


@pytest.mark.parametrize(
    "axes", [list("zyx"), [{"name": name} for name in "ZYX"], [{"name": "time"}, {"name": "channel"}, {"name": "x"}]]
)
def test_axes_in_other_words(tmp_path, axes):
    write(tmp_path / "a.zarr", {"0": DATA}, {"": multiscale(axes=axes)})
    expected = "tcx" if axes[0] == {"name": "time"} else "zyx"
    assert il.open_dataarray(tmp_path / "a.zarr").dims == tuple(expected)


def test_a_unit_without_a_scale_is_no_voxel_of_one(tmp_path):
    write(
        tmp_path / "a.zarr",
        {"0": DATA, "1": DATA[:, ::2, ::2]},
        {"": multiscale(datasets=[{"path": "0"}, {"path": "1"}])},
    )
    for inside in ("0", "1"):
        array = il.open_dataarray(tmp_path / "a.zarr", inside)
        assert not array.coords
        assert array.attrs["axis_units"] == '{"z": "micrometer", "y": "micrometer", "x": "micrometer"}'


def test_a_scale_in_a_file_of_its_own_is_unknown(tmp_path):
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "path": "scales/0"}]}]
    write(tmp_path / "a.zarr", {"0": DATA}, {"": multiscale(datasets=datasets)})
    with pytest.warns(MetadataWarning, match="not understood"):
        assert not il.open_dataarray(tmp_path / "a.zarr").coords


def test_transforms_of_the_level_come_before_those_of_the_image(tmp_path):
    own = [{"type": "scale", "scale": [2, 0.5, 0.5]}, {"type": "translation", "translation": [1, 2, 3]}]
    common = [{"type": "scale", "scale": [10, 1, 1]}]
    datasets = [{"path": "0", "coordinateTransformations": own}]
    write(tmp_path / "a.zarr", {"0": DATA}, {"": multiscale(datasets=datasets, coordinateTransformations=common)})
    array = il.open_dataarray(tmp_path / "a.zarr")
    assert array.z.values.tolist() == [10, 30, 50, 70]
    assert array.x.values[:2].tolist() == [3, 3.5]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"": {"bioformats2raw.layout": 3}, "OME": {"series": ["0", "1"]}}, r"2 images: 0/0, 1/0; .*'0/0'.*datatree"),
        ({"": {"plate": {"wells": []}}}, "a plate with 2 fields of view: 0/0, 1/0"),
    ],
)
def test_several_images_in_a_store_are_named(tmp_path, attributes, message):
    write(tmp_path / "a.zarr", {"0/0": DATA, "1/0": DATA + 1}, attributes | {"0": IMAGE, "1": IMAGE})
    with pytest.raises(DatasetNotFoundError, match=message):
        il.open_dataarray(tmp_path / "a.zarr")
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.zarr", "1").values, DATA + 1)
    assert {"/0/scale0", "/1/scale0"} <= set(il.open_datatree(tmp_path / "a.zarr").groups)


def test_the_internal_path_that_a_message_names_is_the_one_to_use(tmp_path):
    write(tmp_path / "a.zarr", {"well/0/0": DATA, "well/1/0": DATA}, {"well/0": IMAGE, "well/1": IMAGE})
    with pytest.raises(DatasetNotFoundError, match="internal_path='well/0/0'"):
        il.open_dataarray(tmp_path / "a.zarr", "well")


def test_the_image_is_meant_and_not_its_labels(tmp_path):
    write(
        tmp_path / "größe µm 図.zarr", {"0": DATA, "labels/cells/0": DATA},
        {"": IMAGE, "labels": {"labels": ["cells"]}, "labels/cells": IMAGE | {"image-label": {}}},
    )  # fmt: skip
    assert "ilastik_kind" not in il.open_dataarray(tmp_path / "größe µm 図.zarr").attrs
    labels = il.open_dataarray(tmp_path / "größe µm 図.zarr", "labels/cells")
    assert labels.attrs["ilastik_kind"] == "labels"
