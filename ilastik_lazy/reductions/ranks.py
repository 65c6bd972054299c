"""Find the values of some ranks in each row of an array: count digit by digit, or sort if that takes less memory.

Values are mapped to integers in the same order.  The first pass over all blocks counts their upper 16 bits, which
gives the upper 16 bits of the wanted values; the next pass counts the next 16 bits of values that begin with these,
and so on: one pass for 8 and 16 bits, two for float32, four for float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, grid_shape
from ilastik_lazy.core.parallel import AHEAD, Progress, over_blocks, threads_for, work_block
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.reductions.rows import Rows

__all__ = ["selection_of"]

Array = np.ndarray[Any, Any]

_DIGIT = 16
_DIGITS = 2**_DIGIT

# Bytes of counts that are always acceptable; if there would be more, a small array is sorted instead.
_MANY_COUNTS = 2**26

# Values that are counted at a time: many, compared with the 2**16 counters.
_PIECE = 2**18


def selection_of(
    source: ArraySource, rows: Rows, ranks: Array, workers: int | None, memory: int, *, skipna: bool = False
) -> Counting | Sorting | None:
    """Choose counting, or sorting if that takes less memory; None if neither fits.

    `ranks` has the shape (rows, ranks).  With `skipna`, NaN ranks after all numbers; otherwise a row that contains
    NaN has only NaN.
    """
    fixed, each = _memory_of(source.spec, rows, ranks.shape[1])
    sorting = 4 * source.spec.nbytes
    if fixed + each <= memory and not (fixed > _MANY_COUNTS and sorting < fixed):
        return Counting(source, rows, ranks, min(threads_for(workers), int((memory - fixed) // each)), skipna)
    return Sorting(source, rows, ranks, threads_for(workers), skipna) if sorting <= memory else None


def _memory_of(spec: ArraySpec, rows: Rows, ranks: int) -> tuple[int, int]:
    """Return the bytes of the counts, and of those in each thread."""
    block = work_block(spec)
    # Counts of one digit for each prefix; a rank has one prefix.
    prefixes = 1 if spec.dtype.itemsize <= 2 else ranks
    counts = 8 * _DIGITS * prefixes
    each = 3 * math.prod(block) * spec.dtype.itemsize + 24 * _PIECE + rows.count(block) * counts * (1 + AHEAD)
    return rows.count(spec.shape) * counts, each


class Sorting:
    """Find the values of some ranks in each row of an array in memory."""

    def __init__(self, source: ArraySource, rows: Rows, ranks: Array, workers: int, skipna: bool) -> None:
        self._source, self._rows, self._ranks, self._workers = source, rows, ranks, workers
        self._skipna = skipna
        self.blocks = _blocks_of(source.spec)
        self.nbytes = source.spec.nbytes

    def values(self, progress: Progress | None) -> Array:
        """float64 of shape (rows, ranks)."""
        spec = self._source.spec
        whole = np.empty(spec.shape, spec.dtype.newbyteorder("="))
        for region, block in over_blocks(self._source, lambda _, block: block, self._workers, progress, 0, 1):
            whole[region] = block
        rows = self._rows.of(whole)
        ordered = np.sort(rows.reshape(len(rows), -1), axis=1)
        values = np.take_along_axis(ordered, self._ranks, 1).astype(np.float64) + 0.0  # -0.0 is 0.0
        # NaN is sorted after all numbers.
        if not self._skipna:
            values[np.isnan(ordered[:, -1])] = np.nan
        return values


def _blocks_of(spec: ArraySpec) -> int:
    return math.prod(grid_shape(spec.shape, work_block(spec)))


class Counting:
    """Find the values of some ranks in each row, digit by digit."""

    def __init__(self, source: ArraySource, rows: Rows, ranks: Array, workers: int, skipna: bool) -> None:
        self._source, self._rows, self._workers, self._skipna = source, rows, workers, skipna
        self._dtype = source.spec.dtype.newbyteorder("=")
        self._bits = max(_DIGIT, 8 * self._dtype.itemsize)
        self._passes = self._bits // _DIGIT
        self.blocks, self.nbytes = self._passes * _blocks_of(source.spec), self._passes * source.spec.nbytes
        count = rows.count(source.spec.shape)
        self._left = ranks.copy()
        """Rank of each wanted value among the values that begin with the same digits."""
        self._prefixes = np.zeros(ranks.shape, np.uint64)
        """The known digits of each wanted value."""
        self._has_nan = np.zeros(count, bool)

    def values(self, progress: Progress | None) -> Array:
        """float64 of shape (rows, ranks)."""
        for number in range(self._passes):
            self._count_a_digit(number, progress)
        values = _values_of_ranks(self._prefixes, self._dtype).astype(np.float64) + 0.0  # -0.0 is 0.0
        if not self._skipna:
            values[self._has_nan] = np.nan
        return values

    def _count_a_digit(self, number: int, progress: Progress | None) -> None:
        """Find digit `number`, from the highest, of all wanted values."""
        known = [np.unique(row) for row in self._prefixes]
        most = max(map(len, known))
        counts = np.zeros((len(known), most, _DIGITS), np.int64)
        shift = self._bits - _DIGIT * (number + 1)

        def work(region: Region, block: Array) -> tuple[slice, Array, Array]:
            parts, rows = self._rows.of(block), self._rows.within(region)
            found = np.zeros((len(parts), most, _DIGITS), np.int64)
            has_nan = np.zeros(len(parts), bool)
            for i, (part, prefixes) in enumerate(zip(parts, known[rows], strict=True)):
                flat = part.reshape(-1)
                for first in range(0, flat.size, _PIECE):
                    piece = flat[first : first + _PIECE]
                    if number == 0 and self._dtype.kind == "f":
                        has_nan[i] |= bool(np.isnan(piece).any())
                    piece = piece.astype(self._dtype, copy=False)
                    if self._skipna:
                        # A NaN with a sign would rank before all numbers.
                        piece = np.where(np.isnan(piece), np.abs(piece), piece)
                    ranks = _ranks_of(piece)
                    _add_digits(found[i], ranks, shift, prefixes if number else None)
            return rows, found, has_nan

        blocks = over_blocks(self._source, work, self._workers, progress, number, self._passes)
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
    """Map `values` to integers in the same order: http://stereopsis.com/radix.html."""
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    whole: Array = values.view(f"u{values.dtype.itemsize}")
    if kind in "bu":
        return whole
    top = whole.dtype.type(1 << (bits - 1))
    if kind == "i":
        signed: Array = whole ^ top
        return signed
    # Flip all bits of negative floats, and only the sign of others.
    turned = (whole.view(f"i{values.dtype.itemsize}") >> (bits - 1)).view(whole.dtype)
    ranks: Array = whole ^ (turned | top)
    return ranks


def _values_of_ranks(ranks: Array, dtype: np.dtype[Any]) -> Array:
    """Invert `_ranks_of`."""
    whole = ranks.astype(f"u{dtype.itemsize}")
    top = whole.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        whole ^= top
    elif dtype.kind == "f":
        whole = np.where(whole & top, whole ^ top, ~whole)
    return whole.view(dtype)


def _add_digits(counts: Array, ranks: Array, shift: int, prefixes: Array | None) -> None:
    """Add to row i of `counts` the digits that follow the i-th of `prefixes`, or all digits without prefixes."""
    digits = ranks >> shift
    if prefixes is None:
        # numpy 2.2 and older count no uint64; digits are below 2**16 and mean the same as int64.
        counts[0] += np.bincount(digits.view(np.int64) if digits.itemsize == 8 else digits, minlength=_DIGITS)
        return
    above = digits >> _DIGIT
    for row, prefix in zip(counts, prefixes, strict=False):
        found = digits[above == above.dtype.type(prefix)].astype(np.uint16)
        if found.size < _DIGITS:
            np.add.at(row, found, 1)
        else:
            row += np.bincount(found, minlength=_DIGITS)
