"""All that decides a result is in the name by which dask and caches know it."""

from __future__ import annotations

import gc
import itertools
import json
import random
import struct
import weakref

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.core import parallel
from ilastik_lazy.core.views import cache
from ilastik_lazy.tables.paint import mismatches, paint
from tests.support.makers import write_hdf5_export

SHAPE, CHUNKS = (7, 12, 10), (3, 5, 4)


@pytest.fixture
def data():
    found = np.random.default_rng(3).normal(5, 3, SHAPE).astype("f4")
    found[2, 3:5] = np.nan
    return found


@pytest.fixture
def path(tmp_path, data, monkeypatch):
    monkeypatch.setattr(parallel, "BLOCK_BYTES_LEAST", 240)
    monkeypatch.setattr(parallel, "BLOCK_BYTES_MOST", 480)
    write_hdf5_export(tmp_path / "a.h5", data, axes="zyx", chunks=CHUNKS)
    return tmp_path / "a.h5"


CALLS = {
    f"{reduction} {axis} {dtype} {skipna}": (reduction, axis, dtype, skipna)
    for reduction, axis, dtype, skipna in itertools.product(
        ("sum", "mean"), (None, "z", ("y", "x")), (None, "f4", "f8"), (True, False)
    )
}


def called(array, reduction, axis, dtype, skipna):
    return getattr(array, reduction)(axis, skipna=skipna, dtype=dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(4))
def test_reductions_computed_together_are_those_computed_alone(path, data, seed):
    chosen = random.Random(seed).sample(sorted(CALLS), 12)
    array, plain = il.open_dataarray(path), xr.DataArray(data, dims=tuple("zyx"))
    cuts = (array, array[1:, ::2], array[:, 3:9], array[::-1], array.chunk(4))
    expected = (plain, plain[1:, ::2], plain[:, 3:9], plain[::-1], plain)
    together = dask.compute(*(called(cut, *CALLS[name]) for cut in cuts for name in chosen))
    wanted = [called(cut, *CALLS[name]) for cut in expected for name in chosen]
    for found, right in zip(together, wanted, strict=True):
        xr.testing.assert_allclose(found, right.astype(found.dtype), rtol=1e-4)


TABLE = pd.DataFrame(
    {"labelimage_oid": [1, 2, 1, 3], "timestep": [0, 0, 1, 1], "size": [4, 5, 6, 7], "mean": [0.5, 1.5, 2.5, 3.5]}
)
LABELS = np.random.default_rng(1).integers(0, 5, (2, 6, 6)).astype("u4")


@pytest.mark.parametrize("column", ["size", "mean"])
def test_painted_columns_do_not_mix(column):
    labels = xr.DataArray(LABELS, dims=("t", "y", "x")).chunk({"y": 4})
    backgrounds = [None, 0, -1, 7, np.nan, 0.5]
    tables = [TABLE, TABLE.assign(size=1, mean=1.0), TABLE[:2]]
    cases = list(itertools.product(tables, backgrounds))
    random.Random(0).shuffle(cases)
    lazy = [paint(labels, table, column, background=background) for table, background in cases]
    for (table, background), found in zip(cases, dask.compute(*lazy), strict=True):
        values = dict(zip(zip(table.timestep, table.labelimage_oid, strict=True), table[column], strict=True))
        default = background if background is not None else (np.nan if column == "mean" else 0)
        right = [[[values.get((t, v), default) for v in row] for row in LABELS[t]] for t in range(2)]
        np.testing.assert_array_equal(found.values, right)
    both = xr.Dataset({"a": lazy[0], "b": lazy[1]}).compute()
    xr.testing.assert_identical(both.a.drop_attrs(), lazy[0].compute().rename("a").drop_attrs())


def test_what_is_painted_along_t_is_not_what_is_painted_along_z():
    rows = TABLE[TABLE.timestep == 0].drop(columns="timestep")
    chunked = da.from_array(LABELS[:1], chunks=3)
    moving, still = (xr.DataArray(chunked, dims=(dim, "y", "x")) for dim in ("t", "z"))
    found = dask.compute(paint(moving, rows, "size"), paint(still, rows, "size", background=9))
    np.testing.assert_array_equal(found[0].values, np.choose(LABELS[:1], [0, 4, 5, 0, 0]))
    np.testing.assert_array_equal(found[1].values, np.choose(LABELS[:1], [9, 4, 5, 9, 9]))
    assert len(mismatches(moving, rows)) == len(mismatches(still, rows))


@pytest.mark.parametrize(
    "options", [{}, {"dtype": "i8"}, {"dtype": "u1"}, {"axis": (0, 0)}, {"axis": 1.0}, {"axis": True}]
)
@pytest.mark.parametrize("function", [np.sum, np.mean, np.nansum, np.nanmean])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_quick_sums_are_those_of_dask(path, data, function, options):
    def outcome(array):
        try:
            return function(array, **options).compute()
        except (TypeError, ValueError, IndexError) as error:
            return type(error)

    array = il.open_dataarray(path).data
    found, right = outcome(array), outcome(da.from_array(data, chunks=array.chunks))
    assert found is right if isinstance(right, type) else np.allclose(found, right, rtol=1e-5, equal_nan=True)


def test_a_sum_of_whole_numbers_over_nan_is_xarrays(path, data):
    found, plain = il.open_dataarray(path), xr.DataArray(data, dims=tuple("zyx")).chunk(5)
    assert int(found.sum(dtype="int64")) == int(plain.sum(dtype="int64"))
    assert int(found[0].mean(dtype="int64")) == int(plain[0].mean(dtype="int64"))


def test_the_mean_of_many_halves_is_numpys(tmp_path):
    data = np.ones((3, 200, 200), "f2")
    write_hdf5_export(tmp_path / "a.h5", data, axes="zyx", chunks=(1, 200, 200))
    assert float(il.open_dataarray(tmp_path / "a.h5").mean()) == 1.0


@pytest.mark.parametrize("function", [np.sum, np.nansum, np.mean, np.max, np.var])
def test_out_is_written_to(path, data, function):
    array = il.open_dataarray(path).data
    out = array[0]
    assert function(array[1:], axis=0, out=out) is out
    np.testing.assert_allclose(out.compute(), function(data[1:], axis=0), rtol=1e-5)


def test_arrays_of_all_kinds_can_be_added(path, data):
    array = il.open_dataarray(path).data
    filled = np.where(np.isnan(array), np.zeros_like(array), array)
    np.testing.assert_allclose(np.add(array[::-1], filled).compute(), data[::-1] + np.nan_to_num(data))
    np.testing.assert_allclose(np.add(array, filled).compute(), data + np.nan_to_num(data))


def test_a_nameless_mask_is_not_that_of_nan(path, data):
    array = il.open_dataarray(path).data
    mask = pd.Series([True, False] * 5, name="")
    found = np.sum(np.where(mask, pd.Series(np.ones(10), name=""), array))
    assert np.isnan(np.sum(np.where(mask, 1.0, data)))
    assert np.isnan(found.compute())


@pytest.mark.parametrize("chunks", ["auto", {}, 4])
@pytest.mark.parametrize("index", [np.s_[::2, ::-1], np.s_[1::2], np.s_[:, ::3, ::-1], np.s_[::-2, 1:9]])
def test_slices_with_steps_are_written_to_zarr(path, data, tmp_path, chunks, index):
    array = il.open_dataarray(path, chunks=chunks)[index]
    array.to_dataset(name="image").to_zarr(tmp_path / "out.zarr", zarr_format=2, consolidated=False)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out.zarr/image")[...], data[index])
    np.testing.assert_array_equal(array[::-1].values, data[index][::-1])


def scrolled(array):
    return np.stack([array[i, :1].values for i in range(len(array))])


def test_what_is_opened_anew_is_not_what_a_cache_holds(tmp_path):
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(4, 8, 8), chunks=(4, 8, 8), dtype="u1")
    stored[...] = 1
    first = il.open_dataarray(tmp_path / "a.zarr", axes="zyx", cache="1MB")
    assert (scrolled(first) == 1).all()
    stored[...] = 2
    second = il.open_dataarray(tmp_path / "a.zarr", axes="zyx", cache="1MB")
    assert (scrolled(second) == 2).all()
    assert first.data.name != second.data.name


def test_the_memory_of_a_cache_goes_with_its_last_array(path):
    array = il.open_dataarray(path, cache="10MB")
    scrolled(array)
    part = array[1:]
    held = weakref.ref(array.data._window.source._cache)
    del array
    gc.collect()
    assert held() is not None
    del part
    gc.collect()
    assert held() is None
    assert not cache._caches


def test_what_was_persisted_does_not_mix_with_what_was_written_since(tmp_path):
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(4, 8, 8), chunks=(2, 8, 8), dtype="u1")
    n5 = tmp_path / "a.n5" / "image"
    write_n5(n5, np.ones((4, 8, 8), "u1"))
    stored[...] = 1
    paths = [tmp_path / "a.zarr", n5]
    before = [il.open_dataarray(path, axes="zyx").persist() for path in paths]
    stored[...] = 3
    block = n5 / "0" / "0" / "0"
    block.write_bytes(block.read_bytes().replace(b"\x01" * 256, b"\x03" * 256))
    after = [il.open_dataarray(path, axes="zyx") for path in paths]
    for old, new in zip(before, after, strict=True):
        assert ((new - old).values == 2).all()


def write_n5(folder, data):
    """One raw block, and the attributes that say so."""
    block = folder / "0" / "0"
    block.mkdir(parents=True)
    header = struct.pack(">HH3I", 0, 3, *data.shape[::-1])
    (block / "0").write_bytes(header + data.astype(data.dtype.newbyteorder(">")).tobytes())
    shape = list(data.shape[::-1])
    attributes = {"dimensions": shape, "blockSize": shape, "dataType": str(data.dtype), "compression": {"type": "raw"}}
    (folder / "attributes.json").write_text(json.dumps(attributes))
