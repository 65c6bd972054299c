"""Percentiles out of core: those of `numpy.percentile`, exact, though no two blocks are held together.

Values are ranked by whole numbers in the same order.  One pass over all blocks counts the upper 16 bits of these,
which tells the upper 16 bits of the wanted ranks; the next one counts the next 16 bits below those alone, and so on:
one pass for 8 and 16 bits, two for float32, four for float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.blockwise import AHEAD, MEMORY, Progress, over_blocks, threads_for, work_block
from ilastik_lazy.chunks import Region
from ilastik_lazy.computed import AnySource, as_source
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError
from ilastik_lazy.lazy import to_dataset
from ilastik_lazy.spec import ArraySource, ArraySpec

__all__ = ["percentile"]

Array = np.ndarray[Any, Any]

_DIGIT = 16
_DIGITS = 2**_DIGIT

# Values that are counted in one go: many, beside the 2**16 counters that each adds to.
_PIECE = 2**18


def percentile(
    source: AnySource,
    q: float | Sequence[float],
    *,
    by: str | None = None,
    workers: int | None = None,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> xr.DataArray:
    """Percentiles of all values of a stored array, block by block.

    Parameters
    ----------
    source
        Path of a file, what `open_dataarray` returned, or an `ArraySource`.
    q
        One or several percentages, 0 to 100.
    by
        A dim, such as ``"c"``, each position of which gets percentiles of its own.
    workers, memory, progress
        As for `ilastik_lazy.reductions.reduce`; `progress` counts each block once a pass.

    Returns
    -------
    xarray.DataArray
        float64, with the dims `by` and ``percentile``, as far as they were asked for: the values of
        `numpy.percentile` (method ``linear``).  NaN where a NaN is among the values.

    Raises
    ------
    AxesError
        `by` names a dim that is not there.
    ArgumentError
        A percentage is not from 0 to 100, or there are no values.
    MemoryLimitError
        Counts and blocks do not fit into `memory`.
    CorruptChunkError, SourceError
        A block cannot be read; nothing is returned.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> percentile(sample("raw"), [1, 50, 99.8]).values.tolist()
    [9.0, 26.0, 193.0]
    """
    stored = as_source(source)
    wanted = np.atleast_1d(np.asarray(q, np.float64))
    if wanted.ndim != 1 or not ((wanted >= 0) & (wanted <= 100)).all():
        raise ArgumentError(f"q={q!r}: expected percentages from 0 to 100")
    axis = _axis_of(stored.spec, by)
    rows = 1 if axis is None else stored.spec.shape[axis]
    count = math.prod(stored.spec.shape) // max(1, rows)
    # As numpy has it: between two neighbours in rank.
    place = wanted / 100 * (count - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, count - 1)
    ranks = np.unique(np.concatenate([low, high]))
    workers = _threads_that_fit(stored.spec, axis, len(ranks), workers, memory)
    values = _Selection(stored, axis, ranks, workers, progress).values()
    below, above = (values[:, np.searchsorted(ranks, each)] for each in (low, high))
    with np.errstate(invalid="ignore"):
        # Equal neighbours may be infinite, and are their own middle.
        found = np.where(below == above, below, below + (above - below) * (place - low))
    return _labelled(stored, by, wanted, found, is_scalar=np.ndim(q) == 0)


def _axis_of(spec: ArraySpec, by: str | None) -> int | None:
    if by is not None and by not in spec.dims:
        raise AxesError(f"no dim {by!r} to take percentiles by: {spec.storage.location} has {', '.join(spec.dims)}")
    if spec.dtype.kind not in "biuf" or spec.dtype.itemsize > 8:
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: only numbers have percentiles")
    if not math.prod(spec.shape):
        raise ArgumentError(f"{spec.storage.location} has no values: its shape is {spec.shape}")
    return None if by is None else spec.dims.index(by)


def _threads_that_fit(spec: ArraySpec, axis: int | None, ranks: int, workers: int | None, memory: int) -> int:
    block = work_block(spec)
    rows, rows_of_block = (1, 1) if axis is None else (spec.shape[axis], block[axis])
    # Counts of one digit for each prefix, of which one rank has one.
    prefixes = 1 if spec.dtype.itemsize <= 2 else ranks
    counts = 8 * _DIGITS * prefixes
    each = 3 * math.prod(block) * spec.dtype.itemsize + 24 * _PIECE + rows_of_block * counts * (1 + AHEAD)
    fixed = rows * counts
    if fixed + each > memory:
        raise MemoryLimitError(
            f"percentiles of {spec.storage.location} need {(fixed + each) / 1e6:,.0f} MB, and memory="
            f"{memory / 1e6:,.0f} MB: ask for fewer at a time, take them without by=, or allow more memory"
        )
    return min(threads_for(workers), int((memory - fixed) // each))


class _Selection:
    """The values of some ranks, in each row, found digit by digit."""

    def __init__(
        self, source: ArraySource, axis: int | None, ranks: Array, workers: int, progress: Progress | None
    ) -> None:
        self._source, self._axis, self._workers, self._progress = source, axis, workers, progress
        self._dtype = source.spec.dtype.newbyteorder("=")
        self._bits = max(_DIGIT, 8 * self._dtype.itemsize)
        rows = 1 if axis is None else source.spec.shape[axis]
        self._left = np.tile(ranks, (rows, 1))
        """Rank of each wanted value among those that begin with the same digits."""
        self._prefixes = np.zeros((rows, len(ranks)), np.uint64)
        """The digits of each wanted value that are known."""
        self._has_nan = np.zeros(rows, bool)

    def values(self) -> Array:
        """float64 of shape (rows, ranks)."""
        passes = self._bits // _DIGIT
        for number in range(passes):
            self._count_a_digit(number, passes)
        values = _values_of_ranks(self._prefixes, self._dtype).astype(np.float64) + 0.0  # -0.0 is 0.0
        values[self._has_nan] = np.nan
        return values

    def _count_a_digit(self, number: int, passes: int) -> None:
        """Find digit `number`, from the highest, of all wanted values."""
        known = [np.unique(row) for row in self._prefixes]
        most = max(map(len, known))
        counts = np.zeros((len(known), most, _DIGITS), np.int64)
        shift = self._bits - _DIGIT * (number + 1)
        axis = self._axis

        def work(region: Region, block: Array) -> tuple[slice, Array, Array]:
            parts = [block] if axis is None else np.moveaxis(block, axis, 0)
            rows = slice(None) if axis is None else region[axis]
            found = np.zeros((len(parts), most, _DIGITS), np.int64)
            has_nan = np.zeros(len(parts), bool)
            for i, (part, prefixes) in enumerate(zip(parts, known[rows], strict=True)):
                flat = part.reshape(-1)
                for first in range(0, flat.size, _PIECE):
                    piece = flat[first : first + _PIECE]
                    if number == 0 and self._dtype.kind == "f":
                        has_nan[i] |= bool(np.isnan(piece).any())
                    ranks = _ranks_of(piece.astype(self._dtype, copy=False))
                    _add_digits(found[i], ranks, shift, prefixes if number else None)
            return rows, found, has_nan

        blocks = over_blocks(self._source, work, self._workers, self._progress, number, passes)
        for _, (rows, found, has_nan) in blocks:
            counts[rows] += found
            self._has_nan[rows] |= has_nan
        for row, prefixes in enumerate(known):
            below = np.cumsum(counts[row], axis=1)
            for i, prefix in enumerate(self._prefixes[row]):
                sums = below[np.searchsorted(prefixes, prefix)]
                digit = int(np.searchsorted(sums, self._left[row, i], side="right"))
                self._left[row, i] -= sums[digit - 1] if digit else 0
                self._prefixes[row, i] = prefix << np.uint64(_DIGIT) | np.uint64(digit)


def _ranks_of(values: Array) -> Array:
    """Whole numbers in the order of `values`: http://stereopsis.com/radix.html."""
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    whole: Array = values.view(f"u{values.dtype.itemsize}")
    if kind in "bu":
        return whole
    top = whole.dtype.type(1 << (bits - 1))
    if kind == "i":
        signed: Array = whole ^ top
        return signed
    # Of negative floats all bits are turned, of others the sign alone.
    turned = (whole.view(f"i{values.dtype.itemsize}") >> (bits - 1)).view(whole.dtype)
    ranks: Array = whole ^ (turned | top)
    return ranks


def _values_of_ranks(ranks: Array, dtype: np.dtype[Any]) -> Array:
    """What `_ranks_of` made `ranks` of."""
    whole = ranks.astype(f"u{dtype.itemsize}")
    top = whole.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        whole ^= top
    elif dtype.kind == "f":
        whole = np.where(whole & top, whole ^ top, ~whole)
    return whole.view(dtype)


def _add_digits(counts: Array, ranks: Array, shift: int, prefixes: Array | None) -> None:
    """Add to row i of `counts` each digit that stands behind the i-th of `prefixes`, if there are any yet."""
    digits = ranks >> shift
    if prefixes is None:
        counts[0] += np.bincount(digits, minlength=_DIGITS)
        return
    above = digits >> _DIGIT
    for row, prefix in zip(counts, prefixes, strict=False):
        found = digits[above == above.dtype.type(prefix)].astype(np.uint16)
        if found.size < _DIGITS:
            np.add.at(row, found, 1)
        else:
            row += np.bincount(found, minlength=_DIGITS)


def _labelled(source: ArraySource, by: str | None, q: Array, values: Array, *, is_scalar: bool) -> xr.DataArray:
    coordinates: dict[str, Any] = {"percentile": q}
    if by is not None:
        known = to_dataset({source.spec.name: source})[source.spec.name].coords
        coordinates |= {by: known[by]} if by in known else {}
    found = xr.DataArray(values, coordinates, (by or "all", "percentile"), "percentile")
    found = found if by is not None else found[0]
    return found[..., 0] if is_scalar else found
