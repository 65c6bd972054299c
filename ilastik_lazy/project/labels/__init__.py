"""Find the labels that were drawn in a project, the images they belong to, and their axes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import h5py

from ilastik_lazy.core.axes import Axis, axis_names
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import LimitExceededError, MetadataError, folder_option
from ilastik_lazy.formats.hdf5.file import names_in
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.classes import ClassSet
from ilastik_lazy.project.fields import group_in
from ilastik_lazy.project.inputs import Lane
from ilastik_lazy.project.labels.axes import LabelledImage, label_order
from ilastik_lazy.project.labels.blocks import label_blocks, open_labels
from ilastik_lazy.storage.files import Stamp
from ilastik_lazy.warning import warn

__all__ = ["LabelSet", "label_sets_of", "labelled_image", "open_label_set"]

_STAGE = re.compile(r"PixelClassification(\d{1,3})")


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels of one lane that were drawn in one applet."""

    name: str
    """``labels``; ``labels_stage2`` and so on for later stages of Autocontext."""

    lane: int
    """Number of the lane."""

    location: Location
    """The project and the group of the blocks."""

    classes: ClassSet
    workflow: str
    version: str


def label_sets_of(
    file: h5py.File, workflow: str, version: str, classes: Mapping[str, ClassSet], limits: Limits
) -> tuple[LabelSet, ...]:
    """Find all labels of a project, those of its own workflow first.

    Raises
    ------
    ExternalReferenceError
        A group of labels is a link into another file.
    """
    found: list[LabelSet] = []
    # A project keeps the groups of earlier workflows; its own workflow gets the plain name.
    applets = sorted(names_in(file), key=lambda name: ((name == "Counting") != ("Counting" in workflow), name))
    taken: dict[str, str] = {}
    for applet in applets:
        group = group_in(file, applet)
        sets = group_in(group, "LabelSets") if group is not None else None
        if sets is None:
            continue
        if len(sets) > limits.members:
            raise LimitExceededError(f"{file.filename} has labels of {len(sets)} lanes, more than {limits.members}")
        stage = _STAGE.fullmatch(applet)
        name = f"labels_stage{int(stage[1]) + 1}" if stage else "labels"
        if taken.setdefault(name, applet) != applet:
            name = f"{name}_{applet}"
        for lane in names_in(sets):
            # "labels000" in pixel classification, "labels0" in counting.
            number = re.search(r"(\d{1,9})$", lane)
            if number is not None and group_in(sets, lane) is not None:
                location = Location(file.filename, f"{applet}/LabelSets/{lane}")
                drawn = classes.get(applet, ClassSet(applet, ()))
                found.append(LabelSet(name, int(number[1]), location, drawn, workflow, version))
    return tuple(found)


def labelled_image(lane: Lane, opened: Mapping[str, ArraySource]) -> LabelledImage:
    """Describe the image that the labels of a lane belong to: its first role, as recorded or else as opened.

    `opened` holds the images that could be opened, by role.
    """
    if not lane.inputs:
        return LabelledImage()
    recorded = lane.inputs[0]
    source = opened.get(recorded.role)
    axes, shape = recorded.axes or (), recorded.shape
    if source is not None and (not axes or source.spec.dims == axis_names(axes)):
        axes, shape = source.spec.axes, shape or source.spec.shape
    elif recorded.subvolume is not None and len(axes) == len(recorded.subvolume[0]):
        axes = tuple(
            axis if axis.scale is None else replace(axis, translation=start * axis.scale)
            for axis, start in zip(axes, recorded.subvolume[0], strict=True)
        )
    if recorded.subvolume is not None:
        shape = tuple(stop - start for start, stop in zip(*recorded.subvolume, strict=True))
    return LabelledImage(axes, shape if shape is not None and len(shape) == len(axes) else None)


def open_label_set(
    labels: LabelSet, stamp: Stamp, image: LabelledImage, options: OpenOptions
) -> tuple[ArraySource | None, dict[str, Any]]:
    """Open the label image of one lane, and return its attributes; None if nothing was drawn on an unknown image.

    Raises
    ------
    MetadataError
        The blocks do not fit into the image, or contradict each other.
    """
    blocks = label_blocks(labels.location, stamp, options)
    if not blocks.paths and image.shape is None:
        return None, {}
    words = {"applet": labels.classes.applet, "workflow": labels.workflow, "version": labels.version}
    try:
        order, is_guess = label_order(image, blocks.ends, blocks.order, **words)
    except MetadataError as error:
        raise MetadataError(f"{labels.location}: {error}") from error
    if is_guess:
        warn(
            f"{labels.location}: the axes of its labels are guessed to be {''.join(order)}, but others also fit: "
            "save the project in a newer ilastik, which stores them"
        )
    shape, is_cut = _label_shape(order, image, blocks.ends)
    if is_cut:
        warn(
            f"{labels.location}: the project does not state the shape of its image, so the label image ends at the "
            f"last label: pass {folder_option('source_roots')}, with the folder that holds the image"
        )
    known = {axis.name: axis for axis in image.axes}
    source = open_labels(
        labels.location,
        stamp,
        tuple(known.get(name, Axis(name)) for name in order),
        shape,
        names=labels.classes.names,
        colors=labels.classes.colors,
        axes_guessed=is_guess,
        options=options,
    )
    return source, {"shape_guessed": True} if is_cut else {}


def _label_shape(order: Sequence[str], image: LabelledImage, ends: Sequence[int]) -> tuple[tuple[int, ...], bool]:
    """Return the shape of the label image, and whether it ends at the last label."""
    lengths = [1 if name == "c" else image.sizes.get(name, 1) for name in order]
    shape = tuple(
        length if length is not None else end for length, end in zip(lengths, ends or [0] * len(order), strict=True)
    )
    return shape, None in lengths
