"""What is known of each object, or of a part of it, and how parts become one.

A run of voxels is the smallest part.  Second moments are about the mean of each part (Chan, Golub and LeVeque,
1979), so that they lose no digits however far from the origin an object lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.reductions.objects.runs import Runs

__all__ = ["PAIRS", "Sums", "Wanted", "joined", "merged", "sums_of_runs"]

Array = np.ndarray[Any, Any]
_Intensities = tuple[Array | None, ...]
"""Total, least, largest, scatter and weighted, as in `Sums`."""

PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Axes of each second moment."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be computed beside sizes, boxes and means."""

    spread: bool = False
    """Second moments of positions."""
    extremes: bool = False
    """Least and largest intensity."""
    scatter: bool = False
    """Second moment of intensities."""
    weighted: bool = False
    """First moments of intensities."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over the voxels of parts: the last axis of each array counts parts.

    Arrays of intensities have an axis of channels before it; what is not wanted is None.
    """

    size: Array
    low: Array
    """Least z, y and x."""
    high: Array
    """The largest, and 1."""
    mean: Array
    """Mean z, y and x."""
    spread: Array | None = None
    """For each of `PAIRS`, the sum of the products of distances from the mean."""
    total: Array | None = None
    least: Array | None = None
    largest: Array | None = None
    scatter: Array | None = None
    """Sums of squared distances from the mean intensity."""
    weighted: Array | None = None
    """Sums of intensity times distance from the mean position, along z, y and x (the last axis but one)."""

    @property
    def count(self) -> int:
        """Number of parts."""
        return len(self.size)

    def taken(self, index: Array) -> Sums:
        """Select some of the parts."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in Sums.__dataclass_fields__}
        chosen: dict[str, Any] = {n: None if each is None else each[..., index] for n, each in fields.items()}
        return Sums(**chosen)


def sums_of_runs(
    runs: Runs, groups: Array, count: int, origin: Array, wanted: Wanted, intensities: list[Array]
) -> Sums:
    """Compute the sums over groups of runs.

    Parameters
    ----------
    groups
        For each run the number of its group, from 0; each of the `count` groups has a run.
    origin
        Position of the block along z, y and x.
    intensities
        For each channel the intensities of all voxels in runs, in raster order.
    """
    size = runs.lengths
    _, z, y, x = runs.places
    low, high = np.empty((3, count), np.int64), np.empty((3, count), np.int64)
    # In raster order the first run of a group has the least z, and the last one the largest.
    low[0, groups[::-1]], high[0, groups] = z[::-1], z + 1
    for axis, (first, behind) in enumerate(((y, y + 1), (x, x + size)), 1):
        low[axis], high[axis] = _extreme(np.minimum, first, groups, count), _extreme(np.maximum, behind, groups, count)
    length = size.astype(np.float64)
    means = [z.astype(np.float64), y.astype(np.float64), x + (length - 1) / 2]
    # A run has an extent along x alone.
    inner = [None] * (len(PAIRS) - 1) + [length * (length * length - 1) / 12] if wanted.spread else None
    mean, spread, apart = _positions(groups, count, length, means, inner, wanted)
    begins = np.cumsum(size) - size
    with np.errstate(invalid="ignore"):  # NaN and infinity stay what they are
        parts = [_of_channel(values, begins, size, wanted) for values in intensities]
        whole = [_intensities(groups, count, length, part, apart) for part in parts]
    first_voxel = origin[:, None]
    return Sums(
        np.bincount(groups, length, count).astype(np.int64),
        low + first_voxel,
        high + first_voxel,
        mean + first_voxel,
        spread,
        *_stacked(whole),
    )


def _of_channel(values: Array, first: Array, size: Array, wanted: Wanted) -> _Intensities:
    """Compute the sums of intensities over each run."""
    numbers = values.astype(np.float64)
    total = np.add.reduceat(numbers, first)
    least = largest = scatter = weighted = None
    if wanted.extremes:
        least = np.minimum.reduceat(values, first).astype(np.float64)
        largest = np.maximum.reduceat(values, first).astype(np.float64)
    if wanted.scatter:
        distances = numbers - np.repeat(total / size, size)
        scatter = np.add.reduceat(distances * distances, first)
    if wanted.weighted:
        along = np.arange(len(numbers)) - np.repeat(first + (size - 1) / 2, size)
        weighted = np.zeros((3, len(size)))
        weighted[2] = np.add.reduceat(numbers * along, first)
    return total, least, largest, scatter, weighted


def merged(parts: Sums, groups: Array, count: int) -> Sums:
    """Merge the parts of each group.

    Parameters
    ----------
    groups
        For each part the number of its group, from 0; each of the `count` groups has a part.
    """
    wanted = Wanted(spread=parts.spread is not None, weighted=parts.weighted is not None)
    size = parts.size.astype(np.float64)
    mean, spread, apart = _positions(groups, count, size, parts.mean, parts.spread, wanted)
    channels = 0 if parts.total is None else len(parts.total)
    fields = (parts.total, parts.least, parts.largest, parts.scatter, parts.weighted)
    each = [tuple(None if field is None else field[channel] for field in fields) for channel in range(channels)]
    with np.errstate(invalid="ignore"):
        whole = [_intensities(groups, count, size, part, apart) for part in each]
    low = np.stack([_extreme(np.minimum, row, groups, count) for row in parts.low])
    high = np.stack([_extreme(np.maximum, row, groups, count) for row in parts.high])
    return Sums(np.bincount(groups, size, count).astype(np.int64), low, high, mean, spread, *_stacked(whole))


def _positions(
    groups: Array,
    count: int,
    size: Array,
    means: Iterable[Array],
    inner: Sequence[Array | None] | Array | None,
    wanted: Wanted,
) -> tuple[Array, Array | None, list[Array]]:
    """Compute mean and second moments of the positions of groups, and the distances of their parts from the mean.

    Parameters
    ----------
    inner
        For each of `PAIRS` the second moments of the parts, or None where these are 0.
    """
    total = np.bincount(groups, size, count)
    mean, apart = np.empty((3, count)), []
    for axis, row in enumerate(means):
        # About the mean of some part of each group: sums of positions far from the origin would lose digits.
        start = np.empty(count)
        start[groups] = row
        distance = row - start[groups]
        shift = np.bincount(groups, size * distance, count) / total
        mean[axis] = start + shift
        if wanted.spread or wanted.weighted:
            distance -= shift[groups]
        apart.append(distance)
    if inner is None:
        return mean, None, apart
    spread = np.empty((len(PAIRS), count))
    products = [size * distance for distance in apart]
    for number, (i, j) in enumerate(PAIRS):
        product, own = products[i] * apart[j], inner[number]
        spread[number] = np.bincount(groups, product if own is None else product + own, count)
    return mean, spread, apart


def _intensities(groups: Array, count: int, size: Array, parts: _Intensities, apart: list[Array]) -> _Intensities:
    """Compute the sums of the intensities of one channel over groups, from those over parts."""
    total, least, largest, scatter, weighted = parts
    assert total is not None
    whole = np.bincount(groups, total, count)
    if least is not None and largest is not None:
        least = _extreme(np.minimum, least, groups, count)
        largest = _extreme(np.maximum, largest, groups, count)
    if scatter is not None:
        off = total / size - (whole / np.bincount(groups, size, count))[groups]
        scatter = np.bincount(groups, scatter + size * off * off, count)
    if weighted is not None:
        rows = zip(weighted, apart, strict=True)
        weighted = np.stack([np.bincount(groups, row + total * distance, count) for row, distance in rows])
    return whole, least, largest, scatter, weighted


def _extreme(ufunc: np.ufunc, values: Array, groups: Array, count: int) -> Array:
    # Any part of a group to begin with.
    found = np.empty(count, values.dtype)
    found[groups] = values
    ufunc.at(found, groups, values)
    return found


def _stacked(channels: list[_Intensities]) -> tuple[Array | None, ...]:
    """Join the channels, for each field of `Sums` that holds intensities."""
    if not channels:
        return (None,) * 5
    return tuple(None if part[0] is None else np.stack(part) for part in zip(*channels, strict=True))


def joined(parts: list[Sums]) -> Sums:
    """Put the parts of several blocks one after the other; at least one block."""
    columns: dict[str, list[Any]] = {n: [getattr(part, n) for part in parts] for n in Sums.__dataclass_fields__}
    whole: dict[str, Any] = {n: None if c[0] is None else np.concatenate(c, axis=-1) for n, c in columns.items()}
    return Sums(**whole)
