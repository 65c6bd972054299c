"""Images in N5 folders, written by ilastik through z5, or by other programs.

An N5 is a tree of folders, each with an ``attributes.json``; a folder is a dataset if that file has ``dimensions``.
N5 lists the fastest dimension first: shape and blocks are reversed here.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.core.kinds import kind_from_name
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.core.views.unpacked import unpacked
from ilastik_lazy.errors import (
    CorruptFileError,
    IlastikLazyError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataError,
    SourceNotFoundError,
    UnsafePathError,
    UnsupportedFilterError,
    option,
)
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.json_text import parse_json_object
from ilastik_lazy.formats.metadata.settled_axes import settled_axes
from ilastik_lazy.formats.metadata.values import (
    channel_count,
    check_chunks,
    check_shape,
    drange_from,
    packing_of,
    text_from,
)
from ilastik_lazy.formats.n5.blocks import COMPRESSIONS, N5Source
from ilastik_lazy.formats.named_image import no_such_image, only_image
from ilastik_lazy.storage.allowed import check_links
from ilastik_lazy.storage.files import Stamp, opened, read_up_to, stamp_of
from ilastik_lazy.storage.folders import SEEN_AT_OPENING, version_of
from ilastik_lazy.warning import warn

__all__ = ["FORMAT", "attributes_of", "images", "open_image", "recognises"]

_FILE = "attributes.json"
_MOST_FILES = 20_000
_TYPES = {f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)} | {"float32", "float64"}
# Types of N5 in Java that are not images.
_NO_IMAGES = ("string", "object")


def recognises(location: Location, options: OpenOptions) -> bool:
    """Return whether `location` is an N5 folder, a group or dataset in one, or an ``attributes.json``."""
    if os.path.basename(location.path) != _FILE and not os.path.isdir(location.path):
        return False
    folder = _container(location)
    if any(part.lower().endswith(".n5") for part in Path(folder).parts):
        return True
    try:
        attributes = attributes_of(folder, folder, options)
    except UnsafePathError:
        return True  # metadata lie elsewhere: `open_image` refuses that with a reason
    except IlastikLazyError:
        return False
    return "n5" in attributes or _is_dataset(attributes)


def images(location: Location, options: OpenOptions) -> list[str]:
    """Return the internal paths of the images in a folder, the likeliest first; for a dataset its own name."""
    container = _container(location)
    if _is_dataset(attributes_of(container, container, options)):
        return [_own_name(container)]
    return _datasets_below(container, options)


def open_image(location: Location, options: OpenOptions) -> ArraySource:
    """Open one dataset; only its ``attributes.json`` is read.

    Arguments are those of `hdf5.open_image`; the folder of `location` may also be the dataset itself.

    Raises
    ------
    DatasetNotFoundError, MetadataError, UnsupportedFilterError, UnsafePathError, LimitExceededError
    """
    container = _container(location)
    folder = _dataset_folder(container, location.internal_path, options)
    path = os.path.join(folder, _FILE)
    stamp = stamp_of(path) if os.path.exists(path) else None
    attributes = attributes_of(folder, container, options, stamp)
    if stamp is None or not _is_dataset(attributes):
        raise MetadataError(f"{folder} is a group, not a dataset: its {_FILE} has no dimensions, blockSize, dataType")
    spec = _spec_of(attributes, folder, options.axes, options.limits)
    if 0 not in spec.shape and not _has_blocks(folder):
        warn(f"{folder} holds no block: it was never written, or all of it is 0", IncompleteSourceWarning)
    contents = version_of(folder, SEEN_AT_OPENING) if math.prod(spec.grid) <= _MOST_FILES else ""
    return unpacked(N5Source(spec, folder, stamp, options.external_roots, contents))


def _container(location: Location) -> str:
    is_file = os.path.basename(location.path) == _FILE and not os.path.isdir(location.path)
    return os.path.dirname(location.path) if is_file else location.path


def _own_name(folder: str) -> str:
    return Path(folder).stem if folder.lower().endswith(".n5") else os.path.basename(folder)


def attributes_of(folder: str, container: str, options: OpenOptions, stamp: Stamp | None = None) -> dict[str, Any]:
    """Read the ``attributes.json`` of a folder in `container`; a group may have none."""
    path = os.path.join(folder, _FILE)
    # The folders above were checked, or are known not to be links.
    if os.path.islink(path):
        check_links(path, container, options.external_roots)
    limits = options.limits
    try:
        with opened(path, stamp) as fd:
            data = read_up_to(fd, limits.attribute_bytes + 1, 0, path)
    except SourceNotFoundError:
        return {}
    if len(data) > limits.attribute_bytes:
        raise LimitExceededError(f"{path} is larger than {limits.attribute_bytes} bytes")
    return parse_json_object(data, path)


def _is_dataset(attributes: dict[str, Any]) -> bool:
    """Return whether the attributes are those of a dataset, valid or not; a group has at most one of these names."""
    return sum(name in attributes for name in ("dimensions", "blockSize", "dataType")) >= 2


def _may_be_image(attributes: dict[str, Any]) -> bool:
    dimensions = attributes.get("dimensions")
    has_rank = not isinstance(dimensions, list) or 2 <= len(dimensions) <= 5
    return has_rank and attributes.get("dataType") not in _NO_IMAGES


def _dataset_folder(container: str, internal_path: str | None, options: OpenOptions) -> str:
    """Return the folder of the chosen dataset, after checking that it lies in `container`."""
    if internal_path is None:
        if _is_dataset(attributes_of(container, container, options)):
            return container
        internal_path = _only_image(container, options)
    parts = [part for part in internal_path.split("/") if part not in ("", ".")]
    if ".." in parts or not internal_path.isprintable():
        raise UnsafePathError(f"{container}: {internal_path!a} holds '..' or control characters")
    folder = os.path.join(container, *parts)
    check_links(folder, container, options.external_roots)
    if os.path.isdir(folder):
        return folder
    if internal_path == _own_name(container) and _is_dataset(attributes_of(container, container, options)):
        return container
    held = [ascii(name) for name in _datasets_below(container, options)]
    raise no_such_image(f"dataset {internal_path!a}", container, held)


def _only_image(container: str, options: OpenOptions) -> str:
    names = _datasets_below(container, options)
    if "exported_data" in names:
        return "exported_data"
    return only_image(container, names)


def _datasets_below(container: str, options: OpenOptions) -> list[str]:
    """Return the paths of all datasets that may be images, ``exported_data`` first; links are not followed."""
    found: list[str] = []
    broken: list[IlastikLazyError] = []
    visited, groups, limits = 0, [""], options.limits
    while groups:
        group = groups.pop()
        if group.count("/") > limits.depth:
            raise LimitExceededError(
                f"{container} has groups nested more than {limits.depth} deep: "
                f"name the dataset with {option('internal_path')}"
            )
        for name, is_folder in _members(os.path.join(container, group)):
            visited += 1
            if visited > limits.members:
                raise LimitExceededError(
                    f"{container} has more than {limits.members} members: "
                    f"name the dataset with {option('internal_path')}"
                )
            if not is_folder or not name.isprintable():
                continue
            path = f"{group}/{name}" if group else name
            try:
                attributes = attributes_of(os.path.join(container, path), container, options)
            except IlastikLazyError as error:
                broken.append(error)
                continue
            if not _is_dataset(attributes):
                groups.append(path)
            elif _may_be_image(attributes):
                found.append(path)
    if broken and not found:
        raise broken[0]
    for reason in broken:
        warn(f"{reason}; left out")
    return sorted(found, key=lambda path: (path != "exported_data", path))


def _members(folder: str) -> list[tuple[str, bool]]:
    """Return the names in a folder, and whether each is a folder; a link to a folder is not."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError as error:
        raise CorruptFileError(f"{folder} cannot be listed: {error.strerror}") from error


def _has_blocks(folder: str) -> bool:
    """Return whether the folder has a member named by a number, as the path of each block starts with one."""
    return any(name.isdecimal() for name, _ in _members(folder))


def _spec_of(attributes: dict[str, Any], folder: str, axes: str | None, limits: Limits) -> ArraySpec:
    shape = _lengths(attributes, "dimensions", folder, 0)
    chunks = _lengths(attributes, "blockSize", folder, 1)
    if len(chunks) != len(shape):
        raise MetadataError(f"{folder}: blockSize has {len(chunks)} entries, dimensions {len(shape)}")
    kind = attributes.get("dataType")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise MetadataError(
            f"{folder} is not an image: its dataType is {ascii(kind)[:40]}, expected one such as 'float32'"
        )
    dtype = np.dtype(kind)
    check_shape(folder, shape, limits)
    check_chunks(folder, shape, chunks, dtype.itemsize, limits)
    settled = settled_axes(folder, shape, axes, attributes, is_reversed=True)
    root = next((str(p) for p in (Path(folder), *Path(folder).parents) if p.suffix.lower() == ".n5"), folder)
    return ArraySpec(
        name=_own_name(folder),
        shape=shape,
        dtype=dtype,
        axes=settled.axes,
        chunks=chunks,
        # Stored bytes, decoded block and target; gzip, bz2 and xz make one more copy.
        storage=Storage(folder, root, "chunked", _compression(attributes, folder), buffers=4),
        axes_guessed=settled.guessed,
        kind=kind_from_name(root, dtype, channel_count(settled.axes, shape)),
        drange=drange_from(attributes.get("drange"), folder),
        display_mode=text_from(attributes.get("display_mode"), "display_mode", folder),
        packing=packing_of(folder, attributes, dtype),
        remarks=settled.remarks,
    )


def _lengths(attributes: dict[str, Any], name: str, folder: str, least: int) -> tuple[int, ...]:
    """Return a list of integers in the order of numpy."""
    value = attributes.get(name)
    # In Python, JSON's true is an `int`.
    if not isinstance(value, list) or not all(type(length) is int and length >= least for length in value):
        raise MetadataError(f"{folder}: {name} is {ascii(value)[:60]}, expected a list of integers from {least} up")
    return tuple(reversed(value))


def _compression(attributes: dict[str, Any], folder: str) -> str:
    """Return the name of the compression; in N5 before 2.0 it is a text instead of a JSON object."""
    value = attributes.get("compression", attributes.get("compressionType"))
    name = value.get("type") if isinstance(value, dict) else value
    if not isinstance(name, str):
        raise MetadataError(f"{folder}: compression is {ascii(value)[:60]}, expected an object with a type")
    found = "none" if name == "raw" else name
    if found not in COMPRESSIONS or name == "none":
        raise UnsupportedFilterError(
            f"{folder} is compressed with {ascii(name)[:40]}, which is not supported: "
            "export it again as 'compressed n5' or 'compressed hdf5'"
        )
    return found


FORMAT = Format("N5", recognises, images, open_image)
