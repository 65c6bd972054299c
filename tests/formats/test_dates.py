"""Times that count from a date keep it, through every format that has a place for it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import MetadataError
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.lazy.from_xarray import source_of
from ilastik_lazy.writers.ilastik import to_ilastik

DATES = np.array(["2024-05-01T12:00", "2024-05-01T18:00", "2024-05-02T00:00"], "M8[ns]")
UNITS = "hours since 2024-05-01 12:00:00"


def written(folder: Path, kind: str, dates: np.ndarray = DATES) -> Path:
    array = xr.DataArray(np.ones((len(dates), 4, 5), "u1"), {"t": dates}, ("t", "y", "x"), "image")
    array.t.encoding["units"] = UNITS
    if kind == "zarr":
        array.to_dataset().to_zarr(folder / "a.zarr", consolidated=False)
    else:
        array.to_netcdf(folder / "a.h5", engine="h5netcdf")
    return folder / f"a.{kind}"


def dates_of(array: xr.DataArray) -> np.ndarray:
    return xr.decode_cf(array.to_dataset(name="image")).t.values.astype("M8[ns]")


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_are_kept_when_opened(tmp_path: Path, kind: str) -> None:
    found = il.open_dataarray(written(tmp_path, kind))
    assert found.t.attrs["units"].replace("T", " ") == UNITS
    assert found.t.values.tolist() == [0, 6, 12]
    np.testing.assert_array_equal(dates_of(found), DATES)
    np.testing.assert_array_equal(dates_of(found[1:]), DATES[1:])


@pytest.mark.parametrize("engine", ["ilastik", "h5netcdf"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_are_kept_in_ome_zarr(tmp_path: Path, engine: str, version: str) -> None:
    array = xr.open_dataset(written(tmp_path, "h5"), engine=engine, chunks={})["image"]
    il.to_ome_zarr(array[1:] + 1, tmp_path / "o.zarr", version=version)
    np.testing.assert_array_equal(dates_of(il.open_dataarray(tmp_path / "o.zarr")), DATES[1:])
    by_xarray = xr.open_zarr(tmp_path / "o.zarr/scale0", consolidated=False)
    np.testing.assert_array_equal(by_xarray.t.values, DATES[1:])


def test_are_not_mixed_in_a_stack(tmp_path: Path) -> None:
    paths = []
    for day in (0, 1):
        (tmp_path / str(day)).mkdir()
        paths.append(written(tmp_path / str(day), "h5"))
        with xr.open_dataset(paths[-1], decode_times=False) as opened:
            other = opened.load().assign_coords(t=opened.t.assign_attrs(units=f"hours since 2024-05-0{day + 1}"))
        other.to_netcdf(paths[-1], engine="h5netcdf")
    with pytest.raises(MetadataError, match=r"hours since 2024-05-02 from 0, but .* hours since 2024-05-01 from 0"):
        open_paths(paths, along="z")


def test_are_reported_where_there_is_no_place_for_them(tmp_path: Path) -> None:
    assert to_ilastik(written(tmp_path, "h5"), tmp_path / "b.h5").not_stored == ("origin of t",)


def counted(folder: Path, kind: str, units: str, calendar: str = "standard") -> Path:
    along = ("t", [0.0, 1, 2], {"units": units, "calendar": calendar})
    array = xr.DataArray(np.ones((3, 4, 5), "u1"), {"t": along}, ("t", "y", "x"), "image")
    if kind == "zarr":
        array.to_dataset().to_zarr(folder / "n.zarr", consolidated=False)
    else:
        array.to_netcdf(folder / "n.h5", engine="h5netcdf")
    return folder / f"n.{kind}"


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_units_that_are_no_times_stay_as_they_are_spelled(tmp_path: Path, kind: str) -> None:
    found = il.open_dataarray(counted(tmp_path, kind, "weeks since 2024-05-01"))
    assert found.t.attrs["units"] == "weeks since 2024-05-01"


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_of_another_calendar_are_left_out(tmp_path: Path, kind: str) -> None:
    found = il.open_dataarray(counted(tmp_path, kind, "days since 2024-02-28", "noleap"))
    assert found.t.attrs["units"] == "day"
    array = found.assign_coords(t=found.t.assign_attrs(units="days since 2024-02-28", calendar="noleap"))
    assert source_of(array).spec.axes[0].since == ""


def test_are_kept_with_their_unit_without_attributes(tmp_path: Path) -> None:
    opened = il.open_dataarray(counted(tmp_path, "h5", "days since 2024-05-01"))
    opened.t.attrs.clear()
    assert source_of(opened).spec.axes[0].units == "days since 2024-05-01"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("positions", "units"), [([2.0, 3, 4], "hours since 2024-05-01"), ([0.0, 1, 9], UNITS)])
def test_of_other_positions_than_those_of_multiscales_are_left_out(
    tmp_path: Path, positions: list[float], units: str
) -> None:
    il.to_ome_zarr(written(tmp_path, "h5"), tmp_path / "o.zarr")
    along = zarr.open_array(tmp_path / "o.zarr/scale0/t")
    along[...] = positions
    along.attrs["units"] = units
    found = il.open_dataarray(tmp_path / "o.zarr").t
    assert (found.attrs["units"], found.values.tolist()) == ("hour", [0, 6, 12])


@pytest.mark.parametrize("is_first", [True, False])
def test_come_from_the_members_of_a_stack_that_have_them(tmp_path: Path, is_first: bool) -> None:
    dated, plain = written(tmp_path, "h5"), tmp_path / "plain.h5"
    with h5py.File(plain, "w") as file:
        file["image"] = np.ones((3, 4, 5), "u1")
        file["image"].attrs["axistags"] = '{"axes": [{"key": "t"}, {"key": "y"}, {"key": "x"}]}'
    stack = open_paths([dated, plain] if is_first else [plain, dated], along="z")
    assert stack.spec.axes[1].units.replace("T", " ") == UNITS


def test_durations_along_t_become_seconds(tmp_path):
    for unit, step in (("s", 5.0), ("ms", 0.005), ("m", 300.0)):
        times = np.array([0, 5, 10], f"m8[{unit}]")
        array = xr.DataArray(np.ones((3, 4, 5), np.uint8), dims=("t", "y", "x"), coords={"t": times})
        il.to_ome_zarr(array, tmp_path / f"{unit}.zarr")
        found = il.open_dataarray(tmp_path / f"{unit}.zarr")
        np.testing.assert_allclose(found["t"], [0, step, 2 * step])
        assert found["t"].units == "second"
