"""The arithmetic of reductions: three pure functions each, independent of files and threads."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from ilastik_lazy.errors import ArgumentError

__all__ = ["REDUCTIONS", "Array", "Partial", "Reduction"]

Array = np.ndarray[Any, Any]
Partial = tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Reduction:
    """Three pure functions that reduce any number of blocks."""

    start: Callable[[Array, tuple[int, ...]], Partial]
    """Reduce one block over some of its axes, which keep length 1."""

    combine: Callable[[Partial, Partial], Partial]
    """Merge the partials of two groups of blocks for the same elements of the result."""

    finish: Callable[[Partial, int], Array]
    """Compute the result from the partial of all blocks and the number of values behind each element."""

    of_nothing: bool = False
    """Whether the reduction of no values is defined."""

    keeps_values: bool = False
    """Whether results are values of the array, so that its attributes hold for them."""

    without_nan: Reduction | None = None
    """The same reduction of floats that skips NaN; NaN for elements without other values."""


def _start_sum(block: Array, axes: tuple[int, ...]) -> Partial:
    """Sum floats in float64 and integers in 64 bits; wide integers in float64 too."""
    if block.dtype.kind == "f":
        # numpy adds pairwise within 8192 values: a relative error below 1e-13 of the sum of
        # absolute values, at 15 GB/s per core.  float32 would be 1.6 times as fast, and wrong by 1e-6.
        return (np.add.reduce(block, axis=axes, dtype=np.float64, keepdims=True),)
    wide, narrow = (np.uint64, np.uint32) if block.dtype.kind == "u" else (np.int64, np.int32)
    if block.dtype.itemsize == 1 and block.size <= 2**23:
        # 2**23 * 255 fits 32 bits, and numpy adds bytes to them 2.5 times as fast as to 64.
        return (np.add.reduce(block, axis=axes, dtype=narrow, keepdims=True).astype(wide),)
    total = np.add.reduce(block, axis=axes, dtype=wide, keepdims=True)
    if block.dtype.itemsize < 4:
        return (total,)
    return total, np.add.reduce(block, axis=axes, dtype=np.float64, keepdims=True)


def _finish_sum(partial: Partial, count: int) -> Array:
    # The integer sum is right modulo 2**64, the float sum to a relative 1e-13: together they show an overflow.
    if len(partial) == 2 and np.any(np.abs(partial[1] - partial[0].astype(np.float64)) > 2.0**62):
        raise ArgumentError(f"a sum of {count} values does not fit {partial[0].dtype}: take the mean, or fewer axes")
    return partial[0]


def _start_moments(block: Array, axes: tuple[int, ...]) -> Partial:
    """Compute count, mean, and sum of squared differences from the mean, slab by slab.

    The float64 copy of a slab of 2**16 values stays in the second-level cache.
    """
    along = next((i for i, length in enumerate(block.shape) if length > 1), 0)
    rows = max(1, 2**16 * block.shape[along] // block.size)
    slabs = [
        _moments(block[(slice(None),) * along + (slice(first, first + rows),)], axes)
        for first in range(0, block.shape[along], rows)
    ]
    if along in axes:
        return functools.reduce(_combine_moments, slabs)
    return slabs[0][0], np.concatenate([s[1] for s in slabs], along), np.concatenate([s[2] for s in slabs], along)


def _moments(slab: Array, axes: tuple[int, ...]) -> Partial:
    count = np.float64(math.prod(slab.shape[axis] for axis in axes))
    values = slab.astype(np.float64)
    mean = np.add.reduce(values, axis=axes, keepdims=True) / count
    # Two passes: with k = |mean| / std, sums of squares would lose k**2 of float64's 1e16, this and the merge k.
    values -= mean
    values *= values
    return np.asarray(count), mean, np.add.reduce(values, axis=axes, keepdims=True)


def _combine_moments(a: Partial, b: Partial) -> Partial:
    """Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm ...", equation 2.1."""
    count = a[0] + b[0]
    delta = b[1] - a[1]
    return np.asarray(count), a[1] + delta * (b[0] / count), a[2] + b[2] + delta * delta * (a[0] * b[0] / count)


def _start_sum_without_nan(block: Array, axes: tuple[int, ...]) -> Partial:
    """Sum in float64 and count the values; a block is searched for NaN only if a sum is NaN."""
    (total,) = _start_sum(block, axes)
    count = math.prod(block.shape[axis] for axis in axes)
    if not np.isnan(total).any():
        return total, np.asarray(count)
    is_nan = np.isnan(block)
    total = np.add.reduce(block, axis=axes, dtype=np.float64, keepdims=True, where=~is_nan)
    return total, count - np.count_nonzero(is_nan, axis=axes, keepdims=True)


def _start_moments_without_nan(block: Array, axes: tuple[int, ...]) -> Partial:
    """Compute moments as `_start_moments`, with a count for each element."""
    count, mean, squares = _start_moments(block, axes)
    if not np.isnan(mean).any():
        return np.broadcast_to(count, mean.shape), mean, squares
    is_number = ~np.isnan(block)
    count = np.count_nonzero(is_number, axis=axes, keepdims=True).astype(np.float64)
    values = block.astype(np.float64)
    # Without values the mean is 0, with weight 0.
    mean = np.add.reduce(values, axis=axes, keepdims=True, where=is_number) / np.maximum(count, 1)
    values -= mean
    values *= values
    return count, mean, np.add.reduce(values, axis=axes, keepdims=True, where=is_number)


def _combine_moments_without_nan(a: Partial, b: Partial) -> Partial:
    both = np.maximum(a[0] + b[0], 1)
    delta = b[1] - a[1]
    return a[0] + b[0], a[1] + delta * (b[0] / both), a[2] + b[2] + delta * delta * (a[0] * b[0] / both)


def _extremum(choose: np.ufunc, choose_number: np.ufunc) -> Reduction:
    """Find the least or greatest value, in the dtype of the array."""

    def start_without_nan(block: Array, axes: tuple[int, ...]) -> Partial:
        found = choose.reduce(block, axis=axes, keepdims=True)
        # fmax and fmin are slower.
        return (choose_number.reduce(block, axis=axes, keepdims=True) if np.isnan(found).any() else found,)

    plain = Reduction(
        start=lambda block, axes: (choose.reduce(block, axis=axes, keepdims=True),),
        combine=lambda a, b: (choose(a[0], b[0]),),
        finish=lambda partial, count: partial[0],
        keeps_values=True,
    )
    return replace(
        plain,
        without_nan=replace(plain, start=start_without_nan, combine=lambda a, b: (choose_number(a[0], b[0]),)),
    )


def _combine_sums(a: Partial, b: Partial) -> Partial:
    return tuple(x + y for x, y in zip(a, b, strict=True))


_SUM_WITHOUT_NAN = Reduction(_start_sum_without_nan, _combine_sums, lambda partial, count: partial[0], of_nothing=True)
_MEAN_WITHOUT_NAN = replace(_SUM_WITHOUT_NAN, finish=lambda partial, count: partial[0] / partial[1], of_nothing=False)
_STD_WITHOUT_NAN = Reduction(
    _start_moments_without_nan,
    _combine_moments_without_nan,
    lambda partial, count: np.sqrt(partial[2] / partial[0]),
)

REDUCTIONS: Mapping[str, Reduction] = MappingProxyType(
    {
        # The last sum is in float64, if there are two, and does not overflow.
        "mean": Reduction(
            _start_sum,
            _combine_sums,
            lambda partial, count: partial[-1] / np.float64(count),
            without_nan=_MEAN_WITHOUT_NAN,
        ),
        "max": _extremum(np.maximum, np.fmax),
        "min": _extremum(np.minimum, np.fmin),
        "sum": Reduction(_start_sum, _combine_sums, _finish_sum, of_nothing=True, without_nan=_SUM_WITHOUT_NAN),
        "std": Reduction(
            _start_moments,
            _combine_moments,
            lambda partial, count: np.sqrt(partial[2] / partial[0]),
            without_nan=_STD_WITHOUT_NAN,
        ),
    }
)
