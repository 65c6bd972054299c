"""Memory of a conversion, in a process of its own: within the plan, and the same for twice the image."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.exports import write_export
from tests.support.children import run_python
from tests.support.faults import LONG

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")]

MB = 10**6

# VmHWM and not ru_maxrss: that one keeps the size of the process that started this one.
_CONVERT = """
import json, sys
import xarray, zarr, dask.array
import ilastik_lazy as il
from ilastik_lazy.writers.ome_zarr.convert import as_source, to_ome_zarr
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion

def resident(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

path, target, memory, what = sys.argv[1:]
array = il.open_dataarray(path)
source = array.isel(c=0) > 0.5 if what == "threshold" else path
plan = plan_conversion(as_source(source), memory=memory, workers=2)
# What is needed once, whatever the size: threads, codecs, lazy imports.
il.to_ome_zarr(array.isel(z=slice(0, 8), y=slice(0, 8), x=slice(0, 8)), target + ".warm", verify=what == "verified")
before = resident("VmRSS")
il.to_ome_zarr(source, target, memory=memory, workers=2, verify=what == "verified")
print(json.dumps({"plan": plan.memory, "grown": resident("VmHWM") - before, "levels": len(plan.levels)}))
"""


def converted(folder: Path, planes: int, memory: str, what: str) -> dict[str, Any]:
    """Convert probabilities of `planes` x 440 x 640 voxels and two classes."""
    path = write_export(str(folder / f"{planes}.h5"), (planes, 440, 640, 2), distinct=24)
    said = run_python(_CONVERT, path, str(folder / f"{planes}.zarr"), memory, what)
    found: dict[str, Any] = json.loads(said)
    return found


def test_stays_within_the_plan_and_does_not_grow_with_the_image(tmp_path: Path) -> None:
    small = converted(tmp_path, 60, "160MB", "path")  # 0.14 GB decoded
    large = converted(tmp_path, 120, "160MB", "path")  # 0.27 GB
    for found in (small, large):
        assert found["plan"] <= 160 * MB
        assert found["grown"] < found["plan"]
    # A slow disk makes a difference of a few shards; the image has 135 MB more.
    assert large["grown"] < small["grown"] + 80 * MB


def test_what_is_computed_stays_within_the_plan_too(tmp_path: Path) -> None:
    found = converted(tmp_path, 90, "160MB", "threshold")
    assert found["plan"] <= 160 * MB
    assert found["grown"] < found["plan"]


def test_a_small_budget_is_kept_to_also_by_verifying(tmp_path: Path) -> None:
    found = converted(tmp_path, 60, "80MB", "verified")
    assert found["plan"] <= 80 * MB
    assert found["grown"] < found["plan"]


_LIMITED = """
import resource, sys
import numpy as np
import xarray, zarr, dask.array
import ilastik_lazy as il
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion
path, target, memory = sys.argv[1:]
plan = plan_conversion(as_source(path), memory=memory, workers=2)
array = il.open_dataarray(path)
to_ome_zarr(array.isel(z=slice(0, 8), y=slice(0, 8), x=slice(0, 8)), target + ".warm", workers=2)
with open("/proc/self/status") as file:
    data = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
limit = data + int(1.25 * plan.memory)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
print(to_ome_zarr(path, target, memory=memory, workers=2).codec)
"""


@pytest.mark.parametrize("memory", ["90MB", "160MB"][: 1 + LONG])
def test_the_system_may_be_told_to_give_no_more_than_a_quarter_above_the_plan(tmp_path: Path, memory: str) -> None:
    path = write_export(str(tmp_path / "a.h5"), (60, 440, 640, 2), distinct=24)
    assert run_python(_LIMITED, path, str(tmp_path / "a.zarr"), memory).strip() == b"gzip"
