"""The dask array over a source: slices planned anew are what numpy's slices are, whatever was done before."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.core import parallel
from ilastik_lazy.errors import LimitExceededError
from ilastik_lazy.lazy import blocks
from ilastik_lazy.lazy.dask_array import BlockArray
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from tests.support.makers import SHAPE, some_data, write_hdf5_export

CHUNKS = (3, 4, 4, 1)


@pytest.fixture
def data():
    return some_data(SHAPE)


@pytest.fixture
def array(tmp_path, data):
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS)
    return il.open_dataarray(tmp_path / "a.h5")


def test_a_plane_takes_few_tasks(tmp_path):
    write_hdf5_export(tmp_path / "wide.h5", some_data((4, 400, 400, 2), "uint8"), chunks=(2, 10, 10, 1))
    array = il.open_dataarray(tmp_path / "wide.h5")
    assert array.isel(z=1).data.npartitions <= 8
    assert isinstance(array.isel(z=1, c=0).data, BlockArray)


def test_a_plane_of_which_only_slabs_are_read_is_one_task(tmp_path, monkeypatch):
    for name in ("BLOCK_BYTES_LEAST", "BLOCK_BYTES_MOST"):
        monkeypatch.setattr(parallel, name, 2**12)
    for name, filters in (("plain", "none"), ("packed", "gzip")):
        data = some_data((40, 100, 100), "uint8")
        write_hdf5_export(tmp_path / f"{name}.h5", data, axes="zyx", chunks=(20, 10, 10), filters=filters)
        array = il.open_dataarray(tmp_path / f"{name}.h5").data
        assert (array[7].npartitions == 1) == (name == "plain")
        assert array[:, :, 7].npartitions > 1
        np.testing.assert_array_equal(array[7].compute(), data[7])


@pytest.mark.parametrize(
    "index",
    [
        0, -1, slice(2, 5), slice(None, None, -2), (Ellipsis, 0), (slice(1, 3), Ellipsis, 1), (0, 1, 2, 0), None,
        (slice(None), [1, 0, 3]), (slice(None), np.array([True] * 9)), (Ellipsis,), (), (slice(0, 0),), np.int64(2),
        (slice(3, 1), 0), (0, slice(-3, None)),
    ],
    ids=str,
)  # fmt: skip
def test_every_index_is_that_of_numpy(array, data, index):
    np.testing.assert_array_equal(array.data[index].compute(), data[index])


def test_slices_of_slices_are_those_of_numpy(array, data):
    lazy = array.data[1:6][:, 2][..., 1:, :][2:4, -3:]
    np.testing.assert_array_equal(lazy.compute(), data[1:6][:, 2][..., 1:, :][2:4, -3:])


@pytest.mark.parametrize("wrong", [7, -8, (0, 0, 0, 0, 0)], ids=str)
def test_a_wrong_index_is_dasks_error(array, wrong):
    with pytest.raises(IndexError):
        array.data[wrong].compute()


def test_indices_that_are_dask_or_pandas_work(array, data):
    lazy = array.data
    few = da.from_array(np.array([1, 3]))
    np.testing.assert_array_equal(lazy[few].compute(), data[[1, 3]])
    np.testing.assert_array_equal(np.sort(lazy[lazy > 100].compute()), np.sort(data[data > 100]))
    np.testing.assert_array_equal(array.isel(x=pd.Index([0, 2])).values, data[:, :, [0, 2]])


class TestAssignment:
    """dask changes the array in place: a slice must show what was assigned, not what the file holds."""

    def test_shows_in_slices(self, array, data):
        array[{"z": 0}] = -5
        expected = data.copy()
        expected[0] = -5
        np.testing.assert_array_equal(array.isel(z=0).values, expected[0])
        np.testing.assert_array_equal(array.isel(y=3).values, expected[:, 3])

    def test_by_mask_shows_in_slices(self, array, data):
        lazy = array.data
        lazy[lazy > 50] = 0
        np.testing.assert_array_equal(lazy[2].compute(), np.where(data > 50, 0, data)[2])

    def test_through_out_shows_in_slices(self, array, data):
        lazy = array.data
        np.add(lazy, 1, out=lazy)
        np.testing.assert_array_equal(lazy[1].compute(), data[1] + 1)

    def test_is_what_is_converted(self, array, data, tmp_path):
        array[{"x": slice(0, 5)}] = 7
        to_ome_zarr(array, tmp_path / "a.zarr", levels=1)
        expected = data.copy()
        expected[:, :, :5] = 7
        found = zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...]
        np.testing.assert_array_equal(found, expected.transpose(3, 0, 1, 2))


def test_a_pickled_copy_is_a_plain_array_of_the_same_values(array, data):
    copy = pickle.loads(pickle.dumps(array.isel(z=2)))
    np.testing.assert_array_equal(copy.values, data[2])


def test_what_dask_does_with_arrays_it_does_with_this_one(array, data):
    lazy = array.data
    np.testing.assert_array_equal(da.concatenate([lazy, lazy[:2]]).compute(), np.concatenate([data, data[:2]]))
    np.testing.assert_array_equal((lazy[1:] - lazy[:-1]).compute(), data[1:] - data[:-1])
    np.testing.assert_array_equal(lazy.map_blocks(np.negative).compute(), -data)
    np.testing.assert_array_equal(lazy.rechunk((2, 9, 10, 1)).persist()[3].compute(), data[3])
    np.testing.assert_array_equal(lazy.T[0].compute(), data.T[0])
    overlapped = lazy.map_overlap(lambda block: block, depth=1, boundary="none")
    np.testing.assert_array_equal(overlapped.compute(), data)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(lazy.max(axis=0).compute(), data.max(0))


def test_more_tasks_than_dask_can_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_MOST_BLOCKS", 3)
    monkeypatch.setattr(parallel, "BLOCK_BYTES_LEAST", 1)
    write_hdf5_export(tmp_path / "a.h5", some_data((2, 40, 40, 2)), chunks=(1, 4, 4, 1))
    with pytest.raises(LimitExceededError, match="pass chunks="):
        il.open_dataarray(tmp_path / "a.h5")
