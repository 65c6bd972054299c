"""xarray's door: ``engine="ilastik"``."""

from __future__ import annotations

import io
import os
import pickle

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.engine import IlastikBackendEntrypoint
from ilastik_lazy.errors import ArgumentError, ExternalReferenceError, SourceNotFoundError
from tests.support.makers import CHUNKS, SHAPE, axistags, some_data, write_hdf5_export, write_ilp

ENGINE = IlastikBackendEntrypoint()


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "a_Probabilities.h5"
    write_hdf5_export(
        path, some_data(SHAPE), chunks=CHUNKS, filters="gzip", resolution={"z": 0.5, "y": 0.1, "x": 0.1},
        units={"z": "um"}, attributes={"drange": np.array([0, 1], "f4"), "display_mode": "default"},
        extra={"raw": np.ones((4, 4, 3))},
    )  # fmt: skip
    with h5py.File(path, "r+") as file:
        file["raw"].attrs["axistags"] = axistags("yxc")
    return path


def opened(path, **options):
    return xr.open_dataset(path, engine="ilastik", **options)


def test_xarray_knows_the_engine():
    assert isinstance(xr.backends.list_engines()["ilastik"], IlastikBackendEntrypoint)


@pytest.mark.parametrize("chunks", ["auto", {}, None, {"z": 6}, -1])
def test_the_engine_opens_the_same_as_the_function(export, chunks):
    xr.testing.assert_identical(opened(export, chunks=chunks), il.open_dataset(export, chunks=chunks))


def test_the_engine_takes_the_options_of_the_function(export, tmp_path):
    project = write_ilp(tmp_path / "project.ilp")
    for options in (
        {"internal_path": "exported_data", "project": project},
        {"internal_path": "raw", "axes": "zyx"},
        {"drop_variables": "raw"},
        {"drop_variables": ["exported_data"]},
        {"trust": "untrusted"},
    ):
        xr.testing.assert_identical(opened(export, **options), il.open_dataset(export, **options))


def test_empty_chunks_are_those_of_the_storage(export):
    variable = opened(export, chunks={})["exported_data"]
    assert variable.data.chunksize == CHUNKS
    assert variable.encoding["preferred_chunks"] == dict(zip("zyxc", CHUNKS, strict=True))


def test_without_chunks_it_is_lazy_without_dask(export):
    dataset = opened(export)
    assert dataset["exported_data"].chunks is None
    assert not dataset["exported_data"].variable._in_memory
    with h5py.File(export) as file:
        np.testing.assert_array_equal(dataset["exported_data"][2, ::4].values, file["exported_data"][2, ::4])


@pytest.mark.parametrize("chunks", [None, {}])
def test_a_dataset_can_be_pickled(export, chunks):
    dataset = opened(export, chunks=chunks)
    xr.testing.assert_identical(pickle.loads(pickle.dumps(dataset)), dataset)


def test_a_dataset_can_be_closed_and_used_as_a_context(export):
    with opened(export) as dataset:
        assert dataset.sizes["z"] == 7


def test_only_paths_are_opened(export):
    with pytest.raises(ArgumentError, match=r"opens paths"):
        opened(io.BytesIO(export.read_bytes()))


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(SourceNotFoundError):
        opened(tmp_path / "gone.h5")


def test_attributes_survive_zarr(export, tmp_path):
    dataset = opened(export, chunks={}, internal_path="exported_data")
    for variable in dataset.variables.values():
        variable.encoding.clear()
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "a.zarr", consolidated=False), dataset)


class TestGuess:
    """`guess_can_open`: cheap, never raises, and claims nothing foreign."""

    @pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5"])
    def test_claims_an_export(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        write_hdf5_export(path, some_data(SHAPE), chunks=CHUNKS)
        assert ENGINE.guess_can_open(path)
        assert ENGINE.guess_can_open(str(path))
        assert ENGINE.guess_can_open(f"{path}/exported_data")

    def test_claims_a_large_export_of_many_chunks(self, tmp_path):
        path = tmp_path / "a.h5"
        write_hdf5_export(path, some_data((60, 60, 60, 2)), chunks=(4, 4, 4, 1))
        assert path.stat().st_size > 1_000_000
        assert ENGINE.guess_can_open(path)

    def test_claims_a_project(self, tmp_path):
        assert ENGINE.guess_can_open(write_ilp(tmp_path / "project.ilp"))

    def test_leaves_other_hdf5_files_to_other_engines(self, tmp_path):
        for name in ("a.h5", "a.hdf5", "a.nc"):
            with h5py.File(tmp_path / name, "w") as file:
                file["temperature"] = np.zeros((3, 4))
            assert not ENGINE.guess_can_open(tmp_path / name)

    def test_leaves_zarr_to_other_engines(self, tmp_path):
        xr.Dataset({"a": ("x", np.arange(3))}).to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
        assert not ENGINE.guess_can_open(tmp_path / "a.zarr")

    @pytest.mark.parametrize(
        "thing",
        [None, 7, b"a.h5", io.BytesIO(b"\x89HDF"), "", "/", ".", "gone.h5", "gone.h5/data", "s3://bucket/a.h5",
         "https://host/a.h5", "\0", "a\0.h5", "~nobody/a.h5", "x" * 10_000 + ".h5", object()],
    )  # fmt: skip
    def test_never_raises(self, thing):
        assert not ENGINE.guess_can_open(thing)

    @pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"axistags", bytes(1000)])
    def test_never_raises_for_damaged_files(self, tmp_path, content):
        (tmp_path / "a.h5").write_bytes(content)
        assert not ENGINE.guess_can_open(tmp_path / "a.h5")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_does_not_wait_for_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "a.h5")
        assert not ENGINE.guess_can_open(tmp_path / "a.h5")

    def test_reads_a_little_of_a_large_file(self, tmp_path, monkeypatch):
        path, sizes, pread = tmp_path / "a.h5", [], os.pread
        write_hdf5_export(path, some_data((60, 60, 60, 2)), chunks=(4, 4, 4, 1))
        monkeypatch.setattr(os, "pread", lambda fd, size, at: sizes.append(size) or pread(fd, size, at))
        ENGINE.guess_can_open(path)
        assert sum(sizes) <= 2**18


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.parametrize("filters", ["gzip", "none"])
def test_what_was_opened_can_be_written_as_netcdf(tmp_path, engine, filters):
    write_ilp(tmp_path / "p.ilp")
    path = tmp_path / "a_Probabilities.h5"
    data = write_hdf5_export(path, some_data((5, 6, 7, 2)), chunks=(2, 3, 3, 1), filters=filters)
    il.open_dataarray(path, project=tmp_path / "p.ilp").to_netcdf(tmp_path / "a.nc", engine=engine)
    with xr.open_dataarray(tmp_path / "a.nc", engine=engine) as found:
        np.testing.assert_array_equal(found.values, data)
        assert found.attrs["ilastik_kind"] == "probabilities"


def test_a_pyramid_opens_as_a_tree_through_xarray(tmp_path):
    data = write_hdf5_export(tmp_path / "a.h5", some_data((6, 20, 30, 2)), resolution={"z": 2.0, "y": 0.5, "x": 0.5})
    il.to_ome_zarr(tmp_path / "a.h5", tmp_path / "a.zarr", levels=2)
    tree = xr.open_datatree(tmp_path / "a.zarr", engine="ilastik")
    assert list(tree.children) == ["scale0", "scale1"]
    np.testing.assert_array_equal(tree["scale0/image"].transpose("z", "y", "x", "c").values, data)
    xr.testing.assert_identical(tree.load(), il.open_datatree(tmp_path / "a.zarr").load())
    with pytest.raises(ArgumentError):
        xr.open_datatree(io.BytesIO(b"x"), engine="ilastik")


def test_what_lies_in_other_files_is_opened_where_the_caller_allows_it(export, tmp_path):
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["exported_data"] = h5py.ExternalLink(export.name, "exported_data")
    linked = f"{tmp_path}/link.h5/exported_data"
    for open_it in (xr.open_dataset, xr.open_datatree):
        with pytest.raises(ExternalReferenceError):
            open_it(linked, engine="ilastik")
        open_it(linked, engine="ilastik", allow_external=tmp_path)


def test_the_nodes_of_a_tree_open_as_a_dict(export):
    found = xr.open_groups(export, engine="ilastik")
    assert set(found) == {"/", "/exported_data", "/raw"}
    tree = il.open_datatree(export)
    for path, dataset in found.items():
        xr.testing.assert_identical(dataset.load(), tree[path].to_dataset().load())
