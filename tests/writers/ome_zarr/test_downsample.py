"""Halving arrays: against fractions, counters and plain indexing."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ilastik_lazy.writers.ome_zarr.downsample import downsample, halved
from tests.support.ome_zarr.answers import cells, counted_mode, exact_means

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64"]


@st.composite
def blocks(draw: Any, dtypes: list[str], **elements: Any) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    """An array of 1 to 4 axes, and a factor for each; an axis that is halved has at least one pair."""
    factors = tuple(draw(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=4)))
    shape = tuple(draw(st.integers(f, 5)) for f in factors)
    dtype = draw(st.sampled_from([np.dtype(name).newbyteorder(order) for name in dtypes for order in "<>"]))
    return draw(hnp.arrays(dtype, shape, **elements)), factors


def some_of_all(dtype: str, shape: tuple[int, ...] = (5, 6, 7)) -> np.ndarray[Any, Any]:
    """Random integers over the whole range, its ends among them."""
    limits = np.iinfo(dtype)
    block = np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype, endpoint=True)
    block[0], block[1] = limits.min, limits.max
    block[2:4, :, 3] = limits.max
    return block


class TestMean:
    @pytest.mark.parametrize("dtype", INTEGERS)
    @pytest.mark.parametrize("factors", [(1, 1, 2), (2, 1, 2), (2, 2, 2)])
    def test_of_integers_is_the_exact_mean_rounded_half_to_even(self, dtype: str, factors: tuple[int, ...]) -> None:
        block = some_of_all(dtype)
        found = downsample(block, factors, "mean")
        assert found.dtype == block.dtype
        assert found.tolist() == np.vectorize(round, otypes=[object])(exact_means(block, factors)).tolist()

    @given(blocks(INTEGERS))
    def test_of_any_integers_is_exact(self, case: Any) -> None:
        block, factors = case
        expected = np.vectorize(round, otypes=[object])(exact_means(block, factors))
        found = downsample(block, factors, "mean")
        assert found.dtype == block.dtype
        assert found.tolist() == expected.tolist()

    @pytest.mark.parametrize("dtype", INTEGERS)
    def test_rounds_half_to_the_even_neighbour(self, dtype: str) -> None:
        pairs = np.array([0, 1, 1, 2, 2, 3, 3, 4, 100, 101, 101, 102], dtype)
        assert downsample(pairs, (2,), "mean").tolist() == [0, 2, 2, 4, 100, 102]

    @pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
    def test_rounds_negative_halves_to_the_even_neighbour(self, dtype: str) -> None:
        pairs = np.array([-1, 0, -2, -1, -3, -2, -4, -3], dtype)
        assert downsample(pairs, (2,), "mean").tolist() == [0, -2, -2, -4]

    @pytest.mark.parametrize("dtype", INTEGERS)
    def test_of_the_largest_and_smallest_numbers_does_not_overflow(self, dtype: str) -> None:
        for extreme in (np.iinfo(dtype).min, np.iinfo(dtype).max):
            found = downsample(np.full((2, 2, 2, 2), extreme, dtype), (2, 2, 2, 2), "mean")
            assert found.tolist() == [[[[extreme]]]]

    @given(
        blocks(FLOATS, elements={"allow_nan": False, "allow_infinity": False, "min_value": -1000, "max_value": 1000})
    )
    def test_of_floats_is_within_rounding_of_the_exact_mean(self, case: Any) -> None:
        block, factors = case
        found = downsample(block, factors, "mean")
        assert found.dtype == block.dtype
        exact = exact_means(block, factors).astype(np.float64)
        # Three adds and one rounding to the dtype, each half a unit in the last place of the largest number.
        largest = np.abs(cells(block, factors).astype(np.float64)).max(-1)
        tolerance = 4 * np.finfo(block.dtype).eps * largest + float(np.finfo(block.dtype).smallest_subnormal)
        assert (np.abs(found.astype(np.float64) - exact) <= tolerance).all()

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_of_infinities_of_both_signs_is_nan_without_a_warning(self, dtype: str) -> None:
        found = downsample(np.array([np.inf, -np.inf, np.inf, 1, -np.inf, -np.inf], dtype), (2,), "mean")
        np.testing.assert_array_equal(found, np.array([np.nan, np.inf, -np.inf], dtype))

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_of_the_largest_floats_is_finite(self, dtype: str) -> None:
        largest = np.finfo(dtype).max
        found = downsample(np.full((2, 2, 2), largest, dtype), (2, 2, 2), "mean")
        assert found.tolist() == [[[float(largest)]]]

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_of_equal_floats_is_that_float(self, dtype: str) -> None:
        values = np.array([0.1, 1 / 3, -2.5e-4, 1000.5, 0.0], dtype)
        found = downsample(np.repeat(values, 2)[None].repeat(2, 0), (2, 2), "mean")
        np.testing.assert_array_equal(found, values[None], strict=True)

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_is_nan_where_one_voxel_is_nan_and_only_there(self, dtype: str) -> None:
        block = np.ones((4, 4), dtype)
        block[1, 2] = np.nan
        np.testing.assert_array_equal(downsample(block, (2, 2), "mean"), np.array([[1, np.nan], [1, 1]], dtype))

    def test_of_infinities_is_what_arithmetic_says(self) -> None:
        pairs = np.array([np.inf, 1, -np.inf, 1], np.float32)
        assert downsample(pairs, (2,), "mean").tolist() == [math.inf, -math.inf]

    @given(blocks(["bool"]))
    def test_of_booleans_is_the_majority_and_a_tie_is_false(self, case: Any) -> None:
        block, factors = case
        expected = np.vectorize(lambda mean: mean * 2 > 1, otypes=[bool])(exact_means(block, factors))
        np.testing.assert_array_equal(downsample(block, factors, "mean"), expected, strict=True)


class TestMode:
    @given(blocks([*INTEGERS, "bool"], elements=None))
    def test_is_the_most_frequent_value_and_the_smallest_of_equals(self, case: Any) -> None:
        block, factors = case
        np.testing.assert_array_equal(downsample(block, factors, "mode"), counted_mode(block, factors), strict=True)

    @given(blocks([*INTEGERS, *FLOATS], elements={"min_value": 0, "max_value": 3}))
    def test_of_few_classes_with_many_ties(self, case: Any) -> None:
        block, factors = case
        block = np.floor(block).astype(block.dtype)
        np.testing.assert_array_equal(downsample(block, factors, "mode"), counted_mode(block, factors), strict=True)

    def test_takes_the_smallest_of_eight_different_ids(self) -> None:
        ids = np.array([7, 3, 9, 5, 8, 4, 6, 10], np.uint32).reshape(2, 2, 2)
        assert downsample(ids, (2, 2, 2), "mode").tolist() == [[[3]]]

    @pytest.mark.parametrize("dtype", INTEGERS)
    def test_keeps_the_largest_id(self, dtype: str) -> None:
        block = np.full((2, 2), np.iinfo(dtype).max, dtype)
        block[0, 0] = 0
        assert downsample(block, (2, 2), "mode").tolist() == [[np.iinfo(dtype).max]]

    def test_leaves_its_input_as_it_was(self) -> None:
        block = np.random.default_rng(0).integers(0, 3, (4, 4, 4), np.uint8)
        before = block.copy()
        downsample(block, (2, 2, 2), "mode")
        np.testing.assert_array_equal(block, before)


class TestNearest:
    @given(blocks([*INTEGERS, *FLOATS, "bool"]))
    def test_picks_the_first_voxel_of_each_cell(self, case: Any) -> None:
        block, factors = case
        found = downsample(block, factors, "nearest")
        np.testing.assert_array_equal(found, cells(block, factors)[..., 0], strict=True)
        assert found.flags.c_contiguous


@pytest.mark.parametrize("method", ["mean", "mode", "nearest"])
class TestEveryMethod:
    def test_leaves_an_odd_last_voxel_out(self, method: Any) -> None:
        line = np.array([1, 1, 5, 5, 200], np.uint8)
        assert downsample(line, (2,), method).tolist() == [1, 5]

    def test_gives_nothing_for_a_last_voxel_alone(self, method: Any) -> None:
        assert downsample(np.ones((4, 1), np.float32), (2, 2), method).shape == (2, 0)

    def test_gives_the_block_itself_without_factors(self, method: Any) -> None:
        block = np.arange(6, dtype=np.int16).reshape(2, 3)
        np.testing.assert_array_equal(downsample(block, (1, 1), method), block, strict=True)

    def test_leaves_axes_of_length_one_alone(self, method: Any) -> None:
        block = np.arange(4, dtype=np.uint8).reshape(1, 4, 1)
        expected = cells(block, (1, 2, 1))
        found = downsample(block, (1, 2, 1), method)
        assert found.shape == (1, 2, 1)
        assert (found >= expected.min(-1)).all()
        assert (found <= expected.max(-1)).all()

    def test_takes_any_memory_order(self, method: Any) -> None:
        block = np.random.default_rng(0).integers(0, 9, (6, 4, 5), np.uint16)
        strided = np.asfortranarray(block)
        np.testing.assert_array_equal(downsample(strided, (2, 2, 2), method), downsample(block, (2, 2, 2), method))


@given(st.integers(1, 2**40))
def test_the_new_length_is_the_number_of_whole_pairs_but_never_zero(length: int) -> None:
    assert halved(length, 1) == length
    assert halved(length, 2) == (1 if length == 1 else length // 2)


@pytest.mark.parametrize("method", ["mean", "mode"])
def test_needs_little_memory_beside_the_result(method: Any) -> None:
    block = np.random.default_rng(0).integers(0, 9, (256, 256, 128), np.uint8)
    tracemalloc.start()
    try:
        downsample(block, (2, 2, 2), method)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Sums of bytes are four times as wide.
    assert peak < block.nbytes
