"""Skipping NaN where there is none costs nothing, and gives what xarray gives of any array."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.lazy.dask_array import BlockArray
from tests.support.makers import write_hdf5_export

SHAPE, CHUNKS = (7, 30, 40, 2), (3, 10, 11, 1)
INF = np.inf


def values(holes, dtype="<f4"):
    data = np.random.default_rng(1).normal(5, 3, SHAPE).astype(dtype)
    for place, value in holes.items():
        data[place] = value
    return data


HOLES = {
    "none": {},
    "one": {(3, 4, 5, 0): np.nan},
    "a whole row": {(..., 5, 0): np.nan},
    "everything": {Ellipsis: np.nan},
    "infinity": {(0, 0, 0, 0): INF},
    "both infinities": {(0, 0, 0, 0): INF, (1, 0, 0, 0): -INF},
    "infinity and a hole": {(0, 0, 0, 0): INF, (1, 0, 0, 0): np.nan},
    "beyond the largest": {(..., 0, 0): np.finfo("f4").max},
}
REDUCTIONS = {
    "sum": lambda a: a.sum(),
    "sum over z": lambda a: a.sum("z"),
    "sum over y and c": lambda a: a.sum(["y", "c"]),
    "mean": lambda a: a.mean(),
    "mean over z": lambda a: a.mean("z"),
    "mean of a plane": lambda a: a.isel(z=3).mean("x"),
    "mean in float64": lambda a: a.mean("z", dtype="f8"),
    "sum of enough": lambda a: a.sum("z", min_count=7),
    "mean with NaN": lambda a: a.mean("z", skipna=False),
    "max": lambda a: a.max("z"),
    "std": lambda a: a.std("z"),
    "count": lambda a: a.count("z"),
    "filled": lambda a: a.fillna(0).sum("z"),
    "where": lambda a: a.where(a.notnull(), -1).sum("z"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of infinities; the plain array has the same
@pytest.mark.parametrize("holes", HOLES)
def test_gives_what_xarray_gives(tmp_path, holes):
    data = values(HOLES[holes])
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS)
    ours = il.open_dataarray(tmp_path / "a.h5")
    assert isinstance(ours.data, BlockArray)
    plain = xr.DataArray(da.from_array(data, chunks=ours.data.chunks), dims=ours.dims)
    for name, reduction in REDUCTIONS.items():
        expected, found = reduction(plain).compute(), reduction(ours).compute()
        assert found.dims == expected.dims, name
        np.testing.assert_allclose(found.values, expected.values, rtol=3e-6, strict=True, err_msg=name)


@pytest.mark.parametrize("holes", HOLES)
def test_numpy_functions_mix_it_with_anything(tmp_path, holes):
    data = values(HOLES[holes])
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS)
    lazy = il.open_dataarray(tmp_path / "a.h5").data
    mask, zeros = np.isnan(lazy), np.zeros_like(lazy)
    filled = np.where(mask, zeros, lazy)
    for found, expected in (
        (np.where(mask, 0, lazy), np.where(np.isnan(data), 0, data)),
        (np.where(mask, lazy, zeros), np.where(np.isnan(data), data, 0)),
        (np.where(~mask, zeros, lazy), np.where(~np.isnan(data), 0, data)),
        (filled, np.where(np.isnan(data), 0, data)),
        (np.stack([lazy, filled, mask]), np.stack([data, np.where(np.isnan(data), 0, data), np.isnan(data)])),
        (np.where(mask, filled, lazy), np.where(np.isnan(data), 0, data)),
        (np.concatenate([filled, lazy[:2]]), np.concatenate([np.where(np.isnan(data), 0, data), data[:2]])),
    ):
        np.testing.assert_array_equal(found.compute(), expected)


def test_a_sum_takes_one_task_a_block(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", values({}), chunks=CHUNKS)
    array = il.open_dataarray(tmp_path / "a.h5")
    for result in (array.sum(), array.mean("z"), array.sum("x", skipna=False)):
        graph = dict(result.data.__dask_graph__())
        assert sum(1 for key in graph if "part" in str(key[0])) == array.data.npartitions


def test_an_array_that_was_assigned_to_takes_the_plain_way(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", values({}), chunks=CHUNKS)
    array = il.open_dataarray(tmp_path / "a.h5")
    array[{"z": 0}] = np.nan
    expected = values({0: np.nan})
    np.testing.assert_allclose(array.sum("z").values, np.nansum(expected, 0), rtol=1e-6)
    np.testing.assert_allclose(array.mean("z").values, np.nanmean(expected, 0), rtol=1e-6)


def test_integers_are_summed_as_ever(tmp_path):
    data = np.arange(np.prod(SHAPE), dtype="u2").reshape(SHAPE)
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS)
    assert int(il.open_dataarray(tmp_path / "a.h5").sum()) == int(data.sum())
