"""Open the target of a conversion: the store at a path or URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.view import DescribedSource, leaves_of, storage_of
from ilastik_lazy.core.views.window import TransposedSource, WindowSource
from ilastik_lazy.errors import ArgumentError, encodable
from ilastik_lazy.formats.location import Location, checked_target
from ilastik_lazy.formats.suffixes import IMAGE_SUFFIXES, TABLE_SUFFIXES, ZIP_SUFFIXES
from ilastik_lazy.lazy.from_xarray import ComputedSource
from ilastik_lazy.storage.archives.archive import Archive
from ilastik_lazy.storage.archives.archive_store import ArchiveStore
from ilastik_lazy.storage.folders import lies_in
from ilastik_lazy.storage.object_store import ObjectFolder, is_url
from ilastik_lazy.storage.object_store.store import RemoteStore
from ilastik_lazy.storage.stores import LocalStore, ReadableStore, Store
from ilastik_lazy.writers.ome_zarr.commit.members import image_attributes, root_of
from ilastik_lazy.writers.ome_zarr.commit.states import is_begun
from ilastik_lazy.writers.ome_zarr.commit.zip_target import ZipTarget, is_zip_target, refuse_inside_files

__all__ = ["is_unfinished", "name_of", "open_store", "readable_store", "store_at"]

_OTHER_FORMATS = (*IMAGE_SUFFIXES, *TABLE_SUFFIXES, *ZIP_SUFFIXES, ".nc", ".tar")


def store_at(
    target: str | os.PathLike[str],
    source: ArraySource,
    storage_options: Mapping[str, Any] | None,
    *,
    is_below: bool = False,
) -> Store:
    """Check the target of a conversion, and return the store there.

    Parameters
    ----------
    source
        What will be converted: its files must not lie in the store, nor the store in them.
    is_below
        Whether the target is a label image of an image, which may be the source.

    Raises
    ------
    ArgumentError
        The target holds the source, lies in it, has the name of another format, or has no name.
    """
    text = checked_target(target, endings=_OTHER_FORMATS)
    if not is_url(text):
        refuse_inside_files(text)
        _check_target(os.path.expanduser(text), source, is_below)
    for stored in map(storage_of, leaves_of(source)):
        if is_url(text) and f"{stored.location.rstrip('/')}/".startswith(f"{text.rstrip('/')}/"):
            raise ArgumentError(f"{text} holds the source {stored.location}: choose another folder")
    return open_store(text, storage_options)


def open_store(target: str, storage_options: Mapping[str, Any] | None) -> Store:
    """Return the store at a path or URL, regardless of its contents."""
    if is_url(target):
        return RemoteStore(ObjectFolder.parse(target, storage_options))
    path = os.path.abspath(os.path.expanduser(target))
    # A link to a folder stays, and the folder is replaced: it may be on a larger disk.
    return LocalStore(os.path.realpath(path) if os.path.islink(path) and os.path.isdir(path) else path)


def readable_store(target: str, storage_options: Mapping[str, Any] | None) -> ReadableStore:
    """Return what is at a path or URL, which may be an archive, to be read."""
    location = Location.parse(target, None, storage_options) if os.path.isfile(target) or is_url(target) else None
    if location is not None and location.suffix in ZIP_SUFFIXES:
        return ArchiveStore(Archive.at(location.path, location.options))
    return open_store(target, storage_options)


def is_unfinished(target: str, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether an unfinished conversion is at `target`, or beside an image there that it will replace."""
    archive = ZipTarget.of(target, "0.5") if is_zip_target(target) else None
    store = open_store(target if archive is None else archive.folder, storage_options)
    return any(is_begun(place.names() or ()) for place in (store, store.beside()) if place is not None)


def _check_target(target: str, source: ArraySource, is_below: bool) -> None:
    # A computation may replace the image that it reads, which is read completely before; others would be lost.
    is_made = isinstance(source, ComputedSource) or (
        isinstance(source, DescribedSource) and isinstance(source.source, WindowSource | TransposedSource)
    )
    replaced = _levels_at(target) if is_made else ()
    for stored in map(storage_of, leaves_of(source)):
        if not stored.path or os.path.realpath(stored.location) in replaced:
            continue
        if lies_in(stored.location, target):
            raise ArgumentError(f"{target} holds the source {stored.location}: choose another folder")
        inside = stored.location if is_below else stored.path
        if os.path.isdir(stored.path) and lies_in(target, inside):
            raise ArgumentError(f"{target} lies in the source {inside}: choose another folder")


def _levels_at(target: str) -> set[str]:
    """Folders of the levels of the image at a path, if there is one."""
    store = LocalStore(target)
    try:
        images = image_attributes(root_of(store, store.names() or ()))["multiscales"]
        return {os.path.realpath(os.path.join(target, level["path"])) for each in images for level in each["datasets"]}
    except (KeyError, TypeError, ValueError):
        return set()


def name_of(target: str) -> str:
    """Return the name of an image: the name of its folder or file without ``.ome.zarr``, ``.zarr`` or ``.ozx``.

    >>> name_of("/data/brain.ome.zarr")
    'brain'
    """
    name = Path(target).name
    for suffix in (*ZIP_SUFFIXES, ".zarr", ".ome"):
        name = name.removesuffix(suffix)
    return encodable(name or Path(target).name)
