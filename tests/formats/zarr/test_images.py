"""Which image of a Zarr store is meant, where it lies, and every OME-Zarr that ilastik itself wrote."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import DatasetNotFoundError, IncompleteSourceWarning, MetadataWarning, UnsafePathError
from ilastik_lazy.formats import list_images
from ilastik_lazy.formats import zarr as zarr_format
from ilastik_lazy.formats.location import Location
from tests.support.makers import some_data
from tests.support.shared_files import entries, over_files, shared_path

FULL_UNITS = {
    "µm": "micrometer", "nm": "nanometer", "cm": "centimeter", "mm": "millimeter", "s": "second", "min": "minute",
    "micron": "micrometer", "micrometer": "micrometer", "second": "second", "pixel": "",
}  # fmt: skip


def _levels() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Every array of every OME-Zarr in the manifests: store, path of the level, what is stated of both."""
    found = []
    for folder in ("writer", "workflows"):
        for entry in entries(folder, ".zarr"):
            arrays = entry.get("levels") or entry["arrays"]
            found += [(f"{folder}/{entry['path']}", path, entry, level) for path, level in arrays.items()]
    return found


LEVELS = _levels()


def expected_position(entry: dict[str, Any], path: str, axis: int) -> tuple[float, float, bool]:
    """Step and origin of an axis as 2.2 of ilastik-formats.md says, and whether ilastik knew them."""
    (multiscale,) = entry["multiscales"]
    own = next(d for d in multiscale["datasets"] if d["path"] == path)["coordinateTransformations"]
    first = multiscale["datasets"][0]["coordinateTransformations"]
    common = multiscale.get("coordinateTransformations", [])

    def value(transforms: list[dict[str, Any]], kind: str, default: float) -> float:
        return next((t[kind][axis] for t in transforms if t["type"] == kind), default)

    step = value(own, "scale", 1) * value(common, "scale", 1)
    origin = value(own, "translation", 0) * value(common, "scale", 1) + value(common, "translation", 0)
    known = value(first, "scale", 1) * value(common, "scale", 1) != 1 or origin != 0
    return step, origin, known


@over_files("store, path, entry, level", LEVELS, lambda store, *_: store, lambda value: "/".join(value[:2]))
def test_every_level_that_ilastik_wrote(store, path, entry, level):
    array = il.open_dataarray(shared_path("ilastik-files", *store.split("/")), path)
    assert array.dims == tuple(entry.get("axes") or "tczyx")
    assert array.shape == tuple(level["shape"])
    assert array.dtype == np.dtype(level.get("dtype", entry.get("dtype")))
    assert array.encoding["chunksizes"] == tuple(level["chunks"])
    assert hashlib.sha256(array.values.tobytes()).hexdigest() == level["sha256"]
    for axis, stated in enumerate(entry["multiscales"][0]["axes"]):
        name = stated["name"]
        step, origin, known = expected_position(entry, path, axis)
        if name == "c" or not known:
            assert name not in array.coords
            continue
        np.testing.assert_allclose(array[name], origin + step * np.arange(array.sizes[name]), rtol=1e-12)
        assert array[name].attrs.get("units", "") == FULL_UNITS.get(stated.get("unit", ""), "")


@over_files("store", sorted({level[0] for level in LEVELS}), str)
def test_every_store_that_ilastik_wrote_opens_at_its_finest_level(store):
    path = shared_path("ilastik-files", *store.split("/"))
    listed = [level[1] for level in LEVELS if level[0] == store]
    assert list_images(Location.parse(path)) == listed
    assert il.open_dataarray(path).name == listed[0]


@pytest.mark.shared
def test_the_manifests_are_whole():
    shared_path("ilastik-files", "workflows")
    assert len(LEVELS) == 72


def test_a_unit_without_a_size_is_kept_and_gives_no_positions():
    array = il.open_dataarray(shared_path("ilastik-files", "writer/single-scale_OME-Zarr/meta_units_nores.zarr"))
    assert "y" not in array.coords
    assert json.loads(array.attrs["axis_units"]) == {"y": "nanometer", "x": "nanometer"}


@pytest.mark.shared
@pytest.mark.parametrize("level", ["s0", "s1"])
def test_what_ilastik_wrote_can_be_converted_though_chunks_exceed_a_level(tmp_path, level):
    store = shared_path("ilastik-files", "writer/multi-scale_OME-Zarr/ms_tczyx_uint16.zarr")
    array = il.open_dataarray(store, level)
    il.to_ome_zarr(array, tmp_path / "a.zarr", verify=True)
    xr.testing.assert_equal(il.open_dataarray(tmp_path / "a.zarr").compute(), array.compute())


# --- what our own writer wrote


@pytest.fixture
def ours(tmp_path):
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    il.to_ome_zarr(prob, tmp_path / "brain_Probabilities.zarr", levels=3)
    return prob, tmp_path / "brain_Probabilities.zarr"


def test_a_round_trip_keeps_voxels_positions_names_colours_and_attributes(ours):
    prob, path = ours
    found = il.open_dataarray(path)
    assert found.name == "image"
    xr.testing.assert_identical(found.rename(prob.name).compute(), prob.transpose("c", "z", "y", "x").compute())


def test_each_level_equals_what_plain_xarray_finds(ours):
    _, path = ours
    with xr.open_datatree(path, engine="zarr", consolidated=False, chunks=None) as tree:
        for level in range(3):
            found, plain = il.open_dataarray(path, f"scale{level}"), tree[f"scale{level}/image"]
            xr.testing.assert_equal(found.compute(), plain)
            assert {k: found.attrs[k] for k in plain.attrs} == plain.attrs
            assert all(found[dim].attrs == plain[dim].attrs for dim in "zyx")


@pytest.mark.parametrize("inside", [None, "scale0", "scale0/image"])
def test_a_level_is_found_by_its_path_inside_or_behind_the_store(ours, inside):
    prob, path = ours
    for found in (il.open_dataarray(path, inside), il.open_dataarray(path / inside if inside else path)):
        np.testing.assert_array_equal(found["z"], prob["z"])
        assert found["c"].values.tolist() == ["nucleus", "background"]
        assert found.attrs["ilastik_kind"] == "probabilities"


def test_a_segmentation_keeps_its_classes(tmp_path):
    segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
    il.to_ome_zarr(segmentation, tmp_path / "a.zarr")
    found = il.open_dataarray(tmp_path / "a.zarr")
    assert found.attrs == segmentation.attrs
    assert "c" not in found.coords


def test_channels_without_names_stay_without(tmp_path):
    array = xr.DataArray(some_data((2, 5, 6)), dims=("c", "y", "x"))
    il.to_ome_zarr(array, tmp_path / "a.zarr")
    found = il.open_dataarray(tmp_path / "a.zarr")
    assert dict(found.coords) == {}


# --- others' stores


def multiscales(path, axes="yx", **more):
    entry = {"axes": [{"name": name} for name in axes], "datasets": [{"path": path}], "version": "0.4"}
    return {"multiscales": [entry], **more}


def add_image(group, name="0", axes="yx", dtype="u1", shape=None, **more):
    """An array below `group`, and the multiscales that list it."""
    data = some_data(shape or (5, 6, 7, 8, 9)[-len(axes) :], dtype)
    group.attrs.update(multiscales(name, axes, **more))
    group.create_array(name, shape=data.shape, dtype=dtype, chunks=data.shape)[...] = data
    return data


@pytest.mark.parametrize("version", [2, 3])
def test_label_images_come_last_and_are_labels(tmp_path, version):
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
    add_image(root)
    group = root.create_group("labels")
    group.attrs["labels"] = ["cells", "others"]
    colors = [{"label-value": 1, "rgba": [255, 0, 0, 255]}]
    labels = add_image(group.create_group("cells"), dtype="u4", **{"image-label": {"colors": colors}})
    add_image(group.create_group("others"), dtype="u4")
    root.create_array("more", shape=(3, 4), dtype="f4", chunks=(3, 4))[...] = 1
    root.create_array("line", shape=(3,), dtype="f4", chunks=(3,))[...] = 1
    location = Location.parse(tmp_path / "a.zarr")
    assert list_images(location) == ["0", "labels/cells/0", "labels/others/0", "more"]
    found = il.open_dataarray(tmp_path / "a.zarr", "labels/cells")
    np.testing.assert_array_equal(found, labels)
    assert found.attrs == {
        "ilastik_kind": "labels", "long_name": "label", "flag_values": [1], "flag_colors": "#ff0000",
    }  # fmt: skip
    others = il.open_dataarray(tmp_path / "a.zarr/labels/others")
    assert others.attrs == {"ilastik_kind": "labels", "long_name": "label"}


def test_one_of_several_images_must_be_named(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr", attributes={"bioformats2raw.layout": 3})
    for series in ("0", "1", "10", "2"):
        add_image(root.create_group(series))
    assert list_images(Location.parse(tmp_path / "a.zarr")) == ["0/0", "1/0", "2/0", "10/0"]
    with pytest.raises(DatasetNotFoundError, match=r"4 images: 0/0, 1/0, 2/0, 10/0; name one with internal_path='0/0'"):
        il.open_dataarray(tmp_path / "a.zarr")
    assert il.open_dataarray(tmp_path / "a.zarr", "1").shape == (8, 9)
    with pytest.raises(DatasetNotFoundError, match=r"no array '5'"):
        il.open_dataarray(tmp_path / "a.zarr", "5")


def test_a_level_that_is_listed_and_not_there_is_said_to_be_missing(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr")
    add_image(root)
    listed = root.attrs["multiscales"]
    listed[0]["datasets"].append({**listed[0]["datasets"][0], "path": "lost"})
    root.attrs["multiscales"] = listed
    with pytest.raises(DatasetNotFoundError, match=r"has no array 'lost', which its multiscales list"):
        il.open_datatree(tmp_path / "a.zarr")


def test_a_store_without_images_says_so(tmp_path):
    zarr.create_group(tmp_path / "a.zarr")
    with pytest.raises(DatasetNotFoundError, match="holds no image"):
        il.open_dataarray(tmp_path / "a.zarr")


@pytest.mark.parametrize("path", ["../b.zarr", "a/../0", "./0"])
def test_an_internal_path_cannot_climb(tmp_path, path):
    add_image(zarr.create_group(tmp_path / "a.zarr"))
    with pytest.raises(UnsafePathError):
        il.open_dataarray(tmp_path / "a.zarr", path)


def test_a_level_that_is_a_link_out_of_the_store_is_refused(tmp_path):
    add_image(zarr.create_group(tmp_path / "a.zarr"))
    (tmp_path / "a.zarr/0").rename(tmp_path / "elsewhere")
    (tmp_path / "a.zarr/0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="symbolic link out of"):
        il.open_dataarray(tmp_path / "a.zarr")


def test_a_plain_array_is_named_by_its_dimension_names(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(3, 4, 5), dtype="u1", chunks=(3, 4, 5), dimension_names=["T", "y", "x"]
    )
    array[...] = 1
    found = il.open_dataarray(tmp_path / "a.zarr")
    assert (found.dims, found.name) == (("t", "y", "x"), "a")
    assert list(il.open_dataset(tmp_path / "a.zarr")) == ["a"]


def test_a_plain_array_is_named_by_xarrays_attribute(tmp_path):
    data = xr.DataArray(some_data((3, 4, 5)), dims=("t", "y", "x"), name="values")
    data.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=True)
    xr.testing.assert_equal(il.open_dataarray(tmp_path / "a.zarr").compute(), data)


def test_axes_are_what_the_caller_says_or_guessed_with_a_warning(tmp_path):
    data = some_data((3, 4, 5))
    zarr.create_array(tmp_path / "a.zarr", data=data, zarr_format=2)
    assert il.open_dataarray(tmp_path / "a.zarr", axes="cyx").dims == ("c", "y", "x")
    with pytest.warns(MetadataWarning, match="zyx is guessed"):
        assert il.open_dataarray(tmp_path / "a.zarr").attrs["axes_guessed"]


def test_the_callers_axes_overrule_wrong_multiscales(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr")
    add_image(root, axes="zyx")
    root.attrs.update(multiscales("0", "tczyx"))
    assert il.open_dataarray(tmp_path / "a.zarr", axes="zyx").dims == ("z", "y", "x")
    root.attrs.update(multiscales("0", "qqq"))
    with pytest.warns(MetadataWarning, match="ignored"):
        assert zarr_format.open_image(Location.parse(tmp_path / "a.zarr", "0"), OpenOptions("zyx")).spec.dims == tuple(
            "zyx"
        )


def test_an_array_of_no_elements_opens(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(0, 4), dtype="u1", chunks=(2, 2), dimension_names=["y", "x"])
    assert il.open_dataarray(tmp_path / "a.zarr").values.shape == (0, 4)


def test_an_array_of_which_nothing_was_written_warns(tmp_path):
    zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 4), dtype="f4", chunks=(2, 2), dimension_names=["y", "x"], fill_value=math.inf
    )
    with pytest.warns(IncompleteSourceWarning, match="4 of 4 chunks"):
        found = il.open_dataarray(tmp_path / "a.zarr")
    assert np.isinf(found.values).all()
