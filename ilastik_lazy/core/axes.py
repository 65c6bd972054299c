"""What the dimensions of an array mean: their names, order, step, origin and unit.

Without any names, ilastik guesses by the shape (``lazyflow/utility/helpers.py``, ``get_default_axisordering``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.units import OME_TIME_UNITS, full_unit_name
from ilastik_lazy.errors import AxesError, MetadataError, option

__all__ = [
    "AXIS_NAMES", "Axis", "advice_on_guess", "axis_names", "default_axes", "matlab_axes", "names_of", "names_that_fit",
    "parse_axis_names", "step_and_origin", "with_units",
]  # fmt: skip

AXIS_NAMES = ("t", "z", "y", "x", "c")
_MOST_COLORS, _MOST_CHANNELS = 4, 64
_IN_WORDS = {"time": "t", "channel": "c", "channels": "c"}


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of an array.

    Examples
    --------
    >>> Axis("z", scale=0.8, unit="micrometer").positions(3).round(1).tolist()
    [0.0, 0.8, 1.6]
    """

    name: str
    """One of ``t``, ``z``, ``y``, ``x``, ``c``."""

    scale: float | None = None
    """Distance between neighbouring elements, in `unit`; None if the file does not state it."""

    translation: float = 0.0
    """Position of the centre of element 0, in `unit`."""

    unit: str = ""
    """UDUNITS-2 name such as ``micrometer``; empty where unknown."""

    since: str = ""
    """Date that positions along ``t`` are counted from, such as ``2024-05-01 12:00:00``; empty where unknown."""

    is_placed: bool = field(default=False, compare=False)
    """Whether the file itself states `translation`, also one of 0."""

    def __post_init__(self) -> None:
        if self.name not in AXIS_NAMES:
            raise AxesError(f"unknown axis {self.name!r}: expected one of t, z, y, x, c")
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise AxesError(f"axis {self.name!r} has scale {self.scale}: expected a positive number")
        if not math.isfinite(self.translation):
            raise AxesError(f"axis {self.name!r} has translation {self.translation}: expected a number")

    @property
    def units(self) -> str:
        """`unit`, with `since` as the CF conventions write it: ``days since 2024-05-01``."""
        if not self.unit or not self.since:
            return self.unit
        # Any other unit, such as "weeks", is as the file spells it.
        return f"{self.unit}{'s' if self.unit in OME_TIME_UNITS else ''} since {self.since}"

    def coordinate_attributes(self) -> dict[str, str]:
        """Describe `positions` as the CF conventions do."""
        return {"axis": self.name.upper()} | ({"units": self.units} if self.units else {})

    def positions(self, length: int) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return the positions of the centres of `length` elements; None where the scale is not known."""
        if self.scale is None or self.name == "c":
            return None
        return self.translation + self.scale * np.arange(length, dtype=np.float64)


def axis_names(axes: Sequence[Axis]) -> tuple[str, ...]:
    """Return the names of the axes, in order.  A tuple, since to xarray the text "zyx" is one dimension."""
    return tuple(axis.name for axis in axes)


def parse_axis_names(
    names: str | Sequence[str], shape: Sequence[int] | None = None, where: object = "the dataset"
) -> tuple[str, ...]:
    """Check names that a caller gave, such as ``"zyxc"`` or ``["z", "y", "x", "c"]``.

    Raises
    ------
    AxesError
        A name is unknown or stands twice, or there are not as many as the image at `where` has dimensions.
    """
    if not isinstance(names, str | Sequence):
        raise AxesError(f"{option('axes', names)}: expected letters of 'tzyxc', such as 'zyxc'")
    found = tuple(str(name).lower() for name in names)
    if unknown := [name for name in found if name not in AXIS_NAMES]:
        raise AxesError(f"unknown axis {unknown[0]!r} in {option('axes', names)}: expected letters of 'tzyxc'")
    if len(set(found)) != len(found):
        raise AxesError(f"{option('axes', names)} names an axis twice")
    if shape is not None and len(found) != len(shape):
        dimensions = f"{len(shape)} dimensions, shape {tuple(shape)}"
        raise AxesError(f"{option('axes', names)} names {len(found)} axes, but {where} has {dimensions}")
    return found


def matlab_axes(shape: Sequence[int]) -> str:
    """Return the likeliest axes of an array that MATLAB stored: in HDF5 its dimensions are in reverse order.

    Examples
    --------
    >>> matlab_axes((40, 512, 512)), matlab_axes((3, 512, 512))    # in MATLAB (y, x, z) and (y, x, c)
    ('zxy', 'cxy')
    """
    return {2: "xy", 3: "cxy" if shape[0] <= _MOST_COLORS else "zxy", 4: "czxy", 5: "tczxy"}.get(len(shape), "")


def advice_on_guess(likelier: str = "") -> str:
    """Say what to do if guessed axes are wrong; `likelier` are those of an array that MATLAB stored."""
    if not likelier:
        return f"pass {option('axes')} if that is wrong"
    there = ", ".join(reversed(likelier))
    return f"MATLAB stores dimensions in reverse order: pass {option('axes', likelier)} if the image is ({there}) there"


def default_axes(shape: Sequence[int], labels: Sequence[str] = ()) -> tuple[Axis, ...]:
    """Guess the axes of an array that does not name all of them, as ilastik itself does if that makes sense.

    Where some of its `labels` are names of axes, the other dimensions are those of space, the last ones first.

    Raises
    ------
    MetadataError
        The array has fewer than 2 or more than 5 dimensions.

    Examples
    --------
    >>> "".join(axis_names(default_axes((3, 100, 256, 256))))  # ilastik guesses zyxc
    'czyx'
    >>> "".join(axis_names(default_axes((512, 512, 3)))), "".join(axis_names(default_axes((3, 4, 5), ("time", "", ""))))
    ('yxc', 'tyx')
    """
    order = {2: "yx", 3: "zyx", 4: "zyxc", 5: "tzyxc"}
    if len(shape) not in order:
        raise MetadataError(
            f"an array of shape {tuple(shape)} is not an image: expected 2 to 5 dimensions out of t, z, y, x, c"
        )
    names = [_IN_WORDS.get(label, label if label in AXIS_NAMES else "") for label in labels]
    known = [name for name in names if name]
    if len(names) == len(shape) and known and len(set(known)) == len(known):
        free = iter([name for name in "xyzct" if name not in known])
        return tuple(Axis(name or next(free)) for name in reversed(names))[::-1]
    # lazyflow's get_default_axisordering has the same rule: a short last axis is colour.
    likely = "yxc" if len(shape) == 3 and shape[2] <= _MOST_COLORS else order[len(shape)]
    if len(shape) > 3 and shape[-1] > _MOST_CHANNELS:
        # ilastik would read hundreds of channels; other programs write channels before planes or pictures.
        if len(shape) == 4:
            likely = "czyx" if shape[0] <= min(16, shape[1]) else "tzyx"
        else:
            likely = "tczyx" if shape[1] <= shape[2] else "tzcyx"
    return tuple(map(Axis, likely))


def with_units(axes: Sequence[Axis], units: Mapping[str, object]) -> tuple[Axis, ...]:
    """Give `axes` the units of an ``axis_units`` attribute, spelled in full."""
    spelled = {name: full_unit_name(unit) for name, unit in units.items() if isinstance(unit, str)}
    return tuple(replace(axis, unit=spelled.get(axis.name, axis.unit)) for axis in axes)


def names_that_fit(names: Sequence[str], ndim: int) -> bool:
    """Whether `names` are those of `ndim` axes: out of t, z, y, x, c, each once."""
    return len(names) == ndim and len(set(names)) == ndim and set(names) <= set(AXIS_NAMES)


def step_and_origin(positions: np.ndarray[Any, Any]) -> tuple[float | None, float] | None:
    """Return the distance between neighbouring `positions`, and the first of them; None if they do not rise evenly.

    The distance is None if there are fewer than two positions.

    Examples
    --------
    >>> step_and_origin(np.array([2.0, 2.5, 3.0])), step_and_origin(np.array([7])), step_and_origin(np.array([0, 1, 4]))
    ((0.5, 2.0), (None, 7.0), None)
    """
    rounding = float(np.finfo(positions.dtype).eps) if positions.dtype.kind == "f" else 0.0
    positions = positions.astype(np.float64)
    if not np.isfinite(positions).all():
        return None
    if len(positions) < 2:
        return None, float(positions[0]) if len(positions) else 0.0
    # The first difference gives most positions back bit for bit; the mean of all is nearer where they were rounded.
    first, count = float(positions[1] - positions[0]), np.arange(len(positions))
    if 0 < first < np.inf and np.array_equal(positions[0] + first * count, positions):
        return first, float(positions[0])
    step = float((positions[-1] - positions[0]) / (len(positions) - 1))
    off = float(np.abs(positions - (positions[0] + step * count)).max())
    if not step > 0 or off > max(1e-4 * step, 2 * rounding * float(np.abs(positions).max())):
        return None
    return step, float(positions[0])


def names_of(values: np.ndarray[Any, Any]) -> tuple[str, ...] | None:
    """Return the names of channels, from coordinates that are texts or numbers; None for others.

    >>> names_of(np.array([405, 488, 561]))
    ('405', '488', '561')
    """
    if values.dtype.kind == "S":
        return tuple(value.decode("utf-8", "replace") for value in values.tolist())
    if values.dtype.kind not in "iufUTO":
        return None
    found = values.tolist()
    return tuple(map(str, found)) if all(isinstance(value, str | int | float) for value in found) else None
