"""Walk the groups and arrays of a Zarr store, and load their metadata, without leaving its folder.

Both versions: ``.zgroup``, ``.zarray``, ``.zattrs`` of version 2, ``zarr.json`` of version 3.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ilastik_lazy.core.options import Limits
from ilastik_lazy.errors import (
    AccessDeniedError,
    FormatError,
    LimitExceededError,
    MetadataError,
    SourceNotFoundError,
    UnfinishedWriteError,
    UnsafeFileError,
)
from ilastik_lazy.formats.location import number_key
from ilastik_lazy.formats.metadata.json_text import parse_json_object
from ilastik_lazy.formats.zarr.files import Version, ZarrFiles
from ilastik_lazy.formats.zarr.ome import Multiscale, check_inside, ome_content, parse_multiscales
from ilastik_lazy.warning import warn

__all__ = ["Node", "children", "is_zarr", "multiscales_of", "node_at", "node_inside", "require_consolidated_agrees"]

_FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
# `to_ome_zarr` writes zarr.json of the root last; until then, this folder exists.
_UNFINISHED = ".ilz"
# Consolidated metadata take 1 kB for each array.
_JSON_BYTES = 64 * 2**20
_COMPARED = ("shape", "chunks", "dtype", "compressor", "filters", "data_type", "chunk_grid", "codecs")


@dataclass(frozen=True, slots=True)
class Node:
    """A group or an array, with its metadata."""

    path: str
    """Folder, or URL of one."""
    files: ZarrFiles
    kind: Literal["group", "array"]
    version: int
    document: Mapping[str, Any]
    attributes: Mapping[str, Any]
    metadata_path: str
    metadata_version: Version
    """Version of the file at `metadata_path`."""


def is_zarr(path: str, files: ZarrFiles) -> bool:
    """Return whether the folder is a Zarr group or array, or an unfinished one."""
    return any(files.has_folder(os.path.join(path, name)) for name in (*_FILES, _UNFINISHED))


def node_at(path: str, files: ZarrFiles) -> Node | None:
    """Load the group or array in a folder; return None if there is none.

    Raises
    ------
    MetadataError
        The metadata cannot be parsed, or those of versions 2 and 3 contradict each other.
    AccessDeniedError
        There is no access to the metadata.
    """
    loaded = dict(zip(_FILES, files.load([os.path.join(path, name) for name in _FILES], _JSON_BYTES), strict=True))

    def document(name: str) -> tuple[Mapping[str, Any], Version] | None:
        entry = loaded[name]
        return (parse_json_object(entry[0], os.path.join(path, name)), entry[1]) if isinstance(entry, tuple) else None

    third, second = document("zarr.json"), document(".zarray")
    if third is not None:
        return _third(path, files, *third, second[0] if second is not None else None)
    attributes = document(".zattrs")
    found = dict(attributes[0]) if attributes is not None else {}
    if second is not None:
        if second[0].get("zarr_format") != 2:
            raise MetadataError(
                f"{path}/.zarray has zarr_format {ascii(second[0].get('zarr_format'))[:20]}, expected 2"
            )
        return Node(path, files, "array", 2, second[0], found, os.path.join(path, ".zarray"), second[1])
    for name, group in ((".zgroup", document(".zgroup")), (".zattrs", attributes)):
        if group is not None:
            return Node(path, files, "group", 2, group[0], found, os.path.join(path, name), group[1])
    for entry in loaded.values():
        if isinstance(entry, AccessDeniedError):
            raise entry
    if files.has_folder(os.path.join(path, _UNFINISHED)):
        raise UnfinishedWriteError(f"{path} is a conversion that was stopped, or is still running: convert it again")
    return None


def _third(
    path: str, files: ZarrFiles, document: Mapping[str, Any], version: Version, second: Mapping[str, Any] | None
) -> Node:
    kind, attributes = document.get("node_type"), document.get("attributes", {})
    if document.get("zarr_format") != 3 or kind not in ("group", "array") or not isinstance(attributes, dict):
        raise MetadataError(f"{path}/zarr.json describes no group or array of Zarr version 3")
    if second is not None:
        if kind != "array" or document.get("shape") != second.get("shape"):
            raise MetadataError(f"{path} holds a zarr.json and a .zarray that contradict each other")
        warn(f"{path} holds a zarr.json and a .zarray: zarr.json is used")
    return Node(path, files, kind, 3, document, attributes, os.path.join(path, "zarr.json"), version)


def node_inside(root: str, inside: str, files: ZarrFiles) -> Node | None:
    """Load the group or array at the internal path `inside` of the store at `root`.

    Raises
    ------
    UnsafePathError
        The path, or a symbolic link on it, leads out of the store.
    """
    path = os.path.join(root, check_inside(inside, root)) if inside else root
    files.check_links(path)
    return node_at(path, files)


def multiscales_of(group: Node) -> tuple[Multiscale, ...]:
    """Return the multiscales of a group, the finest level of each first.

    OME-Zarr demands that order, and some writers list the coarsest level first.  Scales decide; where a writer gave
    none, or the same to all levels, the shapes of the arrays do.

    Raises
    ------
    MetadataError, UnsafePathError, LimitExceededError
        See `parse_multiscales`.
    """
    return tuple(_finest_first(found, group) for found in parse_multiscales(group.attributes, group.path))


def _finest_first(multiscale: Multiscale, group: Node) -> Multiscale:
    if len(multiscale.paths) == 1:
        return multiscale
    if volumes := multiscale.voxel_volumes:
        return multiscale.sorted_by(volumes)
    try:
        sizes = _sizes(group, multiscale.paths)
    except (FormatError, UnsafeFileError, SourceNotFoundError):
        return multiscale  # reported where that level is opened
    return multiscale.sorted_by([-size for size in sizes])


def _sizes(group: Node, paths: Sequence[str]) -> list[int]:
    """Return the numbers of elements of the arrays at `paths` in a group, all loaded at once."""
    folders = [os.path.join(group.path, path) for path in paths]
    for folder in folders:
        group.files.check_links(folder)
    documents = [os.path.join(folder, ".zarray" if group.version == 2 else "zarr.json") for folder in folders]
    sizes = []
    for path, loaded in zip(documents, group.files.load(documents, _JSON_BYTES), strict=True):
        shape = parse_json_object(loaded[0], path).get("shape") if isinstance(loaded, tuple) else None
        if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
            raise MetadataError(f"{path}: the shape is {ascii(shape)[:60]}, expected a list of integers")
        sizes.append(math.prod(shape))
    return sizes


def children(node: Node, limits: Limits) -> Iterator[tuple[str, Node]]:
    """Yield all groups and arrays below a group, with their internal paths, from the top down.

    Folders without metadata are searched, symbolic links are not followed.  If folders cannot be listed, those that
    the metadata name are found.

    Raises
    ------
    LimitExceededError
        There are more than `limits` allow.
    """
    waiting: list[tuple[str, Node | None, int]] = [("", node, 0)]
    known = {""}
    while waiting:
        above, group, depth = waiting.pop(0)
        names = [
            name for name in _names_below(node, above, group) if (f"{above}/{name}" if above else name) not in known
        ]
        if len(known) + len(names) > limits.members or depth >= limits.depth:
            raise LimitExceededError(
                f"{node.path} holds more than {limits.members} folders, or these are nested too deep"
            )
        for name in names:
            inside = f"{above}/{name}" if above else name
            known.add(inside)
            child = node_at(os.path.join(node.path, inside), node.files)
            if child is not None:
                yield inside, child
            if (child is None or child.kind == "group") and name != _UNFINISHED:
                waiting.append((inside, child, depth + 1))


def _names_below(root: Node, above: str, group: Node | None) -> list[str]:
    """List names in the folder `above`, by their numbers; those in the metadata of `group` if it cannot be listed."""
    if root.files.can_list:
        try:
            found = root.files.folders(os.path.join(root.path, above) if above else root.path)
            return sorted((name for name in found if name.isprintable()), key=number_key)
        except AccessDeniedError:
            pass  # many public buckets can be read, but not listed
    return list(dict.fromkeys(_named_by(group))) if group is not None else []


def _named_by(group: Node) -> Iterator[str]:
    """Yield the paths of groups and arrays that the metadata of a group name."""
    content = ome_content(group.attributes)
    named: list[object] = []
    if "multiscales" in content:
        named += [path for m in parse_multiscales(group.attributes, group.path) for path in m.paths]
        named.append("labels")
    named += listed if isinstance(listed := content.get("labels"), list) else []
    if content.get("bioformats2raw.layout") is not None:
        series = node_at(os.path.join(group.path, "OME"), group.files)
        inner = ome_content(series.attributes) if series is not None else {}
        named += listed if isinstance(listed := inner.get("series"), list) else ["0"]
    for holder, members in (("plate", "wells"), ("well", "images")):
        entries = held.get(members) if isinstance(held := content.get(holder), Mapping) else None
        named += [each.get("path") for each in entries or () if isinstance(each, Mapping)]
    named += [re.sub(r"/?\.z\w+$", "", path) for path in _consolidated(group)]
    for path in named:
        if isinstance(path, str) and path:
            yield check_inside(path, group.path)


def _consolidated(group: Node) -> Mapping[str, Any]:
    """Load the consolidated metadata of a group: documents by path, in version 2 by path and name of the file."""
    if group.version == 2:
        path = os.path.join(group.path, ".zmetadata")
        (loaded,) = group.files.load([path], _JSON_BYTES)
        collected = parse_json_object(loaded[0], path).get("metadata") if isinstance(loaded, tuple) else None
    else:
        inline = group.document.get("consolidated_metadata")
        collected = inline.get("metadata") if isinstance(inline, dict) else None
    return collected if isinstance(collected, dict) else {}


def require_consolidated_agrees(group: Node, inside: str, array: Node) -> None:
    """Raise `MetadataError` if the consolidated metadata of a group describe another array than its own do.

    Other programs read the consolidated ones, and it is unknown which are right.
    """
    named = _consolidated(group).get(f"{inside}/.zarray" if group.version == 2 else inside)
    if isinstance(named, dict) and any(named.get(key) != array.document.get(key) for key in _COMPARED):
        raise MetadataError(
            f"{group.path}: its consolidated metadata of {inside} contradict those of the array: consolidate again"
        )
