"""Coordinates beside a plain Zarr array, as xarray writes them."""

from __future__ import annotations

import json
import os
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import MetadataWarning
from ilastik_lazy.reductions import reduce

DATA = np.random.default_rng(3).random((3, 5, 7)).astype("f4")


def written(path, version=3, dims=("z", "y", "x"), **coordinates):
    array = xr.DataArray(DATA, dims=dims, name="image")
    units = {"z": "micrometer", "y": "µm", "x": "micron", "t": "seconds since 2024-05-01"}
    for dim, positions in coordinates.items():
        array = array.assign_coords({dim: (dim, np.asarray(positions), {"units": units[dim]})})
    array.to_dataset().to_zarr(path, zarr_format=version, consolidated=False)
    return path


def axis(path, name):
    found = il.open_dataarray(path)
    return found.coords[name].values if name in found.coords else None


@pytest.mark.parametrize("version", [2, 3])
def test_positions_and_units_are_those_that_xarray_wrote(tmp_path, version):
    positions = {"z": 10 + 0.8 * np.arange(3), "y": np.arange(5) * 2, "x": (0.25 * np.arange(7)).astype("f4")}
    found = il.open_dataarray(written(tmp_path / "a.zarr", version, **positions))
    np.testing.assert_array_equal(found.values, DATA, strict=True)
    for dim, wanted in positions.items():
        np.testing.assert_array_equal(found.coords[dim].values, wanted)
        assert found.coords[dim].attrs["units"] == "micrometer"


@pytest.mark.parametrize(("version", "dtype"), [(2, "<U9"), (2, ">U9"), (3, "<U9")])
@pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification")
def test_names_along_c_are_those_of_the_channels(tmp_path, version, dtype):
    names = ["nucleus", "µ-tubule", ""]
    zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
    for name, values, dims in (("image", DATA, ("c", "y", "x")), ("c", np.array(names, dtype), ("c",))):
        made = zarr.create_array(
            tmp_path / "a.zarr" / name, shape=values.shape, chunks=tuple(min(2, n) for n in values.shape),
            dtype=values.dtype, zarr_format=version, **({"dimension_names": dims} if version == 3 else {}),
        )  # fmt: skip
        made[...] = values
        if version == 2:
            made.attrs["_ARRAY_DIMENSIONS"] = list(dims)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the last name is empty: its chunk was not written
        found = il.open_dataarray(tmp_path / "a.zarr", "image")
    assert found.coords["c"].values.tolist() == names


def test_a_dimension_without_coordinates_stays_without(tmp_path):
    found = il.open_dataarray(written(tmp_path / "a.zarr", y=np.arange(5) * 0.5))
    assert list(found.coords) == ["y"]


def test_time_since_a_date_keeps_it(tmp_path):
    path = written(tmp_path / "a.zarr", dims=("t", "y", "x"), t=[0, 30, 60])
    found = il.open_dataarray(path)
    assert found.coords["t"].values.tolist() == [0, 30, 60]
    assert found.coords["t"].attrs["units"] == "seconds since 2024-05-01"


def test_a_single_position_tells_no_step(tmp_path):
    xr.DataArray(DATA[:1], dims=("z", "y", "x"), coords={"z": [4.0]}, name="image").to_dataset().to_zarr(
        tmp_path / "a.zarr", consolidated=False
    )
    assert "z" not in il.open_dataarray(tmp_path / "a.zarr").coords


@pytest.mark.parametrize("positions", [[0, 1, 4], [2, 1, 0], [0.0, np.nan, 2.0], [1, 1, 1], ["a", "b", "c"]])
@pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification")
def test_positions_that_no_step_describes_are_unknown_with_a_warning(tmp_path, positions):
    path = written(tmp_path / "a.zarr", z=positions)
    with pytest.warns(MetadataWarning, match=r"a\.zarr/z.* along z are taken as unknown"):
        found = il.open_dataarray(path)
    assert "z" not in found.coords
    np.testing.assert_array_equal(found.values, DATA)


def truncated(path):
    chunk = path / "z" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])


def missing(path):
    (path / "z" / "c" / "0").unlink()


def no_json(path):
    (path / "z" / "zarr.json").write_text("{")


def packed(path):
    zarr.open_array(path / "z").attrs["scale_factor"] = 0.1


def elsewhere(path):
    os.rename(path / "z", path.parent / "z")
    (path / "z").symlink_to(path.parent / "z")


@pytest.mark.parametrize("damage", [truncated, missing, no_json, packed, elsewhere])
def test_damaged_coordinates_hide_no_image(tmp_path, damage):
    path = written(tmp_path / "a.zarr", z=[0.0, 1.5, 3.0], x=np.arange(7.0))
    damage(path)
    with pytest.warns(MetadataWarning, match=r"a\.zarr/z.* along z are taken as unknown"):
        found = il.open_dataarray(path, "image")
    assert list(found.coords) == ["x"]


@pytest.mark.parametrize("other", [{"shape": (4,)}, {"shape": (3, 3)}, None])
def test_what_only_has_the_name_of_a_dimension_is_none(tmp_path, other):
    path = written(tmp_path / "a.zarr")
    if other is None:
        zarr.create_group(path / "z")
    else:
        zarr.create_array(path / "z", dtype="f8", **other)[...] = 1
    assert "z" not in il.open_dataarray(path, "image").coords


def test_names_that_are_no_dimensions_lead_nowhere(tmp_path):
    path = written(tmp_path / "a.zarr", z=[0.0, 1.5, 3.0])
    shutil.copytree(path / "z", tmp_path / "z")
    document = json.loads((path / "image" / "zarr.json").read_text())
    (path / "image" / "zarr.json").write_text(json.dumps(document | {"dimension_names": ["../../z", "y", "x"]}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        assert not il.open_dataarray(path, "image").coords


def test_what_reduce_writes_keeps_its_voxel_size(tmp_path):
    reduced = reduce(il.open_dataarray(sample("probabilities")), "max", over="z")
    reduced.to_dataset(name="image").to_zarr(tmp_path / "m.zarr", consolidated=False)
    found = il.open_dataarray(tmp_path / "m.zarr", "image")
    for dim in "yx":
        xr.testing.assert_identical(found.coords[dim], reduced.coords[dim])


def test_positions_in_thousands_of_files_are_not_read_to_open_an_image(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_group(path)
    image = zarr.create_array(
        path / "image", shape=(100, 3000), dtype="u1", chunks=(100, 3000), dimension_names=["y", "x"]
    )
    image[...] = 1
    zarr.create_array(path / "y", shape=(100,), dtype="f8", chunks=(100,), dimension_names=["y"])[...] = np.arange(100)
    zarr.create_array(path / "x", shape=(3000,), dtype="f8", chunks=(1,), dimension_names=["x"])
    with pytest.warns(MetadataWarning, match="3,000 chunks"):
        found = il.open_dataarray(path, "image")
    assert list(found.coords) == ["y"]
