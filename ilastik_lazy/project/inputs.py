"""Read which images a project was made with, and open them.

A lane is one row of ilastik's input table, a role one column, such as ``Raw Data``.  As in ilastik, the axes and
the sub-volume in the project take precedence over those in the image file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.axes import Axis, axis_names, parse_axis_names, with_units
from ilastik_lazy.core.kinds import kind_of_role
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.window import window_of
from ilastik_lazy.errors import (
    AxesError,
    ExternalReferenceError,
    LimitExceededError,
    MetadataError,
    SourceNotFoundError,
    option,
)
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.file import names_in
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.axistags import parse_axistags
from ilastik_lazy.formats.metadata.json_text import json_value
from ilastik_lazy.project.fields import dataset_in, group_in, number_values, optional_setting, text_value, where_of
from ilastik_lazy.project.paths import Roots, resolve
from ilastik_lazy.warning import warn

__all__ = ["Lane", "RecordedInput", "lanes_of", "open_input"]

_EMBEDDED = "Input Data/local_data"


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """What a project recorded about one image: texts as stored, paths not yet followed."""

    role: str
    file_path: str | None = None
    """Path or URL as stored; None if it is missing or cannot be read (see `problems`)."""

    is_embedded: bool = False
    inner_path: str | None = None
    """Path of an embedded image in the project."""

    axes: tuple[Axis, ...] | None = None
    """Axes as ilastik uses them, in the order of the file."""

    shape: tuple[int, ...] | None = None
    """Shape of the whole image; None in old projects."""

    subvolume: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    """First and last voxel (exclusive), if only a part of the image is used."""

    nickname: str = ""
    problems: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Errors in fields, by the name of the field; raised when the image is opened."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane; roles without an image are left out."""

    name: str
    inputs: tuple[RecordedInput, ...]


def lanes_of(file: h5py.File, limits: Limits) -> tuple[Lane, ...]:
    """Read the lanes of a project in their order, with roles in the order of the workflow.

    Raises
    ------
    MetadataError
        The file is not a project of ilastik 0.6 or later.
    LimitExceededError
        It has more lanes than `limits` allow members.
    """
    inputs = group_in(file, "Input Data")
    if inputs is None:
        hint = ""
        if "DataSets" in file:
            by = option("internal_path")
            hint = f": ilastik 0.5 wrote it; save it with a newer ilastik, or open an array in it with {by}"
        raise MetadataError(f"{file.filename} is not an ilastik project: it has no group 'Input Data'{hint}")
    infos = group_in(inputs, "infos")
    if infos is None:
        return ()
    if len(infos) > limits.members:
        raise LimitExceededError(f"{file.filename} has {len(infos)} lanes, more than {limits.members}")
    roles = _role_names(inputs, limits)
    lanes = []
    for name in sorted(names_in(infos)):
        group = group_in(infos, name)
        if group is not None:
            lanes.append(Lane(name, _inputs_of(group, roles, limits)))
    return tuple(lanes)


def _role_names(inputs: h5py.Group, limits: Limits) -> list[str] | None:
    """Read the names of the roles; None for old projects, which have one role without a name."""
    dataset = dataset_in(inputs, "Role Names")
    if dataset is None:
        return None
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1 or dataset.shape[0] > limits.depth:
        where = where_of(inputs, "Role Names")
        raise MetadataError(f"{where} is not a list of up to {limits.depth} names: save the project again in ilastik")
    return [value if isinstance(value, str) else bytes(value).decode("utf-8", "replace") for value in dataset[...]]


def _inputs_of(lane: h5py.Group, roles: list[str] | None, limits: Limits) -> tuple[RecordedInput, ...]:
    if roles is None:
        # In ilastik 0.6 a lane is the record of its only image.
        return (_recorded(lane, "Raw Data", limits),) if len(lane) else ()
    names = names_in(lane)
    ordered = [*(role for role in roles if role in names), *(name for name in names if name not in roles)]
    groups = {role: group_in(lane, role) for role in dict.fromkeys(ordered)}
    return tuple(_recorded(group, role, limits) for role, group in groups.items() if group is not None and len(group))


def _recorded(group: h5py.Group, role: str, limits: Limits) -> RecordedInput:
    problems: dict[str, str] = {}

    def noted(name: str, read: Any) -> Any:
        """Read a field; an error in one must not hide the others."""
        try:
            return read()
        except (MetadataError, ExternalReferenceError, LimitExceededError, AxesError) as error:
            problems[name] = str(error)
            return None

    def text(name: str) -> Any:
        return noted(name, lambda: text_value(group, name, limits))

    kind, place = text("__class__") or "", text("location") or ""
    inner = text("inner_path")
    path = text("filePath")
    if inner is None and (identity := text("datasetId")) and (place == "ProjectInternal" or "Internal" in kind):
        inner = f"{_EMBEDDED}/{identity}"
    shape = noted("shape", lambda: _whole_numbers(group, "shape", 1))
    axes = noted("axistags", lambda: _axes_of(group, limits))
    if axes is not None and shape is not None and len(axes) != len(shape):
        problems["shape"] = f"shape {shape} does not match the axes {''.join(axis_names(axes))}"
        shape = None
    return RecordedInput(
        role=role,
        file_path=path if path is not None or "filePath" in problems else text("url"),
        is_embedded=kind == "ProjectInternalDatasetInfo" or (not kind and place == "ProjectInternal"),
        inner_path=inner,
        axes=axes,
        shape=shape,
        subvolume=noted("subvolume_roi", lambda: _subvolume_of(group)),
        nickname=optional_setting(group, "nickname", limits) or "",
        problems=problems,
    )


def _whole_numbers(group: h5py.Group, name: str, ndim: int) -> Any:
    values = number_values(group, name)
    if values is None:
        return None
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim != ndim or array.size > 10 or (array < 0).any():
        raise MetadataError(f"{group.file.filename}: {name} of {group.name!a} is {ascii(values)[:60]}")
    return tuple(array.tolist()) if ndim == 1 else tuple(tuple(row) for row in array.tolist())


def _axes_of(group: h5py.Group, limits: Limits) -> tuple[Axis, ...] | None:
    """Read the axes that the user set; None if the project has none."""
    tags = text_value(group, "axistags", limits)
    if tags is None:
        order = text_value(group, "axisorder", limits)
        return tuple(map(Axis, parse_axis_names(order))) if order else None
    # The number of axes is compared with the image when that is opened.
    axes = parse_axistags(tags, len(re.findall(r'"key"\s*:', tags)), where_of(group, "axistags"))
    units = optional_setting(group, "axis_units", limits)
    loaded = json_value(units)
    return with_units(axes, loaded) if axes is not None and isinstance(loaded, dict) else axes


def _subvolume_of(group: h5py.Group) -> Any:
    roi = _whole_numbers(group, "subvolume_roi", 2)
    if roi is None:
        return None
    if len(roi) != 2 or any(start >= stop for start, stop in zip(*roi, strict=True)):
        raise MetadataError(f"{where_of(group, 'subvolume_roi')} is {roi}: expected a start before a stop")
    return roi


def open_input(project: str, recorded: RecordedInput, roots: Roots, options: OpenOptions) -> ArraySource:
    """Open the image that a project recorded; only its metadata are read.

    Raises
    ------
    UnsafePathError
        It lies outside of the folders that the caller allowed.
    SourceNotFoundError
        It is not where the project says.
    MetadataError
        The project's record of it is malformed.
    """
    for name in ("filePath", "inner_path", "axistags", "subvolume_roi"):
        if name in recorded.problems:
            raise MetadataError(recorded.problems[name])
    if recorded.is_embedded:
        inside = (recorded.inner_path or recorded.file_path or "").replace("\\", "/").strip("/")
        if not inside:
            raise SourceNotFoundError(f"{project} has no path of its {recorded.role!a}: choose it again in ilastik")
        locations: tuple[Location, ...] = (Location(project, inside),)
    else:
        locations = resolve(recorded.file_path or "", roots)
    source = _with_axes(locations, recorded, options)
    if recorded.shape is not None and recorded.shape != source.spec.shape:
        warn(
            f"{source.spec.storage.location} has shape {source.spec.shape}, the project was made with "
            f"{recorded.shape}: is it the same image?"
        )
    if source.spec.kind is None and (kind := kind_of_role(recorded.role, source.spec.dtype)) is not None:
        source = DescribedSource(replace(source.spec, kind=kind), source)
    return source if recorded.subvolume is None else window_of(source, *recorded.subvolume)


def _with_axes(locations: tuple[Location, ...], recorded: RecordedInput, options: OpenOptions) -> ArraySource:
    """Open the source with the project's axes; steps and units that the project lacks come from the file."""
    names = axis_names(recorded.axes or ())
    if len(locations) > 1:
        source = _stacked(locations, names, recorded.shape, options)
    else:
        try:
            source = open_source(locations[0], replace(options, axes="".join(names) or None))
        except AxesError:
            # ilastik drops axes of length 1 in some formats and keeps them in others.
            source = open_source(locations[0], options)
    if recorded.axes is None:
        return source
    if source.spec.dims != names:
        warn(
            f"{source.spec.storage.location} has the axes {''.join(source.spec.dims)}, but the project states "
            f"{''.join(names)}: the axes of the file are used"
        )
        return source
    axes = tuple(
        replace(own, scale=said.scale or own.scale, unit=said.unit or own.unit)
        for said, own in zip(recorded.axes, source.spec.axes, strict=True)
    )
    return source if axes == source.spec.axes else DescribedSource(replace(source.spec, axes=axes), source)


def _stacked(
    locations: tuple[Location, ...], names: tuple[str, ...], shape: tuple[int, ...] | None, options: OpenOptions
) -> ArraySource:
    """Open a stack; its axis is not recorded, so it is found by comparing the project with one file."""
    from ilastik_lazy.formats.stack import open_stack

    one = open_source(locations[0], options).spec
    added = [name for name in names if name not in one.dims]
    if not added and names == one.dims and shape is not None:
        added = [name for name, whole, part in zip(names, shape, one.shape, strict=True) if whole != part]
    return open_stack(locations, along=added[0] if len(added) == 1 else None, options=options)
