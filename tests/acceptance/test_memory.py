"""Memory is a promise: it does not grow with the file."""

from __future__ import annotations

import json
import math
import sys

import pytest

from benchmarks.exports import write_export
from tests.support.children import run_python

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")]

_START = r"""
import json, re, sys
import dask, dask.array, h5py, numpy, xarray
import ilastik_lazy as il
from ilastik_lazy.reductions import normalise, standardise, percentile
def peak():
    # Not ru_maxrss: a child begins with its parent's, and pytest's is the larger one.
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
dask.config.set(num_workers=2)
il.open_dataarray(sys.argv[1])
before = peak()
array = il.open_dataarray(sys.argv[1])
"""
_REDUCE = """
plane, total = array.mean("z").compute(), float(array.sum().compute())
print(json.dumps([peak() - before, list(plane.shape), total]))
"""

DECODED = {"small": (448, 448, 100, 2), "large": (448, 448, 200, 2)}  # 0.16 and 0.32 GB of float32


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    return {name: write_export(str(folder / f"{name}.h5"), shape, distinct=24) for name, shape in DECODED.items()}


@pytest.fixture(scope="module")
def peaks(exports):
    """Bytes above what importing and opening take, for a mean and a sum of either file."""
    found = {}
    for name, shape in DECODED.items():
        peak, plane, total = json.loads(run_python(_START + _REDUCE, exports[name]))
        assert plane == list(shape[1:])
        assert math.isfinite(total)
        found[name] = peak
    return found


def test_a_reduction_needs_little_beside_the_imports(peaks):
    assert peaks["large"] < 250 * 2**20


def test_a_reduction_of_twice_the_data_needs_the_same(peaks):
    assert abs(peaks["large"] - peaks["small"]) < 40 * 2**20


_PASS_TWICE = [
    "percentile(array, [1, 50, 99.8], by='c', workers=2)",
    "normalise(array, (1, 99.8), by='c', workers=2).mean('z').compute()",
    "standardise(array, workers=2).max('z').compute()",
]
# Forks, each of which begins with the memory that this process has now: its imports, and no threads.
_EACH = """
import os
grown = {}
for code in sys.argv[2:]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        before = peak()
        result = eval(code)
        os.write(writing, str(peak() - before).encode())
        os._exit(0)
    os.close(writing)
    grown[code] = int(os.read(reading, 100) or 2**60)
    os.wait()
print(json.dumps(grown))
"""


def test_what_passes_twice_holds_no_more_than_what_passes_once(exports):
    grown = json.loads(run_python(_START + _EACH, exports["small"], *_PASS_TWICE))
    assert set(grown) == set(_PASS_TWICE)
    assert max(grown.values()) < 100 * 2**20, grown
