"""Read a project: its settings, lanes and label sets, but no image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import h5py

from ilastik_lazy.core.classes import hex_colors
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.formats.hdf5.file import names_in, open_hdf5
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.classes import class_sets
from ilastik_lazy.project.fields import group_in, optional_setting
from ilastik_lazy.project.inputs import Lane, lanes_of
from ilastik_lazy.project.labels import LabelSet, label_sets_of
from ilastik_lazy.storage.files import Stamp, require_unchanged, stamp_of
from ilastik_lazy.storage.isolation import ask_hdf5

__all__ = ["Project", "read_project"]

_EXPORT_FIELDS = (
    "OutputFilenameFormat", "OutputFormat", "OutputInternalPath", "OutputAxisOrder", "ExportDtype",
    "RegionStart", "RegionStop", "InputMin", "InputMax", "ExportMin", "ExportMax",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Project:
    """The contents of a project, read before any image is opened."""

    path: str
    stamp: Stamp
    attributes: dict[str, Any]
    lanes: tuple[Lane, ...]
    label_sets: tuple[LabelSet, ...]


def read_project(location: Location, options: OpenOptions) -> Project:
    """Read the project at `location`; paths in it are not followed."""
    stamp = stamp_of(location.path)
    found = ask_hdf5(options.trust, location.path, _read_project, location, stamp, options.limits)
    require_unchanged(location.path, stamp)
    here = tuple(replace(one, location=replace(one.location, path=location.path)) for one in found.label_sets)
    return replace(found, path=location.path, stamp=stamp, label_sets=here)


def _read_project(location: Location, stamp: Stamp, limits: Limits) -> Project:
    with open_hdf5(location.path) as file:
        lanes = lanes_of(file, limits)
        attributes: dict[str, Any] = {
            "workflow": str(optional_setting(file, "workflowName", limits) or ""),
            "ilastik_version": str(optional_setting(file, "ilastikVersion", limits) or ""),
        }
        attributes |= _export_settings(file, limits)
        classes = {found.applet: found for found in class_sets(location.path)}
        label_sets = label_sets_of(file, attributes["workflow"], attributes["ilastik_version"], classes, limits)
    shown = [labels.classes.applet for labels in label_sets] + list(classes)
    for applet in dict.fromkeys(applet for applet in shown if applet in classes):
        end = "" if "label_names" not in attributes else f"_{applet}"
        attributes[f"label_names{end}"] = list(classes[applet].names)
        if len(classes[applet].colors) == len(classes[applet].names):
            attributes[f"label_colors{end}"] = hex_colors(classes[applet].colors)
    return Project(location.path, stamp, attributes, lanes, label_sets)


def _export_settings(file: h5py.File, limits: Limits) -> dict[str, Any]:
    """Read the settings of the export applet, as ``export_OutputFormat`` and so on."""
    groups = [(name, found) for name in sorted(names_in(file)) if "Export" in name and (found := group_in(file, name))]
    settings = {}
    for applet, group in groups:
        prefix = "export" if len(groups) == 1 else f"export_{applet}"
        for name in _EXPORT_FIELDS:
            if (value := optional_setting(group, name, limits)) is not None:
                settings[f"{prefix}_{name}"] = value
    return settings
