"""`open_dataarray` and `open_dataset`: the doors that people use."""

from __future__ import annotations

import inspect
import pickle

import dask
import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.core.options import Limits
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import (
    ArgumentError,
    AxesError,
    CorruptChunkError,
    DatasetNotFoundError,
    IlastikLazyError,
    IlastikLazyWarning,
    IncompleteSourceWarning,
    LimitExceededError,
    SourceNotFoundError,
)
from tests.support.clusters import forked_workers
from tests.support.makers import (
    CHUNKS,
    DIRECT_LAYOUTS,
    H5PY_LAYOUTS,
    SHAPE,
    axistags,
    some_data,
    write_hdf5_export,
    write_layout,
)


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "export.h5"
    write_hdf5_export(path, some_data(SHAPE), chunks=CHUNKS, filters="gzip", resolution={"z": 0.5}, units={"z": "um"})
    return path


@pytest.fixture
def several(tmp_path):
    """A file with two images that share a name, one that does not, and a table."""
    path = tmp_path / "several.h5"
    with h5py.File(path, "w") as file:
        for name, shape in {"a/data": (4, 5), "b/data": (4, 5), "labels": (4, 6)}.items():
            file[name] = some_data(shape)
            file[name].attrs["axistags"] = axistags("yx")
        file["table"] = np.zeros(3, [("id", "i4")])
    return path


@pytest.mark.parametrize("layout", DIRECT_LAYOUTS | H5PY_LAYOUTS)
def test_an_export_of_any_layout_opens_and_computes(tmp_path, layout):
    data = write_layout(tmp_path / "a.h5", (DIRECT_LAYOUTS | H5PY_LAYOUTS)[layout])
    array = il.open_dataarray(tmp_path / "a.h5")
    assert (array.dims, array.shape, array.dtype) == (tuple("zyxc"), data.shape, data.dtype)
    np.testing.assert_array_equal(array.values, data, strict=True)
    np.testing.assert_array_equal(array[2:6, ::3, [1, 8]].values, data[2:6, ::3, [1, 8]], strict=True)


def test_the_array_is_called_after_its_dataset(export, several):
    assert il.open_dataarray(export).name == "exported_data"
    assert il.open_dataarray(several, "a/data").name == "data"


def test_an_internal_path_may_stand_behind_the_file(several):
    one, other = il.open_dataarray(f"{several}/labels"), il.open_dataarray(several, "/labels")
    xr.testing.assert_identical(one, other)


def test_axes_of_the_caller_replace_those_of_the_file(export):
    assert il.open_dataarray(export, axes="zxyc").dims == tuple("zxyc")
    with pytest.raises(AxesError, match=r"axes='zyx'"):
        il.open_dataarray(export, axes="zyx")


def test_order_moves_the_dims_and_not_the_values(export):
    array = il.open_dataarray(export)
    turned = il.open_dataarray(export, order="tczyx")
    assert turned.dims == ("c", "z", "y", "x")
    xr.testing.assert_identical(turned.transpose(*array.dims), array)
    with pytest.raises(AxesError):
        il.open_dataarray(export, order="zyq")


def test_limits_are_those_of_the_caller(export):
    with pytest.raises(LimitExceededError):
        il.open_dataarray(export, limits=Limits(chunk_bytes=10))


def test_a_dataset_holds_every_image(several):
    dataset = il.open_dataset(several)
    assert set(dataset.data_vars) == {"a_data", "b_data", "labels"}
    assert dataset["labels"].dims == ("y", "x_labels")
    for name, path in {"a_data": "a/data", "b_data": "b/data", "labels": "labels"}.items():
        with h5py.File(several) as file:
            np.testing.assert_array_equal(dataset[name].values, file[path][...])


@pytest.mark.parametrize("dropped", ["labels", ["labels"], ("labels", "nothing"), {"labels"}])
def test_images_can_be_left_out(several, dropped):
    assert set(il.open_dataset(several, drop_variables=dropped).data_vars) == {"a_data", "b_data"}


def test_one_image_of_many_is_a_dataset_too(several):
    assert set(il.open_dataset(several, internal_path="b/data").data_vars) == {"data"}
    assert set(il.open_dataset(f"{several}/labels").data_vars) == {"labels"}


def test_hundreds_of_images_are_not_opened_by_accident(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(201):
            file[f"i{number}"] = np.zeros((2, 2))
    with pytest.raises(ArgumentError, match=r"holds 201 images.*internal_path="):
        il.open_dataset(tmp_path / "a.h5")


def test_a_file_without_images_is_said_so(tmp_path):
    h5py.File(tmp_path / "a.h5", "w").close()
    for opener in (il.open_dataarray, il.open_dataset):
        with pytest.raises(DatasetNotFoundError, match=r"holds no image"):
            opener(tmp_path / "a.h5")
        with pytest.raises(SourceNotFoundError):
            opener(tmp_path / "b.h5")


def test_an_array_pickles_small_and_reads_the_same(export):
    array = il.open_dataarray(export, chunks={})
    assert array.data.npartitions == 54
    array.compute()
    text = pickle.dumps(array)
    assert len(text) < 20_000
    xr.testing.assert_identical(pickle.loads(text), array)


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes"])
def test_every_scheduler_of_dask_gives_the_same(export, scheduler):
    array = il.open_dataarray(export, chunks={})
    with forked_workers(), dask.config.set(scheduler=scheduler), h5py.File(export) as file:
        np.testing.assert_array_equal(array.isel(c=1).values, file["exported_data"][..., 1])


def test_reductions_agree_with_numpy(tmp_path):
    data = np.random.default_rng(0).random(SHAPE, "f4")
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS, filters="gzip")
    array = il.open_dataarray(tmp_path / "a.h5")
    np.testing.assert_allclose(array.mean("z").values, data.mean(0), rtol=1e-5)
    np.testing.assert_allclose(array.std(["y", "x"]).values, data.std((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(array.max("c").values, data.max(3))
    np.testing.assert_array_equal(array.argmax("c").values, data.argmax(3))


def test_a_damaged_chunk_is_an_error_in_the_middle_of_a_reduction(export):
    with h5py.File(export, "r+") as file:
        file["exported_data"].id.write_direct_chunk((3, 4, 4, 1), b"no stream")
    array = il.open_dataarray(export)
    with pytest.raises(CorruptChunkError, match=r"\(3, 4, 4, 1\)"):
        array.mean("z").compute()
    assert np.isfinite(array.isel(c=0, z=slice(0, 3)).values).any()


def test_a_stopped_export_warns_when_it_is_opened(tmp_path):
    data = write_hdf5_export(tmp_path / "a.h5", some_data(SHAPE), chunks=CHUNKS, missing=[(0, 0, 0, 0)], fill=-1)
    with pytest.warns(IncompleteSourceWarning):
        array = il.open_dataarray(tmp_path / "a.h5")
    np.testing.assert_array_equal(array.values, data)


def test_the_sample_says_what_its_voxels_are():
    array = il.open_dataarray(sample("probabilities"), project=sample("project"))
    assert array.sizes == {"z": 40, "y": 128, "x": 160, "c": 2}
    assert array.attrs["ilastik_kind"] == "probabilities"
    assert il.open_dataarray(sample("segmentation")).attrs["ilastik_kind"] == "segmentation"
    assert il.open_dataarray(sample("raw")).coords["z"].attrs == {"axis": "Z", "units": "micrometer"}


def test_the_function_and_the_dataset_take_the_same_options():
    one, many = (inspect.signature(opener).parameters for opener in (il.open_dataarray, il.open_dataset))
    shared = {"path", "internal_path", "axes", "project", "chunks", "order", "limits"}
    assert shared <= set(one) & set(many)
    assert {name: one[name].default for name in shared} == {name: many[name].default for name in shared}


def test_every_error_is_also_the_builtin_one_would_guess():
    from ilastik_lazy import errors

    for name in [name for name in errors.__all__ if name.endswith(("Error", "Warning"))]:
        kind = getattr(errors, name)
        base = IlastikLazyWarning if name.endswith("Warning") else IlastikLazyError
        assert issubclass(kind, base)
        if kind not in (IlastikLazyError, IlastikLazyWarning):
            assert len([b for b in kind.__mro__ if b.__module__ == "builtins"]) > 3, name
        assert str(kind("one message")) == "one message"


def test_every_name_of_the_package_that_is_there_can_be_imported():
    assert dir(il) == sorted(il.__all__)
    with pytest.raises(AttributeError, match=r"nothing"):
        _ = il.nothing
    assert callable(il.open_dataarray)
    assert issubclass(il.errors.CorruptChunkError, OSError | ValueError)
    assert il.Limits(depth=3).depth == 3
    for name in ("reduce", "histogram", "percentile", "normalise", "standardise"):
        assert callable(getattr(il.reductions, name)), f"{name} must be the function, not a module of that name"
    assert all(hasattr(il, name) for name in il.__all__)


class TestStacks:
    def test_a_pattern_of_pictures_is_a_volume(self, tmp_path):
        pillow = pytest.importorskip("PIL.Image", reason="pillow reads pictures: pip install 'ilastik_lazy[images]'")
        data = some_data((4, 20, 30), "uint8")
        for z, plane in enumerate(data):
            pillow.fromarray(plane).save(tmp_path / f"slice_{z}.png")
        array = il.open_dataarray(tmp_path / "slice_*.png")
        assert array.dims[:3] == ("z", "y", "x")
        np.testing.assert_array_equal(array.values.reshape(data.shape), data)

    def test_a_list_of_exports_is_a_time_series(self, tmp_path):
        parts = [write_hdf5_export(tmp_path / f"{t}.h5", some_data((4, 5, 6, 2)) + t) for t in range(3)]
        files = [tmp_path / f"{t}.h5" for t in range(3)]
        array = il.open_dataarray(files, stack_along="t")
        assert array.dims == ("t", "z", "y", "x", "c")
        np.testing.assert_array_equal(array.values, np.stack(parts))
        np.testing.assert_array_equal(array.isel(t=1, z=2).values, parts[1][2])

    def test_one_file_is_no_stack(self, tmp_path):
        write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6, 2)))
        with pytest.raises(ArgumentError, match="several files"):
            il.open_dataarray(tmp_path / "a.h5", stack_along="t")
