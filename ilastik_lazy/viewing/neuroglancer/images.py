"""Images as Neuroglancer's client can read them: types of at most 32 bits, one place in space, no axes of length 1.

The client reads neither bool nor float64 nor int64 (``src/util/data_type.ts``), shows an axis ``t`` of length 1 as a
dimension, and places images without a voxel size apart from those that have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS
from ilastik_lazy.core.views.view import DescribedSource, View
from ilastik_lazy.core.views.window import windowed
from ilastik_lazy.errors import printable

__all__ = ["ConvertedSource", "in_one_place", "readable", "without_single_axes"]


@dataclass(frozen=True, slots=True)
class ConvertedSource(View):
    """Another source with its values in a type that the client reads; negative ids become 0, the background."""

    spec: ArraySpec
    source: ArraySource

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        values = self.source.read(region)
        if values.dtype.kind == "i" and self.spec.dtype.kind == "u":
            values = np.maximum(values, 0)
        # float64 may hold more than float32 can: infinity is shown as the brightest value.
        with np.errstate(over="ignore"):
            return values.astype(self.spec.dtype)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"converted": self.spec.dtype.str}


def readable(source: ArraySource, *, is_labels: bool) -> ArraySource:
    """Return a source in a type that the client reads: unsigned integers for labels, at most 32 bits for images."""
    dtype = source.spec.dtype
    if dtype.kind == "b":
        wanted: np.dtype[Any] = np.dtype(np.uint8)
    elif is_labels:
        wanted = np.dtype(f"u{dtype.itemsize}")
    elif dtype.kind == "f" or dtype.itemsize > 4:
        wanted = np.dtype(np.float32)
    else:
        wanted = dtype
    if wanted == dtype:
        return source
    spec = replace(source.spec, dtype=wanted)
    if dtype.kind == "b" and not is_labels:
        # True is white, however little of it there is; in uint8 it is nearly black.
        spec = replace(spec, drange=(0.0, 1.0), is_inherited=False)
    return ConvertedSource(spec, source)


def without_single_axes(source: ArraySource) -> ArraySource:
    """Drop ``t`` and ``c`` where they have length 1."""
    spec = source.spec
    return windowed(
        source,
        tuple(
            0 if length == 1 and dim in ("t", "c") else slice(0, length)
            for dim, length in zip(spec.dims, spec.shape, strict=True)
        ),
    )


def in_one_place(sources: Sequence[ArraySource]) -> tuple[list[ArraySource], list[str]]:
    """Give images without steps or units those of the first image that states them, so that all lie together.

    Returns
    -------
    sources : list of ArraySource
    remarks : list of str
        A line for each image that was given something.
    """
    known: dict[str, tuple[Axis, ArraySpec]] = {}
    for is_complete in (True, False):
        for spec in (source.spec for source in sources):
            for axis in spec.axes:
                if axis.name != "c" and axis.scale is not None and (_is_length(axis) or not is_complete):
                    known.setdefault(axis.name, (axis, spec))
    placed, remarks = [], []
    for source in sources:
        spec = source.spec
        axes = tuple(_like(axis, known) for axis in spec.axes)
        if taken := [old.name for old, new in zip(spec.axes, axes, strict=True) if new.scale != old.scale]:
            other = known[taken[0]][1].storage.location
            remarks.append(
                f"{printable(spec.storage.location)} states no voxel size along {', '.join(taken)}: "
                f"shown with that of {printable(other)}"
            )
        if assumed := [
            (old.name, new.unit)
            for old, new in zip(spec.axes, axes, strict=True)
            if new.scale == old.scale and new.unit and new.unit != old.unit
        ]:
            names, units = zip(*assumed, strict=True)
            remarks.append(
                f"{printable(spec.storage.location)} states no unit that is understood along {', '.join(names)}: "
                f"its steps are taken for {' and '.join(dict.fromkeys(units))}"
            )
        placed.append(source if axes == spec.axes else DescribedSource(replace(spec, axes=axes), source))
    return placed, remarks


def _is_length(axis: Axis) -> bool:
    return axis.unit in (OME_TIME_UNITS if axis.name == "t" else OME_SPACE_UNITS)


def _like(axis: Axis, known: Mapping[str, tuple[Axis, ArraySpec]]) -> Axis:
    """Complete an axis; without any unit that the client knows, it has none."""
    if axis.name not in known or (axis.scale is not None and _is_length(axis)):
        return axis
    other = known[axis.name][0]
    unit = other.unit if _is_length(other) else ""
    return replace(axis, scale=other.scale if axis.scale is None else axis.scale, unit=unit)
