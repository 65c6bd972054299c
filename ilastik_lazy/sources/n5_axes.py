"""Axes of an N5 dataset: as ilastik notes them, and by the conventions of other programs.

These are COSEM's ``transform``, n5-viewer's ``pixelResolution``, and ``resolution``:
https://github.com/janelia-cosem/schemas/blob/master/multiscale.md counts in numpy's order;
https://github.com/saalfeldlab/n5-viewer#metadata-specification and https://github.com/saalfeldlab/paintera, as
N5 itself, from x on.  A level of n5-viewer has the voxel size of the finest one, and its ``downsamplingFactors``.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

from ilastik_lazy.axes import AXIS_NAMES, Axis, parse_axis_names
from ilastik_lazy.errors import MetadataError, MetadataWarning
from ilastik_lazy.sources.attributes import settled_axes, units_from
from ilastik_lazy.units import full_unit_name

__all__ = ["axes_of_dataset"]

_SPATIAL = {2: "yx", 3: "zyx"}


def axes_of_dataset(
    attributes: dict[str, Any], folder: str, shape: tuple[int, ...], axes: str | None
) -> tuple[tuple[Axis, ...], bool]:
    """Axes of a dataset of `shape`, and whether they are a guess; `axes` are names that the caller gives.

    Raises
    ------
    MetadataError
        They do not fit the shape.
    """
    if "axistags" not in attributes and (placed := _placed_axes(attributes, len(shape), folder)) is not None:
        if axes is None:
            return placed, False
        names = parse_axis_names(axes, len(shape))
        # A step is believed only where the caller and the file mean the same axis.
        return tuple(a if a.name == name else Axis(name) for a, name in zip(placed, names, strict=True)), False
    # In N5's order: one text as ilastik writes it, or a list as ndstructs and Neuroglancer do.
    named = attributes.get("axes")
    return settled_axes(
        folder, shape, axes,
        axistags=_axistags(attributes.get("axistags"), folder, axes is not None),
        axes_attribute=named if isinstance(named, str | list) else None,
        units=units_from(attributes.get("axis_units"), folder),
    )  # fmt: skip


def _axistags(value: object, folder: str, may_be_wrong: bool) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    if may_be_wrong:
        return None
    raise MetadataError(
        f"{folder}: axistags is no text but {type(value).__name__}; pass axes= with one letter of 'tzyxc' a dimension"
    )


def _placed_axes(attributes: Mapping[str, Any], ndim: int, where: str) -> tuple[Axis, ...] | None:
    """Axes of a dataset, in numpy's order, by the conventions of other programs; None where it follows none.

    Warns
    -----
    MetadataWarning
        It follows one, with numbers that make no sense.
    """
    try:
        if isinstance(transform := attributes.get("transform"), dict):
            return _by_transform(transform, ndim)
        if "pixelResolution" in attributes or "resolution" in attributes:
            return _by_resolution(attributes, ndim)
    except ValueError as error:
        warnings.warn(f"{where}: {error}: positions are taken as unknown", MetadataWarning, stacklevel=2)
    return None


def _by_transform(transform: Mapping[str, Any], ndim: int) -> tuple[Axis, ...]:
    names = _names(transform.get("axes"), ndim)
    scales = _numbers(transform.get("scale"), ndim, "transform/scale", is_step=True)
    origins = _numbers(transform.get("translate", [0.0] * ndim), ndim, "transform/translate")
    units = transform.get("units")
    units = units if isinstance(units, list) and len(units) == ndim else [""] * ndim
    return tuple(map(_axis, names, scales, origins, units))


def _by_resolution(attributes: Mapping[str, Any], ndim: int) -> tuple[Axis, ...] | None:
    told: Any = attributes.get("pixelResolution", attributes.get("resolution"))
    unit: object = attributes.get("units", attributes.get("unit", ""))
    if isinstance(told, dict):
        told, unit = told.get("dimensions"), told.get("unit", "")
    sizes = _numbers(told, ndim, "the voxel size", is_step=True)
    origins = _numbers(attributes.get("offset", [0.0] * ndim), ndim, "offset")
    factors = [1.0] * ndim
    if "pixelResolution" in attributes:
        factors = _numbers(attributes.get("downsamplingFactors", factors), ndim, "downsamplingFactors", is_step=True)
    units = unit if isinstance(unit, list) and len(unit) == ndim else [unit] * ndim
    if "axes" in attributes:
        names = _names(list(attributes["axes"]), ndim)[::-1]
    elif ndim in _SPATIAL:
        names = list(_SPATIAL[ndim])
    else:
        return None  # which of them are channels or time, nobody says
    # The centre of a coarse voxel is the mean of those that it covers.
    places = [
        (size * factor, origin + size * (factor - 1) / 2, text)
        for size, factor, origin, text in zip(sizes, factors, origins, units, strict=True)
    ]
    return tuple(_axis(name, *place) for name, place in zip(names, places[::-1], strict=True))


def _axis(name: str, scale: float, origin: float, unit: object) -> Axis:
    return (
        Axis(name) if name == "c" else Axis(name, scale, origin, full_unit_name(unit) if isinstance(unit, str) else "")
    )


def _names(value: object, ndim: int) -> list[str]:
    names = [str(name).lower() for name in value] if isinstance(value, list) else []
    if len(names) != ndim or len(set(names)) != ndim or not set(names) <= set(AXIS_NAMES):
        raise ValueError(f"its axes {ascii(value)[:60]} are not {ndim} out of t, z, y, x, c")
    return names


def _numbers(value: object, ndim: int, what: str, *, is_step: bool = False) -> list[float]:
    numbers = value if isinstance(value, list) else []
    least = 1e-30 if is_step else -1e30
    if len(numbers) != ndim or not all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) and least < n < 1e30
        for n in numbers
    ):
        raise ValueError(f"{what} is {ascii(value)[:60]}, not {ndim} numbers that make sense")
    return [float(n) for n in numbers]
