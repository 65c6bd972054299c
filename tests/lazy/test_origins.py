"""What is found in the graph of an array."""

from __future__ import annotations

import functools
import mmap
import os
import threading
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.core.spec import ArraySource, Storage
from ilastik_lazy.core.views.view import leaves_of
from ilastik_lazy.lazy.dataset import chunked, to_dataset
from ilastik_lazy.lazy.from_xarray import source_of
from ilastik_lazy.lazy.origins import origins_of
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import write_hdf5_export

SOURCE = ArrayInMemory(np.arange(80, dtype="uint8").reshape(8, 10), "yx", (4, 5))
OTHER = ArrayInMemory(np.zeros((8, 10), "uint8"), "yx", (4, 5))


def lazily(source: Any = SOURCE, chunks: Any = "auto") -> xr.DataArray:
    return chunked(to_dataset({"a": source}), {"a": source}, chunks)["a"]


GLOBAL = lazily(OTHER)


def adds_a_global(block: Any) -> Any:
    return block + GLOBAL.values


@functools.lru_cache(maxsize=4)
def remembers(key: int) -> Any:
    return lazily(OTHER)


def blank() -> xr.DataArray:
    return xr.DataArray(da.zeros((8, 10), dtype="uint8", chunks=-1), dims=("y", "x"))


def mapped(function: Any, **options: Any) -> xr.DataArray:
    array = blank()
    return array.copy(data=array.data.map_blocks(function, dtype="uint8", **options))


def adds(block: Any, other: Any) -> Any:
    return block + np.asarray(other)


@pytest.mark.parametrize(
    "shown", [lambda a: a, np.asarray, lambda a: np.asarray(a)[:, ::-1], lambda a: np.asarray(a).reshape(10, 8)]
)
def test_a_plain_array_that_shows_a_memory_map_is_read_from_its_file(tmp_path: Path, shown: Any) -> None:
    np.save(tmp_path / "a.npy", np.ones((8, 10), "u1"))
    values = shown(np.load(tmp_path / "a.npy", mmap_mode="r"))
    (origin,) = origins_of(xr.Variable(("y", "x"), values))
    assert isinstance(origin, Storage)
    assert origin.path == str(tmp_path / "a.npy")
    assert not origins_of(xr.Variable(("y", "x"), np.array(values)[1:]))


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="only Linux says which file is mapped where")
@pytest.mark.parametrize("between", [lambda mapped: mapped, memoryview, lambda mapped: memoryview(mapped)[80:]])
def test_an_array_over_a_mapped_file_is_read_from_it(tmp_path: Path, between: Any) -> None:
    path = tmp_path / "a b.raw"
    path.write_bytes(bytes(160))
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    values = np.frombuffer(between(mapped), "u1")[-80:].reshape(8, 10)[1:]
    (origin,) = origins_of(xr.Variable(("y", "x"), values))
    assert isinstance(origin, Storage)
    assert origin.path == str(path)
    for in_memory in (bytes(80), mmap.mmap(-1, 80)):
        assert not origins_of(xr.Variable("x", np.frombuffer(in_memory, "u1")))


class TestOfArrays:
    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (lambda: lazily(), [SOURCE]),
            (lambda: lazily(chunks=None), [SOURCE]),
            (lambda: lazily() + lazily(OTHER), [SOURCE, OTHER]),
            (lambda: lazily()[::2].mean("y"), [SOURCE]),
            (lambda: lazily().where(lazily(OTHER) > 1), [SOURCE, OTHER]),
            (lambda: xr.concat([lazily(), lazily(OTHER)], "y"), [SOURCE, OTHER]),
            (lambda: dask.optimize(lazily() + lazily(OTHER).T.T)[0], [SOURCE, OTHER]),
            (lambda: mapped(adds_a_global), [OTHER]),
            (lambda: mapped(functools.partial(adds, other=lazily())), [SOURCE]),
            (lambda: mapped(adds, other=lazily().data), [SOURCE]),
            (lambda: mapped(lambda block, read=SOURCE.read: read((slice(0, 8), slice(0, 10)))), [SOURCE]),
            (lambda: blank().copy(data=da.from_delayed(dask.delayed(adds)(1, lazily()), (8, 10), "uint8")), [SOURCE]),
            (lambda: lazily().load(), []),
            (lambda: lazily().persist(), []),
            (lambda: (lazily() + 1).persist() + lazily(OTHER), [OTHER]),
            (lambda: lazily(chunks=None).load(), []),
            (lambda: blank() + np.ones((8, 10)), []),
        ],
    )
    def test_are_its_sources(self, make: Any, expected: list[Any]) -> None:
        found = origins_of(make().variable)
        assert len(found) == len(expected)
        assert set(found) == set(expected)

    def test_are_not_what_a_cache_holds(self) -> None:
        assert remembers(1) is remembers(1)
        assert origins_of(mapped(remembers).variable) == ()

    def test_are_found_past_what_cannot_be_pickled(self) -> None:
        lock, other = threading.Lock(), lazily()
        array = mapped(lambda block: block if lock.locked() else block + other.values)
        assert origins_of(array.variable) == (SOURCE,)

    def test_are_each_there_once(self) -> None:
        parts = [lazily()[number : number + 1] for number in range(8)]
        assert origins_of((xr.concat(parts, "y") + 1).variable) == (SOURCE,)

    def test_are_places_of_other_libraries(self, tmp_path: Path) -> None:
        array = zarr.create_array(tmp_path / "a.zarr", data=np.ones((4, 5)), chunks=(2, 2))
        with h5py.File(tmp_path / "a.h5", "w") as file:
            stored = file.create_dataset("a", data=np.ones((4, 5)), chunks=(2, 2))
            both = da.from_zarr(array) + da.from_array(stored, chunks=2)
            found = origins_of(xr.Variable(("y", "x"), both))
        assert {each.path for each in found if isinstance(each, Storage)} == {
            str(tmp_path / "a.zarr"),
            str(tmp_path / "a.h5"),
        }

    def test_are_files_behind_xarrays_own_engines_alone(self, tmp_path: Path) -> None:
        for name in "ab":
            xr.Dataset({"v": (("y", "x"), np.ones((4, 5)))}).to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        with (
            xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as first,
            xr.open_dataset(tmp_path / "b.nc", engine="h5netcdf", chunks={}) as second,
        ):
            for opened, name in ((first, "a"), (second, "b")):
                found = origins_of(opened["v"].variable)
                assert [each.path for each in found if isinstance(each, Storage)] == [str(tmp_path / f"{name}.nc")]

    def test_of_many_tasks_take_seconds(self) -> None:
        window = lazily().data
        graph = {("a", number, 0): (adds, window, number) for number in range(20_000)}
        array = da.Array(graph, "a", ((1,) * 20_000, (1,)), "uint8")
        assert origins_of(xr.Variable(("y", "x"), array)) == (SOURCE,)


class TestViews:
    @pytest.mark.parametrize("chunks", ["auto", {}, {"y": 3}])
    @pytest.mark.parametrize(
        "way",
        [
            lambda x: x.T,
            lambda x: x[2:7, 5:],
            lambda x: x[3],
            lambda x: x.T[4:, 3],
            lambda x: x.chunk(x=3)[1:].T,
            lambda x: x.T.chunk(x=3).T,
            lambda x: x[:, -1],
            lambda x: x[:, 2:2],
        ],
    )
    def test_read_the_voxels_that_they_show(self, chunks: Any, way: Any) -> None:
        array, expected = way(lazily(chunks=chunks)), way(xr.DataArray(SOURCE.data, dims=("y", "x")))
        np.testing.assert_array_equal(array.values, expected.values, strict=True)
        source = source_of(array)
        found = source.read(tuple(slice(0, length) for length in source.spec.shape))
        np.testing.assert_array_equal(found, expected.values, strict=True)
        assert found.flags.writeable
        if 0 not in array.shape:
            assert list(leaves_of(source)) == [SOURCE]
        np.testing.assert_array_equal(array.sum().values, expected.sum().values)

    def test_know_the_file_that_they_come_from(self, tmp_path: Path) -> None:
        write_hdf5_export(tmp_path / "a.h5", SOURCE.data, axes="yx", chunks=(4, 5))
        array = il.open_dataarray(tmp_path / "a.h5").T[1:]
        source: ArraySource = source_of(array)
        assert source.spec.storage.path == str(tmp_path / "a.h5")
        assert (source.spec.dims, source.spec.chunks, source.spec.storage.order) == (("x", "y"), (5, 4), (1, 0))
