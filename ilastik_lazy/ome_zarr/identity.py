"""What tells one source, and one version of it, from another: a conversion is resumed with the same only."""

from __future__ import annotations

import os
from typing import Any

from dask.base import tokenize

from ilastik_lazy.folders import version_of
from ilastik_lazy.object_store import is_url
from ilastik_lazy.spec import ArraySource, CountedChunks, DerivedSource, VersionedSource

__all__ = ["absent_chunks", "source_identity"]


def source_identity(source: ArraySource) -> dict[str, Any]:
    """Plain JSON values that are the same for the same voxels, in another process too.

    Of files their path, size and time, so that it also holds after a restart of the machine; of what was
    computed, dask's token of the computation.  ``version`` changes with the files, also while they are read.
    """
    storage = source.spec.storage
    if isinstance(source, DerivedSource):
        how = dict(source.derivation.how)
        first, *others = origins = [source_identity(origin) for origin in source.derivation.origins]
        # Of a part of a part, what was done first is hidden behind a token.
        if others or first.keys() & how.keys():
            first = {"source": storage.location, "version": tokenize(origins)}
        return first | how
    if is_url(storage.path):
        # Of Zarr the ETag of its metadata, as far as the server gives one.
        version = source.version if isinstance(source, VersionedSource) else ""
        return {"source": storage.location, "version": str(version)}
    if storage.path and (version := version_of(storage.path)):
        inside = storage.location.removeprefix(storage.path)
        return {"source": os.path.realpath(storage.path) + inside, "version": version}
    # The name of a computation may be a token itself, and is no help to people.
    return {"source": storage.location if storage.path else "a computation", "token": tokenize(source)}


def absent_chunks(source: ArraySource) -> int:
    """Chunks of an HDF5 export that were never written: ilastik writes all of them, so the export was stopped.

    Of other formats, where they commonly stand for the fill value, none is counted.
    """
    if isinstance(source, DerivedSource):
        return sum(map(absent_chunks, source.derivation.origins))
    return source.count_absent() if isinstance(source, CountedChunks) else 0
