"""The same questions asked of others: h5py with dask, pyfive with dask, and bare decoding."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.array as da
import h5py
import numpy as np
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks.filters import Pipeline
from ilastik_lazy.formats.hdf5.chunks.index import chunk_index
from ilastik_lazy.formats.location import Location

DIMS = ("z", "y", "x", "c")


def _blocks(dataset: Any) -> tuple[int, ...]:
    """Four storage chunks along each axis: what dask+h5py runs best with on these files."""
    return tuple(min(n, 4 * c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))


@contextlib.contextmanager
def opened(path: str, reader: str) -> Iterator[xr.DataArray]:
    """The export at `path` as each reader's users would open it."""
    if reader == "ilastik_lazy":
        yield il.open_dataarray(path)
    elif reader == "engine":
        yield xr.open_dataset(path, engine="ilastik", chunks="auto")["exported_data"]
    elif reader == "h5py":
        with h5py.File(path, "r") as file:
            dataset = file["exported_data"]
            yield xr.DataArray(da.from_array(dataset, chunks=_blocks(dataset)), dims=DIMS)
    elif reader == "pyfive":
        import pyfive

        with pyfive.File(path) as file:
            dataset = file["exported_data"]
            yield xr.DataArray(da.from_array(dataset, chunks=_blocks(dataset), lock=False), dims=DIMS)
    else:
        raise ValueError(reader)


class Decoder:
    """Decode all chunks of a file and throw the result away: what no reader can beat."""

    def __init__(self, path: str) -> None:
        source: Any = open_source(Location.parse(path))
        index = chunk_index(source.location, source.spec.shape, source.spec.chunks, source.stamp)
        self.path = path
        self.pipeline: Pipeline = source.pipeline
        self.nbytes = int(np.prod(source.spec.chunks)) * source.spec.dtype.itemsize
        self.chunks = list(zip(index.offsets.ravel().tolist(), index.sizes.ravel().tolist(), strict=True))

    def run(self, workers: int | None = None) -> None:
        workers = workers or os.cpu_count() or 1

        def part(first: int) -> None:
            out, fd = np.empty(self.nbytes, np.uint8), os.open(self.path, os.O_RDONLY)
            for offset, size in self.chunks[first::workers]:
                self.pipeline.decode_into(os.pread(fd, size, offset), 0, out)
            os.close(fd)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(part, range(workers)))
