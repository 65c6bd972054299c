"""Reductions give what numpy gives, whatever the blocks."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.exports import write_export
from ilastik_lazy.core import parallel as blockwise
from ilastik_lazy.errors import ArgumentError, AxesError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.reductions import REDUCTIONS, reduce
from tests.support.in_memory import ArrayInMemory, arrays

ATOL = {"max": 0.0, "min": 0.0, "sum": 1e-12, "mean": 1e-12, "std": 1e-9}


def numpy_answer(name: str, data: np.ndarray[Any, Any], axes: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """What numpy makes of it, in float64 where it is not whole numbers or single values."""
    if name in ("max", "min"):
        return getattr(data, name)(axis=axes)
    if name == "sum" and data.dtype.kind != "f":
        return np.asarray(data.sum(axis=axes))
    return np.asarray(getattr(data.astype(np.float64), name)(axis=axes))


@given(arrays(), st.sampled_from(sorted(REDUCTIONS)), st.data())
def test_the_answer_is_numpys(case, name, data):
    values, names, chunks = case
    over = data.draw(st.sets(st.sampled_from(names)))
    axes = tuple(i for i, n in enumerate(names) if n in over) or tuple(range(len(names)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise, "BLOCK_BYTES_LEAST", 64)
        patch.setattr(blockwise, "BLOCK_BYTES_MOST", 256)
        result = reduce(ArrayInMemory(values, names, chunks), name, over, workers=2)
    expected = numpy_answer(name, values, axes)
    assert result.dims == tuple(n for i, n in enumerate(names) if i not in axes)
    assert result.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_allclose(result.values, expected, rtol=1e-12, atol=ATOL[name])


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
@pytest.mark.parametrize("over", ["z", "zy", "yx", "c", "zyxc"])
def test_a_real_file_gives_numpys_answer(tmp_path, small_blocks, name, over):
    path = write_export(str(tmp_path / "a.h5"), (23, 31, 17, 2), chunks=(10, 9, 8, 1))
    with h5py.File(path) as file:
        data = file["exported_data"][...]
    result = reduce(open_source(Location.parse(path, None)), name, over, workers=3)
    axes = tuple("zyxc".index(n) for n in over)
    np.testing.assert_allclose(result.values, numpy_answer(name, data, axes), rtol=1e-12, atol=ATOL[name])


def test_dims_that_stay_keep_their_coordinates_and_units():
    source = ArrayInMemory(np.ones((4, 5, 6, 2), "f4"), "zyxc", (2, 2, 2, 1), channel_names=("a", "b"))
    result = reduce(source, "mean", over=("z",))
    assert result.name == "data"
    assert result.attrs == {"reduction": "mean", "over": ["z"]}
    assert set(result.coords) == {"y", "x", "c"}
    assert result.coords["x"].attrs["units"] == "micrometer"
    assert result.coords["x"].values.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert result.coords["c"].values.tolist() == ["a", "b"]


def test_only_single_values_keep_the_attributes_of_the_array():
    source = ArrayInMemory(np.ones((4, 5), "f4"), "yx", (2, 2), drange=(0.0, 1.0), kind="probabilities")
    assert reduce(source, "max", "y").attrs["drange"] == [0, 1]
    assert "drange" not in reduce(source, "sum", "y").attrs


@pytest.mark.parametrize("over", [None, (), "zyx", ("x", "y", "z")])
def test_all_axes_give_a_scalar(over):
    result = reduce(ArrayInMemory(np.arange(60.0).reshape(3, 4, 5), "zyx", (2, 2, 2)), "sum", over)
    assert result.shape == ()
    assert float(result) == 1770


def test_an_unknown_dim_is_refused_by_name():
    source = ArrayInMemory(np.zeros((2, 2)), "yx", (1, 1))
    with pytest.raises(AxesError, match=r"'z'.*memory has the axes y, x"):
        reduce(source, "mean", "z")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"name": "median"}, "mean, max, min, sum, std"), ({"name": "sum", "workers": 0}, "workers=0")],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        reduce(ArrayInMemory(np.zeros((2, 2)), "yx", (1, 1)), over="y", **arguments)


def test_what_is_no_number_is_refused():
    with pytest.raises(ArgumentError, match="complex64"):
        reduce(ArrayInMemory(np.zeros((2, 2), "c8"), "yx", (1, 1)), "sum", "y")


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_of_nothing_there_is_only_the_sum(name):
    source = ArrayInMemory(np.zeros((0, 3), "u1"), "yx", (1, 1))
    if name == "sum":
        np.testing.assert_array_equal(reduce(source, name, "y").values, np.zeros(3, np.uint64), strict=True)
    else:
        with pytest.raises(ArgumentError, match="no values over y"):
            reduce(source, name, "y")
    assert reduce(source, name, "x").shape == (0,)


def test_std_is_right_at_a_large_offset(small_blocks):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 20, 20))
    source = ArrayInMemory(noise + 1e8, "zyx", (7, 8, 9))
    # 1e8 + noise keeps eight digits of the noise; sums of squares would keep none.
    np.testing.assert_allclose(reduce(source, "std", None).values, noise.std(), rtol=1e-7)
    np.testing.assert_allclose(reduce(source, "std", "z").values, noise.std(0), rtol=1e-7)
    assert float(reduce(ArrayInMemory(np.full((30, 30), 0.1), "yx", (7, 7)), "std", None)) < 1e-16


def test_the_mean_of_float32_is_accumulated_in_float64(small_blocks):
    data = np.full((64, 64, 64), np.float32(0.1))
    # numpy.mean(axis=0) accumulates float32 row by row.
    assert float(reduce(ArrayInMemory(data, "zyx", (16, 16, 16)), "mean", None)) == pytest.approx(
        float(np.float32(0.1)), rel=1e-14
    )


@pytest.mark.parametrize("dtype", ["u4", "i4", "u8", "i8"])
def test_sums_of_integers_are_exact_beyond_float64(small_blocks, dtype):
    # 2**15 values near 2**31 * 2**16: the sum has 62 bits, of which float64 holds 53.
    big = 2**31 - 1 if dtype[1] == "4" else 2**47 - 1
    data = np.full((32, 32, 32), big, dtype)
    data[3, 4, 5] -= 1
    assert int(reduce(ArrayInMemory(data, "zyx", (9, 9, 9)), "sum", None)) == big * 2**15 - 1


@pytest.mark.parametrize("value", [2**62, -(2**62)])
def test_a_sum_beyond_64_bits_is_an_error_and_its_mean_is_not(value):
    source = ArrayInMemory(np.full((4, 4), value, "i8"), "yx", (2, 2))
    with pytest.raises(ArgumentError, match="does not fit int64"):
        reduce(source, "sum", None)
    assert float(reduce(source, "mean", None)) == value


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_nan_and_inf_go_where_numpy_lets_them(small_blocks, name, value):
    data = np.random.default_rng(0).normal(size=(20, 21, 22)).astype("f4")
    data[11, 3, 4] = value
    data[12, 5, 6] = -value
    with np.errstate(invalid="ignore"):
        expected = numpy_answer(name, data, (0,))
    np.testing.assert_allclose(
        reduce(ArrayInMemory(data, "zyx", (5, 5, 5)), name, "z", skipna=False).values,
        expected,
        rtol=1e-12,
        equal_nan=True,
    )


@pytest.mark.parametrize("skipna", [None, True, False])
@pytest.mark.parametrize("name", sorted(REDUCTIONS))
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i4", "?"])
def test_nan_is_skipped_as_in_xarray(small_blocks, dtype, name, skipna):
    data = np.random.default_rng(0).normal(5, size=(20, 21, 22)).astype(dtype)
    if data.dtype.kind == "f":
        data[np.random.default_rng(1).random(data.shape) < 0.2] = np.nan
        data[:, 3] = np.nan  # columns without a value
        data[2:9, 4] = np.nan  # blocks without one
        data[5, 6, 7] = np.inf
    source = ArrayInMemory(data, "zyx", (5, 5, 5))
    array = xr.DataArray(data.astype("f8") if data.dtype.kind != "i" else data, dims=("z", "y", "x"))
    for over in (["z"], ["z", "y", "x"], ["x"]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = getattr(array, name)(over, skipna=skipna)
        np.testing.assert_allclose(reduce(source, name, over, skipna=skipna), expected, rtol=1e-9)


def test_skipna_is_true_false_or_none():
    with pytest.raises(ArgumentError, match="skipna='no'"):
        reduce(ArrayInMemory(np.zeros((2, 2)), "yx", (1, 1)), "mean", skipna="no")


def test_partials_merge_in_any_grouping():
    data = np.random.default_rng(0).normal(5, 1, (12, 6))
    parts = [data[:1], data[1:5], data[5:]]
    for name, reduction in REDUCTIONS.items():
        starts = [reduction.start(part, (0,)) for part in parts]
        left = reduction.combine(reduction.combine(*starts[:2]), starts[2])
        right = reduction.combine(starts[0], reduction.combine(*starts[1:]))
        for partial in (left, right, functools.reduce(reduction.combine, reversed(starts))):
            result = reduction.finish(partial, 12)[0]
            np.testing.assert_allclose(result, numpy_answer(name, data, (0,)), rtol=1e-13)
