"""Open a project as a tree: its settings, the images of each lane, and the labels drawn on them.

A project also opens if its images are not available: the attributes of a node state why an image could not be
opened, and what to do.  Nothing in a project is ever unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from ilastik_lazy.core.axes import axis_names
from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import (
    ArgumentError,
    FormatError,
    IlastikLazyError,
    MissingExtraError,
    MissingSourceWarning,
    SourceError,
    SourceNotFoundError,
    UnknownFormatError,
    UnsafePathError,
    folder_option,
    remedy,
)
from ilastik_lazy.formats.location import Location
from ilastik_lazy.lazy.dataset import Chunks, chunked, to_dataset
from ilastik_lazy.project.inputs import RecordedInput, open_input
from ilastik_lazy.project.labels import labelled_image, open_label_set
from ilastik_lazy.project.path_text import is_url
from ilastik_lazy.project.paths import Roots, ambiguous_paths
from ilastik_lazy.project.record import read_project
from ilastik_lazy.warning import warn

__all__ = ["open_project"]

_NAMED = 3


def open_project(
    path: str | os.PathLike[str],
    *,
    source_roots: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    chunks: Chunks = "auto",
    options: OpenOptions = DEFAULTS,
) -> xr.DataTree:
    """Open an ilastik project (``.ilp``) as a tree of lazy arrays; only metadata are read.

    Parameters
    ----------
    path
        The project.
    source_roots
        Folders that images may be opened from, besides the project's own.  A project is data from whoever made it,
        so absolute paths, ``..``, patterns and links that lead elsewhere are refused.
    chunks
        As in `open_dataarray`.
    options
        Those of the project and of its images.

    Returns
    -------
    xarray.DataTree
        The attributes of the root are the settings.  ``/lane0000/Raw Data`` holds the variable ``image``,
        ``/lane0000/labels`` the variable ``labels``: uint8, 0 where nothing was drawn, with the
        classes in ``flag_values``, ``flag_meanings``, ``flag_colors``.  The second stage of
        Autocontext is ``labels_stage2``.  The attributes of a node without ``image`` state why: ``file_path`` as
        stored, ``status``, ``problem`` and ``remedy``.

    Raises
    ------
    SourceNotFoundError, CorruptFileError, MetadataError
        The file is missing, it is not a project, or its labels are malformed.
    ExternalReferenceError
        A part of it lies in another file.

    Warns
    -----
    MissingSourceWarning
        Images could not be opened, or the axes of the labels are guessed.
    """
    location = Location.parse(path)
    roots = Roots.of(location.path, source_roots)
    project = read_project(location, options)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=project.attributes)}
    problems: list[str] = []
    recorded_paths = [i.file_path for lane in project.lanes for i in lane.inputs if i.file_path and not i.is_embedded]
    elsewhere = ambiguous_paths(recorded_paths, roots) if roots.named else {}
    for number, lane in enumerate(project.lanes):
        nodes[f"/{_node_name(lane.name)}"] = xr.Dataset(attrs={"roles": [_printable(i.role) for i in lane.inputs]})
        opened: dict[str, ArraySource] = {}
        for recorded in lane.inputs:
            name = f"/{_node_name(lane.name)}/{_node_name(recorded.role, 'labels')}"
            source, attributes = _open_or_explain(project.path, recorded, roots, options, elsewhere)
            if source is None:
                problems.append(f"{name[1:]}: {attributes['problem']}")
                nodes[name] = xr.Dataset(attrs=attributes)
            else:
                opened[recorded.role] = source
                nodes[name] = _lazy("image", source, chunks, attributes)
        image = labelled_image(lane, opened)
        for labels in (found for found in project.label_sets if found.lane == number):
            source, attributes = open_label_set(labels, project.stamp, image, options)
            if source is not None:
                nodes[f"/{_node_name(lane.name)}/{labels.name}"] = _lazy("labels", source, chunks, attributes)
    if unclaimed := [labels.location for labels in project.label_sets if labels.lane >= len(project.lanes)]:
        problems.append(f"{unclaimed[0]}: these labels belong to a lane that does not exist")
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        warn(f"{project.path}: some of it was not opened: {'; '.join(problems[:_NAMED])}{more}", MissingSourceWarning)
    return xr.DataTree.from_dict(nodes)


def _node_name(name: str, *taken: str) -> str:
    """Return a valid name for a node of a tree; blanks stay, since ilastik shows ``Raw Data``."""
    plain = _printable(name)
    return f"{plain}_" if plain in ("", ".", "..") or any(plain.startswith(word) for word in taken) else plain


def _printable(name: str) -> str:
    """Replace the surrogates that h5py returns for bytes that are not UTF-8."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _lazy(name: str, source: ArraySource, chunks: Chunks, attributes: dict[str, Any]) -> xr.Dataset:
    return chunked(to_dataset({name: source}), {name: source}, chunks).assign_attrs(attributes)


def _open_or_explain(
    project: str, recorded: RecordedInput, roots: Roots, options: OpenOptions, elsewhere: Mapping[str, str]
) -> tuple[ArraySource | None, dict[str, Any]]:
    """Open the image of a role, and describe in attributes where it was recorded or why it is missing."""
    attributes: dict[str, Any] = {"role": _printable(recorded.role), "nickname": recorded.nickname}
    if recorded.file_path is not None:
        attributes["file_path"] = recorded.file_path
    if recorded.axes is not None:
        attributes["recorded_axes"] = "".join(axis_names(recorded.axes))
    if recorded.shape is not None:
        attributes["recorded_shape"] = list(recorded.shape)
    try:
        if not recorded.is_embedded and (problem := elsewhere.get(recorded.file_path or "")):
            raise SourceNotFoundError(problem)
        source = open_input(project, recorded, roots, options)
    except IlastikLazyError as error:
        status = _status_of(error, recorded)
        return None, attributes | {"status": status, "problem": str(error), "remedy": _remedies()[status]}
    return source, attributes | {"status": "embedded" if recorded.is_embedded else "opened"}


def _remedies() -> dict[str, str]:
    """Return what to do about a missing image, by the status of its input."""
    folder = folder_option("source_roots")
    return {
        "outside": f"pass {folder}, with the folder that holds the image",
        "url": "download the image, and open the copy",
        "missing": f"put the image beside the project, or pass {folder}, with the folder that the path starts from",
        "unsupported": "open the files of the image one by one, or export it from ilastik as 'compressed hdf5'",
        "invalid": "open the project in ilastik, choose the image again, and save",
        "unreadable": "close other programs that use the image, check its permissions, and open the project again",
        "refused": remedy("open the image itself with open_dataarray()", "name the image itself")
        + ", if you trust where it came from",
    }


def _status_of(error: IlastikLazyError, recorded: RecordedInput) -> str:
    if isinstance(error, UnsafePathError):
        is_remote = is_url(recorded.file_path or "") and not (recorded.file_path or "").lower().startswith("file:")
        return "url" if is_remote else "outside"
    if isinstance(error, SourceNotFoundError):
        return "missing"
    if isinstance(error, UnknownFormatError | MissingExtraError | ArgumentError):
        return "unsupported"
    if isinstance(error, FormatError):
        return "invalid"
    return "unreadable" if isinstance(error, SourceError) else "refused"
