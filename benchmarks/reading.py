"""Opening files, and reading planes, crops and voxels out of them."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import h5py
import numpy as np

import ilastik_lazy as il
from benchmarks.exports import write_export
from benchmarks.peers import opened

SIDE = int(os.environ.get("ILASTIK_LAZY_BENCH_SIDE", "320"))
READERS = ["ilastik_lazy", "h5py", "pyfive"]


def volume(compression: Any = "gzip") -> str:
    return write_export("volume.h5", (SIDE, SIDE, SIDE, 2), compression=compression)


class Opening:
    """How long does it take until a file can be sliced, whatever its number of chunks?"""

    params: ClassVar = [[10**3, 10**5, 10**6], ["ilastik_lazy", "h5py"]]
    param_names: ClassVar = ["chunks", "reader"]
    timeout = 300

    def setup(self, chunks: int, reader: str) -> None:
        if SIDE < 100 and chunks > 10**3:
            raise NotImplementedError("left out on tiny data")
        side = round(chunks ** (1 / 3))
        self.path = write_export("many.h5", (2 * side, 2 * side, 2 * side, 1), kind="segmentation", chunks=(2, 2, 2, 1))

    def time_open(self, chunks: int, reader: str) -> None:
        if reader == "ilastik_lazy":
            il.open_dataarray(self.path, chunks=None)
        else:
            with h5py.File(self.path, "r") as file:
                assert file["exported_data"].attrs["axistags"]


class Scrolling:
    """Ten neighbouring planes one after the other, as a viewer asks for them."""

    params: ClassVar = [["ilastik_lazy, cache", "ilastik_lazy", "h5py"]]
    param_names: ClassVar = ["reader"]

    def setup(self, reader: str) -> None:
        self.path = volume()

    def time_ten_planes(self, reader: str) -> None:
        if reader == "h5py":
            with h5py.File(self.path, "r") as file:
                for i in range(10):
                    file["exported_data"][SIDE // 2 + i]
            return
        array = il.open_dataarray(self.path, cache="256MB" if reader.endswith("cache") else None)
        for i in range(10):
            array.isel(z=SIDE // 2 + i).compute()


class Planes:
    """How long does one plane, or a crop of 64 voxels, take through the front door?"""

    params: ClassVar = [["gzip", None], ["z", "y", "x", "crop"], READERS]
    param_names: ClassVar = ["compression", "cut", "reader"]

    def setup(self, compression: str | None, cut: str, reader: str) -> None:
        self.path = volume(compression)
        middle = SIDE // 2
        part = slice(middle, middle + 64)
        self.where = {"z": part, "y": part, "x": part} if cut == "crop" else {cut: middle}
        self.context = opened(self.path, reader)
        self.array = self.context.__enter__()

    def teardown(self, compression: str | None, cut: str, reader: str) -> None:
        self.context.__exit__(None, None, None)

    def time_read(self, compression: str | None, cut: str, reader: str) -> None:
        np.asarray(self.array.isel(self.where).data.compute())
