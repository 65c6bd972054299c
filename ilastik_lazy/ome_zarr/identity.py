"""What tells one source, and one version of it, from another: a conversion is resumed with the same only."""

from __future__ import annotations

import os
from typing import Any

from dask.base import tokenize

from ilastik_lazy.cache import CachedSource
from ilastik_lazy.computed import ComputedSource
from ilastik_lazy.folders import version_of
from ilastik_lazy.object_store import is_url
from ilastik_lazy.sources.hdf5_direct import DirectHdf5Source
from ilastik_lazy.sources.hdf5_index import chunk_index
from ilastik_lazy.sources.stacked import StackSource
from ilastik_lazy.sources.window import WindowSource
from ilastik_lazy.spec import ArraySource, DescribedSource

__all__ = ["absent_chunks", "source_identity"]


def source_identity(source: ArraySource) -> dict[str, Any]:
    """Plain JSON values that are the same for the same voxels, in another process too.

    Of files their path, size and time, so that it also holds after a restart of the machine; of what was
    computed, dask's token of the computation.  ``version`` changes with the files, also while they are read.
    """
    if isinstance(source, DescribedSource | CachedSource):
        return source_identity(source.source)
    if isinstance(source, WindowSource):
        return source_identity(source.source) | {"window": [list(source.start), list(source.spec.shape)]}
    if isinstance(source, StackSource):
        members = [source_identity(member) for member in source.members]
        return {"source": source.spec.storage.location, "version": tokenize(members)}
    if isinstance(source, ComputedSource):
        # Not of the variable: to make its token, xarray loads one that is indexed lazily as a whole.
        return {"source": "a computation", "token": tokenize(source.variable.dims, source.variable.chunk().data.name)}
    storage = source.spec.storage
    if is_url(storage.path):
        # Of Zarr the ETag of its metadata, as far as the server gives one.
        return {"source": storage.location, "version": str(getattr(source, "version", ""))}
    if storage.path and (version := version_of(storage.path)):
        inside = storage.location.removeprefix(storage.path)
        return {"source": os.path.realpath(storage.path) + inside, "version": version}
    return {"source": storage.location, "token": tokenize(source)}


def absent_chunks(source: ArraySource) -> int:
    """Chunks of an HDF5 export that were never written: ilastik writes all of them, so the export was stopped.

    Of other formats, where they commonly stand for the fill value, none is counted.
    """
    if isinstance(source, DescribedSource | CachedSource | WindowSource):
        return absent_chunks(source.source)
    if isinstance(source, StackSource):
        return sum(map(absent_chunks, source.members))
    if isinstance(source, DirectHdf5Source):
        return chunk_index(source.location, source.spec.shape, source.spec.chunks, source.stamp).absent
    return 0
