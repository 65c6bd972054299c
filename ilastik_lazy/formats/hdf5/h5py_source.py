"""HDF5 datasets read through the HDF5 library: whatever it knows, one read at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, check_region
from ilastik_lazy.core.options import Trust
from ilastik_lazy.core.spec import ArraySpec, CountedChunks
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.hdf5.chunks.index import chunk_index
from ilastik_lazy.formats.hdf5.file import dataset_at, open_hdf5, reading_chunks
from ilastik_lazy.formats.hdf5.layout import require_plugins
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import Stamp, unchanged

__all__ = ["H5pySource", "read_region"]


@dataclass(frozen=True, slots=True)
class H5pySource(CountedChunks):
    """Any HDF5 dataset, read through h5py; the file is opened for each read."""

    spec: ArraySpec
    location: Location
    stamp: Stamp
    guard: DirectHdf5Source | None = None
    """Checks the streams before libhdf5 inflates them, where that can be done."""
    is_indexed: bool = False
    """Whether its chunks are found without libhdf5, too."""
    refers: bool = False
    """Whether the data lie in other files, each of which was allowed (see `external`)."""
    plugins: tuple[int, ...] = ()
    """Filters that plugins of the caller decode."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        # libhdf5 fills with zeros what it finds missing behind the end of a file that shrank.
        with unchanged(self.location.path, self.stamp):
            return self._read(region)

    def count_absent(self, trust: Trust = "local") -> int:
        if self.spec.storage.layout != "chunked":
            return 0
        return chunk_index(self.location, self.spec.shape, self.spec.chunks, self.stamp, trust).absent

    def _read(self, region: Region) -> np.ndarray[Any, Any]:
        assert self.location.internal_path is not None
        # Another process may lack them, and libhdf5 would not name them.
        require_plugins(self.plugins, self.location, "local")
        if self.is_indexed:
            # Raises where the index is damaged: libhdf5 would not find all chunks, and say nothing.
            chunk_index(self.location, self.spec.shape, self.spec.chunks, self.stamp)
        if self.guard is not None:
            self.guard.check(region)
        with open_hdf5(self.location.path) as file:
            dataset = dataset_at(file, self.location.internal_path, refuse_external=not self.refers)
            with reading_chunks(f"{self.location}: {region}", math.prod(self.spec.chunks) * self.spec.dtype.itemsize):
                values: np.ndarray[Any, Any] = dataset[region].astype(self.spec.dtype, copy=False)
        return values


def read_region(source: H5pySource, region: Region) -> np.ndarray[Any, Any]:
    """Read `region` of `source`, in the child process for an untrusted file."""
    return source.read(region)
