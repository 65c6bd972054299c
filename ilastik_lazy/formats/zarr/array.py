"""Open one array of a Zarr store, as the level of an image that its ``multiscales`` say it is.

For an array that is named directly, the groups above it are searched for the ``multiscales`` that list it.
"""

from __future__ import annotations

import contextlib
import os
import warnings

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.errors import (
    AccessDeniedError,
    IlastikLazyError,
    IlastikLazyWarning,
    IncompleteSourceWarning,
    MetadataError,
    option,
)
from ilastik_lazy.formats.suffixes import ZIP_SUFFIXES
from ilastik_lazy.formats.zarr.direct import ZarrSource, count_absent
from ilastik_lazy.formats.zarr.files import LocalFiles
from ilastik_lazy.formats.zarr.layout import ArrayLayout, parse_layout
from ilastik_lazy.formats.zarr.spec import Home, array_spec
from ilastik_lazy.formats.zarr.tree import Node, multiscales_of, node_at, require_consolidated_agrees
from ilastik_lazy.formats.zarr.zip_files import ZipFiles
from ilastik_lazy.storage.folders import SEEN_AT_OPENING, version_of
from ilastik_lazy.storage.object_store import is_url
from ilastik_lazy.warning import warn

__all__ = ["coarser_levels", "joined", "opened_array", "stem_of"]

# Groups above an array that are searched for its multiscales: "scale0/image" needs two.
_MOST_PARENTS = 4


def opened_array(node: Node, root: Node, path: str, inside: str, options: OpenOptions) -> ZarrSource:
    """Return the array of `node`, which lies at `inside` in the store at `path`; warn if files are missing."""
    axes, limits = options.axes, options.limits
    where = joined(path, inside)
    layout = parse_layout(node.document, node.version, where, limits)
    home = _home_of(node, root, where, axes)
    store = home.group if home is not None and not isinstance(node.files, ZipFiles) else path
    name = inside.rsplit("/", 1)[-1] or stem_of(path)
    buffers = layout.codec.buffers + (layout.order is not None or layout.stored != layout.dtype)
    version = str(node.metadata_version) if is_url(path) else ""
    storage = Storage(where, store, "chunked", layout.codec.name, buffers=buffers, version=version)
    spec = array_spec(node, layout, home, name, storage, axes, limits)
    is_complete = _complete(node, layout, where)
    contents = "" if is_complete is None else version_of(node.path, SEEN_AT_OPENING)
    coarser = () if home is None else tuple(joined(home.group, p) for p in home.multiscale.paths[home.level + 1 :])
    return ZarrSource(
        spec, node.files, node.path, node.metadata_path, node.metadata_version, layout, is_complete, contents, coarser
    )


def coarser_levels(source: ArraySource) -> tuple[ZarrSource, ...]:
    """Open the levels of lower resolution that are stored beside an array, finest first.

    There are none if `source` is no whole array of Zarr, or is at other positions than its file states.  They end
    before one that cannot be opened, lacks chunks, or does not fit the level before it.
    """
    whole = source
    while isinstance(whole, DescribedSource):
        whole = whole.source
    if not isinstance(whole, ZarrSource) or whole.spec.axes != source.spec.axes:
        return ()
    levels, path = [whole], whole.spec.storage.path
    # A level asks for no more memory than the finest one, which was checked.
    options = OpenOptions(limits=Limits(chunk_bytes=whole.layout.chunk_nbytes))
    for folder in whole.coarser:
        with warnings.catch_warnings(), contextlib.suppress(IlastikLazyError):
            # Opening the finest level has warned about the metadata.
            warnings.simplefilter("ignore", IlastikLazyWarning)
            whole.files.check_links(folder)
            node = node_at(folder, whole.files)
            if node is not None and node.kind == "array":
                level = opened_array(node, node, path, folder.removeprefix(path).strip("/"), options)
                if level.is_complete is not False and _is_coarser(level.spec, levels[-1].spec):
                    levels.append(level)
                    continue
        break
    return tuple(levels[1:])


def _is_coarser(spec: ArraySpec, finer: ArraySpec) -> bool:
    """Return whether one level of an image can follow another: fewer voxels for the same space, and else alike."""
    if (spec.dims, spec.dtype, spec.packing) != (finer.dims, finer.dtype, finer.packing) or spec.shape == finer.shape:
        return False
    lengths = zip(spec.shape, finer.shape, spec.axes, finer.axes, strict=True)
    return all(_covers(*each) if each[2].name not in "tc" else each[0] == each[1] for each in lengths)


def _covers(length: int, finer_length: int, axis: Axis, finer: Axis) -> bool:
    """Return whether the voxels of a level cover what those of a finer one do, but for less than two at the ends."""
    if not 0 < length <= finer_length or (axis.scale is None) != (finer.scale is None):
        return False
    if axis.scale is None or finer.scale is None:
        return True
    missing = abs(length * axis.scale - finer_length * finer.scale)
    return max(missing / 2, abs(axis.translation - finer.translation)) < axis.scale


def stem_of(path: str) -> str:
    """Return the name of a store without its suffixes."""
    name = os.path.basename(path)
    for suffix in (*ZIP_SUFFIXES, ".zarr", ".ome"):
        name = name.removesuffix(suffix)
    return name or "image"


def joined(above: str, path: str) -> str:
    """Return the path of what lies at `path` below the path `above`, which may be empty."""
    return f"{above}/{path}" if above else path


def _home_of(node: Node, root: Node, where: str, axes: str | None) -> Home | None:
    """Find the multiscales that list an array, in the groups above it, and above the path that was named."""
    folder = node.path
    parts: list[str] = []
    for _ in range(_MOST_PARENTS):
        parts.insert(0, os.path.basename(folder))
        if not (folder := node.files.parent(folder)):
            break
        try:
            group = root if folder == root.path else node_at(folder, node.files)
        except AccessDeniedError:
            if len(folder) >= len(root.path):
                raise
            break  # above the named path, S3 may also deny access to what does not exist
        if group is None or group.kind != "group":
            continue
        inside = "/".join(parts)
        require_consolidated_agrees(group, inside, node)
        try:
            multiscales = multiscales_of(group)
        except MetadataError as error:
            if axes is None:
                raise
            warn(f"{error}: ignored, since {option('axes')} is given")
            return None
        for multiscale in multiscales:
            if inside in multiscale.paths:
                for problem in multiscale.problems:
                    warn(problem)
                return Home(folder, multiscale, multiscale.paths.index(inside))
    return None


def _complete(node: Node, layout: ArrayLayout, where: str) -> bool | None:
    """Return whether all files of the array exist; None if there are too many to check."""
    counted = count_absent(node.files, node.path, layout) if isinstance(node.files, LocalFiles | ZipFiles) else None
    if counted is None:
        return None
    absent, count = counted
    if absent:
        what = "shards" if layout.index is not None else "chunks"
        warn(
            f"{where}: {absent} of {count} {what} were never written and read as {layout.fill_value}. Some "
            "programs leave out chunks that are all fill value; a chunk that was lost looks the same",
            IncompleteSourceWarning,
        )
    return absent == 0
