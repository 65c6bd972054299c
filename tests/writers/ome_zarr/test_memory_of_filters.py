"""Memory of a conversion whose chunks have several filters: all that is held between these is in the plan."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pytest
import zarr

from tests.support.children import run_python

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")]

SHAPE, CHUNKS = (60, 400, 400), (30, 400, 400)  # chunks of 19 MB that do not get smaller

# A fork for each image, with the memory that imports take.
_CONVERT = """
import json, os, sys
import xarray, zarr, dask.array, numpy
import ilastik_lazy as il
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion

def resident(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

for path in sys.argv[1:]:
    if os.fork() == 0:
        target = path + ".target.zarr"
        plan = plan_conversion(as_source(path), workers=1, levels=1)
        small = xarray.DataArray(numpy.zeros((8, 64, 64), "u1"), dims=("z", "y", "x"))
        il.to_ome_zarr(small, target + ".warm", workers=1)
        before = resident("VmRSS")
        il.to_ome_zarr(path, target, memory=plan.memory, workers=1, levels=1)
        print(json.dumps([path, plan.memory, resident("VmHWM") - before]), flush=True)
        os._exit(0)
    os.wait()
"""


def values(dtype: str) -> np.ndarray[Any, Any]:
    found = np.random.default_rng(0).random(SHAPE, np.float32)
    return found if dtype == "f4" else (found * 2**30).astype(dtype)


def hdf5(path: str, **options: Any) -> str:
    with h5py.File(f"{path}.h5", "w") as file:
        file.create_dataset("exported_data", data=values("f4"), chunks=CHUNKS, **options)
    return f"{path}.h5"


def zarr_2(path: str, dtype: str, filters: list[Any], compressor: Any) -> str:
    zarr.create_array(
        f"{path}.zarr", data=values(dtype), chunks=CHUNKS, zarr_format=2, filters=filters, compressors=compressor
    )
    return f"{path}.zarr"


def sharded(path: str) -> str:
    made = zarr.create_array(
        f"{path}.zarr", shape=SHAPE, dtype="f4", chunks=(15, 200, 200), shards=CHUNKS, zarr_format=3
    )
    made[...] = values("f4")
    return f"{path}.zarr"


MAKERS: dict[str, Callable[[str], str]] = {
    "hdf5 shuffle, gzip and fletcher32": lambda path: hdf5(
        path, compression="gzip", compression_opts=1, shuffle=True, fletcher32=True
    ),
    "hdf5 shuffle and lzf": lambda path: hdf5(path, compression="lzf", shuffle=True),
    "zarr delta and zstd": lambda path: zarr_2(path, "i4", [numcodecs.Delta("i4")], numcodecs.Zstd(1)),
    "zarr scale, delta and zstd": lambda path: zarr_2(
        path, "f4", [numcodecs.FixedScaleOffset(0, 1000, "f4", "i4"), numcodecs.Delta("i4")], numcodecs.Zstd(1)
    ),
    "zarr gzip": lambda path: zarr_2(path, "f4", [], numcodecs.GZip(1)),
    "zarr 3, sharded": sharded,
}


def picture(path: str) -> str:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)
    image.fromarray(pixels).save(f"{path}.png", compress_level=1)
    return f"{path}.png"


def test_stays_within_the_plan(tmp_path: Path) -> None:
    paths = {make(str(tmp_path / name)): name for name, make in (MAKERS | {"a large picture": picture}).items()}
    found = [json.loads(line) for line in run_python(_CONVERT, *paths).splitlines()]
    assert [path for path, _, _ in found] == list(paths)
    assert {paths[path]: (grown, plan) for path, plan, grown in found if grown >= plan} == {}
