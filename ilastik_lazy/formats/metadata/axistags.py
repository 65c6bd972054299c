"""Settle the axes of an array from what its file states: ``axistags``, labels, ``axes``, or only the shape.

The facts come from ilastik's and vigra's source code: ``axistags`` is the JSON of vigra's
``AxisTags::toJSON``, in numpy order; ``axes`` is reversed (Neuroglancer and N5).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ilastik_lazy.core.axes import Axis, axis_names, default_axes, names_that_fit, parse_axis_names, with_units
from ilastik_lazy.errors import MetadataError, option
from ilastik_lazy.warning import warn

__all__ = ["axes_of", "parse_axes_attribute", "parse_axistags"]


def _warn_of(where: object, problem: str) -> None:
    warn(f"{where}: {problem}" if str(where) else problem)


def _checked_scale(key: str, value: object, where: object) -> float | None:
    """Check vigra's ``resolution``: 0 is "not set"; anything but a positive number is ignored with a warning."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        number = float(value)
        if number == 0:
            return None
        # A light year is 1e16 m, an atom 1e-10 m: beyond these a step overflows, or is a mistake.
        if 1e-30 < number < 1e30:
            return number
    shown = ascii(value)[:40]
    _warn_of(where, f"axis {key!r} has resolution {shown}: not a positive number, its step is taken as unknown")
    return None


def _load_json(text: str) -> Any:
    # Long integers become inf: beyond 308 digits float() raises, and beyond 4,300 int() does.
    def parse_int(digits: str) -> int | float:
        return int(digits) if len(digits) < 300 else math.inf

    return json.loads(text, strict=False, parse_int=parse_int)


def _recovered_entries(text: str) -> list[dict[str, Any]]:
    """Recover the axis entries of an ``axistags`` text that is not valid JSON.

    vigra does not escape quotes in ``description``, so keys and resolutions are looked for alone.
    """
    entries = []
    for part in re.split(r'(?="key"\s*:)', text)[1:]:
        key = re.match(r'"key"\s*:\s*"(.)"', part)
        if key is None:
            return []
        # The number must be complete: "1.2.3", or one that was cut off, may have been any.
        step = re.search(r'"resolution"\s*:\s*(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*[,}]', part, re.ASCII)
        entries.append({"key": key[1], "resolution": float(step[1]) if step else 0})
    return entries


def parse_axistags(text: str, ndim: int, where: object = "") -> tuple[Axis, ...] | None:
    """Parse an ``axistags`` attribute; None if vigra itself did not know an axis (``?``).

    Parameters
    ----------
    text
        The JSON as stored, axes in numpy order.  ``resolution`` and ``description`` may be missing.
    ndim
        Number of dimensions of the dataset.

    Raises
    ------
    MetadataError
        The text names no usable axes, or not `ndim` of them.
    """
    try:
        loaded = _load_json(text)
    except (ValueError, RecursionError) as error:
        entries: Any = _recovered_entries(text)
        if not entries:
            raise MetadataError(f"axistags is not JSON: {text[:60]!a}") from error
        _warn_of(where, "axistags is not valid JSON, only keys and resolutions were read")
    else:
        entries = loaded.get("axes") if isinstance(loaded, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MetadataError(f"axistags has no list of axes: {text[:60]!a}")
    keys = [key.lower() if isinstance(key := entry.get("key"), str) else key for entry in entries]
    if "?" in keys and len(keys) == ndim:
        return None
    if not all(isinstance(key, str) for key in keys) or not names_that_fit(keys, ndim):
        raise MetadataError(f"axistags names the axes {ascii(keys)[:80]}, which do not fit {ndim} dimensions")
    steps = (_checked_scale(key, entry.get("resolution"), where) for key, entry in zip(keys, entries, strict=True))
    return tuple(map(Axis, keys, steps))


def parse_axes_attribute(names: Sequence[object], ndim: int) -> tuple[Axis, ...] | None:
    """Parse a Neuroglancer-style ``axes`` attribute: reversed, in any case; None if they do not fit.

    Examples
    --------
    >>> "".join(axis_names(parse_axes_attribute("cXY", 3)))
    'yxc'
    """
    keys = [str(name).lower() for name in reversed(list(names))]
    return tuple(map(Axis, keys)) if names_that_fit(keys, ndim) else None


def axes_of(
    shape: Sequence[int],
    *,
    names: str | Sequence[str] | None = None,
    axistags: str | None = None,
    dimension_labels: Sequence[str] = (),
    axes_attribute: Sequence[object] | None = None,
    other_names: Sequence[str] = (),
    units: Mapping[str, object] | None = None,
    place: Callable[[tuple[Axis, ...]], tuple[Axis, ...]] = tuple,
    labels_from: str = "DIMENSION_LABELS",
    where: object = "",
) -> tuple[tuple[Axis, ...], bool]:
    """Settle the axes of one stored array, in storage order, and say whether they are a guess from the shape.

    The order of trust: the caller (`names`), `axistags`, `dimension_labels` (found in `labels_from`),
    `axes_attribute`, `other_names`, the shape.  Where the caller contradicts the file, an axis keeps the step that the
    file states only if it has the same name at the same place.  `place` gives named axes the steps and origins that
    the file states elsewhere.  `where` names the array in warnings.

    Raises
    ------
    AxesError
        `names` does not fit the shape.
    MetadataError
        The file contradicts itself, or the array cannot be an image.
    """
    ndim = len(shape)
    chosen = parse_axis_names(names, shape, where or "the dataset") if names is not None else None
    found: list[tuple[str, tuple[Axis, ...]]] = []
    if axistags is not None:
        try:
            tagged = parse_axistags(axistags, ndim, where)
            found += [("axistags", tagged)] if tagged is not None else []
        except MetadataError as error:
            if chosen is None:
                raise MetadataError(
                    f"{error}; the shape is {tuple(shape)}: "
                    f"pass {option('axes')} with one letter of 'tzyxc' per dimension"
                ) from error
    labels = tuple(label.lower() for label in dimension_labels)
    found += [(labels_from, tuple(map(Axis, labels)))] if names_that_fit(labels, ndim) else []
    if axes_attribute is not None and (attribute := parse_axes_attribute(axes_attribute, ndim)) is not None:
        found.append(("axes", attribute))
    if not found and names_that_fit(other_names, ndim):
        found.append(("its voxel size", tuple(map(Axis, other_names))))
    for name, axes in found[1:]:
        if axis_names(axes) != axis_names(found[0][1]):
            said = [f"{name} say {''.join(axis_names(axes))}" for name, axes in (found[0], (name, axes))]
            _warn_of(where, f"{', '.join(said)}: {found[0][0]} are used")
            break
    if not found and chosen is None:
        return place(with_units(default_axes(shape, labels), units or {})), True
    stored = place(with_units(found[0][1] if found else tuple(map(Axis, chosen or ())), units or {}))
    if chosen is None:
        return stored, False
    pairs = zip(chosen, stored, strict=True)
    return tuple(axis if axis.name == name else Axis(name) for name, axis in pairs), False
