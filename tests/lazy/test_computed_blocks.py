"""Blocks that are computed otherwise than dask was told: never silently zeros, and never other numbers."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.from_xarray import source_of

DATA = np.random.default_rng(0).uniform(0, 300, (40, 50))


def computed(function: Any, dtype: str = "float64") -> np.ndarray[Any, Any]:
    array = da.from_array(DATA, chunks=(20, 25)).map_blocks(function, dtype=dtype, meta=np.empty((0, 0), dtype))
    return source_of(xr.DataArray(array, dims=["y", "x"])).read((slice(0, 40), slice(0, 50)))


@pytest.mark.parametrize(
    "function", [lambda b: b[:, ::2], lambda b: b[:1, :1], lambda b: np.repeat(b, 2, 0), lambda b: b[:, :0]]
)
def test_of_another_shape_are_refused(function: Any) -> None:
    with pytest.raises(ArgumentError, match="chunks="):
        computed(function)


@pytest.mark.parametrize(
    ("found", "declared"),
    [("float64", "uint8"), ("int64", "uint8"), ("int64", "int8"), ("float64", "bool"), ("int32", "uint16")],
)
def test_of_numbers_that_the_dtype_cannot_hold_are_refused(found: str, declared: str) -> None:
    with pytest.raises(ArgumentError, match=f"gives {found} values that {declared} cannot hold"):
        computed(lambda b: (-b).astype(found), declared)


@pytest.mark.parametrize(("found", "declared"), [("float64", "float32"), ("int64", "uint16"), ("uint8", "float32")])
def test_of_numbers_that_the_dtype_can_hold_get_it(found: str, declared: str) -> None:
    np.testing.assert_array_equal(computed(lambda b: b.astype(found), declared), DATA.astype(found).astype(declared))
    assert computed(lambda b: b.astype(found), declared).dtype == declared
