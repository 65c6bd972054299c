"""Extremes along the channels: numpy's values, NaN and errors, from one task per block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from ilastik_lazy.lazy.dask_array import BlockArray, to_dask
from tests.support.in_memory import ArrayInMemory

DTYPES = st.sampled_from(["<f4", ">f4", "f8", "u1", "i2", "?"])
FUNCTIONS = ["argmax", "nanargmax", "argmin", "nanargmin", "max", "nanmax", "min", "nanmin"]


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
    dtype = np.dtype(data.draw(DTYPES))
    choices = [0, 1, 2, np.nan, np.inf, -np.inf] if dtype.kind == "f" else [0, 1]
    shape = data.draw(st.sampled_from([(3, 2, 1), (2, 3, 4), (5, 1, 3)]))
    values = data.draw(st_numpy.arrays(dtype, shape, elements=st.sampled_from(choices)))
    dims = data.draw(st.sampled_from(["yxc", "cyx", "ycx"]))
    axis = dims.index("c") - data.draw(st.sampled_from([0, 3]))
    lazy = to_dask(ArrayInMemory(values, dims, (2, 2, 2)), None)
    assert isinstance(lazy, BlockArray)
    keepdims = data.draw(st.booleans())
    func = getattr(np, name)
    found = outcome(lambda: func(lazy, axis=axis, keepdims=keepdims).compute())
    expected = outcome(lambda: func(values, axis=axis, keepdims=keepdims))
    np.testing.assert_array_equal(found, expected)
    assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
