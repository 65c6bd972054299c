"""What tells one source, and one version of it, from another: a conversion is resumed with the same only."""

from __future__ import annotations

import os
from typing import Any

from dask.base import tokenize

from ilastik_lazy.core.spec import ArraySource, Storage
from ilastik_lazy.core.views.view import View, leaves_of, storage_of
from ilastik_lazy.lazy.from_xarray import ComputedSource, absent_chunks
from ilastik_lazy.storage.folders import version_of
from ilastik_lazy.storage.objects import is_url

__all__ = ["absent_chunks", "source_identity", "without_version"]


def source_identity(source: ArraySource | Storage) -> dict[str, Any]:
    """Plain JSON values that are the same for the same voxels, in another process too.

    Of files their path, size and time, so that it also holds after a restart of the machine; of what was
    computed, dask's token of the computation, and the version of all that it reads.  ``version`` changes with the
    files, also while they are read.
    """
    if isinstance(source, ComputedSource):
        versions = {"version": tokenize(list(map(source_identity, source.origins)))} if source.origins else {}
        return {"source": "a computation", "token": tokenize(source)} | versions
    storage = storage_of(source)
    if isinstance(source, View):
        how = dict(source.how)
        first, *others = origins = [source_identity(origin) for origin in source.origins]
        # Of a part of a part, what was done first is hidden behind a token.
        if others or first.keys() & how.keys():
            first = {"source": storage.location, "version": tokenize(origins)}
        return first | how
    if (version := _version_of(source)) is None:
        # The name of a computation may be a token itself, and is no help to people.
        return {"source": storage.location if storage.path else "a computation", "token": tokenize(source)}
    if is_url(storage.path) or not version:
        return {"source": storage.location, "version": version}
    inside = storage.location.removeprefix(storage.path)
    return {"source": os.path.realpath(storage.path) + inside, "version": version}


def _version_of(leaf: ArraySource | Storage) -> str | None:
    """Version of the data; empty where nothing tells it, None where the source itself is the data."""
    storage = storage_of(leaf)
    if is_url(path := storage.path):
        return storage.version
    return (version_of(path) if path else "") or ("" if isinstance(leaf, Storage) else None)


def without_version(source: ArraySource) -> list[str]:
    """What a source reads of which nobody can tell whether it changed: a conversion of it cannot be resumed."""
    return [
        storage_of(leaf).location
        for leaf in leaves_of(source)
        if (isinstance(leaf, Storage) or is_url(leaf.spec.storage.path))
        and not (os.path.exists(storage_of(leaf).path) or _version_of(leaf))
    ]
