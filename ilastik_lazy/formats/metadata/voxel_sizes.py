"""Voxel sizes in the attributes of an image, by the conventions of programs other than ilastik.

- ``element_size_um`` of Fiji's HDF5 plugin and PlantSeg: micrometer, z before y before x;
- ``transform`` of COSEM, in numpy's order: https://github.com/janelia-cosem/schemas/blob/master/multiscale.md;
- ``pixelResolution`` of n5-viewer, from x on, that of the finest level, beside ``downsamplingFactors``:
  https://github.com/saalfeldlab/n5-viewer#metadata-specification;
- ``resolution`` (or ``voxel_size``) and ``offset`` of CREMI, daisy and paintera: nanometer if no unit is beside
  them, in the order of the format (https://cremi.org/data, https://github.com/saalfeldlab/paintera).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ilastik_lazy.core.axes import Axis, axis_names, names_that_fit
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS, full_unit_name
from ilastik_lazy.formats.metadata.json_text import json_value

__all__ = ["SIZE_ATTRIBUTES", "VoxelSize", "names_stated", "shown", "stated_sizes"]

SIZE_ATTRIBUTES = (
    "element_size_um", "transform", "pixelResolution", "resolution", "voxel_size",
    "offset", "downsamplingFactors", "units", "unit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Steps by one convention, in numpy's order."""

    said: str
    """Name and value, for messages."""
    steps: tuple[float, ...]
    origins: tuple[float, ...] | None
    units: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Axes that the steps belong to; without them, all axes or all of space."""
    is_of_finest: bool = False
    """Whether the image itself may be a coarser level, with whole multiples of the steps."""

    def placed(self, axes: Sequence[Axis]) -> tuple[Axis | None, ...]:
        """Assign the steps, origins and units to `axes`.

        Raises
        ------
        ValueError
            It does not fit them.
        """
        names, present = self.names, axis_names(axes)
        if not names:
            names = present if len(self.steps) == len(axes) else tuple(name for name in present if name in "zyx")
        if len(names) < len(self.steps) == 3:
            names = tuple("zyx")  # an image of one plane, by the sizes of the volume
        if len(names) != len(self.steps) or not set(names) & set(present):
            raise ValueError(f"{self.said} has {len(self.steps)} values, which do not fit the axes {''.join(present)}")
        origins = self.origins or (0.0,) * len(names)
        by_name = {
            name: Axis(name, step, origin, unit, is_placed=self.origins is not None)
            for name, step, origin, unit in zip(names, self.steps, origins, self.units, strict=True)
            if name != "c"
        }
        if "t" in by_name and by_name["t"].unit and by_name["t"].unit not in OME_TIME_UNITS:
            raise ValueError(f"{self.said} does not fit the axes {''.join(present)}: a time in {by_name['t'].unit}")
        return tuple(by_name.get(name) for name in present)


def stated_sizes(
    attributes: Mapping[str, Any], ndim: int, *, is_reversed: bool
) -> tuple[tuple[VoxelSize, ...], tuple[str, ...]]:
    """Return all voxel sizes that `attributes` state, the most trusted first, and what of them makes no sense.

    `is_reversed` where the format counts dimensions from x on, as N5 does.
    """
    makers: tuple[tuple[str, Callable[[Any], VoxelSize]], ...] = (
        ("element_size_um", _element_size),
        ("transform", lambda value: _transform(value, ndim)),
        ("pixelResolution", lambda value: _vector("pixelResolution", value, attributes, is_reversed=True)),
        *((name, lambda value, name=name: _vector(name, value, attributes, is_reversed=is_reversed))
          for name in ("resolution", "voxel_size")),
    )  # fmt: skip
    found, problems = [], []
    for name, make in makers:
        if (value := attributes.get(name)) is None:
            continue
        try:
            found.append(make(_from_json(value)))
        except ValueError as error:
            problems.append(str(error))
    offset = attributes.get("offset")
    if isinstance(offset, list) and 2 <= len(offset) <= 5 and not found and not problems and any(offset):
        problems.append(f"offset is {shown(offset)}, and no step is stated")
    return tuple(found), tuple(problems)


def names_stated(sizes: Sequence[VoxelSize], ndim: int) -> tuple[str, ...]:
    """Return the axes that voxel sizes imply: as many sizes as dimensions are those of space."""
    for size in sizes:
        if len(size.steps) == ndim and (size.names or ndim in (2, 3)):
            return size.names or tuple("zyx"[-ndim:])
    return ()


def shown(value: object) -> str:
    """Return a value from a file, for a message."""
    return ascii(value)[:80]


def _element_size(value: object) -> VoxelSize:
    steps = _numbers(value, "element_size_um", is_step=True)
    names = tuple("zyx"[-len(steps) :]) if len(steps) <= 3 else ()
    return VoxelSize(f"element_size_um {shown(value)}", steps, None, ("micrometer",) * len(steps), names)


def _transform(value: Any, ndim: int) -> VoxelSize:
    if not isinstance(value, dict):
        raise ValueError(f"transform is {shown(value)}, not a JSON object")
    given = value.get("axes")
    names = tuple(str(axis).lower() for axis in given) if isinstance(given, list) else ()
    if not names_that_fit(names, ndim):
        raise ValueError(f"transform/axes is {shown(given)}, not {ndim} out of t, z, y, x, c")
    steps = _numbers(value.get("scale"), "transform/scale", ndim, is_step=True)
    origins = _numbers(value.get("translate", [0.0] * ndim), "transform/translate", ndim)
    said = f"transform {shown(value)}"
    return VoxelSize(said, steps, origins, _units(said, value.get("units"), ndim), names)


def _vector(name: str, value: Any, attributes: Mapping[str, Any], *, is_reversed: bool) -> VoxelSize:
    unit: object = attributes.get("units", attributes.get("unit"))
    is_viewers = name == "pixelResolution"
    said = f"{name} {shown(value)}"
    if isinstance(value, dict):
        value, unit = value.get("dimensions"), value.get("unit")
    steps = _numbers(value, name, is_step=True)
    count, origins = len(steps), None
    if (offset := attributes.get("offset")) is not None:
        origins = _numbers(_from_json(offset), "offset", count)
    if is_viewers and (factors := attributes.get("downsamplingFactors")) is not None:
        times = _numbers(_from_json(factors), "downsamplingFactors", count, is_step=True)
        # The centre of a coarse voxel is the mean of those that it covers.
        starts = (size * (factor - 1) / 2 for size, factor in zip(steps, times, strict=True))
        origins = tuple(start + at for start, at in zip(starts, origins or (0.0,) * count, strict=True))
        steps = tuple(size * factor for size, factor in zip(steps, times, strict=True))
    units = _units(said, "nanometer" if unit is None and not is_viewers else unit, count)
    if is_reversed:
        steps, units, origins = steps[::-1], units[::-1], origins[::-1] if origins is not None else None
    return VoxelSize(said, steps, origins, units, is_of_finest=is_viewers)


def _from_json(value: object) -> object:
    """Parse a list or object that was written as text."""
    found = json_value(value)
    return found if isinstance(found, list | dict) else value


def _units(said: str, value: object, count: int) -> tuple[str, ...]:
    """Return the unit of each of `count` steps; in CF, ``units`` may also be that of the values, such as kelvin."""
    texts = value if isinstance(value, list) and len(value) == count else [value] * count
    units = tuple(full_unit_name(text) if isinstance(text, str) else "" for text in texts)
    if strange := [unit for unit in units if unit and unit not in OME_SPACE_UNITS | OME_TIME_UNITS]:
        raise ValueError(f"{said} is beside the unit {shown(strange[0])}, which is not a unit of length or time")
    return units


def _numbers(value: object, what: str, count: int | None = None, *, is_step: bool = False) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else []
    # A light year is 1e16 m, an atom 1e-10 m: beyond these a step overflows, or is a mistake.
    least = 1e-30 if is_step else -1e30
    are_sensible = all(isinstance(n, int | float) and not isinstance(n, bool) and least < n < 1e30 for n in numbers)
    if len(numbers) not in ((count,) if count is not None else range(2, 6)) or not are_sensible:
        expected = f"{count} numbers" if count is not None else "numbers, one for each axis,"
        raise ValueError(f"{what} is {shown(value)}, not {expected} that make sense")
    return tuple(float(n) for n in numbers)
