"""Axis names in capitals, as other programs write them, name the same axes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.reductions import histogram, percentile, reduce
from tests.support.children import run_command

CAPITALS = xr.DataArray(np.arange(24.0).reshape(2, 3, 4), dims=("C", "Y", "X"))


@pytest.mark.parametrize("over", ["Z", ("Z",)])
def test_a_reduction_takes_capitals(over):
    found = reduce(sample("probabilities"), "max", over=over)
    np.testing.assert_array_equal(found, il.open_dataarray(sample("probabilities")).values.max(0))
    assert reduce(CAPITALS, "mean", over=("Y", "X")).values.tolist() == [5.5, 17.5]


def test_rows_and_stacks_take_capitals():
    assert histogram(CAPITALS, bins=2, range=(0, 24), by="C").counts.tolist() == [[12, 0], [0, 12]]
    assert percentile(CAPITALS, 100, by="C").values.tolist() == [11, 23]
    assert open_paths([sample("raw"), sample("raw")], along="T").spec.dims[0] == "t"


def test_the_commands_take_capitals():
    made = run_command("reduce", sample("probabilities"), "histogram", "--by", "C", "--bins", "2", "--quiet")
    assert made.returncode == 0, made.stderr
