"""What is known of each object, or of a part of it, and how parts become one.

A run of voxels is the smallest part.  Second moments are about the mean of each part (Chan, Golub and LeVeque,
1979), so that they lose no digits however far from the origin an object lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.reductions.objects.runs import Runs

__all__ = ["PAIRS", "Sums", "Wanted", "joined", "merged", "sums_of_runs"]

Array = np.ndarray[Any, Any]

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
        """Some of the parts."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in Sums.__dataclass_fields__}
        chosen: dict[str, Any] = {n: None if each is None else each[..., index] for n, each in fields.items()}
        return Sums(**chosen)


def sums_of_runs(runs: Runs, origin: Array, wanted: Wanted, intensities: list[Array]) -> Sums:
    """The sums over each run.

    Parameters
    ----------
    origin
        Position of the block along z, y and x.
    intensities
        For each channel the intensities of all voxels in runs, in raster order.
    """
    size = runs.lengths
    _, z, y, x = (runs.places[0], *(place + first for place, first in zip(runs.places[1:], origin, strict=True)))
    low = np.stack([z, y, x])
    high = np.stack([z + 1, y + 1, x + size])
    mean = low.astype(np.float64)
    mean[2] += (size - 1) / 2
    spread = None
    if wanted.spread:
        spread = np.zeros((len(PAIRS), len(size)))
        length = size.astype(np.float64)
        spread[-1] = length * (length * length - 1) / 12
    if not intensities:
        return Sums(size, low, high, mean, spread)
    first = np.cumsum(size) - size
    parts = [_of_channel(values, first, size, wanted) for values in intensities]
    total, least, largest, scatter, weighted = (
        None if part[0] is None else np.stack(part) for part in zip(*parts, strict=True)
    )
    return Sums(size, low, high, mean, spread, total, least, largest, scatter, weighted)


def _of_channel(values: Array, first: Array, size: Array, wanted: Wanted) -> tuple[Array | None, ...]:
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
    """Parts of the same group become one.

    Parameters
    ----------
    groups
        For each part the number of its group, from 0; each of the `count` groups has a part.
    """

    def add(values: Array) -> Array:
        rows = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
        made = [np.bincount(groups, row, count) for row in rows]
        return np.array(made).reshape(*values.shape[:-1], count)

    def extreme(ufunc: np.ufunc, values: Array) -> Array:
        # Any part of a group to begin with.
        found = np.empty((*values.shape[:-1], count), values.dtype)
        found[..., groups] = values
        for target, row in zip(found, values, strict=True):
            ufunc.at(target, groups, row)
        return found

    size = np.bincount(groups, parts.size, count).astype(np.int64)
    # About the mean of some part of each group: sums of positions far from the origin would lose digits.
    start = np.empty((3, count))
    start[:, groups] = parts.mean
    apart = parts.mean - start[:, groups]
    shift = add(parts.size * apart) / size
    spread = total = least = largest = scatter = weighted = None
    if parts.spread is not None or parts.weighted is not None:
        apart -= shift[:, groups]
    if parts.spread is not None:
        products = np.stack([apart[i] * apart[j] for i, j in PAIRS])
        spread = add(parts.spread + parts.size * products)
    if parts.total is not None:
        total = add(parts.total)
        if parts.least is not None and parts.largest is not None:
            least, largest = extreme(np.minimum, parts.least), extreme(np.maximum, parts.largest)
        if parts.scatter is not None:
            off = parts.total / parts.size - (total / size)[:, groups]
            scatter = add(parts.scatter + parts.size * off * off)
        if parts.weighted is not None:
            weighted = add(parts.weighted + parts.total[:, None, :] * apart)
    low, high = extreme(np.minimum, parts.low), extreme(np.maximum, parts.high)
    return Sums(size, low, high, start + shift, spread, total, least, largest, scatter, weighted)


def joined(parts: list[Sums]) -> Sums:
    """Parts of several blocks, one after the other; at least one block."""
    columns: dict[str, list[Any]] = {n: [getattr(part, n) for part in parts] for n in Sums.__dataclass_fields__}
    whole: dict[str, Any] = {n: None if c[0] is None else np.concatenate(c, axis=-1) for n, c in columns.items()}
    return Sums(**whole)
