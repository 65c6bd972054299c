"""Conversion to OME-Zarr with three levels, beside the plain way."""

from __future__ import annotations

import os
import shutil
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import tifffile
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

import ilastik_lazy as il
from benchmarks.exports import field, write_export
from benchmarks.peers import opened
from ilastik_lazy.core.parallel import threads_for

SIDE = int(os.environ.get("ILASTIK_LAZY_BENCH_SIDE", "320"))


# With flat voxels ours would halve y and x alone, and write more voxels than its peer.
ISOTROPIC = {"z": 0.1, "y": 0.1, "x": 0.1}


def float32_mean(block: np.ndarray[Any, Any], axis: Any = None) -> Any:
    return block.mean(axis, dtype="f4")


def with_dask(path: str, target: str) -> None:
    """What people write today: dask on h5py, zarr-python, level after level."""
    with opened(path, "h5py") as array:
        data = array.data.transpose(3, 0, 1, 2)
        for level in range(3):
            chunks = tuple(max(lengths) for lengths in data.chunks)
            made = zarr.create_array(
                f"{target}/{level}", shape=data.shape, dtype=data.dtype, chunks=chunks, compressors=ZstdCodec(level=3)
            )
            data.store(made, lock=False)
            halved = da.coarsen(float32_mean, da.from_zarr(made), {1: 2, 2: 2, 3: 2}, trim_excess=True)
            data = halved.rechunk(chunks)


class Conversion:
    """Seconds and memory for a float32 gzip export."""

    params: ClassVar = [["ilastik_lazy", "h5py"]]
    param_names: ClassVar = ["writer"]
    timeout = 300

    def setup(self, writer: str) -> None:
        self.path = write_export("export.h5", (SIDE, SIDE, SIDE, 2), scales=ISOTROPIC)

    def _run(self, writer: str) -> None:
        shutil.rmtree("out.zarr", ignore_errors=True)
        if writer == "ilastik_lazy":
            il.to_ome_zarr(self.path, "out.zarr", levels=3)
        else:
            with_dask(self.path, "out.zarr")

    def time_convert(self, writer: str) -> None:
        self._run(writer)

    def peakmem_convert(self, writer: str) -> None:
        self._run(writer)


class Tiff:
    """Seconds for 67 MB in memory to tiles of 512 x 512; tifffile does not sync them to the disk."""

    params: ClassVar = [["ilastik_lazy", "tifffile"], ["float32", "uint8"], ["gzip", "none"]]
    param_names: ClassVar = ["writer", "dtype", "compression"]

    def setup(self, writer: str, dtype: str, compression: str) -> None:
        side = min(1024, 3 * SIDE + 64)
        part = field((0, 0, 0), (16, side, side), 0, "probabilities" if dtype == "float32" else "segmentation")
        self.image = xr.DataArray(np.tile(part, (4 // part.itemsize, 1, 1)), dims=("z", "y", "x"))

    def time_write(self, writer: str, dtype: str, compression: str) -> None:
        if writer == "ilastik_lazy":
            made = "gzip" if compression == "gzip" else None
            il.to_tiff(self.image, "out.ome.tif", levels=1, compression=made, overwrite=True)
        else:
            deflated = {"compression": "zlib", "compressionargs": {"level": 1}, "maxworkers": threads_for(None)}
            options: dict[str, Any] = deflated if compression == "gzip" else {}
            data, axes = self.image.values, {"axes": "ZYX"}
            tifffile.imwrite("out.ome.tif", data, tile=(512, 512), photometric="minisblack", metadata=axes, **options)


class ManySmall:
    """Seconds for many exports of 8 MB in one command, where the work around the voxels counts."""

    timeout = 300
    params = (["20"],)
    param_names = ("files",)

    def setup(self, files: str) -> None:
        side = min(SIDE, 256)
        many = range(int(files))
        self.paths = [write_export(f"small{number}.h5", (16, side, side, 2), seed=number % 4) for number in many]

    def time_convert(self, files: str) -> None:
        shutil.rmtree("out", ignore_errors=True)
        for path in self.paths:
            il.to_ome_zarr(path, f"out/{path}.zarr")
