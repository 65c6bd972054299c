"""Memory of a conversion, in a process of its own: within the plan, and the same for twice the image."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from children import run_python
from exports import write_export

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")

MB = 10**6

# VmHWM and not ru_maxrss: that one keeps the size of the process that started this one.
_CONVERT = """
import json, sys
import xarray, zarr, dask.array
import ilastik_lazy as il
from ilastik_lazy.ome_zarr.convert import as_source, plan_conversion, to_ome_zarr

def resident(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

path, target, memory, what = sys.argv[1:]
array = il.open_dataarray(path)
source = {"path": path, "threshold": array.isel(c=0) > 0.5}[what]
plan = plan_conversion(as_source(source), memory=memory, workers=2)
# What is needed once, whatever the size: threads, codecs, lazy imports.
il.to_ome_zarr(array.isel(z=slice(0, 8), y=slice(0, 8), x=slice(0, 8)), target + ".warm")
before = resident("VmRSS")
il.to_ome_zarr(source, target, memory=memory, workers=2)
print(json.dumps({"plan": plan.memory, "grown": resident("VmHWM") - before, "levels": len(plan.levels)}))
"""


def converted(folder: Path, planes: int, memory: str, what: str) -> dict[str, Any]:
    """Convert probabilities of `planes` x 440 x 640 voxels and two classes."""
    path = write_export(str(folder / f"{planes}.h5"), (planes, 440, 640, 2), distinct=24)
    said = run_python(_CONVERT, path, str(folder / f"{planes}.zarr"), memory, what)
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.parametrize("what", ["path", "threshold"])
def test_stays_within_the_plan_and_does_not_grow_with_the_image(tmp_path: Path, what: str) -> None:
    small = converted(tmp_path, 110, "160MB", what)  # 0.25 GB decoded
    large = converted(tmp_path, 220, "160MB", what)  # 0.5 GB
    for found in (small, large):
        assert found["plan"] <= 160 * MB
        assert found["grown"] < found["plan"]
    assert large["grown"] < small["grown"] + 40 * MB


def test_a_small_budget_is_kept_to(tmp_path: Path) -> None:
    found = converted(tmp_path, 110, "80MB", "path")
    assert found["plan"] <= 80 * MB
    assert found["grown"] < found["plan"]
