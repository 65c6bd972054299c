"""Whatever was done with an array, what it comes from is guarded: unfinished, overwritten or changed sources."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

import ilastik_lazy as il
from ilastik_lazy.cli import cli
from ilastik_lazy.errors import ArgumentError, ResumeMismatchError, SourceChangedError, UnfinishedWriteError
from ilastik_lazy.lazy.dask_array import to_dask
from ilastik_lazy.reductions import histogram
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export
from tests.support.n5_makers import write_n5
from tests.support.ome_zarr.answers import in_ome_order
from tests.support.ome_zarr.fakes import small_plans

SHAPE, CHUNKS = (8, 9, 10), (2, 9, 10)
DATA = some_data(SHAPE, "uint8") // 2


def opened(path: Path, **options: Any) -> xr.DataArray:
    return il.open_dataarray(path, **options)


WAYS: dict[str, Callable[[Path], xr.DataArray]] = {
    "order": lambda path: opened(path, order="xyz"),
    "transposed": lambda path: opened(path).transpose("y", "x", "z"),
    "cut": lambda path: opened(path)[1:, 2:],
    "every second": lambda path: opened(path)[::2],
    "in other blocks": lambda path: opened(path).chunk(z=3, y=4),
    "chunks={}, cut": lambda path: opened(path, chunks={})[1:],
    "not chunked": lambda path: opened(path, chunks=None),
    "not chunked, cut": lambda path: opened(path, chunks=None)[1:],
    "not chunked, turned": lambda path: opened(path, chunks=None).transpose("x", "y", "z"),
    "cached": lambda path: opened(path, cache="1MB")[1:],
    "computed": lambda path: opened(path) + 0,
    "masked": lambda path: xr.where(opened(path) > 3, 1, 0),
    "reduced": lambda path: opened(path).max("z"),
    "by xarray": lambda path: xr.open_dataset(path, engine="ilastik")["exported_data"],
    "by xarray, chunked": lambda path: xr.open_dataset(path, engine="ilastik", chunks={})["exported_data"] * 1,
    "by a dataset": lambda path: il.open_dataset(path)["exported_data"].to_dataset(name="a")["a"],
    "pickled": lambda path: pickle.loads(pickle.dumps(opened(path))),
    "copied": lambda path: copy.deepcopy(opened(path)) | 0,
    "joined": lambda path: xr.concat([opened(path), opened(path) * 0], "t"),
    "in a closure": lambda path: _added(xr.zeros_like(opened(path)), opened(path).data),
}


def _added(array: xr.DataArray, other: da.Array) -> xr.DataArray:
    plain = da.zeros(array.shape, dtype=array.dtype, chunks=-1)
    return array.copy(data=plain.map_blocks(lambda block: block + other.compute(scheduler="synchronous")))


@pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.IncompleteSourceWarning")
class TestUnfinishedExport:
    @staticmethod
    def write(path: Path, filters: str) -> None:
        write_hdf5_export(path, DATA, axes="zyx", chunks=CHUNKS, filters=filters, missing=[(2, 0, 0), (4, 0, 0)])

    @pytest.fixture(params=["gzip", "lzf"])
    def path(self, tmp_path: Path, request: Any) -> Path:
        self.write(tmp_path / "a.h5", request.param)
        return tmp_path / "a.h5"

    # What was done does not depend on who decodes: all ways with our decoder, three kinds of them with libhdf5.
    @pytest.mark.parametrize(
        ("way", "filters"), [(way, "gzip") for way in WAYS] + [(way, "lzf") for way in ("cut", "computed", "by xarray")]
    )
    def test_is_refused_whatever_was_done_with_it(self, tmp_path: Path, way: str, filters: str) -> None:
        self.write(path := tmp_path / "a.h5", filters)
        with pytest.raises(UnfinishedWriteError, match="chunks were never written"):
            to_ome_zarr(WAYS[way](path), tmp_path / "a.zarr")
        assert not (tmp_path / "a.zarr").exists()

    def test_is_masked_when_asked(self, path: Path, tmp_path: Path) -> None:
        report = to_ome_zarr(WAYS["computed"](path), tmp_path / "a.zarr", on_error="mask")
        assert report.masked == ("2 chunks never written",)

    @pytest.mark.parametrize("way", ["computed", "cut", "by xarray"])
    def test_is_refused_by_the_writer_of_hdf5(self, path: Path, tmp_path: Path, way: str) -> None:
        with pytest.raises(UnfinishedWriteError, match="2 chunks were never written"):
            to_ilastik(WAYS[way](path), tmp_path / "b.h5")
        to_ilastik(WAYS[way](path), tmp_path / "b.h5", on_error="mask")

    def test_is_refused_by_the_commands(self, path: Path, tmp_path: Path) -> None:
        for name, target in (("convert", "a.zarr"), ("export", "b.h5")):
            found = CliRunner().invoke(cli, [name, str(path), str(tmp_path / target), "-q"])
            assert found.exit_code != 0
            assert "2 chunks were never written" in str(found.exception)
            masked = [name, str(path), str(tmp_path / target), "-q", "--on-error", "mask"]
            assert CliRunner().invoke(cli, masked).exit_code == 0

    def test_is_refused_from_strangers(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(UnfinishedWriteError, match="2 chunks were never written"):
            to_ome_zarr(opened(path, trust="untrusted") * 2, tmp_path / "a.zarr")

    def test_is_refused_after_many_others_were_opened(self, tmp_path: Path) -> None:
        self.write(tmp_path / "a.h5", "gzip")
        array = opened(tmp_path / "a.h5")
        for number in range(1100):
            to_dask(ArrayInMemory(np.full((2, 2), number), "yx", (2, 2)), None)
        with pytest.raises(UnfinishedWriteError):
            to_ome_zarr(array, tmp_path / "a.zarr")


class TestInMemory:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        write_hdf5_export(tmp_path / "a.h5", DATA, axes="zyx", chunks=CHUNKS, filters="gzip")
        return tmp_path / "a.h5"

    @pytest.mark.parametrize(
        ("way", "chunks"), [("persist", "auto"), ("persist", {}), ("load", "auto"), ("load", {}), ("load", None)]
    )
    def test_is_what_is_written(self, path: Path, tmp_path: Path, chunks: Any, way: str) -> None:
        array = opened(path, chunks=chunks)
        array = array.persist() if way == "persist" else array.load()
        write_hdf5_export(path, DATA + 1, axes="zyx", chunks=CHUNKS, filters="gzip")
        to_ome_zarr(array, tmp_path / "a.zarr", verify=True)
        path.unlink()
        to_ome_zarr(array, tmp_path / "b.zarr")
        for name in "ab":
            np.testing.assert_array_equal(zarr.open_array(tmp_path / f"{name}.zarr/scale0/image")[...], DATA)


SOURCES = ["zarr", "n5", "h5", "zarr by xarray", "zarr by dask", "h5 by dask", "netcdf"]


def stored(folder: Path, kind: str, value: int) -> None:
    """A file or folder of one value, written over what is there; of Zarr and N5 only the chunks change."""
    data = np.full((64, 64), value, "uint8")
    if kind.startswith("zarr"):
        path, mode = str(folder / "a.zarr"), "r+" if (folder / "a.zarr").exists() else "w"
        options = {"shape": data.shape, "chunks": (16, 16), "dtype": data.dtype, "dimension_names": ("y", "x")}
        if mode == "w":
            zarr.create_group(path).create_array("image", **options)  # type: ignore[arg-type]
        group: Any = zarr.open_group(path, mode="r+")
        group["image"][...] = data
    elif kind == "n5":
        write_n5(folder / "a.n5", data, axes="yx", chunks=(16, 16))
    elif kind == "netcdf":
        xr.Dataset({"image": (("y", "x"), data)}).to_netcdf(folder / "a.nc", engine="h5netcdf")
    else:
        write_hdf5_export(folder / "a.h5", data, axes="yx", chunks=(16, 16))


def lazily(folder: Path, kind: str) -> xr.DataArray:
    if kind == "zarr by xarray":
        return xr.open_zarr(folder / "a.zarr", consolidated=False, mask_and_scale=False)["image"]
    if kind == "zarr by dask":
        return xr.DataArray(da.from_zarr(str(folder / "a.zarr"), "image"), dims=("y", "x"))
    if kind == "h5 by dask":
        file = h5py.File(folder / "a.h5")
        return xr.DataArray(da.from_array(file["exported_data"], chunks=(16, 16), name="mine"), dims=("y", "x"))
    if kind == "netcdf":
        return xr.open_dataset(folder / "a.nc", engine="h5netcdf", chunks={"y": 16})["image"]
    return il.open_dataarray(folder / {"zarr": "a.zarr/image", "n5": "a.n5", "h5": "a.h5"}[kind])


@pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.MetadataWarning")
class TestChangedOrigin:
    @staticmethod
    def doubled(folder: Path, kind: str) -> xr.DataArray:
        array = lazily(folder, kind)
        # A name of its own: not all that users pass to dask is named by its version.
        data = da.map_blocks(np.multiply, array.chunk().data, 2, dtype="uint8", name="doubled")
        return array.copy(data=data).drop_encoding()

    @pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind not in ("h5 by dask", "netcdf")])
    def test_is_no_origin_to_go_on_with(self, tmp_path: Path, kind: str) -> None:
        def stop(done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        stored(tmp_path, kind, 1)
        with small_plans(shard=200, smallest=5):
            with pytest.raises(KeyboardInterrupt):
                to_ome_zarr(self.doubled(tmp_path, kind), tmp_path / "target", progress=stop)
            stored(tmp_path, kind, 3)
            with pytest.raises(ResumeMismatchError):
                to_ome_zarr(self.doubled(tmp_path, kind), tmp_path / "target", resume=True)

    @pytest.mark.parametrize("kind", ["zarr", "n5", "zarr by xarray", "zarr by dask"])
    def test_is_not_published(self, tmp_path: Path, kind: str) -> None:
        stored(tmp_path, kind, 1)

        def change(done: int, total: int) -> None:
            if done:
                stored(tmp_path, kind, 3)

        with small_plans(shard=200, smallest=5), pytest.raises(SourceChangedError):
            to_ome_zarr(self.doubled(tmp_path, kind), tmp_path / "target", progress=change)
        assert not (tmp_path / "target" / "zarr.json").exists()

    @pytest.mark.parametrize("kind", SOURCES)
    def test_that_stays_is_gone_on_with(self, tmp_path: Path, kind: str) -> None:
        def stop(done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        stored(tmp_path, kind, 1)
        with small_plans(shard=200, smallest=5):
            with pytest.raises(KeyboardInterrupt):
                to_ome_zarr(self.doubled(tmp_path, kind), tmp_path / "target", progress=stop)
            assert to_ome_zarr(self.doubled(tmp_path, kind), tmp_path / "target", resume=True).resumed > 0

    def test_without_a_version_is_not_gone_on_with(self, tmp_path: Path) -> None:
        store = zarr.storage.MemoryStore()
        zarr.create_array(store, data=np.ones((64, 64), "uint8"), chunks=(16, 16))
        array = xr.DataArray(da.from_zarr(zarr.open_array(store), name="mine") + 1, dims=("y", "x"))

        def stop(done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        with small_plans(shard=200, smallest=5):
            with pytest.raises(KeyboardInterrupt):
                to_ome_zarr(array, tmp_path / "target", progress=stop)
            with pytest.raises(ResumeMismatchError, match="without a version"):
                to_ome_zarr(array, tmp_path / "target", resume=True)


class TestOverwrite:
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        to_ome_zarr(xr.DataArray(DATA[0], dims=("y", "x")), tmp_path / "a.zarr")
        return tmp_path / "a.zarr"

    @pytest.mark.parametrize(
        "way", [lambda x: x + 1, lambda x: x[2:], lambda x: x.T, lambda x: x.chunk(y=2), lambda x: x[::2]]
    )
    @pytest.mark.parametrize("what", ["labels", "h5", "by xarray", "by dask", "delayed"])
    def test_keeps_what_the_array_is_made_of(self, image: Path, way: Any, what: str) -> None:
        if what == "h5":
            write_hdf5_export(inside := image / "a.h5", DATA[0], axes="yx", chunks=(3, 3))
            array = il.open_dataarray(inside)
        elif what == "delayed":
            np.save(inside := image / "a.npy", DATA[0])
            read = dask.delayed(np.load)(str(inside))
            array = xr.DataArray(da.from_delayed(read, DATA[0].shape, "uint8"), dims=("y", "x"))
        else:
            to_ome_zarr(xr.DataArray(DATA[1], dims=("y", "x")), inside := image / "labels" / "cells")
            array = il.open_dataarray(inside)
            if what == "by xarray":
                array = xr.open_zarr(inside / "scale0", consolidated=False)["image"]
            elif what == "by dask":
                array = xr.DataArray(da.from_zarr(str(inside / "scale0/image")), dims=("y", "x"))
        with pytest.raises(ArgumentError, match="holds the source"):
            to_ome_zarr(way(array), image, overwrite=True)
        assert inside.exists()

    @pytest.mark.parametrize("way", [lambda x: x[:2], lambda x: x.T, lambda x: x + 1, lambda x: x.chunk(y=2)])
    def test_of_a_file_keeps_its_other_datasets(self, tmp_path: Path, way: Any) -> None:
        write_hdf5_export(path := tmp_path / "a.h5", DATA[0], axes="yx", extra={"precious": DATA})
        before = path.read_bytes()
        with pytest.raises(ArgumentError, match="read from"):
            to_ilastik(way(il.open_dataarray(path, "exported_data")), path, "cut", overwrite=True)
        assert path.read_bytes() == before

    def test_of_a_file_keeps_what_h5py_has_open_lazily(self, tmp_path: Path) -> None:
        write_hdf5_export(path := tmp_path / "a.h5", DATA[0], axes="yx")
        with h5py.File(path) as file:
            array = xr.DataArray(da.from_array(file["exported_data"], chunks=4) + 1, dims=("y", "x"))
            with pytest.raises(ArgumentError, match="read from"):
                to_ilastik(array, path, overwrite=True)

    def test_of_n5_keeps_its_other_datasets(self, tmp_path: Path) -> None:
        write_n5(tmp_path / "a.n5", DATA[0], axes="yx", chunks=(4, 4))
        with pytest.raises(ArgumentError, match="read from"):
            to_ilastik(il.open_dataarray(tmp_path / "a.n5")[:2], tmp_path / "a.n5", "cut", overwrite=True)
        np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.n5"), DATA[0])


class TestMovedChunks:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        data = some_data((64, 128, 128), "uint8")
        write_hdf5_export(tmp_path / "a.h5", data, axes="zyx", chunks=(64, 64, 64), filters="gzip")
        return tmp_path / "a.h5"

    @pytest.mark.parametrize(
        "way",
        [
            lambda path: opened(path, cache="1MB"),
            lambda path: opened(path, order="xyz"),
            lambda path: opened(path, cache="1MB").transpose("y", "x", "z").chunk(y=5),
            lambda path: opened(path)[:, 64:],
            lambda path: opened(path, chunks={})[:, :, :64].transpose("x", "z", "y"),
            lambda path: xr.open_dataset(path, engine="ilastik")["exported_data"],
        ],
    )
    def test_are_those_of_a_view(self, path: Path, tmp_path: Path, way: Any) -> None:
        array = way(path)
        report = to_ome_zarr(array, tmp_path / "a.zarr", levels=1)
        assert (report.codec, report.reason) == ("gzip", "gzip chunks are moved as they are")
        found = zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...]
        np.testing.assert_array_equal(found, in_ome_order(array.values, "".join(map(str, array.dims))))

    @pytest.mark.parametrize(
        ("way", "reason"),
        [
            (lambda x: x[:, 3:], "cut at the borders"),
            (lambda x: x[:, :70], "cut at the borders"),
            (lambda x: x + 0, "computed by dask or in memory"),
            (lambda x: x[::2], "computed by dask or in memory"),
        ],
    )
    def test_are_none_for_a_reason_that_is_true(self, path: Path, tmp_path: Path, way: Any, reason: str) -> None:
        array = way(opened(path))
        assert reason in to_ome_zarr(array, tmp_path / "a.zarr", levels=1).reason
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...], array)


class TestInheritedMetadata:
    @pytest.fixture
    def prob(self, tmp_path: Path) -> xr.DataArray:
        data = np.random.default_rng(0).random((6, 7, 2), dtype="float32")
        path = tmp_path / "a_Probabilities.h5"
        write_hdf5_export(path, data, axes="yxc", chunks=(3, 4, 1), attributes={"drange": np.array([0.0, 1.0])})
        array = il.open_dataarray(path)
        assert (array.attrs["ilastik_kind"], array.attrs["drange"]) == ("probabilities", [0, 1])
        return array

    @pytest.mark.parametrize("way", [lambda x: x, lambda x: x.persist(), lambda x: x.compute()])
    def test_is_not_believed_against_the_values(self, prob: xr.DataArray, tmp_path: Path, way: Any) -> None:
        other = way((prob * 100 - 20).assign_attrs(prob.attrs))
        found = histogram(other)
        assert found.outside == 0
        assert (found.edges[0], found.edges[-1]) == (float(other.min()), float(other.max()))
        to_ome_zarr(other, tmp_path / "a.zarr")
        attributes: Any = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs
        window = attributes["ome"]["omero"]["channels"][0]["window"]
        assert window["end"] == float(other.isel(c=0).max())
        image = zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r").attrs
        assert not {"ilastik_kind", "drange"} & image.keys()
        to_ilastik(other, tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as file:
            assert "drange" not in file["exported_data"].attrs

    def test_is_believed_with_the_values(self, prob: xr.DataArray, tmp_path: Path) -> None:
        other = (1 - prob).assign_attrs(prob.attrs)
        found = histogram(other)
        assert (found.edges[0], found.edges[-1]) == (0, 1)
        to_ome_zarr(other, tmp_path / "a.zarr")
        image = zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r").attrs
        assert image["ilastik_kind"] == "probabilities"
