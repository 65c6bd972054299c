"""Images of several formats to serve, with the voxels that h5py and others find in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import tifffile
import xarray as xr

import ilastik_lazy as il
from tests.support.makers import some_data, write_hdf5_export
from tests.support.n5_makers import write_n5

SHAPE, CHUNKS = (13, 38, 41, 2), (5, 12, 16, 1)
SIZES = {"z": 2.0, "y": 0.5, "x": 0.25}
UNITS = dict.fromkeys("zyx", "micrometer")

Array = np.ndarray[Any, Any]
Made = tuple[Any, Array]


def export(path: Path, dtype: str = "<f4", **more: Any) -> Array:
    """Write an export with voxel sizes, and return it as z, y, x, c."""
    options = {"chunks": CHUNKS, "filters": "gzip", "resolution": SIZES, "units": UNITS} | more
    return write_hdf5_export(path, some_data(SHAPE, dtype), axes="zyxc", **options)


def _gzip(folder: Path) -> Made:
    data = export(folder / "gzip_Probabilities.h5")
    return folder / "gzip_Probabilities.h5", data.transpose(3, 0, 1, 2)


def _uncompressed(folder: Path) -> Made:
    data = export(folder / "plain.h5", "<u2", filters="none")
    return folder / "plain.h5", data.transpose(3, 0, 1, 2)


def _segmentation(folder: Path) -> Made:
    data = 1 + some_data(SHAPE[:3], "u1") % 3
    path = folder / "cells_Simple Segmentation.h5"
    write_hdf5_export(path, data, axes="zyx", chunks=CHUNKS[:3], filters="gzip", resolution=SIZES, units=UNITS)
    return path, data


def _n5(folder: Path) -> Made:
    data = write_n5(folder / "a.n5", some_data(SHAPE, "u2"), chunks=CHUNKS)
    return folder / "a.n5", data.transpose(3, 0, 1, 2)


def _tiff(folder: Path) -> Made:
    data = some_data(SHAPE[:3], "u1")
    tifffile.imwrite(folder / "a.tif", data, photometric="minisblack", metadata={"axes": "ZYX"}, rowsperstrip=7)
    return folder / "a.tif", data


def _computed(folder: Path) -> Made:
    data = export(folder / "b.h5")
    return il.open_dataarray(folder / "b.h5") * 2, 2 * data.transpose(3, 0, 1, 2)


def _blocks(folder: Path) -> Made:
    data = some_data(SHAPE[:3], "i4")
    return xr.DataArray(dask.array.from_array(data, chunks=(13, 20, 30)), dims=tuple("zyx"), name="made"), data


CASES: dict[str, Callable[[Path], Made]] = {
    "gzip export": _gzip,
    "uncompressed export": _uncompressed,
    "segmentation": _segmentation,
    "N5": _n5,
    "TIFF": _tiff,
    "computed from a file": _computed,
    "blocks of dask": _blocks,
}
