"""Views with what the caller states about an image beyond its file: the size of its voxels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS, converted, full_unit_name
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.errors import ArgumentError, option

__all__ = ["VoxelSizes", "parse_voxel_size", "with_voxel_size"]

VoxelSizes = str | Mapping[str, str | float]
"""Steps along axes, such as ``"z=2um,y=0.5um,x=0.5um"`` or ``{"z": "2um", "y": "0.5um", "x": "0.5um"}``."""

_SIZE = re.compile(r"\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(\D*?)\s*")


def parse_voxel_size(sizes: VoxelSizes) -> dict[str, tuple[float, str]]:
    """Return the step and the unit along each axis; the unit is empty where only a number is given.

    Raises
    ------
    ArgumentError
        A step is not a positive number with a unit of length, or of time along ``t``.

    Examples
    --------
    >>> parse_voxel_size("z=2um, y=500nm")
    {'z': (2.0, 'micrometer'), 'y': (500.0, 'nanometer')}
    """
    wrong = f"{option('voxel_size', sizes)}: expected a size for each axis, such as z=2um,y=0.5um,x=0.5um"
    if isinstance(sizes, str):
        pairs = [each.partition("=")[::2] for each in sizes.split(",")]
        if len({name.strip().lower() for name, _ in pairs}) != len(pairs):
            raise ArgumentError(f"{option('voxel_size', sizes)} names an axis twice")
        sizes = dict(pairs)
    if not isinstance(sizes, Mapping) or not sizes:
        raise ArgumentError(wrong)
    if len({str(name).strip().lower() for name in sizes}) != len(sizes):
        raise ArgumentError(f"{option('voxel_size', sizes)} names an axis twice")
    found: dict[str, tuple[float, str]] = {}
    for name, size in sizes.items():
        axis, match = str(name).strip().lower(), _SIZE.fullmatch(str(size))
        try:
            step = float(match[1]) if match else math.nan
        except ValueError:  # such as 1.2.3
            step = math.nan
        unit = full_unit_name(match[2]) if match else ""
        units = OME_TIME_UNITS if axis == "t" else OME_SPACE_UNITS
        if axis not in ("t", "z", "y", "x") or not 0 < step < math.inf or (match and match[2] and unit not in units):
            raise ArgumentError(f"{wrong}, and not {name}={size}" if size else wrong)
        found[axis] = step, unit
    return found


def with_voxel_size(source: ArraySource, sizes: VoxelSizes) -> ArraySource:
    """Return the same source with the steps that the caller states; axes that are not named stay as they are.

    A number without a unit has the unit that the file states, or none.  Origins stay where they are.

    Raises
    ------
    ArgumentError
        The image lacks an axis, or a step makes no sense (see `parse_voxel_size`).

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> prob = il.open_dataarray(sample("probabilities"), voxel_size={"z": "2um", "y": "0.5um", "x": "0.5um"})
    >>> prob["z"].values[:3].tolist(), prob["z"].units
    ([0.0, 2.0, 4.0], 'micrometer')
    """
    spec, steps = source.spec, parse_voxel_size(sizes)
    if missing := [name for name in steps if name not in spec.dims]:
        raise ArgumentError(
            f"{option('voxel_size', sizes)} names {missing[0]}, and {spec.storage.location} has the axes "
            f"{''.join(spec.dims)}, shape {spec.shape}"
        )
    return DescribedSource(replace(spec, axes=tuple(_resized(axis, steps) for axis in spec.axes)), source)


def _resized(axis: Axis, steps: Mapping[str, tuple[float, str]]) -> Axis:
    if axis.name not in steps:
        return axis
    step, unit = steps[axis.name]
    unit = unit or axis.unit
    origin = converted(axis.translation, axis.unit or unit, unit)
    return replace(axis, scale=step, unit=unit, translation=origin or 0.0)
