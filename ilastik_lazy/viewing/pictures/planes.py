"""Planes through an image: which ones a picture shows, where they lie, and how large a voxel is drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.units import converted, full_unit_name, unit_symbol
from ilastik_lazy.errors import ArgumentError, AxesError, option, remedy

__all__ = ["Layout", "Plane", "Rulers", "indices_at", "place_of", "planes_of"]

_LONGEST_INCHES = 7.0
# A slice through the thin side of a stack is a line when it is drawn to scale.
_THIN = 12
_BY_NORMAL = {"z": "xy", "x": "zy", "y": "xz"}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")


@dataclass(frozen=True, slots=True)
class Plane:
    """A slice through an image along two axes of space."""

    across: str
    """Axis that points to the right."""

    down: str
    """Axis that points down."""

    at: Mapping[str, int]
    """Index along all other axes; without ``c``, all channels are shown."""

    @property
    def name(self) -> str:
        return self.across + self.down


@dataclass(frozen=True, slots=True)
class Rulers:
    """How the axes of space are drawn, all in one unit."""

    axes: Mapping[str, Axis]
    """Axes with a scale and `unit`; with a scale of 1 where voxels are counted."""

    unit: str
    """Full name; empty if voxels are counted, or if the file states no unit."""

    note: str
    """What is not known, for the reader of a picture; empty if nothing is missing."""

    @classmethod
    def of(cls, spec: ArraySpec, dims: Sequence[str]) -> Rulers:
        """Return the rulers of `dims`: physical if the size of a voxel is known along all of them."""
        axes = {axis.name: axis for axis in spec.axes if axis.name in dims}
        if unknown := [name for name, axis in axes.items() if axis.scale is None]:
            note = f"voxel size along {', '.join(unknown)} not known: axes count voxels"
            return cls({name: Axis(name, 1.0) for name in axes}, "", note)
        unit = axes["x"].unit if "x" in axes else next(iter(axes.values())).unit
        in_unit = {name: _in_unit(axis, unit) for name, axis in axes.items()}
        if None in in_unit.values():
            units = ", ".join(f"{name} in {axis.unit or 'no unit'}" for name, axis in axes.items())
            return cls({name: Axis(name, 1.0) for name in axes}, "", f"units differ ({units}): axes count voxels")
        return cls(
            {n: axis for n, axis in in_unit.items() if axis}, unit, "" if unit else "unit of positions not known"
        )

    def extent(self, dim: str, length: int) -> tuple[float, float]:
        """Return the outer edges of `length` voxels: half a voxel beyond the centres of the first and the last."""
        axis = self.axes[dim]
        first = axis.translation - (axis.scale or 1) / 2
        return first, first + length * (axis.scale or 1)

    def size(self, dim: str, length: int) -> float:
        """Return the length of `length` voxels."""
        return length * (self.axes[dim].scale or 1)

    @property
    def counts_voxels(self) -> bool:
        return not self.unit and "count voxels" in self.note


@dataclass(frozen=True, slots=True)
class Layout:
    """The planes of one picture, and how large they are drawn."""

    planes: tuple[Plane, ...]
    rulers: Rulers
    lengths: Mapping[str, int]
    """Voxels along each axis of the image."""

    dpi: float

    @classmethod
    def of(cls, spec: ArraySpec, planes: tuple[Plane, ...], dpi: float) -> Layout:
        """Lay `planes` of an image out, to scale."""
        shown = [dim for dim in spec.dims if any(dim in plane.name for plane in planes)]
        return cls(planes, Rulers.of(spec, shown), dict(zip(spec.dims, spec.shape, strict=True)), dpi)

    def lengths_of(self, plane: Plane) -> tuple[int, int]:
        """Return the voxels of `plane` (down, across)."""
        return self.lengths[plane.down], self.lengths[plane.across]

    @property
    def widths(self) -> list[float]:
        """Widths of the columns, in the unit of `rulers`: of xy and xz, then of zy."""
        return [self._size(dim) for dim in dict.fromkeys(plane.across for plane in self.planes)]

    @property
    def heights(self) -> list[float]:
        """Heights of the rows: of xy and zy, then of xz."""
        return [self._size(dim) for dim in dict.fromkeys(plane.down for plane in self.planes)]

    @property
    def inches(self) -> float:
        """Inches that one unit of `rulers` takes."""
        return _LONGEST_INCHES / max(sum(self.widths), sum(self.heights))

    def pixels(self, plane: Plane) -> tuple[float, float]:
        """Return the pixels that `plane` has in the figure (down, across)."""
        each = self.inches * self.dpi
        return self._size(plane.down) * each, self._size(plane.across) * each

    def steps(self, plane: Plane) -> tuple[int, int]:
        """Return how many voxels (down, across) become one pixel that is read: as many as leave `pixels` of them."""
        down, across = (
            max(1, int(length / max(1, room)))
            for length, room in zip(self.lengths_of(plane), self.pixels(plane), strict=True)
        )
        return down, across

    def _size(self, dim: str) -> float:
        return self.rulers.size(dim, self.lengths[dim])


def _in_unit(axis: Axis, unit: str) -> Axis | None:
    scale, translation = converted(axis.scale or 1, axis.unit, unit), converted(axis.translation, axis.unit, unit)
    return (
        None if scale is None or translation is None else replace(axis, scale=scale, translation=translation, unit=unit)
    )


def indices_at(spec: ArraySpec, where: Mapping[str, object]) -> dict[str, int]:
    """Return an index along each axis but ``c``: as in `where`, else the middle of space and the first frame.

    Raises
    ------
    AxesError
        `where` names an axis that the image does not have.
    ArgumentError
        A position is not a number, has another unit, or lies outside the image.
    """
    lengths = dict(zip(spec.dims, spec.shape, strict=True))
    if unknown := [dim for dim in where if dim not in lengths]:
        given = option(unknown[0], where[unknown[0]])
        raise AxesError(f"{given}: {spec.storage.location} has no axis {unknown[0]}, only {', '.join(spec.dims)}")
    if 0 in spec.shape:
        raise ArgumentError(f"{spec.storage.location} has no values to show: its shape is {spec.shape}")
    indices = {dim: length // 2 if dim in "zyx" else 0 for dim, length in lengths.items() if dim != "c"}
    return indices | {dim: _index_at(spec, dim, wanted) for dim, wanted in where.items()}


def _index_at(spec: ArraySpec, dim: str, wanted: object) -> int:
    """Return the index of the voxel nearest to a position; as in xarray, of an axis without positions the index."""
    k = spec.dims.index(dim)
    axis, length = spec.axes[k], spec.shape[k]
    if dim == "c" and str(wanted) in spec.channel_names:
        return spec.channel_names.index(str(wanted))
    names = f" or one of {', '.join(spec.channel_names)}" if dim == "c" and spec.channel_names else ""
    found = _QUANTITY.fullmatch(str(wanted)) if isinstance(wanted, str) else None
    try:
        value = float(found[1] if found else wanted)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        unnamed = dim == "c" and not spec.channel_names
        how = "; the channels have no names: " + remedy("open the image with project=...", "pass --project")
        raise ArgumentError(f"{option(dim, wanted)}: expected a number{names}{how if unnamed else ''}") from error
    step, first = (1.0, 0.0) if axis.scale is None or dim == "c" else (axis.scale, axis.translation)
    unit = "" if axis.scale is None else axis.unit
    if found and found[2]:
        stated = converted(value, full_unit_name(found[2]), unit) if unit else None
        if stated is None:
            expected = f"positions are in {unit}" if unit else f"no unit is known along {dim}: pass a number"
            raise ArgumentError(f"{option(dim, wanted)}: {expected}")
        value = stated
    index = (value - first) / step
    if not -0.5 <= index <= length - 0.5:  # also refuses NaN
        what = "frame" if dim == "t" else "channel" if dim == "c" else "voxel"
        of = f" {unit}".rstrip() if axis.scale is not None else f", the number of the {what}"
        ends = f"from {first:g} to {first + (length - 1) * step:g}{of}"
        raise ArgumentError(f"{option(dim, wanted)} lies outside the image: {dim} goes {ends}")
    return min(round(index), length - 1)


def planes_of(spec: ArraySpec, indices: Mapping[str, int], wanted: str | None = None) -> tuple[Plane, ...]:
    """Choose the planes of a picture.

    Parameters
    ----------
    indices
        Where to cut, from `indices_at`.
    wanted
        Two axes, to the right and down, such as ``"xy"``.  Without it, a volume gets three planes at right angles,
        unless it is too thin.

    Raises
    ------
    ArgumentError
        There is no such plane.
    """
    lengths = {dim: n for dim, n in zip(spec.dims, spec.shape, strict=True) if dim in "zyx"}
    if wanted is not None:
        if not (len(wanted) == 2 and len(set(wanted)) == 2 and set(wanted) <= set(lengths)):
            raise ArgumentError(f"{option('plane', wanted)}: expected two axes out of {', '.join(lengths)}, such as xy")
        names = [wanted]
    elif len(lengths) < 2:
        raise ArgumentError(f"{spec.storage.location} has no plane: its axes are {', '.join(spec.dims)}")
    elif len(lengths) == 2:
        names = [_BY_NORMAL[next(dim for dim in "zyx" if dim not in lengths)]]
    else:
        rulers = Rulers.of(spec, list(lengths))
        sizes = {dim: rulers.size(dim, n) for dim, n in lengths.items()}
        # A stack of one voxel is shown as that plane.
        thinnest = min("zyx", key=lambda dim: (lengths[dim] > 1, sizes[dim]))
        is_thin = lengths[thinnest] == 1 or sizes[thinnest] * _THIN < max(sizes.values())
        names = [_BY_NORMAL[thinnest]] if is_thin else list(_BY_NORMAL.values())
    return tuple(Plane(name[0], name[1], {dim: k for dim, k in indices.items() if dim not in name}) for name in names)


def place_of(spec: ArraySpec, dim: str, index: int) -> str:
    """Say where an element lies, for a title: ``z = 16 µm``, or its number where no position is known."""
    k = spec.dims.index(dim)
    axis, length = spec.axes[k], spec.shape[k]
    number = f"{index} ({'channels' if dim == 'c' else 'frames' if dim == 't' else 'voxels'} 0 to {length - 1})"
    if axis.scale is None:
        return f"{dim} = {number}"
    position = axis.translation + index * axis.scale
    unit = f" {axis.units if axis.since else unit_symbol(axis.unit)}" if axis.unit else ""
    frame = f", frame {index} (of 0 to {length - 1})" if dim == "t" else ""
    return f"{dim} = {position:.6g}{unit}{frame}"
