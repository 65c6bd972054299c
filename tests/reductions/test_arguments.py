"""Arguments that all long work takes are read by one parser, and refused by name before the work begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from ilastik_lazy.core.size_text import parse_size
from ilastik_lazy.errors import ArgumentError, MemoryLimitError
from ilastik_lazy.lazy.from_xarray import source_of
from ilastik_lazy.reductions import histogram, normalise, percentile, plan_reduction, reduce, standardise
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ome_zarr import to_ome_zarr

ARRAY = xr.DataArray(da.arange(240, chunks=60).reshape(4, 6, 10).astype("u2"), dims=("z", "y", "x"), name="a")

WORK: dict[str, Callable[..., Any]] = {
    "reduce": lambda array, **more: reduce(array, "mean", **more),
    "histogram": histogram,
    "percentile": lambda array, **more: percentile(array, 50, **more),
    "normalise": normalise,
    "standardise": standardise,
    "to_ome_zarr": lambda array, **more: to_ome_zarr(array, "a.zarr", **more),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestMemory:
    @pytest.mark.parametrize("name", WORK)
    def test_is_a_text_or_a_number_of_bytes(self, name: str) -> None:
        for number, size in enumerate(("2GB", "512 MiB", 10**9, 1e9, np.int64(10**9))):
            more = {"overwrite": True} if name == "to_ome_zarr" and number else {}
            WORK[name](ARRAY, memory=size, **more)

    @pytest.mark.parametrize("name", WORK)
    def test_that_is_too_small_is_said_in_the_same_words(self, name: str) -> None:
        with pytest.raises(MemoryLimitError, match="memory="):
            WORK[name](ARRAY, memory="100 B")

    @pytest.mark.parametrize("name", WORK)
    @pytest.mark.parametrize("size", ["much", "", "GB", "-2GB", -5, float("nan"), float("inf"), True, [2], b"2GB"])
    def test_that_is_no_size_is_a_named_error(self, name: str, size: Any) -> None:
        with pytest.raises(ArgumentError, match="memory="):
            WORK[name](ARRAY, memory=size)

    def test_of_a_plan_is_read_as_that_of_the_work(self) -> None:
        spec = source_of(ARRAY).spec
        assert plan_reduction(spec, "mean", memory="1GB") == plan_reduction(spec, "mean", memory=10**9)

    @pytest.mark.parametrize("size", ["2GB", "0.5 MiB", "1e6", 7, 7.9])
    def test_parsed_is_whole(self, size: Any) -> None:
        assert isinstance(parse_size(size, "memory"), int)


ALL_WORK = WORK | {"to_ilastik": lambda array, **more: to_ilastik(array, "a.h5", **more)}


@pytest.mark.parametrize("name", ALL_WORK)
@pytest.mark.parametrize("progress", [5, "bar", lambda: None, lambda a, b, c, d: None])
def test_progress_that_cannot_be_called_is_a_named_error(name: str, progress: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="progress="):
        ALL_WORK[name](ARRAY, progress=progress)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ALL_WORK)
def test_progress_may_be_anything_that_can_be_called(name: str) -> None:
    seen: list[Any] = []
    ALL_WORK[name](ARRAY, progress=lambda *numbers: seen.append(numbers))
    assert seen


@pytest.mark.parametrize("name", ALL_WORK)
def test_lengths_that_dask_does_not_know_are_a_named_error(name: str, tmp_path: Path) -> None:
    values = da.from_array(np.arange(60.0).reshape(6, 10), chunks=3)
    chosen = xr.DataArray(values[values[:, 0] > 5], dims=("y", "x"), name="chosen")
    with pytest.raises(ArgumentError, match=r"'y'.*compute_chunk_sizes"):
        ALL_WORK[name](chosen)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("middle", [1e6, -1e6, 2**24, 1e9])
@pytest.mark.parametrize("chunks", [25, None])
def test_float32_far_from_zero_is_standardised_to_a_mean_of_zero(middle: float, chunks: int | None) -> None:
    values = np.random.default_rng(0).normal(middle, max(1.0, middle / 1e6), (50, 50, 50)).astype("f4")
    array = xr.DataArray(values, dims=("z", "y", "x"))
    found = standardise(array if chunks is None else array.chunk(chunks)).values.astype("f8")
    assert abs(found.mean()) < 1e-6
    assert abs(found.std() - 1) < 1e-6
    expected = (values.astype("f8") - values.mean(dtype="f8")) / values.std(dtype="f8")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_float32_far_from_zero_is_normalised_as_in_float64() -> None:
    values = np.random.default_rng(0).normal(2**24, 20, (50, 50, 50)).astype("f4")
    found = normalise(xr.DataArray(values, dims=("z", "y", "x")), (1, 99)).values
    low, high = np.percentile(values.astype("f8"), (1, 99))
    np.testing.assert_allclose(found, (values.astype("f8") - low) / (high - low), atol=1e-6)
