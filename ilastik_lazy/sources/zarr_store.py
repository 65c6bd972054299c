"""The tree of groups and arrays in a Zarr folder, and their metadata; nothing in it leads out of the folder.

Both versions: ``.zgroup``, ``.zarray``, ``.zattrs`` of version 2, ``zarr.json`` of version 3.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ilastik_lazy.errors import (
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    SourceIOError,
    SourceNotFoundError,
    UnfinishedWriteError,
    UnsafePathError,
)
from ilastik_lazy.files import Stamp, opened, read_exactly, stamp_of
from ilastik_lazy.limits import Limits
from ilastik_lazy.ome_metadata import check_inside

__all__ = ["Node", "check_links", "children", "is_zarr", "node_at", "node_inside", "require_consolidated_agrees"]

_FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
# `to_ome_zarr` writes zarr.json of the root last; until then, this folder is there.
_UNFINISHED = ".ilz"
# Consolidated metadata hold those of all arrays: 1 kB each.
_JSON_BYTES = 64 * 2**20
_TELLING = ("shape", "chunks", "dtype", "compressor", "filters", "data_type", "chunk_grid", "codecs")


@dataclass(frozen=True, slots=True)
class Node:
    """A group or an array, and what its metadata files say."""

    path: str
    """Folder."""
    kind: Literal["group", "array"]
    version: int
    document: Mapping[str, Any]
    attributes: Mapping[str, Any]
    metadata_path: str
    stamp: Stamp
    """Of the file at `metadata_path`."""


def is_zarr(path: str) -> bool:
    """Whether the folder is a Zarr group or array, or was to become one."""
    return any(os.path.exists(os.path.join(path, name)) for name in (*_FILES, _UNFINISHED))


def _load(path: str) -> tuple[Mapping[str, Any], Stamp] | None:
    """The JSON object in a file; None where there is no such file.

    Raises
    ------
    MetadataError
        It is something else, such as the first half of one.
    """
    try:
        stamp = stamp_of(path)
    except SourceNotFoundError:
        return None
    if stamp.size > _JSON_BYTES:
        raise LimitExceededError(f"{path} has {stamp.size} bytes, more than {_JSON_BYTES}")
    with opened(path, stamp) as fd:
        text = read_exactly(fd, stamp.size, 0, path)
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"{path} is not JSON: {text[:40]!a}") from error
    if not isinstance(loaded, dict):
        raise MetadataError(f"{path} holds no JSON object: {text[:40]!a}")
    return loaded, stamp


def node_at(path: str) -> Node | None:
    """The group or array in a folder; None where there is none.

    Raises
    ------
    MetadataError
        Its metadata cannot be read, or versions 2 and 3 of them contradict each other.
    """
    third = _load(os.path.join(path, "zarr.json"))
    second = _load(os.path.join(path, ".zarray"))
    if third is not None:
        return _third(path, *third, second[0] if second is not None else None)
    attributes = _load(os.path.join(path, ".zattrs"))
    found = dict(attributes[0]) if attributes is not None else {}
    if second is not None:
        if second[0].get("zarr_format") != 2:
            raise MetadataError(f"{path}/.zarray is not of Zarr version 2")
        return Node(path, "array", 2, second[0], found, os.path.join(path, ".zarray"), second[1])
    for name, group in ((".zgroup", _load(os.path.join(path, ".zgroup"))), (".zattrs", attributes)):
        if group is not None:
            return Node(path, "group", 2, group[0], found, os.path.join(path, name), group[1])
    if os.path.exists(os.path.join(path, _UNFINISHED)):
        raise UnfinishedWriteError(f"{path} is a conversion that was stopped, or still runs: convert once more")
    return None


def _third(path: str, document: Mapping[str, Any], stamp: Stamp, second: Mapping[str, Any] | None) -> Node:
    kind, attributes = document.get("node_type"), document.get("attributes", {})
    if document.get("zarr_format") != 3 or kind not in ("group", "array") or not isinstance(attributes, dict):
        raise MetadataError(f"{path}/zarr.json describes no group or array of Zarr version 3")
    if second is not None:
        if kind != "array" or document.get("shape") != second.get("shape"):
            raise MetadataError(f"{path} holds a zarr.json and a .zarray that contradict each other")
        warnings.warn(f"{path} holds a zarr.json and a .zarray: zarr.json is used", MetadataWarning, stacklevel=2)
    return Node(path, kind, 3, document, attributes, os.path.join(path, "zarr.json"), stamp)


def node_inside(root: str, inside: str) -> Node | None:
    """The group or array at the internal path `inside` of the store at `root`.

    Raises
    ------
    UnsafePathError
        The path, or a symbolic link on it, leads out of the store.
    """
    path = os.path.join(root, check_inside(inside, root)) if inside else root
    check_links(root, path)
    return node_at(path)


def check_links(root: str, path: str) -> None:
    """Raise `UnsafePathError` where symbolic links lead from `path`, below `root`, out of it."""
    part = path
    while len(part) > len(root):
        if os.path.islink(part):
            home = os.path.realpath(root)
            if os.path.commonpath([home, os.path.realpath(path)]) != home:
                raise UnsafePathError(f"{path} is a symbolic link that leads out of {root}: name its target itself")
            return
        part = os.path.dirname(part)


def _in_human_order(name: str) -> list[tuple[int, int, str]]:
    """So that ``10`` comes after ``9``."""
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d{1,18})", name) if p]


def children(node: Node, limits: Limits) -> Iterator[tuple[str, Node]]:
    """All groups and arrays below a group, with their internal paths, from the top down.

    Folders without metadata are looked into; symbolic links are not.

    Raises
    ------
    LimitExceededError
        There are more than `limits` allow.
    """
    waiting, seen = [("", 0)], 0
    while waiting:
        above, depth = waiting.pop(0)
        folder = os.path.join(node.path, above)
        try:
            with os.scandir(folder) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name.isprintable()]
        except OSError as error:
            raise SourceIOError(f"cannot list {folder}: {error.strerror}") from error
        seen += len(names)
        if seen > limits.members or depth >= limits.depth:
            raise LimitExceededError(
                f"{node.path} holds more than {limits.members} folders, or these are nested too deep"
            )
        for name in sorted(names, key=_in_human_order):
            inside = f"{above}/{name}" if above else name
            child = node_at(os.path.join(node.path, inside))
            if child is not None:
                yield inside, child
            if (child is None or child.kind == "group") and name != _UNFINISHED:
                waiting.append((inside, depth + 1))


def require_consolidated_agrees(group: Node, inside: str, array: Node) -> None:
    """Raise `MetadataError` where the consolidated metadata of a group tell another array than its own do.

    Others read the consolidated ones: nobody can tell which are right.
    """
    if group.version == 2:
        loaded = _load(os.path.join(group.path, ".zmetadata"))
        collected, name = (loaded[0].get("metadata") if loaded else None), f"{inside}/.zarray"
    else:
        inline = group.document.get("consolidated_metadata")
        collected, name = (inline.get("metadata") if isinstance(inline, dict) else None), inside
    told = collected.get(name) if isinstance(collected, dict) else None
    if isinstance(told, dict) and any(told.get(key) != array.document.get(key) for key in _TELLING):
        raise MetadataError(f"{group.path}: its consolidated metadata of {inside} contradict those of the array")
