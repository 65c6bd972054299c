"""Percentiles are numpy's, and arrays scaled by them or by mean and deviation are what numpy makes of them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, AxesError, CorruptChunkError, MemoryLimitError
from ilastik_lazy.reductions import normalise, percentile, standardise
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export

DTYPES = ["u1", "i1", "?", "u2", "i2", "f2", "u4", "i4", "f4", ">f4", "u8", "i8", "f8", ">i2"]
Q = [0, 0.1, 25, 50, 99.8, 100]


def stored(data: np.ndarray[Any, Any]) -> ArrayInMemory:
    return ArrayInMemory(data, "zyxc", (7, 8, 9, 1))


def numbers(dtype: str) -> np.ndarray[Any, Any]:
    """Numbers of both signs, some of them many times."""
    found = np.random.default_rng(3).normal(scale=70, size=(15, 16, 17, 3)).clip(-120, 120)
    if dtype == "?":
        return found > 0
    return found.clip(0 if np.dtype(dtype).kind in "u" else None).round(1).astype(dtype)


def of_numpy(data: np.ndarray[Any, Any], q: Any, **more: Any) -> np.ndarray[Any, Any]:
    return np.asarray(np.percentile(data.astype("f8"), q, **more))


class TestPercentile:
    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_numpys(self, dtype: str) -> None:
        data = numbers(dtype)
        found = percentile(stored(data), Q, workers=3)
        assert found.dims == ("percentile",)
        assert found.coords["percentile"].values.tolist() == Q
        np.testing.assert_allclose(found, of_numpy(data, Q), rtol=1e-14)

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("by", "zyxc")
    def test_is_numpys_for_each_position(self, by: str) -> None:
        data = numbers("f4")
        axes = tuple(i for i, name in enumerate("zyxc") if name != by)
        found = percentile(stored(data), [3, 50], by=by)
        assert found.dims == (by, "percentile")
        np.testing.assert_allclose(found.T, of_numpy(data, [3, 50], axis=axes), rtol=1e-14)

    @given(
        hnp.arrays(st.sampled_from(["f4", "f8", "i4", "u8", "i2"]), hnp.array_shapes(min_dims=2, max_dims=2)),
        st.floats(0, 100),
    )
    def test_is_a_value_or_lies_between_neighbours(self, data: np.ndarray[Any, Any], q: float) -> None:
        found = float(percentile(ArrayInMemory(data, "yx", (3, 2)), q))
        values = np.sort(data.astype("f8"), axis=None)
        if np.isnan(values).any():
            assert np.isnan(found)
            return
        place = q / 100 * (values.size - 1)
        low, high = values[int(place)], values[min(int(place) + 1, values.size - 1)]
        assert low <= found <= high or (np.isnan(found) and np.isinf([low, high]).any())

    def test_of_whole_numbers_of_64_bits_tells_neighbours_apart(self) -> None:
        data = np.array([[2**53, 2**53 + 2, -(2**62)], [5, 6, 7]], "i8")
        assert percentile(ArrayInMemory(data, "yx", (1, 3)), [0, 80, 100]).values.tolist() == [
            -(2.0**62),
            2.0**53,
            2.0**53 + 2,
        ]

    def test_names_of_classes_stay(self) -> None:
        found = percentile(il.open_dataarray(sample("probabilities"), project=sample("project")), 50, by="c")
        assert found.coords["c"].values.tolist() == ["nucleus", "background"]
        assert found.dims == ("c",)

    def test_nan_makes_its_own_row_nan(self) -> None:
        data = numbers("f4")
        data[3, 4, 5, 1] = np.nan
        found = percentile(stored(data), 50, by="c")
        assert np.isnan(found.values).tolist() == [False, True, False]
        assert np.isnan(percentile(stored(data), 0))

    def test_counts_every_block_once_a_pass(self) -> None:
        calls: list[tuple[int, int, int]] = []
        data = numbers("f4")
        percentile(stored(data), 50, progress=lambda *seen: calls.append(seen))
        assert calls[-1][0] == calls[-1][1] == len(calls)
        assert calls[-1][2] == 2 * data.nbytes

    @pytest.mark.parametrize("q", [-1, 100.5, [1, np.nan], [[1, 2]]])
    def test_of_no_percentage_is_an_error(self, q: Any) -> None:
        with pytest.raises(ArgumentError, match="0 to 100"):
            percentile(stored(numbers("u1")), q)

    def test_of_nothing_is_an_error(self) -> None:
        with pytest.raises(ArgumentError, match="no values"):
            percentile(ArrayInMemory(np.zeros((0, 4), "u1"), "yx", (1, 4)), 5)

    def test_by_an_unknown_dim_is_an_error(self) -> None:
        with pytest.raises(AxesError, match="no dim 't'"):
            percentile(stored(numbers("u1")), 5, by="t")

    def test_a_row_that_does_not_fit_is_an_error(self) -> None:
        data = numbers("f4")
        with pytest.raises(MemoryLimitError, match=r"more than memory='4.9 kB', for 2.88 kB of values"):
            percentile(stored(data), Q, by="x", memory=data.nbytes // 10)

    @pytest.mark.parametrize("dtype", ["u1", "f4", "i8", "?", ">f4"])
    @pytest.mark.parametrize("memory", [2**31, 40_000_000, 50_000])
    def test_of_many_short_rows_are_numpys(self, dtype: str, memory: int) -> None:
        data = (np.random.default_rng(1).normal(size=(31, 300)) * 40).clip(0, 120).astype(dtype)
        calls: list[tuple[int, int, int]] = []
        found = percentile(
            ArrayInMemory(data, "yx", (8, 60)), Q, by="x", memory=memory, progress=lambda *seen: calls.append(seen)
        )
        np.testing.assert_allclose(found.T, of_numpy(data, Q, axis=0), rtol=1e-14)
        assert calls == sorted(set(calls))
        assert calls[-1][0] == calls[-1][1]

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    @pytest.mark.parametrize("by", [None, "x"])
    def test_of_infinities_are_numpys(self, dtype: str, by: str | None) -> None:
        random = np.random.default_rng(4)
        for share in (0.1, 0.5, 0.95):
            data = random.normal(size=(7, 9)).astype(dtype)
            data[random.random(data.shape) < share] = np.inf
            data[random.random(data.shape) < share / 2] = -np.inf
            q = [*Q, 10, 12.5, 30, 60, 75, 87.5]
            with np.errstate(invalid="ignore"):
                expected = of_numpy(data, q, axis=None if by is None else 0)
            found = percentile(ArrayInMemory(data, "yx", (3, 4)), q, by=by)
            np.testing.assert_allclose(found.T, expected, rtol=1e-12)

    def test_a_damaged_chunk_is_an_error(self, tmp_path: Any) -> None:
        write_hdf5_export(tmp_path / "a.h5", some_data((20, 21, 22, 2)), chunks=(9, 9, 9, 1), filters="gzip")
        text = bytearray((tmp_path / "a.h5").read_bytes())
        text[-200:-100] = bytes(100)
        (tmp_path / "a.h5").write_bytes(text)
        with pytest.raises(CorruptChunkError):
            percentile(tmp_path / "a.h5", 50)


class TestNormalise:
    @pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "i4", "?"])
    def test_brings_two_percentiles_to_0_and_1(self, dtype: str) -> None:
        data = numbers(dtype)
        low, high = of_numpy(data, [1, 99])
        found = normalise(stored(data), (1, 99))
        assert found.dtype == (np.float64 if dtype in ("f8", "i4") else np.float32)
        np.testing.assert_allclose(found, (data.astype("f8") - low) / (high - low), rtol=1e-5, atol=1e-6)
        assert (found.attrs["value_of_0"], found.attrs["value_of_1"]) == (low, high)

    @pytest.mark.parametrize("chunks", ["auto", {}, None])
    def test_is_lazy_and_keeps_positions_and_names(self, chunks: Any) -> None:
        raw = il.open_dataarray(sample("raw"), chunks=chunks)
        found = normalise(raw, by="c" if "c" in raw.dims else None, clip=True)
        assert (found.chunks is not None) == (chunks is not None)
        assert found.name == raw.name
        xr.testing.assert_identical(found.coords.to_dataset(), raw.coords.to_dataset())
        assert float(found.min()) == 0.0
        assert float(found.max()) == 1.0
        assert "drange" not in found.attrs

    def test_scales_each_position_on_its_own(self) -> None:
        data = numbers("f4") * np.array([1, 10, 0], "f4")
        found = normalise(stored(data), by="c").values
        np.testing.assert_allclose(found.reshape(-1, 3).min(0), [0, 0, 0], atol=1e-6)
        np.testing.assert_allclose(found.reshape(-1, 3).max(0), [1, 1, 0], atol=1e-6)

    def test_classes_of_the_same_name_stay_apart(self) -> None:
        data = xr.DataArray(numbers("f4"), dims=tuple("zyxc"), coords={"c": ["a", "a", "b"]})
        np.testing.assert_allclose(normalise(data.chunk(), by="c").max(["z", "y", "x"]), 1, rtol=1e-6)

    @pytest.mark.parametrize("percentiles", [(1,), (50, 50), (99, 1), (1, 2, 3)])
    def test_needs_two_percentages_in_order(self, percentiles: Any) -> None:
        with pytest.raises(ArgumentError, match="lower one first"):
            normalise(stored(numbers("u1")), percentiles)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_of_what_is_no_number_is_an_error(self, bad: float) -> None:
        data = numbers("f4")
        data[0, 0, 0, 0] = bad
        with pytest.raises(ArgumentError, match="pass skipna=True"):
            normalise(stored(data))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("memory", ["1GB", "9MB"])
@pytest.mark.parametrize("by", [None, "c"])
@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8"])
def test_nan_is_skipped_as_by_numpys_nanpercentile(dtype: str, by: str | None, memory: str) -> None:
    data = numbers("f4").astype(dtype)
    data[:4, ..., 0], data[3, 2, 1, 1] = np.nan, -np.nan
    axes = (0, 1, 2) if by else None
    found = percentile(stored(data), Q, by=by, skipna=True, workers=1, memory=memory)
    np.testing.assert_allclose(found.values.T, np.nanpercentile(data.astype("f8"), Q, axis=axes), rtol=1e-13)


def test_of_nan_alone_a_percentile_is_nan() -> None:
    data = numbers("f4")
    data[..., 1] = np.nan
    found = percentile(stored(data), 50, by="c", skipna=True)
    assert np.isnan(found.values).tolist() == [False, True, False]


@pytest.mark.parametrize("scale", [normalise, standardise])
def test_nan_stays_nan_where_values_are_scaled(scale: Any) -> None:
    data = numbers("f4")
    data[2:5] = np.nan
    found = scale(stored(data), skipna=True).values
    kept = np.delete(data, [2, 3, 4], axis=0)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(data))
    np.testing.assert_allclose(np.delete(found, [2, 3, 4], axis=0), scale(stored(kept)).values, rtol=1e-4, atol=1e-5)


class TestStandardise:
    @pytest.mark.parametrize("by", [None, "c"])
    def test_has_mean_0_and_deviation_1(self, by: str | None) -> None:
        data = numbers("i2")
        axes = (0, 1, 2) if by else None
        found = standardise(stored(data), by=by)
        np.testing.assert_allclose(found, (data - data.mean(axes)) / data.std(axes), rtol=1e-4, atol=1e-5)

    def test_can_be_converted_and_reduced(self, tmp_path: Any) -> None:
        found = standardise(il.open_dataarray(sample("raw")))
        il.to_ome_zarr(found, tmp_path / "a.zarr", levels=1)
        again = il.open_dataarray(tmp_path / "a.zarr")
        np.testing.assert_array_equal(again.values, found.values)

    def test_by_an_unknown_dim_is_an_error(self) -> None:
        with pytest.raises(AxesError, match="'t'"):
            standardise(stored(numbers("u1")), by="t")


def test_scaling_holds_no_block_as_float64():
    block = np.linspace(0, 1, 2**20, dtype=np.float32).reshape(1024, 1024)
    scaled = normalise(xr.DataArray(block, dims=("y", "x")).chunk())
    tracemalloc.start()
    try:
        scaled.compute(scheduler="synchronous")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * block.nbytes  # the result and dask's copy of the block; with copies as float64 it is 4
