"""Understand what a file states about axes, positions and units, by any convention and in any format.

ilastik's ``axistags`` (and ``axis_units``) count first, then names of dimensions and the coordinates beside the image
(HDF5 dimension scales, netCDF, xarray), then ``axes`` and the attributes of other programs (`voxel_sizes`).
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.axes import AXIS_NAMES, Axis, advice_on_guess, axis_names, names_of, step_and_origin
from ilastik_lazy.core.classes import RGB, colors_from
from ilastik_lazy.core.units import converted, unit_and_start
from ilastik_lazy.errors import MetadataError, option
from ilastik_lazy.formats.metadata.axistags import axes_of
from ilastik_lazy.formats.metadata.values import units_from
from ilastik_lazy.formats.metadata.voxel_sizes import SIZE_ATTRIBUTES, names_stated, shown, stated_sizes
from ilastik_lazy.warning import warn

__all__ = ["CONVENTIONS", "Along", "Settled", "axis_along", "require_unpacked", "settled_axes", "warn_of_guess"]

CONVENTIONS = ("axistags", "axis_units", "axes", *SIZE_ATTRIBUTES)
"""Names of the attributes that are looked at here."""


@dataclass(frozen=True, slots=True)
class Along:
    """The coordinate of one dimension: an array beside the image."""

    where: str
    values: np.ndarray[Any, Any] | None = None
    """Numbers or texts; None if they could not be read, which `problem` explains."""
    unit: object = None
    problem: str = ""
    calendar: object = None

    @classmethod
    def unreadable(cls, where: str, error: Exception) -> Along:
        """Note why the coordinate at `where` could not be read: the image opens without it."""
        return cls(where, problem=str(error).removeprefix(where).removeprefix(":").strip())


def require_unpacked(where: str, attributes: Container[str]) -> None:
    """Raise `MetadataError` if the positions at `where` are packed, which are not read."""
    if "scale_factor" in attributes or "add_offset" in attributes:
        raise MetadataError(f"{where} holds packed positions (scale_factor), which are not supported")


class Settled(NamedTuple):
    """What is known of the axes of one image."""

    axes: tuple[Axis, ...]
    guessed: bool = False
    channel_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    """Statements that were not understood, and are ignored."""
    likelier: str = ""
    """Axes that are likelier than the guess."""
    channel_colors: tuple[RGB, ...] = ()


def settled_axes(
    where: object,
    shape: Sequence[int],
    names: str | Sequence[str] | None,
    attributes: Mapping[str, Any] | None = None,
    *,
    dims: Sequence[str] = (),
    dims_from: str = "DIMENSION_LABELS",
    beside: Sequence[Along | None] = (),
    colors: Along | None = None,
    channel: Along | None = None,
    is_reversed: bool = False,
    likelier: str = "",
) -> Settled:
    """Settle the axes of one image from all statements about them.

    Parameters
    ----------
    where
        The image, for messages.
    names
        Axes that the caller gives.
    attributes
        The attributes of the image as plain values, as far as they are in `CONVENTIONS`.
    dims, dims_from
        Names of the dimensions, and the attribute that states them.
    beside
        The coordinate of each dimension, where there is one.
    colors
        The coordinate ``class_color``, where there is one.
    channel
        The coordinate ``c`` of one channel that was taken out: it has no dimension.
    is_reversed
        Whether the format counts dimensions from x on, as N5 does.
    likelier
        Axes that the program that wrote the file would have meant; they are proposed if the axes are a guess.

    Raises
    ------
    MetadataError, AxesError
        The axes do not fit the shape.

    Warns
    -----
    MetadataWarning
        The axes are a guess, a statement makes no sense, or two contradict each other.
    """
    attributes = attributes or {}
    sizes, problems = stated_sizes(attributes, len(shape), is_reversed=is_reversed)
    remarks, channels = list(problems), list[str]()
    tags, named = attributes.get("axistags"), attributes.get("axes")

    def place(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        placed = [_Placed(where, axis) for axis in axes]
        known_dims = dims if len(dims) == len(axes) else [""] * len(axes)
        others = zip(placed, known_dims, beside or [None] * len(axes), shape, strict=True)
        for known, name, along, length in others:
            # A coordinate of another axis or length does not belong to this one.
            if (
                along is None
                or (along.values is not None and along.values.shape != (length,))
                or (name.lower() in AXIS_NAMES and name.lower() != known.axis.name)
            ):
                continue
            if known.axis.name == "c":
                channels[:] = _names_along(along, remarks)
            elif (other := axis_along(known.axis, along, remarks)) is not None:
                known.add(other, along.where)
        for size in sizes:
            try:
                found = size.placed(axes)
            except ValueError as error:
                (remarks if tags is not None else unfit).append(str(error))
                continue
            for known, other in zip(placed, found, strict=True):
                if other is not None:
                    known.add(other, size.said, is_of_finest=size.is_of_finest)
        return tuple(known.axis for known in placed)

    unfit: list[str] = []
    for problem in problems:
        warn(f"{where}: {problem}: positions are taken as unknown")
    try:
        axes, guessed = axes_of(
            shape, names=names, where=where, dimension_labels=dims, labels_from=dims_from, place=place,
            axistags=_axistags(tags, names is not None), axes_attribute=_letters(named),
            other_names=names_stated(sizes, len(shape)), units=units_from(attributes.get("axis_units"), where),
        )  # fmt: skip
    except MetadataError as error:
        raise MetadataError(f"{where}: {error}") from error
    # Where ilastik itself names the axes, what does not fit them is stated by `info` alone.
    for problem in unfit:
        warn(f"{where}: {problem}: positions are taken as unknown")
    if guessed:
        stated = {dims_from: list(dims) if any(dims) else None, "axes": named, "axistags": tags}
        warn_of_guess(where, shape, axes, stated, likelier)
    if colors is not None and colors.problem:
        remarks.append(f"{colors.where}: {colors.problem}")
    lengths = dict(zip(axis_names(axes), shape, strict=True))
    if channel is not None and "c" not in lengths:
        channels[:] = _names_along(channel, remarks)
    rgb = colors_from(np.atleast_1d(colors.values)) if colors is not None and colors.values is not None else ()
    has_room = len(rgb) == lengths.get("c", 1)
    return Settled(
        axes, guessed, tuple(channels), (*remarks, *unfit), likelier if guessed else "", rgb if has_room else ()
    )


def warn_of_guess(
    where: object,
    shape: Sequence[int],
    axes: Sequence[Axis],
    stated: Mapping[str, object] | None = None,
    likelier: str = "",
) -> None:
    """Warn that axes are guessed from a shape, although the file has `stated` something about them."""
    said = [f"{name} {shown(value)}" for name, value in (stated or {}).items() if value]
    what = (
        f"has {' and '.join(said)}, which do not name every axis as one of t, z, y, x, c" if said else "names no axes"
    )
    warn(
        f"{where} {what}: {''.join(axis_names(axes))} is guessed from its shape {tuple(shape)}; "
        + advice_on_guess(likelier)
    )


def _names_along(along: Along, remarks: list[str]) -> tuple[str, ...]:
    """Return the names of the channels, in the coordinate of ``c``."""
    names = names_of(np.atleast_1d(along.values)) if along.values is not None else None
    if names is None:
        problem = along.problem or "its names are neither texts nor numbers"
        remarks.append(f"{along.where}: {problem}")
        warn(f"{along.where}: {problem}: names along c are taken as unknown")
    return names or ()


def axis_along(
    axis: Axis, along: Along | None, remarks: list[str] | None = None, *, is_known: bool = False
) -> Axis | None:
    """Read `axis` from the coordinate `along`; if it makes no sense, warn, unless `is_known`, and return None."""
    if along is None:
        return None
    problem, found = along.problem, None
    if along.values is not None:
        if along.values.dtype.kind not in "iuf":
            problem = f"its positions are {along.values.dtype}, not numbers"
        elif (found := step_and_origin(along.values)) is None:
            problem = "its positions do not rise evenly"
    if found is None:
        if remarks is not None:
            remarks.append(f"{along.where}: {problem}")
        if not is_known:
            warn(f"{along.where}: {problem}: positions along {axis.name} are taken as unknown")
        return None
    unit, since = unit_and_start(along.unit, along.calendar)
    is_placed = along.values is not None and along.values.size > 0
    return Axis(axis.name, *found, unit, since if axis.name == "t" else "", is_placed=is_placed)


class _Placed:
    """One axis, while statements on it are collected; those that come first count."""

    def __init__(self, where: object, axis: Axis) -> None:
        self.where, self.axis, self.said = where, axis, "axistags"

    def add(self, other: Axis, said: str, *, is_of_finest: bool = False) -> None:
        """Take from `other` what is not known yet; warn of what contradicts it."""
        known = self.axis
        unit = other.unit or known.unit
        if known.scale is None:
            if other.scale is not None or other.is_placed:
                origin = converted(known.translation, known.unit or unit, unit)
                # A single plane has a position, but no step.
                keeps = known.is_placed and not other.is_placed and origin is not None
                placed = replace(other, translation=origin or 0.0, since=known.since, is_placed=True)
                self.axis, self.said = replace(placed if keeps else other, unit=unit), said
            return
        if other.scale is None:
            return
        factor = converted(1.0, unit, known.unit or unit)
        times = known.scale / (other.scale * factor) if factor is not None else 0.0
        if abs(times - 1) > 1e-4:
            if not (is_of_finest and times > 1.5 and abs(times - round(times)) < 1e-3):
                one, two = (f"a step of {axis.scale:g} {axis.unit}".strip() for axis in (known, other))
                self._contradicted(one, two, said)
            return
        assert factor is not None
        self.axis = replace(known, unit=known.unit or unit)
        origin = other.translation * factor
        if other.is_placed and not known.is_placed:
            self.axis = replace(self.axis, translation=origin, since=other.since, is_placed=True)
        elif other.is_placed and abs(origin - known.translation) > 1e-3 * known.scale:
            self._contradicted(f"an origin of {known.translation:g}", f"one of {origin:g}", said)

    def _contradicted(self, known: str, other: str, said: str) -> None:
        warn(
            f"{self.where}: {self.said} states {known} along {self.axis.name}, {said} states {other}: "
            f"that of {self.said} is used"
        )


def _axistags(value: object, may_be_wrong: bool) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    if may_be_wrong:
        return None
    raise MetadataError(
        f"axistags is not text but {type(value).__name__}; "
        f"pass {option('axes')} with one letter of 'tzyxc' per dimension"
    )


def _letters(value: object) -> Sequence[object] | None:
    """Return the names in an ``axes`` attribute: one text, or a list of texts, also of one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str | list) else None
