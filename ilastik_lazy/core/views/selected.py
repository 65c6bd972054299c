"""Parts of an image, as people write them: ``c=nucleus``, ``z=10:40``, ``z=5um:20um``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import numpy as np

from ilastik_lazy.core.classes import place_of_class
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import converted, full_unit_name
from ilastik_lazy.core.views.picked import with_channels, with_classes_alone
from ilastik_lazy.core.views.window import windowed
from ilastik_lazy.errors import ArgumentError, AxesError, option

__all__ = ["class_numbers", "selected"]

_POSITION = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s:]*)\s*")


def selected(source: ArraySource, parts: Iterable[str]) -> ArraySource:
    """Return the part of a source that `parts`, such as ``c=nucleus`` and ``z=10:40``, name.

    A range ``START:STOP`` counts from 0, without STOP, as in Python; with units, it takes the voxels whose centres lie
    in it.  A single index, position or name also removes the axis; several channels are separated by commas.  In an
    image of classes, a name gives the mask of the class, and an index counts channels, as in every other image.

    Raises
    ------
    AxesError
        The image has no such axis, or one is named twice.
    ArgumentError
        There is no such channel or position.
    """
    wanted: dict[str, str] = {}
    for text in parts:
        name, _, part = (piece.strip() for piece in text.partition("="))
        name = name.lower()
        if not part:
            raise ArgumentError(f"{option('select', text)}: expected AXIS=PART, such as c=nucleus or z=10:40")
        if name in wanted:
            raise AxesError(f"{option('select', text)}: {name!r} is selected twice")
        if name not in source.spec.dims and not (name == "c" and _has_named_values(source.spec)):
            where = source.spec.storage.location
            raise AxesError(f"{option('select', text)}: {where} has no axis {name}, only {', '.join(source.spec.dims)}")
        wanted[name] = part
    if "c" in wanted and _has_named_values(source.spec) and not _counts_channels(source.spec, wanted["c"]):
        names = _listed(wanted.pop("c"), source.spec.channel_names)
        source = with_classes_alone(source, class_numbers(source.spec, names))
    elif "c" in wanted and len(listed := _listed(wanted["c"], source.spec.channel_names)) > 1:
        source = with_channels(source, _several(source.spec, listed))
        del wanted["c"]
    spec = source.spec
    return windowed(
        source,
        tuple(
            _part(spec, name, wanted[name]) if name in wanted else slice(0, length)
            for name, length in zip(spec.dims, spec.shape, strict=True)
        ),
    )


def class_numbers(spec: ArraySpec, names: Iterable[str]) -> list[int]:
    """Return the numbers of channels or classes by their names, counted from 0.

    Raises
    ------
    ArgumentError
        There is no such name, or no name at all.
    """
    known, what = spec.channel_names, "class" if spec.is_label_image else "channel"
    numbers: list[int] = []
    for name in names:
        if name not in known and known:
            near = difflib.get_close_matches(name, known, 1)
            did_you = f" (did you mean {near[0]!r}?)" if near else ""
            raise ArgumentError(f"there is no {what} {name!r} in c: {', '.join(known)}{did_you}")
        if name not in known:
            raise ArgumentError(
                f"there is no {what} {name!r}: {spec.storage.location} names none; name them with {option('project')}"
            )
        number = place_of_class(name, known, spec.storage.location)
        if number in numbers:
            raise ArgumentError(f"the {what} {name!r} is selected twice")
        numbers.append(number)
    return numbers


def _has_named_values(spec: ArraySpec) -> bool:
    """Whether a name along ``c`` is that of a value: label images have one channel at most."""
    return bool(spec.holds_classes and spec.channel_names and spec.channels == 1)


def _counts_channels(spec: ArraySpec, part: str) -> bool:
    """Whether `part` counts along ``c``, and is no name of a class."""
    is_index = part not in spec.channel_names and re.fullmatch(r"[-+]?\d+|[-+]?\d*:[-+]?\d*", part) is not None
    if is_index and "c" not in spec.dims:
        raise AxesError(
            f"{option('select', f'c={part}')}: {spec.storage.location} has no axis c; select a class by its name: "
            f"{', '.join(spec.channel_names)}"
        )
    return is_index


def _listed(part: str, names: tuple[str, ...]) -> list[str]:
    # A name may itself have a comma.
    return [part] if part in names else [name.strip() for name in part.split(",")]


def _several(spec: ArraySpec, listed: list[str]) -> list[int]:
    numbers = [_channel(spec, each) for each in listed]
    if len(set(numbers)) < len(numbers):
        raise ArgumentError(f"{option('select', 'c=' + ','.join(listed))}: a channel is selected twice")
    return numbers


def _channel(spec: ArraySpec, text: str) -> int:
    if text not in spec.channel_names and re.fullmatch(r"[-+]?\d+", text):
        return _index(spec, "c", text)
    return class_numbers(spec, [text])[0]


def _index(spec: ArraySpec, axis: str, text: str) -> int:
    length = spec.shape[spec.dims.index(axis)]
    if not -length <= int(text) < length:
        given, where = option("select", f"{axis}={text}"), spec.storage.location
        if axis == "c" and length == 1 and spec.holds_classes:
            names = ", ".join(spec.channel_names)
            what_now = (
                f"select one by its name: {names}" if names else f"pass {option('project')} to select one by name"
            )
            raise ArgumentError(f"{given}: {where} is an image of classes: {what_now}")
        raise ArgumentError(
            f"{given}: {where} has {counted(length, 'element')} along {axis}, counted from 0 to {length - 1}"
        )
    return int(text) % length


def _part(spec: ArraySpec, axis: str, text: str) -> int | slice:
    """Return the elements along an axis that a text names."""
    length, given = spec.shape[spec.dims.index(axis)], option("select", f"{axis}={text}")
    if axis == "c" and (text in spec.channel_names or ":" not in text):
        return _channel(spec, text)
    ends = text.split(":")
    places = [_POSITION.fullmatch(end) if end.strip() else None for end in ends]
    is_read = all(
        found is not None or (len(ends) == 2 and not end.strip()) for found, end in zip(places, ends, strict=True)
    )
    if len(ends) > 2 or not is_read or not any(places):
        raise ArgumentError(f"{given}: expected an index such as 7, or a range such as 10:40, 5um:20um or 10:")
    unit = next((found[2] for found in reversed(places) if found is not None and found[2]), "")
    if axis != "c" and unit:
        low, high = (
            found and _in_unit(spec, axis, float(found[1]), found[2] or unit, given)
            for found in (places[0], places[-1])
        )
        return _at_positions(spec, axis, low, high, len(ends) == 1, given)
    numbers = [None if found is None else found[1] for found in places]
    if unit or not all(number is None or re.fullmatch(r"[-+]?\d+", number) for number in numbers):
        raise ArgumentError(f"{given}: an index is a whole number; a position has a unit, such as 5um")
    if len(ends) == 1:
        return _index(spec, axis, str(numbers[0]))
    start, stop, _ = slice(*(None if number is None else int(number) for number in numbers)).indices(length)
    if start >= stop:
        raise ArgumentError(
            f"{given}: nothing lies there: {spec.storage.location} has {counted(length, 'element')} along {axis}"
        )
    return slice(start, stop)


def _in_unit(spec: ArraySpec, axis: str, value: float, unit: str, given: str) -> float:
    """Convert a position to the unit of an axis."""
    known = spec.axes[spec.dims.index(axis)]
    if known.scale is None or not known.unit:
        raise ArgumentError(
            f"{given}: {spec.storage.location} states no positions with units along {axis}: give indices, "
            f"or the voxel size with {option('voxel_size')}"
        )
    found = converted(value, full_unit_name(unit), known.unit)
    if found is None:
        raise ArgumentError(f"{given}: positions along {axis} are in {known.unit}, not in {unit}")
    return found


def _at_positions(
    spec: ArraySpec, axis: str, low: float | None, high: float | None, is_single: bool, given: str
) -> int | slice:
    """Return the element nearest to a position, or those whose centres lie between two."""
    number = spec.dims.index(axis)
    along, length = spec.axes[number], spec.shape[number]
    step = along.scale or 1.0  # `_in_unit` refuses an axis without
    positions = along.translation + step * np.arange(length)
    # A position such as 2.4 is computed as 3 * 0.8, which is a little more.
    near = (0.5 + 1e-9) * step if is_single else 1e-6 * step
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    inside = np.flatnonzero((positions >= low - near) & (positions <= high + near))
    if not inside.size:
        what, apart = f"nothing lies there: positions along {axis}", ""
        if positions[0] <= low <= high <= positions[-1]:
            what, apart = f"no centre of a voxel lies there: along {axis} they", f", {step:g} {along.unit} apart"
        raise ArgumentError(f"{given}: {what} go from {positions[0]:g} to {positions[-1]:g} {along.unit}{apart}")
    if is_single:
        return int(np.argmin(np.abs(positions - low)))
    return slice(int(inside[0]), int(inside[-1]) + 1)
