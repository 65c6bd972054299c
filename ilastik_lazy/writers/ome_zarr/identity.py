"""Identify a source and its version: a conversion can be resumed only with the same source and version."""

from __future__ import annotations

import os
from typing import Any

from dask.base import tokenize

from ilastik_lazy.core.spec import ArraySource, Storage
from ilastik_lazy.core.views.view import View, leaves_of, storage_of
from ilastik_lazy.lazy.from_xarray import ComputedSource
from ilastik_lazy.storage.folders import version_of
from ilastik_lazy.storage.object_store import is_url

__all__ = ["source_identity", "without_version"]


def source_identity(source: ArraySource | Storage) -> dict[str, Any]:
    """Return plain JSON values that are the same for the same voxels, also in another process.

    Files are identified by path, size and time, which survive a restart of the machine; a computation by dask's
    token, and the version of everything that it reads.  ``version`` changes with the files, also while they are read.
    """
    if isinstance(source, ComputedSource):
        versions = {"version": tokenize(list(map(source_identity, source.origins)))} if source.origins else {}
        return {"source": "a computation", "token": tokenize(source)} | versions
    storage = storage_of(source)
    if isinstance(source, View):
        how = dict(source.how)
        first, *others = origins = [source_identity(origin) for origin in source.origins]
        # For a part of a part, a token represents the first step.
        if others or first.keys() & how.keys():
            first = {"source": storage.location, "version": tokenize(origins)}
        return first | how
    if (version := _version_of(source)) is None:
        # The name of a computation may be a token, which means nothing to people.
        return {"source": storage.location if storage.path else "a computation", "token": tokenize(source)}
    if is_url(storage.path) or not version:
        return {"source": storage.location, "version": version}
    inside = storage.location.removeprefix(storage.path)
    return {"source": os.path.realpath(storage.path) + inside, "version": version}


def _version_of(leaf: ArraySource | Storage) -> str | None:
    """Return the version of the data; empty if unknown, None if the source itself is the data."""
    storage = storage_of(leaf)
    if is_url(path := storage.path):
        return storage.version
    # In the folder of an image lie its labels, too: the array alone is what is read.
    path = storage.location if os.path.isdir(storage.location) else path
    return (version_of(path) if path else "") or ("" if isinstance(leaf, Storage) else None)


def without_version(source: ArraySource) -> list[str]:
    """List files and objects without a version that a source reads: its conversion cannot be resumed."""
    return [
        storage_of(leaf).location
        for leaf in leaves_of(source)
        if (isinstance(leaf, Storage) or is_url(leaf.spec.storage.path))
        and not (os.path.exists(storage_of(leaf).path) or _version_of(leaf))
    ]
