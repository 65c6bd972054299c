"""From sums over objects to the columns of a table, in the names and by the formulas of scikit-image."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.reductions.objects.object_axes import Space
from ilastik_lazy.reductions.objects.sums import PAIRS, Sums, Wanted

__all__ = [
    "DEFAULT_PROPERTIES",
    "PROPERTIES",
    "by_channel",
    "columns_of",
    "units_of",
    "unknown_property",
    "wanted_for",
]

Array = np.ndarray[Any, Any]
Columns = dict[str, Array]

DEFAULT_PROPERTIES = (
    "num_pixels", "area", "bbox", "centroid", "equivalent_diameter_area", "touches_border",
    "intensity_mean", "intensity_std", "intensity_min", "intensity_max",
)  # fmt: skip


_NOTHING = Wanted()
_SPREAD = Wanted(spread=True)
_EXTREMES = Wanted(extremes=True)


@dataclass(frozen=True, slots=True)
class Property:
    """How the columns of a property are computed, and which sums that needs."""

    columns: Callable[[Sums, Space], Columns]
    needs: Wanted = _NOTHING
    power: int | None = None
    """Power of the unit of length in its values, -1 for that of an area or a volume; None without a unit."""
    ndims: tuple[int, ...] = (1, 2, 3)
    of_intensity: bool = False


def _num_pixels(sums: Sums, space: Space) -> Columns:
    return {"num_pixels": sums.size}


def _area(sums: Sums, space: Space) -> Columns:
    return {"area": sums.size * space.voxel}


def _bbox(sums: Sums, space: Space) -> Columns:
    lows = {f"bbox_{name}_min": row for name, row in zip(space.names, space.of_space(sums.low), strict=True)}
    return lows | {f"bbox_{name}_max": row for name, row in zip(space.names, space.of_space(sums.high), strict=True)}


def _area_bbox(sums: Sums, space: Space) -> Columns:
    return {"area_bbox": np.prod(sums.high - sums.low, axis=0) * space.voxel}


def _extent(sums: Sums, space: Space) -> Columns:
    return {"extent": sums.size / np.prod(sums.high - sums.low, axis=0)}


def _placed(means: Array, space: Space) -> list[Array]:
    rows = zip(space.of_space(means), space.spacing, space.origin, strict=True)
    return [row * step + origin for row, step, origin in rows]


def _centroid(sums: Sums, space: Space) -> Columns:
    return {f"centroid_{name}": row for name, row in zip(space.names, _placed(sums.mean, space), strict=True)}


def _equivalent_diameter(sums: Sums, space: Space) -> Columns:
    area = sums.size * space.voxel
    return {"equivalent_diameter_area": (2 * space.ndim * area / math.pi) ** (1 / space.ndim)}


def _touches_border(sums: Sums, space: Space) -> Columns:
    low, high = space.of_space(sums.low), space.of_space(sums.high)
    touches = np.zeros(sums.count, np.bool_)
    for axis, length in enumerate(space.lengths):
        if length > 1:  # a plane of a volume is not all border
            touches |= (low[axis] == 0) | (high[axis] == length)
    return {"touches_border": touches}


def _inertia(sums: Sums, space: Space) -> Array:
    """Compute the inertia tensor of each object, as ``skimage.measure.inertia_tensor``."""
    assert sums.spread is not None
    first, ndim = 3 - space.ndim, space.ndim
    covariance = np.zeros((sums.count, ndim, ndim))
    for (i, j), row in zip(PAIRS, sums.spread, strict=True):
        if i >= first:
            scaled = row / sums.size * space.spacing[i - first] * space.spacing[j - first]
            covariance[:, i - first, j - first] = covariance[:, j - first, i - first] = scaled
    inertia = -covariance
    trace = np.trace(covariance, axis1=1, axis2=2)
    inertia[:, range(ndim), range(ndim)] += trace[:, None]
    return inertia


def _eigvals(sums: Sums, space: Space) -> Array:
    """Compute the eigenvalues in descending order, a row for each."""
    return np.asarray(np.clip(np.linalg.eigvalsh(_inertia(sums, space))[:, ::-1].T, 0, None))


def _inertia_tensor_eigvals(sums: Sums, space: Space) -> Columns:
    return {f"inertia_tensor_eigvals_{i}": row for i, row in enumerate(_eigvals(sums, space))}


def _axis_lengths(sums: Sums, space: Space) -> tuple[Array, Array]:
    values = _eigvals(sums, space)
    if space.ndim == 2:
        return 4 * np.sqrt(values[0]), 4 * np.sqrt(values[1])
    one, two, three = values
    return np.sqrt(np.maximum(10 * (one + two - three), 0)), np.sqrt(np.maximum(10 * (two + three - one), 0))


def _axis_major_length(sums: Sums, space: Space) -> Columns:
    return {"axis_major_length": _axis_lengths(sums, space)[0]}


def _axis_minor_length(sums: Sums, space: Space) -> Columns:
    return {"axis_minor_length": _axis_lengths(sums, space)[1]}


def _eccentricity(sums: Sums, space: Space) -> Columns:
    larger, smaller = _eigvals(sums, space)
    with np.errstate(invalid="ignore"):
        return {"eccentricity": np.where(larger == 0, 0.0, np.sqrt(1 - smaller / larger))}


def _orientation(sums: Sums, space: Space) -> Columns:
    inertia = _inertia(sums, space)
    a, b, c = inertia[:, 0, 0], inertia[:, 0, 1], inertia[:, 1, 1]
    diagonal = np.where(b < 0, math.pi / 4, -math.pi / 4)
    return {"orientation": np.where(a == c, diagonal, 0.5 * np.arctan2(-2 * b, c - a))}


def by_channel(name: str, values: Array, channels: Sequence[str]) -> Columns:
    """Make a column of each row of `values`, and add the name of its channel to the name of the column."""
    return {f"{name}_{channel}" if channel else name: row for channel, row in zip(channels, values, strict=True)}


def _intensity(name: str, of: Callable[[Sums], Array], needs: Wanted = _NOTHING) -> Property:
    return Property(lambda sums, space: {name: of(sums)}, needs, of_intensity=True)


def _weighted(sums: Sums) -> Array:
    """Compute the distance of the weighted centroid from the plain one, for each channel and axis."""
    assert sums.weighted is not None
    assert sums.total is not None
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums.weighted / sums.total[:, None, :])


def _not_none(values: Array | None) -> Array:
    assert values is not None
    return values


PROPERTIES: dict[str, Property] = {
    "num_pixels": Property(_num_pixels),
    "area": Property(_area, power=-1),
    "bbox": Property(_bbox),
    "area_bbox": Property(_area_bbox, power=-1),
    "extent": Property(_extent),
    "centroid": Property(_centroid, power=1),
    "equivalent_diameter_area": Property(_equivalent_diameter, power=1),
    "touches_border": Property(_touches_border),
    "inertia_tensor_eigvals": Property(_inertia_tensor_eigvals, _SPREAD, 2),
    "axis_major_length": Property(_axis_major_length, _SPREAD, 1, (2, 3)),
    "axis_minor_length": Property(_axis_minor_length, _SPREAD, 1, (2, 3)),
    "eccentricity": Property(_eccentricity, _SPREAD, None, (2,)),
    "orientation": Property(_orientation, _SPREAD, None, (2,)),
    "intensity_mean": _intensity("intensity_mean", lambda sums: _not_none(sums.total) / sums.size),
    "intensity_std": _intensity(
        "intensity_std", lambda sums: np.sqrt(_not_none(sums.scatter) / sums.size), Wanted(scatter=True)
    ),
    "intensity_min": _intensity("intensity_min", lambda sums: _not_none(sums.least), _EXTREMES),
    "intensity_max": _intensity("intensity_max", lambda sums: _not_none(sums.largest), _EXTREMES),
    "intensity_sum": _intensity("intensity_sum", lambda sums: _not_none(sums.total)),
    "centroid_weighted": _intensity("centroid_weighted", _weighted, Wanted(weighted=True)),
}


def unknown_property(name: str, known: Sequence[str]) -> ArgumentError:
    """Return the error of an unknown property, with the one that may be meant."""
    if name == "label":
        return ArgumentError(f"{option('properties', name)}: each table has it, leave it out")
    # Older releases of scikit-image have the words in another order: mean_intensity.
    meant = [each for each in known if sorted(each.split("_")) == sorted(name.split("_"))]
    meant = meant or (["area"] if name == "volume" else difflib.get_close_matches(name, known, 1))
    did_you = f" (did you mean {meant[0]}?)" if meant else ""
    return ArgumentError(f"{option('properties', name)}{did_you}: expected some of {', '.join(known)}")


def wanted_for(properties: Sequence[str], ndim: int, has_intensity: bool) -> tuple[tuple[str, ...], Wanted]:
    """Return the properties that apply to an image, and what must be computed for them.

    Raises
    ------
    ArgumentError
        One of the properties is not defined for an image of this kind.
    """
    names = [properties] if isinstance(properties, str) else list(properties)
    is_default = tuple(names) == DEFAULT_PROPERTIES
    for name in names:
        known = PROPERTIES[name]
        if known.of_intensity and not has_intensity and not is_default:
            raise ArgumentError(f"{option('properties', name)} needs an image: pass {option('intensity')}")
        if ndim not in known.ndims:
            raise ArgumentError(f"{option('properties', name)}: it is not defined in {ndim} dimensions")
    chosen = tuple(name for name in names if has_intensity or not PROPERTIES[name].of_intensity)
    needs = [PROPERTIES[name].needs for name in chosen]
    parts = {part: any(getattr(each, part) for each in needs) for part in Wanted.__dataclass_fields__}
    return chosen, Wanted(**parts)


def columns_of(
    sums: Sums, space: Space, channels: Sequence[str], properties: Sequence[str]
) -> tuple[Columns, dict[str, str]]:
    """Compute the columns of all properties, and the units of those that have one.

    Parameters
    ----------
    channels
        Names of the channels of intensities; an empty name for the only one.
    """
    made: Columns = {}
    units: dict[str, str] = {}
    for name in properties:
        known = PROPERTIES[name]
        columns = known.columns(sums, space)
        power = known.power
        if name == "centroid_weighted":
            shifts, power = columns[name], 1
            columns = {}
            for channel, shift in zip(channels, shifts, strict=True):
                for axis, row in zip(space.names, _placed(sums.mean + shift, space), strict=True):
                    columns[f"{name}_{axis}_{channel}" if channel else f"{name}_{axis}"] = row
        elif known.of_intensity:
            columns = by_channel(name, columns[name], channels)
        units |= units_of(columns, power, space)
        made |= columns
    return made, units


def units_of(columns: Columns, power: int | None, space: Space) -> dict[str, str]:
    """Return the unit of each column; `power` is that of the unit of length, -1 for an area or a volume."""
    power = space.ndim if power == -1 else power
    if not power or not space.unit:
        return {}
    return dict.fromkeys(columns, space.unit if power == 1 else f"{space.unit}^{power}")
