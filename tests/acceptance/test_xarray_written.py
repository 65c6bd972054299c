"""What xarray wrote, as netCDF-4 or Zarr, opens with the same dims, coordinates and values."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.errors import MetadataWarning
from ilastik_lazy.formats import list_images
from ilastik_lazy.formats.location import Location

WRITERS = ("h5netcdf", "netcdf4", "zarr 2", "zarr 3")
UNITS = {"": "", "um": "micrometer", "nanometer": "nanometer", "s": "second"}
pytestmark = pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification")


def write(array, path, writer):
    kind, _, version = writer.partition(" ")
    dataset = array if isinstance(array, xr.Dataset) else array.to_dataset()
    if kind == "zarr":
        dataset.to_zarr(path, zarr_format=int(version), consolidated=False, mode="w")
    else:
        dataset.to_netcdf(path, engine=kind)
    return path


def name_for(writer):
    return "a.zarr" if writer.startswith("zarr") else "a.h5"


@st.composite
def arrays(draw):
    dims = draw(st.permutations("tzyxc").map(tuple))[: draw(st.integers(2, 5))]
    shape = [draw(st.integers(1, 4)) for _ in dims]
    dtype = draw(st.sampled_from(["u1", "u2", "i4", "f4", "f8", "bool"]))
    coords = {}
    for dim, length in zip(dims, shape, strict=True):
        kind = draw(st.sampled_from(["none", "whole", "real"]))
        if dim == "c" and kind != "none":
            values = np.array([f"class {k}" for k in range(length)]) if kind == "real" else 400 + np.arange(length)
            coords[dim] = (dim, values)
        elif kind != "none":
            step, origin = (
                draw(st.sampled_from([1, 2, 7] if kind == "whole" else [0.1, 0.25, 1.0])),
                draw(st.sampled_from([0, 5, -3])),
            )
            unit = draw(st.sampled_from(sorted(UNITS)))
            coords[dim] = (dim, origin + step * np.arange(length), {"units": unit} if unit else {})
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    return xr.DataArray(values, coords, dims, "image")


@pytest.mark.parametrize("writer", WRITERS)
@given(array=arrays())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dims_coordinates_and_values_are_the_same(tmp_path, writer, array):
    path = write(array, tmp_path / name_for(writer), writer)
    found = il.open_dataarray(path, "image")
    assert found.dims == array.dims
    np.testing.assert_array_equal(found.values, array.values, strict=True)
    for dim in array.dims:
        if dim not in array.coords or (dim != "c" and array.sizes[dim] == 1):
            assert dim not in found.coords  # one position states no step
        elif dim == "c":
            assert found.coords[dim].values.tolist() == [str(value) for value in array.coords[dim].values.tolist()]
        else:
            np.testing.assert_allclose(found.coords[dim].values, array.coords[dim].values, rtol=1e-12)
            assert found.coords[dim].attrs.get("units", "") == UNITS[array.coords[dim].attrs.get("units", "")]


def czyx():
    return xr.DataArray(
        np.arange(2 * 3 * 4 * 5, dtype="f4").reshape(2, 3, 4, 5), dims=tuple("czyx"), name="image",
        coords={"c": ["a", "b"], "z": ("z", [1.0, 3, 5], {"units": "um"}), "x": 2 * np.arange(5)},
    )  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS[:2])
def test_a_child_gives_the_same_answers(tmp_path, writer):
    path = write(czyx(), tmp_path / "a.h5", writer)
    one, other = il.open_dataarray(path), il.open_dataarray(path, trust="untrusted")
    xr.testing.assert_identical(one, other)
    assert one.coords["c"].values.tolist() == ["a", "b"]


@pytest.mark.parametrize("writer", WRITERS)
def test_coordinates_are_no_images(tmp_path, writer):
    image = czyx()
    place = xr.DataArray(np.zeros((4, 5)), dims=("y", "x"))
    both = xr.Dataset({"image": image, "mask": image.isel(c=0, drop=True) > 3}).assign_coords(lat=place, lon=place)
    path = write(both, tmp_path / name_for(writer), writer)
    assert sorted(list_images(Location.parse(path))) == ["image", "mask"]
    found = il.open_dataset(path)
    assert found["mask"].dims == ("z", "y", "x")
    np.testing.assert_array_equal(found["mask"].values, both["mask"].values, strict=True)
    np.testing.assert_array_equal(found.coords["z"], [1, 3, 5])


@pytest.mark.parametrize("writer", WRITERS[:2])
def test_groups_find_the_scales_of_the_groups_above(tmp_path, writer):
    tree = xr.DataTree.from_dict({"/": czyx().to_dataset(), "/below": (czyx() * 2).rename("twice").to_dataset()})
    tree.to_netcdf(tmp_path / "a.h5", engine=writer)
    found = il.open_dataarray(tmp_path / "a.h5", "below/twice")
    assert found.dims == tuple("czyx")
    np.testing.assert_array_equal(found.coords["z"], [1, 3, 5])


def scaled(path, *, labels=None, **scales):
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros((4, 5, 6), "u1")
        for number, (name, values) in enumerate(scales.items()):
            file[name] = values
            file[name].make_scale(f"{name} scale")
            file["image"].dims[number].attach_scale(file[name])
        if labels:
            file["image"].attrs["DIMENSION_LABELS"] = labels
    return path


def test_scales_of_any_name_count_for_the_dimension_they_are_attached_to(tmp_path):
    path = scaled(tmp_path / "a.h5", labels=list("zyx"), depth=np.arange(4) * 0.5, rows=np.arange(5.0))
    found = il.open_dataarray(path, "image")
    assert found.dims == ("z", "y", "x")
    np.testing.assert_array_equal(found.coords["z"], [0, 0.5, 1, 1.5])
    assert "x" not in found.coords


def test_names_that_are_no_axes_are_stated_and_not_denied(tmp_path):
    path = scaled(tmp_path / "a.h5", depth=np.arange(4.0), row=np.arange(5.0), column=np.arange(6.0))
    with pytest.warns(
        MetadataWarning, match=r"dimension scales \['depth', 'row', 'column'\], which do not name every axis"
    ):
        found = il.open_dataarray(path, "image")
    assert found.attrs["axes_guessed"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert il.open_dataarray(path, "image", axes="tyx").dims == ("t", "y", "x")


@pytest.mark.parametrize("values", [[0, 1, 4, 9], [3, 2, 1, 0], [0, np.nan, 2, 3]])
def test_scales_that_no_step_describes_are_unknown_with_a_warning(tmp_path, values):
    path = scaled(tmp_path / "a.h5", z=np.array(values, float), y=np.arange(5.0), x=np.arange(6.0))
    with pytest.warns(MetadataWarning, match=r"a\.h5/z: its positions do not rise evenly: positions along z"):
        found = il.open_dataarray(path, "image")
    assert list(found.coords) == ["y", "x"]


@pytest.mark.parametrize("writer", WRITERS)
def test_where_some_dimensions_are_axes_only_the_others_are_guessed(tmp_path, writer):
    array = xr.DataArray(np.ones((3, 4, 5), "f4"), {"t": [0, 2, 4]}, ("t", "lat", "lon"), "image")
    path = write(array, tmp_path / name_for(writer), writer)
    with pytest.warns(MetadataWarning, match="'t', 'lat', 'lon'.*tyx is guessed"):
        found = il.open_dataarray(path, "image")
    assert found.dims == ("t", "y", "x")
    assert found.attrs["axes_guessed"]
    np.testing.assert_array_equal(found.coords["t"], [0, 2, 4])


def test_references_that_lead_nowhere_hide_no_image(tmp_path):
    path = scaled(tmp_path / "a.h5", z=np.arange(4.0), y=np.arange(5.0), x=np.arange(6.0))
    with h5py.File(path, "a") as file:
        del file["y"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        found = il.open_dataarray(path, "image")
    assert found.shape == (4, 5, 6)


@pytest.mark.parametrize("writer", WRITERS)
def test_wavelengths_become_names(tmp_path, writer):
    array = czyx().isel(c=[0, 1]).assign_coords(c=[405, 488])
    found = il.open_dataarray(write(array, tmp_path / name_for(writer), writer), "image")
    assert found.coords["c"].values.tolist() == ["405", "488"]
    il.to_ome_zarr(array, tmp_path / "o.zarr")
    assert il.open_dataarray(tmp_path / "o.zarr").coords["c"].values.tolist() == ["405", "488"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_positions_of_step_1_without_a_unit_are_read_back(tmp_path, version):
    array = xr.DataArray(np.ones((3, 4, 5), "f4"), dims=tuple("zyx"), coords={"z": [0, 1, 2], "x": np.arange(5) + 0.0})
    il.to_ome_zarr(array, tmp_path / "a.zarr", levels=1, version=version)
    found = il.open_dataarray(tmp_path / "a.zarr")
    assert sorted(found.coords) == ["x", "z"]
    np.testing.assert_array_equal(found.coords["z"], [0, 1, 2])


def test_dims_in_capitals_are_the_same_axes(tmp_path):
    array = czyx().expand_dims("t").rename({dim: dim.upper() for dim in "tczyx"})
    il.to_ome_zarr(array, tmp_path / "a.zarr")
    found = il.open_dataarray(tmp_path / "a.zarr")
    assert found.dims == tuple("tczyx")
    np.testing.assert_array_equal(found.values, array.values)
    np.testing.assert_array_equal(found.coords["z"], [1, 3, 5])
