"""Memory is a promise: it does not grow with the file."""

from __future__ import annotations

import json
import math
import sys

import pytest
from children import run_python
from exports import write_export

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

_REDUCE = r"""
import json, re, sys
import dask, dask.array, h5py, numpy, xarray
import ilastik_lazy as il
def peak():
    # Not ru_maxrss: a child begins with its parent's, and pytest's is the larger one.
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
dask.config.set(num_workers=2)
il.open_dataarray(sys.argv[1])
before = peak()
array = il.open_dataarray(sys.argv[1])
plane, total = array.mean("z").compute(), float(array.sum().compute())
print(json.dumps([peak() - before, list(plane.shape), total]))
"""

DECODED = {"small": (448, 448, 160, 2), "large": (448, 448, 320, 2)}  # 0.25 and 0.5 GB of float32


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    """Bytes above what importing and opening take, for a mean and a sum of either file."""
    folder, found = tmp_path_factory.mktemp("memory"), {}
    for name, shape in DECODED.items():
        path = write_export(str(folder / f"{name}.h5"), shape, distinct=24)
        peak, plane, total = json.loads(run_python(_REDUCE, path))
        assert plane == list(shape[1:])
        assert math.isfinite(total)
        found[name] = peak
    return found


def test_a_reduction_needs_little_beside_the_imports(peaks):
    assert peaks["large"] < 250 * 2**20


def test_a_reduction_of_twice_the_data_needs_the_same(peaks):
    assert abs(peaks["large"] - peaks["small"]) < 40 * 2**20
