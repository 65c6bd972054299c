"""What OME-XML can state about an image, in the words of tifffile: https://docs.openmicroscopy.org/ome-model/."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ilastik_lazy import __version__
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.classes import RGB
from ilastik_lazy.core.display import is_color_picture
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS, converted, unit_symbol
from ilastik_lazy.errors import encodable, printable

__all__ = ["not_stored", "ome_metadata", "pixels_per_centimeter"]

_STEPS = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}
_PLACED = "xyz"
_SYMBOLS = {"foot": "ft", "mile": "mi", "yard": "yd", "parsec": "pc", "minute": "min"}
# OME's unit for lengths that no other unit describes.
_NO_UNIT = "reference frame"


def ome_metadata(spec: ArraySpec, axes: Sequence[Axis]) -> dict[str, Any]:
    """Return the metadata of the image for tifffile; `axes` are those of the file."""
    is_rgb = is_color_picture(spec)
    letters = "".join("S" if axis.name == "c" and is_rgb else axis.name.upper() for axis in axes)
    found: dict[str, Any] = {
        "axes": letters,
        "Name": _text(spec.name),
        "Creator": f"ilastik_lazy {__version__}",
    }
    for axis in axes:
        if axis.name in _STEPS and axis.scale is not None and _has_place(axis):
            found[_STEPS[axis.name]] = axis.scale
            found[f"{_STEPS[axis.name]}Unit"] = _symbol(axis)
    if any(axis.translation for axis in axes if axis.name in _PLACED):
        found["Plane"] = _positions(axes, dict(zip(spec.dims, spec.shape, strict=True)))
    channel: dict[str, Any] = {}
    if _names_channels(spec):
        channel["Name"] = [_text(name) for name in spec.channel_names]
    if _colors_channels(spec):
        channel["Color"] = [_number_of(rgb) for rgb in spec.channel_colors]
    return found | ({"Channel": channel} if channel else {})


def _positions(axes: Sequence[Axis], lengths: Mapping[str, int]) -> dict[str, Any]:
    """Return where each plane begins, in the order of the file: the place that OME has for an origin."""
    names = [axis.name for axis in axes]
    lead = names[: names.index("y")]
    counts = [lengths.get(name, 1) for name in lead]
    depth = np.indices(counts)[lead.index("z")].ravel() if "z" in lead else 0
    found: dict[str, Any] = {}
    for axis in axes:
        if axis.name in _PLACED:
            at = axis.translation + (axis.scale or 0.0) * (depth if axis.name == "z" else 0)
            found[f"Position{axis.name.upper()}"] = np.broadcast_to(at, math.prod(counts)).tolist()
            found[f"Position{axis.name.upper()}Unit"] = [_symbol(axis)] * math.prod(counts)
    return found


def pixels_per_centimeter(axes: Sequence[Axis]) -> tuple[float, float] | None:
    """Return the resolution along x and y for programs that read no OME-XML; None if it is not known."""
    steps = {axis.name: converted(axis.scale, axis.unit, "centimeter") for axis in axes if axis.scale and axis.unit}
    x, y = steps.get("x"), steps.get("y")
    # A tag is a fraction of two whole numbers with 32 bits.
    return (1 / x, 1 / y) if x and y and 2**-31 < x < 2**31 and 2**-31 < y < 2**31 else None


def not_stored(spec: ArraySpec) -> tuple[str, ...]:
    """Name the known facts about an image for which OME-XML has no place."""
    lost = [f"origin of {axis.name}" for axis in spec.axes if axis.name == "t" and (axis.translation or axis.since)]
    lost += [f"step of {axis.name}" for axis in spec.axes if axis.scale is not None and not _has_place(axis)]
    lost += [
        f"unit of {axis.name}"
        for axis in spec.axes
        if axis.unit and _has_place(axis) and (axis.scale is None or _symbol(axis) == _NO_UNIT)
    ]
    is_rgb = is_color_picture(spec)  # whose channels are called red, green and blue by all programs
    if spec.channel_names and not (is_rgb or _names_channels(spec)):
        lost.append("class names")
    if spec.channel_colors and not (is_rgb or _colors_channels(spec)):
        lost.append("class colours")
    if spec.packing is not None and not spec.is_unpacked:
        lost.append("scale and offset of packed numbers")
    return tuple(lost)


def _has_place(axis: Axis) -> bool:
    """Whether the step of an axis has a place: OME has a unit for unknown lengths, and none for unknown times."""
    return axis.name != "t" or axis.unit in OME_TIME_UNITS


def _symbol(axis: Axis) -> str:
    known = axis.unit in (OME_TIME_UNITS if axis.name == "t" else OME_SPACE_UNITS)
    return _SYMBOLS.get(axis.unit, unit_symbol(axis.unit)) if known else _NO_UNIT


def _channels(spec: ArraySpec) -> int:
    return 1 if is_color_picture(spec) else spec.channels


def _names_channels(spec: ArraySpec) -> bool:
    return len(spec.channel_names) == _channels(spec) and not spec.is_label_image


def _colors_channels(spec: ArraySpec) -> bool:
    return len(spec.channel_colors) == _channels(spec) and not spec.is_label_image


def _number_of(rgb: RGB) -> int:
    """Return a colour as OME has it: red, green, blue and opacity in a signed number of 32 bits."""
    return int.from_bytes(bytes([*rgb, 255]), "big", signed=True)


def _text(text: str) -> str:
    """Return a text that XML can hold."""
    return printable(encodable(text))
