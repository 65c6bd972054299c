"""Histograms count what `numpy.histogram` counts, and say what they left out."""

from __future__ import annotations

import threading

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.exports import write_export
from ilastik_lazy.core import parallel as blockwise
from ilastik_lazy.errors import ArgumentError, AxesError, CorruptChunkError, MemoryLimitError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.reductions import histogram
from tests.support.in_memory import DTYPES, ArrayInMemory


@given(
    st.sampled_from([*DTYPES, "i4"]),
    st.sampled_from([1, 2, 3, 10, 64, 100, 256, 257, 1000]),
    st.sampled_from([(0, 1), (0, 100), (-3.5, 7.25), (0.1, 0.9), (0, 256), (0, 0.75), (50, 51), (7, 7)]),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_counts_are_numpys(dtype, bins, limits, is_rounded, seed):
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    # Hundredths lie on the edges of a hundred bins: the case where rounding shows.
    data = rng.integers(-20, 121, (11, 40, 50)) / (100 if dtype.kind == "f" else 1)
    data = (data if is_rounded else data + rng.random(data.shape)).clip(0 if dtype.kind in "ub" else None).astype(dtype)
    source = ArrayInMemory(data, "zyx", (5, 20, 20))
    counted = data.view(np.uint8) if dtype.kind == "b" else data.astype(dtype.newbyteorder("="))
    try:
        counts, edges = np.histogram(counted, bins, limits)
    except ValueError:  # what numpy says to bins narrower than numbers of the dtype
        with pytest.raises(ArgumentError, match="too narrow"):
            histogram(source, bins=bins, range=limits)
        return
    result = histogram(source, bins=bins, range=limits)
    np.testing.assert_array_equal(result.edges, edges)
    np.testing.assert_array_equal(result.counts, counts)
    assert int(result.outside) == data.size - counts.sum()


@pytest.mark.parametrize("bins", [64, 100, 128])
def test_a_real_file_gives_numpys_counts_for_each_class(tmp_path, bins, monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK_BYTES_LEAST", 2**12)
    path = write_export(str(tmp_path / "a.h5"), (43, 41, 47, 2), chunks=(20, 20, 20, 1))
    with h5py.File(path) as file:
        data = file["exported_data"][...]
    source = open_source(Location.parse(path, None))
    result = histogram(source, bins=bins, by="c", workers=2)
    for c in range(2):
        np.testing.assert_array_equal(result.counts[c], np.histogram(data[..., c], bins, (0, 1))[0])
    np.testing.assert_array_equal(result.counts.sum(0), histogram(source, bins=bins).counts)


def test_bytes_have_a_bin_for_each_value():
    data = np.random.default_rng(0).integers(0, 256, (101, 301), np.uint8)
    result = histogram(ArrayInMemory(data, "yx", (64, 64)))
    np.testing.assert_array_equal(result.counts, np.bincount(data.ravel(), minlength=256))
    np.testing.assert_array_equal(result.edges, np.arange(257))
    assert result.outside == 0


def test_nan_and_values_beyond_the_range_are_counted_as_outside():
    data = np.array([[0.0, 0.5, 1.0], [np.nan, 1.5, -1.0]], "f4")
    result = histogram(ArrayInMemory(data, "yx", (1, 3), kind="probabilities"), by="y", bins=2)
    assert result.counts.tolist() == [[1, 2], [0, 0]]
    assert result.outside.tolist() == [0, 3]


def test_without_a_range_a_first_pass_finds_it():
    data, calls = np.random.default_rng(0).integers(100, 5000, (50, 60)).astype("u2"), []
    source = ArrayInMemory(data, "yx", (16, 16))
    result = histogram(source, progress=lambda *call: calls.append((*call, threading.get_ident())))
    np.testing.assert_array_equal(result.counts, np.histogram(data, 64)[0])
    assert calls == sorted(set(calls))
    assert calls[-1] == (calls[-1][1], calls[-1][1], 2 * data.nbytes, threading.get_ident())


def test_drange_is_the_range_of_floats():
    source = ArrayInMemory(np.ones((2, 2), "f4"), "yx", (1, 1), drange=(0.0, 4.0))
    assert histogram(source, bins=4).edges.tolist() == [0, 1, 2, 3, 4]


def test_the_range_is_that_of_the_finite_values():
    data = np.random.default_rng(0).normal(size=(30, 40))
    data[3, 4], data[5, 6], data[7, 8], data[20:] = np.nan, np.inf, -np.inf, np.nan
    finite = data[np.isfinite(data)]
    result = histogram(ArrayInMemory(data, "yx", (10, 10)))
    counts, edges = np.histogram(finite, 64)
    np.testing.assert_array_equal(result.counts, counts)
    np.testing.assert_array_equal(result.edges, edges)
    assert result.outside == data.size - finite.size


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_range_is_found_in_what_is_not_finite(value):
    with pytest.raises(ArgumentError, match="pass range="):
        histogram(ArrayInMemory(np.full((2, 2), value), "yx", (1, 1)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bins": 0}, ArgumentError, "bins=0"),
        ({"range": (1, 0)}, ArgumentError, "lower one first"),
        ({"range": (0, np.nan)}, ArgumentError, "two numbers"),
        ({"by": "c"}, AxesError, "has y, x"),
        ({"workers": 0}, ArgumentError, "workers=0"),
        ({"memory": 1000}, MemoryLimitError, "fewer bins"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        histogram(ArrayInMemory(np.zeros((2, 2), "u1"), "yx", (1, 1)), **options)


def test_nothing_has_no_counts():
    source = ArrayInMemory(np.zeros((0, 3), "u1"), "yx", (1, 1))
    assert histogram(source).counts.sum() == 0
    assert histogram(source, by="x").counts.shape == (3, 256)
    with pytest.raises(ArgumentError, match="no values"):
        histogram(ArrayInMemory(np.zeros((0, 3), "u2"), "yx", (1, 1)))


def test_a_block_that_cannot_be_read_is_an_error():
    def fail(region):
        raise CorruptChunkError("the chunk at (1, 2)")

    with pytest.raises(CorruptChunkError):
        histogram(ArrayInMemory(np.zeros((9, 9), "u1"), "yx", (2, 2), before=fail))


def test_as_a_dataarray_bins_have_centres_and_classes_names():
    data = np.zeros((3, 4, 2), "f4")
    source = ArrayInMemory(data, "yxc", (2, 2, 1), kind="probabilities", channel_names=("cell", "rest"))
    array = histogram(source, bins=2, by="c").to_dataarray()
    assert array.dims == ("c", "bin")
    assert array.sel(c="cell").values.tolist() == [12, 0]
    assert array.coords["bin"].values.tolist() == [0.25, 0.75]
    assert histogram(source, bins=2).to_dataarray().dims == ("bin",)


def test_classes_ids_and_masks_have_a_bin_for_each_value():
    ids = xr.DataArray(np.array([[3, 5], [700, 5]], "u4"), dims=["y", "x"], attrs={"ilastik_kind": "object identities"})
    found = histogram(ids).to_dataarray()
    np.testing.assert_array_equal(found.coords["bin"], np.arange(3, 701))
    np.testing.assert_array_equal(found, np.bincount(ids.values.ravel())[3:])
    mask = histogram(ids == 5).to_dataarray()
    np.testing.assert_array_equal(mask.coords["bin"], [0, 1])
    np.testing.assert_array_equal(mask, [2, 2])


def test_a_histogram_of_classes_has_their_names_and_shares():
    data = np.array([[0, 1, 2, 2], [2, 2, 9, 1]], "u1")
    source = ArrayInMemory(data, "yx", (1, 4), kind="segmentation", channel_names=("cell", "rest"))
    found = histogram(source).to_dataarray()
    assert found.coords["class"].values[:4].tolist() == ["", "cell", "rest", ""]
    assert found.coords["share"].values[:3].tolist() == [1 / 8, 2 / 8, 4 / 8]
    rows = histogram(source, by="y", range=(1, 3), bins=2).to_dataarray()
    assert rows.coords["share"].values.tolist() == [[1 / 4, 2 / 4], [1 / 4, 2 / 4]]
    assert rows.coords["class"].values.tolist() == ["cell", "rest"]


def test_probabilities_in_percent_have_the_range_of_their_drange():
    data = np.array([[20, 80], [100, 60]], "f4")
    source = ArrayInMemory(data, "yx", (2, 2), kind="probabilities", drange=(0.0, 100.0))
    found = histogram(source, bins=4)
    assert found.edges.tolist() == [0, 25, 50, 75, 100]
    assert (found.counts.tolist(), int(found.outside)) == ([1, 0, 1, 2], 0)
