"""Read the names and colours of classes from an ilastik project (`.ilp`).

An export names neither its classes nor their colours; the project does
(``<applet>/LabelNames``, ``<applet>/LabelColors``).  Nothing in a project is ever unpickled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.options import DEFAULTS, Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.errors import ArgumentError, ExternalReferenceError, LimitExceededError, MetadataError
from ilastik_lazy.formats.hdf5.file import dataset_at, key_of, link_of, names_in, open_hdf5
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.fields import optional_setting
from ilastik_lazy.project.inputs import Lane, lanes_of
from ilastik_lazy.project.own_images import foreign_image
from ilastik_lazy.storage.isolation import ask_hdf5
from ilastik_lazy.warning import warn

__all__ = ["ClassSet", "class_sets", "classes_of", "with_classes", "with_classes_each"]

_MOST_CLASSES = 1000
_WITHOUT_CLASSES = ("features", "uncertainty", "object identities", "tracking", "density", "intensity")
_NEURAL = re.compile("NNClass|NeuralNetwork|TrainableDomainAdaptation", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Classes that one applet was trained with: channel ``k`` and label ``k + 1`` stand for ``names[k]``."""

    applet: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()


def class_sets(path: str) -> tuple[ClassSet, ...]:
    """Read all class sets of a project, sorted by the name of the applet.

    Raises
    ------
    MetadataError
        The file is not a project.
    """
    with open_hdf5(path) as file:
        if "workflowName" not in file and "ilastikVersion" not in file and "Input Data" not in file:
            raise MetadataError(f"{path} is not an ilastik project: it has no workflowName")
        found = []
        for applet in sorted(names_in(file)):
            group = file[key_of(applet)] if isinstance(link_of(file, applet), h5py.HardLink) else None
            if isinstance(group, h5py.Group) and isinstance(link_of(group, "LabelNames"), h5py.HardLink):
                found.append(ClassSet(applet, _names_in(group, path), _colors_in(group)))
        return tuple(classes for classes in found if classes.names)


def _names_in(group: h5py.Group, path: str) -> tuple[str, ...]:
    dataset = dataset_at(group.file, f"{group.name}/LabelNames")
    # ilastik cannot store an empty list: it writes one meaningless element and the attribute isEmpty.
    if dataset.ndim != 1 or dataset.attrs.get("isEmpty", False):
        return ()
    if dataset.dtype.kind not in "OS" or dataset.shape[0] > _MOST_CLASSES:
        raise MetadataError(f"{path}: {group.name}/LabelNames is not a list of up to {_MOST_CLASSES} names")
    return tuple(_text(value) for value in dataset[...])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _colors_in(group: h5py.Group) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(link_of(group, "LabelColors"), h5py.HardLink):
        return ()
    dataset = dataset_at(group.file, f"{group.name}/LabelColors")
    if dataset.ndim != 2 or dataset.shape[1] != 3:
        return ()
    if dataset.dtype.kind not in "iu" or dataset.shape[0] > _MOST_CLASSES:
        return ()
    return tuple((r, g, b) for r, g, b in np.clip(dataset[...], 0, 255).tolist())


def classes_of(sets: Sequence[ClassSet], spec: ArraySpec) -> ClassSet | None:
    """Choose the classes that the channels or values of an export stand for; None if none fit."""
    stem = os.path.splitext(os.path.basename(spec.storage.path))[0]
    if spec.kind in _WITHOUT_CLASSES:
        return None
    of_pixels = [classes for classes in sets if classes.applet.startswith("PixelClassification")]
    of_objects = [classes for classes in sets if classes.applet == "ObjectClassification"]
    others = [classes for classes in sets if classes not in of_pixels and classes not in of_objects]
    if spec.kind in ("object predictions", "object probabilities"):
        ordered = of_objects
    elif stage := re.search(r"stage[ _-](\d+)", stem, re.IGNORECASE):
        # Autocontext: "PixelClassification" is stage 1, "PixelClassification01" is stage 2.
        ordered = of_pixels[int(stage[1]) - 1 : int(stage[1])]
    elif "all stages" in stem.lower().replace("-", " ").replace("_", " "):
        names = tuple(f"{name} (stage {i})" for i, c in enumerate(of_pixels, 1) for name in c.names)
        ordered = [ClassSet("all stages", names, tuple(color for c in of_pixels for color in c.colors))]
    elif spec.kind in ("probabilities", "segmentation", "labels"):
        # Applets for tracking and objects also have classes, but do not export such images.
        ordered = [*of_pixels, *(classes for classes in others if _NEURAL.match(classes.applet))]
    else:
        ordered = [*of_pixels, *others, *of_objects]
    if spec.kind in ("segmentation", "labels", "object predictions"):
        return ordered[0] if ordered else None
    channels = spec.shape[spec.dims.index("c")] if "c" in spec.dims else 0
    return next((classes for classes in ordered if len(classes.names) == channels), None)


def _counts(path: str) -> bool:
    """Whether the workflow of a project is cell density counting."""
    with open_hdf5(path) as file:
        return str(optional_setting(file, "workflowName", Limits())).startswith("Cell Density Counting")


def _makes_density(project: str | os.PathLike[str], spec: ArraySpec, options: OpenOptions) -> bool:
    """Whether `spec` is the density of a counting project, which ilastik exports under the name ``Probabilities``."""
    if spec.dtype.kind != "f" or spec.channels != 1:
        return False
    path = Location.parse(project).path
    return ask_hdf5(options.trust, path, _counts, path)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a project knows of classes, and of the images that it was made with."""

    sets: tuple[ClassSet, ...]
    lanes: tuple[Lane, ...]


def _known_in(path: str, limits: Limits) -> _Known:
    sets = class_sets(path)
    with open_hdf5(path) as file:
        try:
            return _Known(sets, lanes_of(file, limits))
        except (MetadataError, ExternalReferenceError, LimitExceededError):
            return _Known(sets, ())  # the names of classes are good without


def with_classes(source: ArraySource, project: str | os.PathLike[str], options: OpenOptions = DEFAULTS) -> ArraySource:
    """Name the channels or values of a source as in `project` (see `with_classes_each`)."""
    return with_classes_each([source], project, options)[0]


def with_classes_each(
    sources: Iterable[ArraySource], project: str | os.PathLike[str], options: OpenOptions = DEFAULTS
) -> list[ArraySource]:
    """Name the channels or values of the images of a file as in `project`.

    The density of a counting project gets that kind.

    Raises
    ------
    ArgumentError
        The project names no classes.

    Warns
    -----
    MetadataWarning
        The classes do not fit the channels of an image; or they do, but no image is that of a lane.
    """
    made: list[ArraySource] = []
    named: list[ArraySpec] = []
    path = Location.parse(project).path
    known: _Known | None = None
    for source in sources:
        if source.spec.kind is None and _makes_density(path, source.spec, options):
            made.append(with_kind(source, "density"))
            continue
        if known is None:
            known = ask_hdf5(options.trust, path, _known_in, path, options.limits)
            if not known.sets:
                raise ArgumentError(f"{os.fspath(project)} names no classes: add labels in ilastik and save it")
        made.append(_named(source, known.sets, os.fspath(project)))
        if made[-1] is not source:
            named.append(made[-1].spec)
    if known is not None and named and (why := foreign_image(named, known.lanes, path, options)):
        warn(
            f"{named[0].storage.path}: {why}; the names of its classes are right only if the project processed it "
            "in a batch"
        )
    return made


def _named(source: ArraySource, sets: Sequence[ClassSet], project: str) -> ArraySource:
    spec = source.spec
    classes = classes_of(sets, spec)
    if classes is None and spec.kind in _WITHOUT_CLASSES:
        # Their channels and values do not stand for classes.
        return source
    if classes is None:
        known = "; ".join(f"{c.applet}: {', '.join(c.names)}" for c in sets)
        warn(f"{spec.storage.location}: no classes of {project} fit its channels ({known}): the channels stay unnamed")
        return source
    colors = classes.colors if len(classes.colors) == len(classes.names) else ()
    return DescribedSource(replace(spec, channel_names=classes.names, channel_colors=colors), source)
