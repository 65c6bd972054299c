"""Extremes along the channels: numpy's values, NaN and errors, from one task per block."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from ilastik_lazy.lazy.dask_array import BlockArray, to_dask
from tests.support.in_memory import ArrayInMemory

DTYPES = st.sampled_from(["<f4", ">f4", "f8", "u1", "i2", "?"])
FUNCTIONS = ["argmax", "nanargmax", "argmin", "nanargmin", "max", "nanmax", "min", "nanmin"]


@st.composite
def images(draw) -> tuple[np.ndarray, str]:
    """Draw values with ties, NaN and infinities, and their dims."""
    dtype = np.dtype(draw(DTYPES))
    choices = [0, 1, 2, np.nan, np.inf, -np.inf] if dtype.kind == "f" else [0, 1]
    shape = draw(st.sampled_from([(3, 2, 1), (2, 3, 4), (5, 1, 3)]))
    values = draw(st_numpy.arrays(dtype, shape, elements=st.sampled_from(choices)))
    return values, draw(st.sampled_from(["yxc", "cyx", "ycx"]))


def outcome(compute):
    try:
        return compute()
    except ValueError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_extremes_along_channels_are_numpys(name, data):
    values, dims = data.draw(images())
    axis = dims.index("c") - data.draw(st.sampled_from([0, 3]))
    lazy = to_dask(ArrayInMemory(values, dims, (2, 2, 2)), None)
    assert isinstance(lazy, BlockArray)
    keepdims = data.draw(st.booleans())
    func = getattr(np, name)
    found = outcome(lambda: func(lazy, axis=axis, keepdims=keepdims).compute())
    expected = outcome(lambda: func(values, axis=axis, keepdims=keepdims))
    np.testing.assert_array_equal(found, expected)
    assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)


def with_names(data, dims: str) -> xr.DataArray:
    coords = {"c": [f"class {i}" for i in range(data.shape[dims.index("c")])]}
    return xr.DataArray(data, dims=tuple(dims), coords=coords, name="classes")


@pytest.mark.parametrize("name", ["idxmax", "idxmin"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_names_of_extreme_channels_are_those_of_xarray(name, data):
    values, dims = data.draw(images())
    chunks = data.draw(st.sampled_from([(2, 2, 2), (5, 5, 5), (1, 1, 1)]))
    lazy = with_names(to_dask(ArrayInMemory(values, dims, chunks), None), dims)
    options = data.draw(st.sampled_from([{}, {"skipna": True}, {"skipna": False}, {"fill_value": "none"}]))
    found = outcome(lambda: getattr(lazy, name)("c", **options).compute())
    expected = outcome(lambda: getattr(with_names(values, dims), name)("c", **options))
    if isinstance(expected, str):
        assert found == expected
    else:
        xr.testing.assert_identical(found, expected)


def test_idxmax_reads_each_block_once_and_makes_no_copy_of_it():
    values = np.random.default_rng(0).random((8, 8, 3), np.float32)
    read = []
    source = ArrayInMemory(values, "yxc", (4, 4, 1), before=read.append)
    found = with_names(to_dask(source, None), "yxc").idxmax("c")
    layers = [name.rsplit("-", 1)[0] for name in found.data.dask.layers]
    assert not {"isnan", "getitem", "nanarg_agg-aggregate"} & {*layers}
    assert (found.values == np.array(["class 0", "class 1", "class 2"])[values.argmax(2)]).all()
    assert sum(np.prod([part.stop - part.start for part in region]) for region in read) == values.size


def test_a_mask_of_nan_stays_an_array_of_dask():
    values = np.where(np.random.default_rng(0).random((6, 4, 2)) < 0.5, np.nan, 1.0)
    lazy = with_names(to_dask(ArrayInMemory(values, "yxc", (4, 4, 1)), None), "yxc")
    plain = with_names(values, "yxc")
    for ask in (
        lambda a: a.isnull().all("c"),
        lambda a: a.isnull().all("y"),
        lambda a: a.isnull().all(),
        lambda a: a.isnull()[1:, ::3].all("c"),
        lambda a: a.isnull().transpose("c", "x", "y").all("c"),
        lambda a: a.isnull().sum("c"),
        lambda a: a.isnull() & (a > 0),
        lambda a: a.where(~a.isnull().all("c"), 0).max("c"),
        lambda a: a.where(~a.isnull().all("c"), 0)[1:].argmax("c"),
        lambda a: a.where(~a.isnull().all("c"), 2).argmax("c"),
        lambda a: a.where(~a.isnull().all("c"), 0).argmin("c"),
        lambda a: a.where(~a.isnull().all("x"), 0).sum("c"),
        lambda a: a.where(~a[::-1].isnull().all("c"), 0).fillna(3).argmax("c"),
    ):
        xr.testing.assert_identical(ask(lazy).compute(), ask(plain))
    mask = lazy.isnull()
    mask.data[0] = True
    assert mask.all("c").values[0].all()
