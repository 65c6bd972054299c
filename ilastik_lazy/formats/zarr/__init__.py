"""Open images in Zarr stores: OME-Zarr 0.1 to 0.5, written by ilastik or others, and plain arrays.

The ``multiscales`` of a group list the arrays of an image.
"""

from __future__ import annotations

import os

from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.unpacked import unpacked
from ilastik_lazy.errors import DatasetNotFoundError, SourceNotFoundError
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.named_image import no_such_image, only_image
from ilastik_lazy.formats.suffixes import IMAGE_SUFFIXES, TABLE_SUFFIXES, ZIP_SUFFIXES
from ilastik_lazy.formats.zarr.array import joined, opened_array, stem_of
from ilastik_lazy.formats.zarr.files import LocalFiles, RemoteFiles, ZarrFiles
from ilastik_lazy.formats.zarr.ome import Multiscale, ome_content
from ilastik_lazy.formats.zarr.ome.plates import Plate, plate_in
from ilastik_lazy.formats.zarr.spec import is_label_group
from ilastik_lazy.formats.zarr.tree import (
    Node,
    children,
    is_zarr,
    multiscales_of,
    node_at,
    node_inside,
)
from ilastik_lazy.formats.zarr.zip_files import ZipFiles

__all__ = ["FORMAT", "images", "open_image", "plate_at", "recognises", "tree"]

_TOGETHER = "open_datatree()"
# Asking a server for metadata takes time, and these names are surely no Zarr.
_OTHER_SUFFIXES = frozenset((*IMAGE_SUFFIXES, *TABLE_SUFFIXES))


def recognises(location: Location, options: OpenOptions) -> bool:
    """Return whether the path is a folder with Zarr metadata or an archive; for a URL, whether its name may be one."""
    if location.is_remote:
        return location.suffix not in _OTHER_SUFFIXES
    if location.suffix in ZIP_SUFFIXES and os.path.isfile(location.path):
        return True
    return os.path.isdir(location.path) and is_zarr(location.path, LocalFiles(location.path))


def images(location: Location, options: OpenOptions) -> list[str]:
    """List internal paths of images: the finest level of each, other levels, label images, then plain arrays.

    An array at the root is listed by the name of its folder without extension.
    """
    root = _root(location, options)
    if root.kind == "array":
        return [stem_of(root.path)]
    found = _pyramids(root, options.limits)
    labels = [(inside, multiscale) for inside, multiscale in found if is_label_group(inside, multiscale)]
    others = [entry for entry in found if entry not in labels]
    paths = [joined(inside, multiscale.paths[0]) for inside, multiscale in others]
    for inside, multiscale in (*others, *labels):
        paths += [joined(inside, path) for path in multiscale.paths]
    # Two multiscales of a group may list the same array: name it once.
    return list(dict.fromkeys((*paths, *_plain_arrays(root, set(paths), options.limits))))


def tree(location: Location, options: OpenOptions) -> dict[str, str]:
    """Return the place of each image in a tree, ``scale0`` or ``labels/cells/scale1``, and its internal path."""
    root = _root(location, options)
    if root.kind == "array":
        return {stem_of(root.path): stem_of(root.path)}
    nodes: dict[str, str] = {}
    for inside, multiscale in _pyramids(root, options.limits):
        for level, path in enumerate(multiscale.paths):
            # The first multiscales of a group are its image.
            nodes.setdefault(joined(inside, f"scale{level}"), joined(inside, path))
    for path in _plain_arrays(root, set(nodes.values()), options.limits):
        nodes.setdefault(path, path)
    return nodes


def _files_of(location: Location, options: OpenOptions) -> ZarrFiles:
    if location.suffix in ZIP_SUFFIXES and not os.path.isdir(location.path):
        return ZipFiles.at(location.path, location.options, options.limits.chunk_bytes)
    return RemoteFiles(location.folder) if location.is_remote else LocalFiles(location.path, options.external_roots)


def _root(location: Location, options: OpenOptions) -> Node:
    files = _files_of(location, options)
    root = node_at(location.path, files)
    if root is not None:
        return root
    if isinstance(files, ZipFiles):
        folders = ", ".join(files.folders(location.path)[:4])
        raise DatasetNotFoundError(
            f"{location.path} has no Zarr group or array at its top"
            + (f", but the folders {folders}: pack what is in the folder of the image" if folders else "")
        )
    if location.is_remote:
        raise SourceNotFoundError(f"no Zarr group or array at {location.path}")
    raise DatasetNotFoundError(f"{location.path} holds no Zarr group or array")


def _pyramids(root: Node, limits: Limits) -> list[tuple[str, Multiscale]]:
    """Return all multiscales below `root` with the internal paths of their groups, from the top down."""
    groups = [("", root), *((inside, node) for inside, node in children(root, limits) if node.kind == "group")]
    return [(inside, m) for inside, node in groups for m in multiscales_of(node)]


def _plain_arrays(root: Node, known: set[str], limits: Limits) -> list[str]:
    """List internal paths of arrays that may be images, are listed by no multiscales, and are not coordinates."""
    found = [
        (inside, node)
        for inside, node in children(root, limits)
        if node.kind == "array" and inside not in known and _may_be_image(node)
    ]
    coordinates = {
        joined(inside.rpartition("/")[0], name)
        for inside, node in found
        for attribute in ("coordinates", "bounds")
        for name in str(node.attributes.get(attribute, "")).split()
    }
    paths = [inside for inside, _ in found]
    return [inside for inside in paths if inside not in coordinates] or paths


def _may_be_image(node: Node) -> bool:
    shape, dtype = node.document.get("shape"), node.document.get("dtype", node.document.get("data_type"))
    is_numeric = isinstance(dtype, str) and dtype.lstrip("<>|").startswith(("b", "i", "u", "f"))
    return is_numeric and isinstance(shape, list) and 2 <= len(shape) <= 5


def open_image(location: Location, options: OpenOptions) -> ArraySource:
    """Open one array: read its metadata, and count the names of its files.

    Parameters
    ----------
    location
        The store, a group or an array in it.  Without an internal path, the finest level of the only image is opened.
    options
        Names of the axes, which replace those in the store.

    Raises
    ------
    DatasetNotFoundError
        There is no such array, or there are several.
    MetadataError, UnsafePathError, UnsafeFileError, UnsupportedFilterError, LimitExceededError
    """
    root = _root(location, options)
    inside, node = _array_of(root, location, options)
    return unpacked(opened_array(node, root, location.path, inside, options))


def _array_of(root: Node, location: Location, options: OpenOptions) -> tuple[str, Node]:
    """Return internal path and node of the array that `location` names."""
    inside = location.internal_path or ""
    if root.kind == "array" and inside in ("", stem_of(root.path)):
        return "", root
    # In a bucket, to load it again would take as long as to read a chunk.
    node = node_inside(location.path, inside, root.files) if inside else root
    if node is not None and node.kind == "group":
        below = _only_image(node, inside, options.limits)
        inside = joined(inside, below)
        array = node_inside(location.path, inside, root.files)
        if array is None or array.kind != "array":
            raise DatasetNotFoundError(
                f"{location.path} has no array {inside!r}, which its multiscales list: was it copied completely?"
            )
        return inside, array
    if node is None:
        listed = images(location.at(None), options)
        if inside in listed:
            raise DatasetNotFoundError(
                f"{location.path} has no array {inside!r}, which its multiscales list: was it copied completely?"
            )
        raise no_such_image(f"array {inside!r}", location.path, [*map(repr, listed)])
    return inside, node


def _only_image(group: Node, inside: str, limits: Limits) -> str:
    """Return the finest level of a group's image, or of the only image below it."""
    if own := multiscales_of(group):
        return own[0].paths[0]
    if plate := plate_in(group, limits):
        only_image(group.path, [joined(inside, path) for path in plate.fields], what=plate.what, together=_TOGETHER)
        (path,) = plate.fields
        if field := node_inside(group.path, path, group.files):
            return joined(path, _only_image(field, joined(inside, path), limits))
        raise DatasetNotFoundError(f"{group.path} has no {path!r}, which its metadata list: was it copied completely?")
    found = _pyramids(group, limits)
    finest = [joined(place, m.paths[0]) for place, m in found if not is_label_group(place, m)]
    finest = finest or [joined(place, m.paths[0]) for place, m in found] or _plain_arrays(group, set(), limits)
    what = f"a plate with {len(finest)} fields of view" if "plate" in ome_content(group.attributes) else ""
    only_image(group.path, [joined(inside, path) for path in finest], finest, what=what, together=_TOGETHER)
    return finest[0]


def plate_at(location: Location, options: OpenOptions) -> Plate | None:
    """Return the plate or the well at `location`; None if it is something else."""
    root = _root(location, options)
    node = node_inside(location.path, location.internal_path or "", root.files)
    return plate_in(node, options.limits) if node is not None and not multiscales_of(node) else None


FORMAT = Format("Zarr", recognises, images, open_image, arrange=tree)
