"""Full reductions: how near to bare decoding does each reader come?"""

from __future__ import annotations

import os
import time
from typing import ClassVar

import dask.array as da

from benchmarks.exports import write_export
from benchmarks.peers import Decoder, opened
from ilastik_lazy import reductions

SIDE = int(os.environ.get("ILASTIK_LAZY_BENCH_SIDE", "320"))
FILES = ["float32 gzip", "float32 raw", "uint8 gzip"]


def export(file: str) -> str:
    kind = "segmentation" if file.startswith("uint8") else "probabilities"
    shape = (SIDE, SIDE, SIDE, 1 if kind == "segmentation" else 2)
    return write_export("export.h5", shape, kind=kind, compression="gzip" if file.endswith("gzip") else None)


class Reductions:
    """Time and memory of a reduction of the whole file."""

    params: ClassVar = [FILES, ["sum", "mean over z", "max", "histogram"], ["ilastik_lazy", "engine", "h5py", "pyfive"]]
    param_names: ClassVar = ["file", "reduction", "reader"]
    timeout = 300

    def setup(self, file: str, reduction: str, reader: str) -> None:
        self.path = export(file)

    def _run(self, reduction: str, reader: str) -> None:
        with opened(self.path, reader) as array:
            if reduction == "histogram":
                da.histogram(array.data, bins=64, range=(0, 1) if array.dtype.kind == "f" else (0, 256))[0].compute()
            elif reduction == "mean over z":
                array.mean("z").compute()
            else:
                getattr(array, reduction)().compute()

    def time_reduce(self, file: str, reduction: str, reader: str) -> None:
        self._run(reduction, reader)

    def peakmem_reduce(self, file: str, reduction: str, reader: str) -> None:
        self._run(reduction, reader)


class AlongChannels:
    """The most probable class beside the mean over the classes, which reads as much."""

    params: ClassVar = [["float32 gzip", "float32 raw"], ["mean", "max", "argmax"]]
    param_names: ClassVar = ["file", "reduction"]

    def setup(self, file: str, reduction: str) -> None:
        self.path = export(file)

    def time_reduce(self, file: str, reduction: str) -> None:
        with opened(self.path, "ilastik_lazy") as array:
            getattr(array, reduction)("c").compute()


class WithoutDask:
    """The command line's reductions, which need no dask."""

    params: ClassVar = [FILES, ["sum", "mean", "max", "std", "histogram"]]
    param_names: ClassVar = ["file", "reduction"]

    def setup(self, file: str, reduction: str) -> None:
        self.path = export(file)

    def time_reduce(self, file: str, reduction: str) -> None:
        if reduction == "histogram":
            reductions.histogram(self.path)
        else:
            reductions.reduce(self.path, reduction)


class Limit:
    """Decoding alone, and the share of its speed that a sum through the front door keeps."""

    params: ClassVar = [["float32 gzip", "uint8 gzip"]]
    param_names: ClassVar = ["file"]

    def setup(self, file: str) -> None:
        self.path = export(file)
        self.decoder = Decoder(self.path)

    def time_decode(self, file: str) -> None:
        self.decoder.run()

    def track_share_of_decoding(self, file: str) -> float:
        shares = []
        for _ in range(5):
            start = time.perf_counter()
            self.decoder.run()
            middle = time.perf_counter()
            with opened(self.path, "ilastik_lazy") as array:
                array.sum().compute()
            shares.append((middle - start) / (time.perf_counter() - middle))
        return sorted(shares)[2]

    track_share_of_decoding.unit = "ratio"  # type: ignore[attr-defined]

    def track_times_faster_than_h5py(self, file: str) -> float:
        ratios = []
        for _ in range(3):
            start = time.perf_counter()
            with opened(self.path, "h5py") as array:
                array.sum().compute()
            middle = time.perf_counter()
            with opened(self.path, "ilastik_lazy") as array:
                array.sum().compute()
            ratios.append((middle - start) / (time.perf_counter() - middle))
        return sorted(ratios)[1]

    track_times_faster_than_h5py.unit = "ratio"  # type: ignore[attr-defined]
