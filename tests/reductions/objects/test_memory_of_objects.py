"""Memory of labelling and measuring, in a process of its own: it does not grow with the image."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.cells import write_probabilities
from benchmarks.exports import write_export
from tests.support.children import run_python

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")]

# VmHWM and not ru_maxrss: that one keeps the size of the process that started this one.
_MEASURE = r"""
import json, re, sys
import ilastik_lazy as il
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
path, raw = sys.argv[1:]
# What is needed once, whatever the size: threads, codecs, lazy imports.
few = {name: slice(0, 40) for name in "zyx"}
il.measure_objects(il.label_objects(il.open_dataarray(path).isel(few)), il.open_dataarray(raw).isel(few), workers=2)
before = peak()
table = il.measure_objects(il.label_objects(il.open_dataarray(path)), il.open_dataarray(raw), workers=2)
print(json.dumps([peak() - before, len(table)]))
"""


def grown(folder: Path, planes: int, every: int) -> tuple[int, int]:
    """Bytes that a map of cells needs, and the number of objects in it."""
    path = write_probabilities(str(folder / f"{planes}.h5"), (planes, 400, 400), 0.05, every=every)
    raw = write_export(str(folder / f"raw{planes}.h5"), (planes, 400, 400), "zyx", kind="masks", distinct=24)
    peak, count = json.loads(run_python(_MEASURE, path, raw, timeout=300))
    return peak, count


def test_four_times_the_image_with_as_many_objects_needs_the_same(tmp_path: Path) -> None:
    small, count = grown(tmp_path, 100, every=1)  # 64 MB of float32, twice
    large, as_many = grown(tmp_path, 400, every=4)  # 256 MB, twice
    assert 0.8 < count / as_many < 1.25
    assert small < 200 * 2**20
    assert large < small + 60 * 2**20
