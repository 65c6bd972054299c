"""Packed values (CF: scale_factor, add_offset, _FillValue) are those that xarray gives, in every format."""

from __future__ import annotations

import json
import warnings

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.core.views.packing import packing_from
from ilastik_lazy.errors import MetadataWarning
from ilastik_lazy.reductions import reduce
from ilastik_lazy.writers.ilastik import to_ilastik
from tests.support.children import run_command as run
from tests.support.n5_makers import write_n5

VALUES = np.array([[[10.0, 10.25, np.nan], [12, -3, 100]], [[10.5, 11, 12], [np.nan, 13, 14]]])
ENCODING = {"dtype": "int16", "scale_factor": 0.25, "add_offset": 10.0, "_FillValue": -999}


def written(folder, writer, encoding=ENCODING, values=VALUES):
    array = xr.DataArray(values, dims=("z", "y", "x"), name="image")
    array.encoding = dict(encoding)
    if writer.startswith("zarr"):
        array.to_dataset().to_zarr(folder / "a.zarr", zarr_format=int(writer[-1]), consolidated=False)
        return folder / "a.zarr"
    array.to_netcdf(folder / "a.h5", engine=writer)
    return folder / "a.h5"


def by_xarray(path, **options):
    if path.suffix == ".zarr":
        return xr.open_zarr(path, consolidated=False, chunks=None, **options)["image"]
    return xr.open_dataset(path, engine="h5netcdf", **options)["image"]


WRITERS = ("h5netcdf", "netcdf4", "zarr2", "zarr3")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    "encoding",
    [
        ENCODING,
        {"dtype": "int16", "_FillValue": -1},
        {"dtype": "uint8", "scale_factor": 0.5, "_FillValue": 255},
        {"dtype": "int32", "scale_factor": np.float32(0.5), "add_offset": np.float32(1), "_FillValue": -5},
        {"dtype": "float32", "_FillValue": -9999.0},
        {"dtype": "uint8", "scale_factor": 1.0, "_FillValue": 0},
    ],
)
def test_values_are_those_of_xarray(tmp_path, writer, encoding):
    if writer.startswith("zarr"):
        encoding = {key: float(value) if isinstance(value, np.float32) else value for key, value in encoding.items()}
    path = written(tmp_path, writer, encoding, np.abs(VALUES))
    wanted = by_xarray(path)
    found = il.open_dataarray(path)
    np.testing.assert_array_equal(found.values, wanted.values, strict=True)
    np.testing.assert_array_equal(found[:, 1, ::2].values, wanted[:, 1, ::2].values, strict=True)
    through = xr.open_dataset(path, engine="ilastik")["image"]
    np.testing.assert_array_equal(through.values, wanted.values, strict=True)
    raw = xr.open_dataset(path, engine="ilastik", mask_and_scale=False)["image"]
    np.testing.assert_array_equal(raw.values, by_xarray(path, mask_and_scale=False).values, strict=True)


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_made_of_packed_values_is_right(tmp_path, writer):
    path = written(tmp_path, writer)
    np.testing.assert_array_equal(reduce(path, "max", over="z").values, np.nanmax(VALUES, axis=0))
    il.to_ome_zarr(path, tmp_path / "o.zarr", levels=1, verify=True)
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "o.zarr").values, VALUES)


@pytest.mark.parametrize("writer", WRITERS)
def test_truth_values_are_truth_values(tmp_path, writer):
    found = il.open_dataarray(written(tmp_path, writer, {}, VALUES > 10))
    np.testing.assert_array_equal(found.values, VALUES > 10, strict=True)


def test_what_is_written_again_is_packed_again(tmp_path):
    il.open_dataarray(written(tmp_path, "h5netcdf")).to_netcdf(tmp_path / "b.h5", engine="h5netcdf")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["image"].dtype == "int16"
        assert file["image"].attrs["scale_factor"] == 0.25
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "b.h5").values, VALUES)


@pytest.mark.parametrize(
    "packed", [ENCODING, {"dtype": "float32", "scale_factor": np.float32(0.5), "_FillValue": -1.0}]
)
@pytest.mark.parametrize("target", ["a.zarr", "b.zarr", "b.h5", "b.n5"])
@pytest.mark.parametrize("mask_and_scale", [False, True])
def test_stored_numbers_keep_their_packing(tmp_path, target, mask_and_scale, packed):
    path = written(tmp_path, "h5netcdf", packed)
    array = xr.open_dataset(path, engine="ilastik", mask_and_scale=mask_and_scale, chunks={})["image"]
    if target.endswith(".zarr"):
        il.to_ome_zarr(array, tmp_path / target, version="0.4" if target == "a.zarr" else "0.5", verify=True)
        folder = tmp_path / target / "scale0"
        found = {flag: xr.open_zarr(folder, consolidated=False, mask_and_scale=flag)["image"] for flag in (True, False)}
        np.testing.assert_array_equal(found[True].values, by_xarray(path).values)
        np.testing.assert_array_equal(found[False].values, array.values, strict=True)
    else:
        to_ilastik(array, tmp_path / target)
    # JSON has one type for all numbers.
    is_typed = target == "b.h5"
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / target).values, by_xarray(path).values, strict=is_typed)
    again = xr.open_dataset(tmp_path / target, engine="ilastik", mask_and_scale=False)
    stored = next(iter(again.data_vars.values()))
    np.testing.assert_array_equal(stored.values, array.values, strict=True)


def test_what_is_computed_from_packed_numbers_keeps_a_packing_with_the_dtype(tmp_path):
    path = written(tmp_path, "h5netcdf")
    raw = xr.open_dataset(path, engine="ilastik", mask_and_scale=False, chunks={})["image"]
    to_ilastik(raw.max("z", keep_attrs=True), tmp_path / "whole.h5")
    wanted = by_xarray(path, mask_and_scale=False).max("z", keep_attrs=True)
    np.testing.assert_array_equal(
        il.open_dataarray(tmp_path / "whole.h5").values, xr.decode_cf(wanted.to_dataset())["image"].values
    )
    by_hand = (raw.where(raw != -999) * 0.25 + 10).assign_attrs(raw.attrs)
    with pytest.warns(MetadataWarning, match="scale_factor, add_offset, _FillValue are left out"):
        to_ilastik(by_hand, tmp_path / "real.h5")
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "real.h5").values, VALUES)


def test_no_mean_mixes_marks_of_missing_values_with_others(tmp_path):
    values = np.where(np.arange(2 * 600 * 4).reshape(2, 600, 4) % 3, 100.0, np.nan)
    path = written(tmp_path, "h5netcdf", ENCODING, values)
    raw = xr.open_dataset(path, engine="ilastik", mask_and_scale=False)["image"]
    assert il.to_ome_zarr(raw, tmp_path / "o.zarr", levels=2).method == "nearest"
    coarse = il.open_dataarray(tmp_path / "o.zarr", "scale1/image").values
    assert set(coarse[~np.isnan(coarse)].tolist()) == {100.0}


@pytest.mark.parametrize("layout", ["gzip", "contiguous", "lzf"])
def test_a_child_gives_the_same_values(tmp_path, layout):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = {} if layout == "contiguous" else {"chunks": (1, 2, 2), "compression": layout}
        file.create_dataset("image", data=np.arange(-8, 4, dtype="i2").reshape(3, 2, 2), **options)
        file["image"].attrs.update({"scale_factor": np.array([2.5]), "missing_value": np.int16(-8), "axes": "xyz"})
    one, other = (il.open_dataarray(tmp_path / "a.h5", trust=trust) for trust in ("local", "untrusted"))
    np.testing.assert_array_equal(one.values.ravel(), [np.nan, *np.arange(-7, 4) * 2.5])
    xr.testing.assert_identical(one.compute(), other.compute())


def test_n5_is_unpacked_too(tmp_path):
    data = write_n5(
        tmp_path / "a.n5", np.ones((2, 3, 4), "i2"), axes="zyx", chunks=(2, 3, 4), attributes={"scale_factor": 0.5}
    )
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.n5").values, data * 0.5)


def test_info_states_the_packing(tmp_path):
    path = str(written(tmp_path, "h5netcdf"))
    text = run("info", path).stdout
    assert "packed   stored as int16; value = stored * 0.25 +10; NaN where -999 is stored" in text
    (found,) = json.loads(run("info", "--json", path).stdout)
    assert found["dtype"] == "float64"
    assert found["packing"].startswith("stored as int16")


@pytest.mark.parametrize("unsigned", ["true", "True", "false", ""])
@pytest.mark.parametrize("dtype", ["i1", "u1"])
def test_the_sign_is_the_one_that_xarray_reads(unsigned, dtype):
    raw = np.array([-1, 0, 5], "i1").view(dtype)
    attributes = {"_Unsigned": unsigned, "_FillValue": raw[2]}
    packing = packing_from(attributes, raw.dtype)
    wanted = xr.decode_cf(xr.Dataset({"a": ("x", raw, attributes)}))["a"]
    np.testing.assert_array_equal(packing.unpacked(raw), wanted.values, strict=True)


def test_a_packing_that_makes_no_sense_is_stated(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(2, 3), dtype="i2", dimension_names=["y", "x"])
    array[...] = 3
    array.attrs["scale_factor"] = "a quarter"
    with pytest.warns(MetadataWarning, match=r"scale_factor is 'a quarter', not a number: values are as stored"):
        assert il.open_dataarray(tmp_path / "a.zarr").dtype == "int16"


@pytest.mark.parametrize("attributes", [{"_FillValue": np.nan}, {"missing_value": np.array([np.nan])}, {}])
def test_plain_values_are_read_as_ever(tmp_path, attributes):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", data=np.ones((3, 4), "f4"), chunks=(3, 2))
        file["image"].attrs.update(attributes | {"axes": "xy"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = il.open_dataarray(tmp_path / "a.h5")
    assert found.dtype == "float32"
    assert "_FillValue" not in found.encoding
    assert packing_from(attributes, np.dtype("f4")) is None
