"""What downsampling must give, worked out in another way than the package does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

OME_ORDER = "tczyx"

Array = np.ndarray[Any, Any]


def in_ome_order(data: Array, axes: Sequence[str]) -> Array:
    """`data` with its axes as OME-Zarr wants them."""
    order = [axis for axis in OME_ORDER if axis in axes]
    return data.transpose([list(axes).index(axis) for axis in order])


def cells(block: Array, factors: Sequence[int]) -> Array:
    """The voxels that become one, along a new last axis; an odd last voxel is left out."""
    block = block[tuple(slice(0, n // f * f) for n, f in zip(block.shape, factors, strict=True))]
    split = [part for n, f in zip(block.shape, factors, strict=True) for part in (n // f, f)]
    ndim = len(factors)
    moved = block.reshape(split).transpose([*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2)])
    return moved.reshape([n // f for n, f in zip(block.shape, factors, strict=True)] + [-1])


def exact_means(block: Array, factors: Sequence[int]) -> Array:
    """Means as fractions, in an array of objects."""
    grouped = cells(block, factors)
    means = np.empty(grouped.shape[:-1], object)
    for place in np.ndindex(means.shape):
        values = grouped[place].tolist()
        means[place] = sum(map(Fraction, values), Fraction(0)) / len(values)
    return means


def counted_mode(block: Array, factors: Sequence[int]) -> Array:
    """Most frequent value of each cell; the smallest of equally frequent ones."""
    grouped = cells(block, factors)
    modes = np.empty(grouped.shape[:-1], block.dtype)
    for place in np.ndindex(modes.shape):
        votes = Counter(grouped[place].tolist())
        most = max(votes.values())
        modes[place] = min(value for value, count in votes.items() if count == most)
    return modes


def coarser(block: Array, factors: Sequence[int], method: str) -> Array:
    """The next level by numpy alone, for large arrays; 64-bit integers must be below 2^50."""
    grouped = cells(block, factors)
    if method == "nearest":
        return grouped[..., 0]
    if method == "mode":
        counts = (grouped[..., :, None] == grouped[..., None, :]).sum(-1)
        largest = grouped.max(-1, keepdims=True)
        return np.where(counts == counts.max(-1, keepdims=True), grouped, largest).min(-1)
    mean = grouped.astype(np.float64).mean(-1)
    if block.dtype.kind == "f":
        return mean.astype(block.dtype)
    return mean > 0.5 if block.dtype.kind == "b" else np.rint(mean).astype(block.dtype)
