"""Classes out of probabilities: numpy's argmax, ilastik's own Simple Segmentation, and what a threshold leaves out."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import region_shape
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, AxesError
from tests.support.makers import write_hdf5_export
from tests.support.shared_files import shared_path


def some_map(shape, dtype="<f4", seed=0):
    """Few different values, so that many voxels have several best classes."""
    values = np.random.default_rng(seed).integers(0, 4, shape)
    return (values / 4).astype(dtype) if np.dtype(dtype).kind == "f" else (values * 60).astype(dtype)


@pytest.mark.parametrize("axes", ["zyxc", "czyx", "zcyx", "yxc", "tyxc", "c"])
@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "u1", "<u2", "<i4", "?"])
def test_the_best_class_is_that_of_numpy_and_the_first_of_equals(axes, classes, dtype):
    values = some_map([classes if axis == "c" else 3 + i for i, axis in enumerate(axes)], dtype)
    found = il.classify(xr.DataArray(values, dims=tuple(axes)))
    assert found.dims == tuple(axes.replace("c", ""))
    np.testing.assert_array_equal(found.values, (np.argmax(values, axes.index("c")) + 1).astype("u1"), strict=True)


@pytest.mark.parametrize(("axes", "chunks"), [("zyxc", (3, 4, 5, 1)), ("cyx", (2, 3, 4)), ("tcyx", (1, 3, 9, 4))])
def test_a_file_gives_the_same_whatever_its_chunks(tmp_path, axes, chunks):
    values = some_map([dict(zip("tzyxc", (2, 7, 11, 9, 3), strict=True))[axis] for axis in axes])
    path = tmp_path / "a_Probabilities.h5"
    write_hdf5_export(path, values, axes=axes, chunks=chunks, filters="gzip")
    expected = np.argmax(values, axes.index("c")) + 1
    np.testing.assert_array_equal(il.classify(path).values, expected)
    found = il.classify(il.open_dataarray(path))
    np.testing.assert_array_equal(found.values, expected)
    np.testing.assert_array_equal(found.isel(y=3).values, expected.take(3, found.dims.index("y")))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 6),
    st.lists(st.integers(1, 9), min_size=5, max_size=5),
    st.integers(0, 2**32),
)
def test_blocks_of_dask_do_not_matter(lengths, classes, chunks, seed):
    dims = "tzyx"[-len(lengths) :] + "c"
    values = some_map([*lengths, classes], seed=seed)
    array = xr.DataArray(values, dims=tuple(dims)).chunk(dict(zip(dims, chunks, strict=False)))
    expected = np.where(values.max(-1) >= np.float32(0.5), np.argmax(values, -1) + 1, 0)
    np.testing.assert_array_equal(il.classify(array, 0.5).values, expected)


def test_more_classes_than_a_byte_can_count():
    values = np.zeros((2, 300), "f4")
    values[0, 299] = values[1, 254] = 1
    found = il.classify(xr.DataArray(values, dims=("x", "c")))
    assert found.dtype == np.uint16
    assert found.values.tolist() == [300, 255]


def test_below_the_threshold_there_is_no_class():
    values = np.array([[0.5, 0.5], [0.7, 0.3], [0.3, 0.69], [0, 0]], "f4")
    array = xr.DataArray(values, dims=("x", "c"))
    assert il.classify(array).values.tolist() == [1, 1, 2, 1]
    assert il.classify(array, 0.7).values.tolist() == [0, 1, 0, 0]
    assert il.classify(array, 0.01).values.tolist() == [1, 1, 2, 0]
    assert il.classify(array, 0).values.tolist() == [1, 1, 2, 1]


def test_a_threshold_is_on_the_scale_of_the_range_that_is_known():
    values = np.array([[127, 128], [127, 0], [255, 0]], "u1")
    array = xr.DataArray(values, dims=("x", "c"))
    assert il.classify(array.assign_attrs(drange=[0, 255]), 0.5).values.tolist() == [2, 0, 1]
    assert il.classify(array, 128).values.tolist() == [2, 0, 1]
    with pytest.raises(ArgumentError, match=r"threshold=0.5: .* holds uint8.*set attrs\['drange'\]"):
        il.classify(array, 0.5)
    with pytest.raises(ArgumentError, match="50 percent are"):
        il.classify(sample("probabilities"), 50)


def test_a_voxel_with_nan_has_no_class():
    values = np.array([[np.nan, 0.2], [0.2, np.nan], [np.inf, 0.5], [-np.inf, -np.inf], [0.1, 0.9]], "f4")
    array = xr.DataArray(values, dims=("x", "c"))
    assert il.classify(array).values.tolist() == [0, 0, 1, 1, 2]
    assert il.classify(array, 0.5).values.tolist() == [0, 0, 1, 0, 2]


def test_names_and_colours_are_those_of_a_segmentation_that_was_opened():
    probabilities = il.open_dataarray(sample("probabilities"), project=sample("project"))
    opened = il.open_dataarray(sample("segmentation"), project=sample("project")).squeeze("c")
    found = il.classify(probabilities)
    xr.testing.assert_equal(found.rename(opened.name), opened)
    assert found.dtype == opened.dtype
    for name in ("ilastik_kind", "flag_values", "flag_meanings", "flag_colors"):
        assert found.attrs[name] == opened.attrs[name]
    assert "drange" not in found.attrs
    assert found.coords["z"].attrs == opened.coords["z"].attrs


def test_channels_without_names_give_no_flags():
    attributes = il.classify(il.open_dataarray(sample("probabilities"))).attrs
    assert "flag_meanings" not in attributes
    assert attributes["ilastik_kind"] == "segmentation"


def test_classes_of_objects_are_predictions_of_objects():
    array = xr.DataArray(
        np.zeros((3, 4, 2), "f4"), dims=("y", "x", "c"), attrs={"ilastik_kind": "object probabilities"}
    )
    assert il.classify(array).attrs["ilastik_kind"] == "object predictions"


def test_coordinates_without_channels_stay():
    array = xr.DataArray(
        np.zeros((3, 2), "f4"),
        dims=("x", "c"),
        coords={"c": ["a", "b"], "plate": "A1", "well": ("x", ["u", "v", "w"]), "wavelength": ("c", [405, 488])},
    )
    found = il.classify(array)
    assert set(found.coords) == {"plate", "well"}


def test_what_all_blocks_of_a_computed_map_need_is_computed_once():
    calls = []

    def seen(block):
        calls.append(block.shape)
        return block

    values = some_map((8, 9, 3))
    array = xr.DataArray(values, dims=("y", "x", "c")).chunk(y=2, x=3, c=1)
    array = array.copy(data=array.data.map_blocks(seen, meta=np.empty((0, 0, 0), "f4")))
    found = il.classify(array / array.max())
    assert not calls
    np.testing.assert_array_equal(found.compute(scheduler="synchronous").values, np.argmax(values, -1) + 1)
    assert len(calls) == 4 * 3 * 3
    assert found.attrs["ilastik_kind"] == "segmentation"


def test_dims_in_capitals_are_understood():
    array = xr.DataArray(np.eye(2, dtype="f4"), dims=("X", "C"), coords={"X": [0.0, 1.0]})
    assert il.classify(array).dims == ("x",)
    assert il.classify(array).values.tolist() == [1, 2]


class CountingSource:
    """Serves zeros, and remembers which regions were asked for."""

    def __init__(self, shape, chunks):
        axes = tuple(map(Axis, "zyxc"))
        self.spec = ArraySpec(
            name="map", shape=shape, dtype=np.dtype("f4"), axes=axes, chunks=chunks, storage=Storage("memory")
        )
        self.regions = []

    def read(self, region):
        self.regions.append(region)
        return np.zeros(region_shape(region), "f4")


@pytest.mark.parametrize("chunks", [(16, 64, 64, 1), (16, 64, 64, 3)])
def test_nothing_is_read_before_it_is_wanted_and_then_each_chunk_once(chunks):
    source = CountingSource((40, 300, 500, 3), chunks)
    found = il.classify(source)
    plane = found.isel(z=3)
    assert source.regions == []
    found.compute(scheduler="synchronous")
    chunks_read = [
        tuple(part.start // length for part, length in zip(region, chunks, strict=True)) for region in source.regions
    ]
    assert len(set(chunks_read)) == len(chunks_read)
    assert sum(np.prod(region_shape(region)) for region in source.regions) == np.prod(source.spec.shape)
    assert max(np.prod(region_shape(region)) for region in source.regions) * 4 <= 4 * 2**20 * chunks[3]
    source.regions.clear()
    plane.compute(scheduler="synchronous")
    assert {(region[0].start, region[0].stop) for region in source.regions} == {(3, 4)}


def test_an_empty_map_has_an_empty_segmentation():
    assert il.classify(xr.DataArray(np.zeros((0, 4, 2), "f4"), dims=("y", "x", "c"))).values.shape == (0, 4)


def test_what_cannot_be_classified_is_said():
    with pytest.raises(AxesError, match="has the dims y, x: classes lie along c"):
        il.classify(xr.DataArray(np.zeros((3, 4)), dims=("y", "x")))
    with pytest.raises(ArgumentError, match="has no channels"):
        il.classify(xr.DataArray(np.zeros((3, 0)), dims=("y", "c")))
    for threshold in ("0.5", np.nan, True):
        with pytest.raises(ArgumentError, match=r"threshold=.*: expected a number"):
            il.classify(sample("probabilities"), threshold)


def test_the_result_can_be_pickled_and_written_as_a_label_image(tmp_path):
    found = il.classify(il.open_dataarray(sample("probabilities"), project=sample("project")), 0.8)
    assert pickle.loads(pickle.dumps(found)).identical(found)
    il.to_ome_zarr(found, tmp_path / "classes.zarr")
    again = il.open_dataarray(tmp_path / "classes.zarr")
    np.testing.assert_array_equal(again.values, found.values)
    assert again.attrs["flag_meanings"] == "nucleus background"
    assert "image-label" in zarr.open_group(tmp_path / "classes.zarr").attrs["ome"]


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["pixel_classification", "autocontext"])
def test_the_simple_segmentations_of_ilastik(folder):
    counts = {"pairs": 0, "ties": 0}
    for path in sorted(shared_path("ilastik-files", "workflows", folder).glob("*Simple-Segmentation*__gz.h5")):
        stem, source, _ = path.name.split("__")
        stage = source.removeprefix("Simple-Segmentation")
        expected = il.open_dataarray(path).squeeze("c")
        for other in sorted(path.parent.glob(f"{stem}__Probabilities{stage}*")):
            # numpy files name no axes.
            axes = "".join((*expected.dims, "c")) if other.suffix == ".npy" else None
            if "All-Stages" in other.name:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", il.errors.MetadataWarning)
                probabilities = il.open_dataarray(other, axes=axes)
            found = il.classify(probabilities)
            extra = [dim for dim in found.dims if dim not in expected.dims]
            found = found.squeeze(extra).transpose(*expected.dims)
            np.testing.assert_array_equal(found.values, expected.values, err_msg=other.name)
            values = probabilities.values
            best = values.max(probabilities.dims.index("c"), keepdims=True)
            counts["pairs"] += 1
            counts["ties"] += int(((values == best).sum(probabilities.dims.index("c")) > 1).sum())
    assert counts["pairs"] == {"pixel_classification": 46, "autocontext": 1}[folder]
    assert counts["ties"] > 0 or folder == "autocontext"
