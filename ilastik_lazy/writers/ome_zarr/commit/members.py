"""Distinguish the files of an image from those that other programs have added: labels, tables, notes.

An image is replaced as a whole: its arrays, their coordinates and all metadata.  Everything else is kept.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterator
from typing import Any, Literal

from ilastik_lazy.core.axes import AXIS_NAMES
from ilastik_lazy.core.classes import COLORS
from ilastik_lazy.errors import DestinationExistsError
from ilastik_lazy.storage.stores import PLAN, ROOTS, WORK, ReadableStore, Store
from ilastik_lazy.warning import warn
from ilastik_lazy.writers.ome_zarr.commit.manifest import read_manifest

__all__ = [
    "arrays_of",
    "clear",
    "discard",
    "foreign_attributes",
    "foreign_members",
    "image_attributes",
    "kept_members",
    "root_of",
    "warn_of_other_format",
]

_METADATA = (*ROOTS, ".zmetadata")
_COORDINATES = (*AXIS_NAMES, COLORS)
# Chunks of an image whose root is its array: "c" and, in Zarr v2, names such as "0.12".
_CHUNKS = re.compile(r"c|\d+(\.\d+)*")

# Attributes that describe the image itself; OME-Zarr 0.4 has it at the top, 0.5 below "ome".
_OF_THE_IMAGE = {"ome", "multiscales", "omero", "image-label", "_ARRAY_DIMENSIONS"}

Role = Literal["own", "folder", "foreign"]


def foreign_members(store: Store, arrays: Collection[str]) -> list[str]:
    """Keys of everything that does not belong to the image with these `arrays`; a foreign folder is one key."""
    return sorted(key for key, role in _members(store, "", arrays) if role == "foreign")


def kept_members(store: Store, arrays: Collection[str], needed: Collection[str]) -> list[str]:
    """`foreign_members` that stay when the image is replaced by one with the arrays `needed`.

    Raises
    ------
    DestinationExistsError
        The new image needs the name of one of them.
    """
    kept = foreign_members(store, arrays)
    if clashes := [key for key in kept if _role_of(key, needed) != "foreign"]:
        raise DestinationExistsError(
            f"{store.place} holds {', '.join(clashes)}, which does not belong to the image there, and the new image "
            "needs that name: move it, or choose another target"
        )
    return kept


def foreign_attributes(store: Store) -> dict[str, Any]:
    """Attributes of the root that are not of the image there: notes and tables of other programs."""
    attributes = root_of(store, store.names() or []).get("attributes")
    return {k: v for k, v in attributes.items() if k not in _OF_THE_IMAGE} if isinstance(attributes, dict) else {}


def warn_of_other_format(store: Store, kept: Collection[str], version: str) -> None:
    """Warn of groups and arrays that stay in an image of another version of Zarr, where readers do not see them."""
    names = {"zarr.json"} if version == "0.4" else {".zgroup", ".zarray"}
    if hidden := [key for key in kept if names.intersection(store.names(key) or ())]:
        warn(
            f"{store.place}: {', '.join(hidden)}, which others have put there, stays, but is of another version of "
            f"Zarr than the new image of OME-Zarr {version}: programs that open this may not find it"
        )


def clear(store: Store, arrays: Collection[str]) -> None:
    """Remove the image with these `arrays`, and nothing else."""
    found = [(key, role) for key, role in _members(store, "", arrays) if key != WORK]
    for key, role in found:
        if role == "own":
            store.delete(key)
    for key, role in found:
        if role == "folder":
            store.prune(key)


def discard(old: Store, final: Store, arrays: Collection[str]) -> None:
    """Remove an image beside its place `final`, except the lock; the members of other programs move to `final`."""
    for key in kept_members(old, arrays, arrays_of(final)):
        final.keep(key, old)
    # Files that name the arrays go last: a later run that continues here must not take an array for foreign.
    for name in sorted(old.names() or [], key=lambda name: _role_of(name, ()) == "own"):
        if name != WORK:
            old.delete(name)


def _role_of(key: str, arrays: Collection[str]) -> Role:
    """Whether a key belongs to an image with these `arrays`, is a folder that holds some of it, or neither.

    >>> [_role_of(key, ["scale0/image"]) for key in ("scale0/image", "scale0", "labels", "scale0/zarr.json")]
    ['own', 'folder', 'foreign', 'own']
    """
    folder, name = posixpath.split(key)
    if not folder and (name in (WORK, *_METADATA) or ("" in arrays and _CHUNKS.fullmatch(name))):
        return "own"
    if key in arrays:
        return "own"
    if any(array.startswith(f"{key}/") for array in arrays):
        return "folder"
    holds_arrays = any(array.startswith(f"{folder}/") for array in arrays)
    return "own" if folder and holds_arrays and name in (*_METADATA, *_COORDINATES) else "foreign"


def _members(store: Store, folder: str, arrays: Collection[str]) -> Iterator[tuple[str, Role]]:
    for name in store.names(folder) or []:
        key = posixpath.join(folder, name)
        role = _role_of(key, arrays)
        if role == "folder":
            if store.names(key) is None:
                role = "foreign"  # a file that has the name of one of our folders
            else:
                yield from _members(store, key, arrays)
        yield key, role


def arrays_of(store: ReadableStore) -> list[str]:
    """Paths of the arrays of an image, also if it is unfinished or from another program; empty if unknown."""
    plan = (read_manifest(store) or {}).get("plan") or _object(store, PLAN)
    levels = plan.get("levels") if isinstance(plan, dict) else None
    found = [level[0] for level in levels if isinstance(level, list) and level] if isinstance(levels, list) else []
    if not found:
        root = root_of(store, store.names() or [])
        if root.get("node_type") == "array":
            return [""]
        multiscales = image_attributes(root).get("multiscales")
        for multiscale in multiscales if isinstance(multiscales, list) else []:
            datasets = multiscale.get("datasets") if isinstance(multiscale, dict) else None
            found += [d.get("path") for d in datasets if isinstance(d, dict)] if isinstance(datasets, list) else []
    # These names come from a file: "." and ".." would include members of other programs.
    return [path for path in found if isinstance(path, str) and not {"", ".", ".."} & set(path.split("/"))]


def root_of(store: ReadableStore, names: Collection[str]) -> dict[str, Any]:
    """The root's metadata in the form of Zarr v3; empty if there are none that can be read."""
    if "zarr.json" in names and (root := _object(store, "zarr.json")):
        return root
    if ".zarray" in names:
        return {"node_type": "array"}
    return {"attributes": _object(store, ".zattrs")} if ".zattrs" in names else {}


def image_attributes(root: dict[str, Any]) -> dict[str, Any]:
    """The OME-Zarr attributes, version 0.4 or 0.5, of a root (see `root_of`)."""
    attributes = root.get("attributes")
    if isinstance(attributes, dict) and isinstance(attributes.get("ome"), dict):
        attributes = attributes["ome"]
    return attributes if isinstance(attributes, dict) else {}


def _object(store: ReadableStore, key: str) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is none that can be read."""
    try:
        found = json.loads(store.get(key) or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
