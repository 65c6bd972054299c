"""From a source to xarray and dask: what is read, when, and with which index."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import check_region
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.dataset import chunked, moved, to_dataset
from ilastik_lazy.lazy.indexing import SourceArray
from tests.support.makers import some_data, write_hdf5_export


class CountingSource:
    """Serves the numbers 0, 1, 2, ... and remembers which regions were asked for."""

    def __init__(self, shape=(20, 30, 40, 2), chunks=(4, 10, 10, 1), axes=None, **known):
        axes = axes or tuple(Axis(name) for name in "tzyxc"[-len(shape) :])
        self.spec = ArraySpec(
            name="data", shape=shape, dtype=np.dtype("<f4"), axes=axes, chunks=chunks,
            storage=Storage("file.h5/data"), **known,
        )  # fmt: skip
        self.regions = []

    @property
    def data(self):
        return np.arange(np.prod(self.spec.shape), dtype="<f4").reshape(self.spec.shape)

    def read(self, region):
        check_region(region, self.spec.shape)
        self.regions.append(region)
        return self.data[region]

    @property
    def elements(self):
        return sum(int(np.prod([part.stop - part.start for part in region])) for region in self.regions)

    @property
    def rows(self):
        """Along the first axis, from where to where the reads went."""
        return {(region[0].start, region[0].stop) for region in self.regions}

    def __dask_tokenize__(self):
        return (self.spec,)


def opened(source, chunks="auto"):
    return chunked(to_dataset({"data": source}), {"data": source}, chunks)["data"]


def computed(array):
    return array.compute(scheduler="synchronous").values


@pytest.mark.parametrize("chunks", ["auto", {}, None])
def test_nothing_is_read_until_something_is_computed(chunks):
    source = CountingSource()
    array = opened(source, chunks)
    array = (
        array.isel(z=slice(2, 9)).transpose("c", "x", "y", "z").isel(c=0).astype("f8") if chunks is not None else array
    )
    text = repr(array) + array._repr_html_() if chunks is not None else str(array.isel(c=0).dims)
    assert text
    assert (array.dtype, array.nbytes > 0, array.encoding is not None) == (array.dtype, True, True)
    assert source.regions == []


def test_one_plane_reads_only_its_rows():
    source = CountingSource()
    np.testing.assert_array_equal(computed(opened(source).isel(z=5)), source.data[5])
    assert source.rows == {(5, 6)}
    assert source.elements == source.data[5].size


def test_one_voxel_reads_one_voxel():
    source = CountingSource()
    assert computed(opened(source, None)[3, 4, 5, 1]) == source.data[3, 4, 5, 1]
    assert source.elements == 1


def test_a_box_reads_each_voxel_once():
    source = CountingSource()
    box = (slice(3, 17), slice(5, 25), slice(11, 12), slice(1, 2))
    np.testing.assert_array_equal(computed(opened(source)[box]), source.data[box])
    assert source.elements == source.data[box].size


def test_a_region_has_no_steps_so_that_it_equals_whole_axes():
    source = CountingSource()
    opened(source).sum().compute(scheduler="synchronous")
    computed(opened(source, None)[3:5, :, 4])
    whole = tuple(slice(0, length) for length in source.spec.shape[1:3])
    assert {part.step for region in source.regions for part in region} == {None}
    assert any(region[1] == whole[0] for region in source.regions)


def test_a_sum_reads_each_voxel_once():
    source = CountingSource()
    assert float(opened(source).sum(dtype="f8").compute(scheduler="synchronous")) == source.data.sum(dtype="f8")
    assert source.elements == source.data.size


def test_a_list_reads_only_what_lies_between_within_a_chunk():
    source = CountingSource()
    found = computed(opened(source, None).isel(z=[0, 1, 17, 19], c=0))
    np.testing.assert_array_equal(found, source.data[[0, 1, 17, 19], ..., 0])
    # Rows 0..1 of the first chunk and 17..19 of the last; nothing of the three chunks between.
    assert source.rows == {(0, 2), (17, 20)}


def test_a_step_skips_the_chunks_between():
    source = CountingSource((100, 4), (4, 4))
    np.testing.assert_array_equal(computed(opened(source, None)[::50]), source.data[::50])
    assert source.elements == 8


LENGTH = 7
# xarray 2026.9 itself fails for an empty slice that goes backwards (`_decompose_slice`).
slices = st.slices(LENGTH).filter(lambda part: len(range(LENGTH)[part]) or (part.step or 1) > 0)
indexes = st.one_of(
    st.integers(-LENGTH, LENGTH - 1),
    slices,
    st.lists(st.integers(-LENGTH, LENGTH - 1), max_size=5).map(lambda found: np.array(found, int)),
    st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH).map(np.array),
)


@given(st.tuples(indexes, indexes, indexes), st.tuples(*[st.integers(1, LENGTH + 2)] * 3), st.sampled_from([None, {}]))
def test_an_outer_index_gives_what_numpy_gives(key, chunks, blocks):
    source = CountingSource((LENGTH,) * 3, chunks)
    found = computed(opened(source, blocks)[key])
    expected = source.data
    for axis in reversed(range(3)):
        expected = expected[(slice(None),) * axis + (key[axis],)]
    np.testing.assert_array_equal(found, expected)


@given(
    st.lists(st.tuples(*[st.integers(0, LENGTH - 1)] * 2), max_size=6),
    st.tuples(*[st.integers(1, LENGTH)] * 3),
    st.sampled_from([None, {}]),
)
def test_a_pointwise_index_gives_what_numpy_gives(points, chunks, blocks):
    source = CountingSource((LENGTH,) * 3, chunks, tuple(map(Axis, "zyx")))
    first, last = (np.array([point[i] for point in points], int) for i in range(2))
    array = opened(source, blocks).isel(z=xr.DataArray(first, dims="p"), x=xr.DataArray(last, dims="p"))
    # numpy puts the points first where a slice lies between.
    np.testing.assert_array_equal(computed(array.transpose("p", "y")), source.data[first, :, last])


# What is left after one index may be shorter, and a slice of it empty: so only forward ones (see above).
forward = indexes.filter(lambda index: not isinstance(index, slice) or (index.step or 1) > 0)


@given(st.lists(st.tuples(forward, forward), min_size=1, max_size=3))
def test_an_index_of_an_index_gives_what_numpy_gives(keys):
    source = CountingSource((LENGTH, LENGTH), (3, 2))
    found, expected = opened(source, None), source.data
    for rows, columns in keys:
        try:
            expected = expected[rows][..., columns] if not np.isscalar(rows) else expected[rows][columns]
        except (IndexError, DeprecationWarning):  # fewer elements than the index was made for; numpy 2.2 may only warn
            break
        found = found[rows, columns] if found.ndim == 2 else found
        if found.ndim < 2:
            break
    if found.shape == np.shape(expected):
        np.testing.assert_array_equal(computed(found), expected)


@pytest.mark.parametrize("key", [(7, 0), (0, -8), ([0, 7], 0)])
def test_an_index_out_of_bounds_is_an_error(key):
    array = SourceArray(CountingSource((LENGTH, LENGTH), (3, 2)))
    with pytest.raises(IndexError, match=r"out of bounds"):
        array.outer(key)


@pytest.mark.parametrize(
    ("chunks", "lengths"),
    [
        ({}, ((4, 4, 2), (6, 3), (2,))),
        ("auto", ((10,), (9,), (2,))),
        (5, ((5, 5), (5, 4), (2,))),
        (-1, ((10,), (9,), (2,))),
        ((5, 9, 1), ((5, 5), (9,), (1, 1))),
        ((-1, "auto", None), ((10,), (9,), (2,))),
        (((3, 7), 9, 2), ((3, 7), (9,), (2,))),
        ({"z": 3}, ((3, 3, 3, 1), (6, 3), (2,))),
        ({"z": -1, "y": "auto"}, ((10,), (9,), (2,))),
        ({"z": (1, 9), "y": None}, ((1, 9), (9,), (2,))),
        ({"t": 1}, ((4, 4, 2), (6, 3), (2,))),
        ({"z": np.int64(6)}, ((6, 4), (6, 3), (2,))),
    ],
)
def test_blocks_are_as_asked_for(chunks, lengths):
    source = CountingSource((10, 9, 2), (4, 6, 2), tuple(map(Axis, "zyx")))
    array = opened(source, chunks)
    assert array.chunks == lengths
    np.testing.assert_array_equal(computed(array), source.data)


@pytest.mark.parametrize(
    "chunks",
    ["all", 0, -2, (5, 5), {"z": 0}, {"z": "many"}, {"q": 5}, {"z": (3, 3)}, 2.5, {"z": 2.5}, (5, 5, 5, 5)],
)
def test_blocks_that_make_no_sense_are_refused(chunks):
    with pytest.raises(ArgumentError, match=r"chunks"):
        opened(CountingSource((10, 9, 2), (4, 6, 2), tuple(map(Axis, "zyx"))), chunks)


def test_without_chunks_there_is_no_dask():
    assert opened(CountingSource(), None).chunks is None


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_an_empty_array_computes_to_an_empty_array(shape):
    assert computed(opened(CountingSource(shape, (2, 2)))).shape == shape


def test_the_same_source_gives_the_same_names_of_tasks():
    first, second, other = (opened(CountingSource(chunks=c)) for c in [(4, 10, 10, 1)] * 2 + [(5, 10, 10, 1)])
    assert first.data.name == second.data.name != other.data.name


def test_axes_with_a_step_get_coordinates_and_the_others_none():
    axes = (
        Axis("t", 2.0, 0.0, "second"),
        Axis("z", 0.5, 10.0, "micrometer"),
        Axis("y", 1.0),
        Axis("x", None, 0.0, "nanometer"),
    )
    array = opened(CountingSource((3, 4, 5, 6), (1, 2, 2, 2), axes))
    assert set(array.coords) == {"t", "z", "y"}
    np.testing.assert_array_equal(array.coords["z"], [10.0, 10.5, 11.0, 11.5])
    assert array.coords["z"].attrs == {"axis": "Z", "units": "micrometer"}
    assert array.coords["y"].attrs == {"axis": "Y"}
    assert array.attrs["axis_units"] == '{"x": "nanometer"}'


def test_attributes_say_what_is_known_and_nothing_else():
    assert opened(CountingSource()).attrs == {}
    known = {"kind": "probabilities", "drange": (0.0, 1.0), "display_mode": "grayscale", "axes_guessed": True}
    assert opened(CountingSource(**known)).attrs == {
        "ilastik_kind": "probabilities", "axes_guessed": 1, "drange": [0.0, 1.0], "display_mode": "grayscale",
        "long_name": "probability",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["probabilities", "segmentation"])
def test_attributes_survive_netcdf_and_zarr(kind, tmp_path):
    axes = tuple(Axis(name, unit="micrometer") for name in "zyxc")
    known = {"kind": kind, "axes": axes, "axes_guessed": True, "drange": (0.0, 1.0), "display_mode": "grayscale"}
    names = {"channel_names": ("a", "b c"), "channel_colors": ((255, 0, 0), (0, 255, 0))}
    array = opened(CountingSource(**known, **names))
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    array.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
    with (
        xr.open_dataarray(tmp_path / "a.nc", engine="h5netcdf") as from_netcdf,
        xr.open_dataarray(tmp_path / "a.zarr", engine="zarr", consolidated=False) as from_zarr,
    ):
        for found in (from_netcdf, from_zarr):
            assert found.attrs.keys() == array.attrs.keys()
            assert all(np.array_equal(found.attrs[name], array.attrs[name]) for name in array.attrs)


def test_a_label_image_has_no_range():
    # ilastik hands down the (0, 1) of the probabilities (ilastik-formats.md 1.6).
    assert "drange" not in opened(CountingSource(kind="segmentation", drange=(0.0, 1.0))).attrs


def test_encoding_says_how_it_is_stored():
    assert opened(CountingSource()).encoding == {
        "source": "file.h5/data", "original_shape": (20, 30, 40, 2), "compression": None,
        "zlib": False, "shuffle": False, "fletcher32": False,
        "preferred_chunks": {"z": 4, "y": 10, "x": 10, "c": 1}, "chunksizes": (4, 10, 10, 1),
    }  # fmt: skip


def test_arrays_of_different_sizes_stand_side_by_side():
    sources = {"a": CountingSource((4, 5, 6, 2)), "raw": CountingSource((4, 5, 6, 1))}
    dataset = to_dataset(sources)
    assert dataset["a"].dims == ("z", "y", "x", "c")
    assert dataset["raw"].dims == ("z", "y", "x", "c_raw")
    np.testing.assert_array_equal(chunked(dataset, sources, {})["raw"].values, sources["raw"].data)


def test_arrays_of_different_steps_do_not_share_a_dimension():
    fine, coarse, unknown = ((Axis("y", step), Axis("x", 1.0)) for step in (0.5, 2.0, None))
    dataset = to_dataset(
        {name: CountingSource((4, 5), (2, 2), axes) for name, axes in zip("abc", (fine, coarse, unknown), strict=True)}
    )
    assert [dataset[name].dims for name in "abc"] == [("y", "x"), ("y_b", "x"), ("y_c", "x")]
    assert [float(dataset.coords[dim][1]) for dim in ("y", "y_b")] == [0.5, 2.0]
    assert "y_c" not in dataset.coords


def test_dims_move_into_an_order():
    dataset = to_dataset({"data": CountingSource()})
    assert moved(dataset, "tczyx")["data"].dims == ("c", "z", "y", "x")
    assert moved(dataset, "xy")["data"].dims == ("z", "c", "x", "y")


@pytest.mark.parametrize("order", [None, "xyz"])
def test_elements_of_an_array_without_dask_can_be_assigned_and_no_copy_sees_it(tmp_path, order):
    data = some_data((4, 5, 6), "u2")
    write_hdf5_export(tmp_path / "a.h5", data, axes="zyx", chunks=(2, 2, 2))
    before = (tmp_path / "a.h5").read_bytes()
    array = il.open_dataarray(tmp_path / "a.h5", chunks=None, order=order)
    first = array.copy(deep=True)
    array[{"z": 1, "y": slice(1, 3)}] = 9
    second = array.copy(deep=True)
    array[{"x": 0}] = 7
    expected = data.copy()
    np.testing.assert_array_equal(first.transpose("z", "y", "x").values, expected)
    expected[1, 1:3] = 9
    np.testing.assert_array_equal(second.transpose("z", "y", "x").values, expected)
    expected[..., 0] = 7
    np.testing.assert_array_equal(array.transpose("z", "y", "x").values, expected)
    assert (tmp_path / "a.h5").read_bytes() == before
    il.to_ome_zarr(array, tmp_path / "a.zarr")
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.zarr", order="zyx").values.squeeze(), expected)
