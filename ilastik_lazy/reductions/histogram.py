"""Histograms out of core: the counts of `numpy.histogram`, about twice as fast, and nothing left out unseen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.core.grid import Region, region_shape
from ilastik_lazy.core.parallel import AHEAD, MEMORY, Progress, check_progress, over_blocks, threads_for, work_block
from ilastik_lazy.core.sizes import human_bytes, parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError, option, remedy
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.lazy.shared_parts import with_shared_parts

__all__ = ["HistogramResult", "histogram"]

Array = np.ndarray[Any, Any]

_MOST_BINS = 2**20

# Values that are binned in one go: large, since each piece has its counts of 2**16 pairs, but small
# where indices must be put right, for that takes seven passes over them.
_PIECE, _SMALL_PIECE = 2**19, 2**16


@dataclass(frozen=True, slots=True, eq=False)
class HistogramResult:
    """Counts of values in bins, and of those in none."""

    edges: Array
    """``edges[i] <= value < edges[i + 1]`` is bin ``i``; the last bin holds its upper edge too."""

    counts: Array
    """int64; with `by`, a row for each position along it."""

    outside: Array
    """int64, as `counts` without its last axis: how many values are below, above, or NaN."""

    by: str | None = None

    labels: xr.DataArray | None = None
    """Coordinate of `by`, such as the names of the classes; None where it has none."""

    is_of_integers: bool = False

    def to_dataarray(self) -> xr.DataArray:
        """Counts with the dim ``bin``: coordinates are its centres, and ``left`` and ``right`` edges.

        Of integers in bins one wide, a bin is called by the one value in it.
        """
        rows = () if self.by is None else (self.by,)
        left, right = self.edges[:-1].astype(np.float64), self.edges[1:].astype(np.float64)
        centres = left / 2 + right / 2
        if self.is_of_integers and (right - left == 1).all() and (left % 1 == 0).all():
            centres = left.astype(np.int64)
        coordinates: dict[str, Any] = {
            "bin": ("bin", centres),
            "left": ("bin", left),
            "right": ("bin", right),
            "outside": (rows, self.outside),
        }
        if self.by is not None and self.labels is not None:
            coordinates[self.by] = self.labels
        return xr.DataArray(self.counts, coordinates, (*rows, "bin"), "histogram")


def histogram(
    source: AnySource,
    *,
    bins: int | None = None,
    range: tuple[float, float] | None = None,  # numpy's name for it
    by: str | None = None,
    workers: int | None = None,
    memory: str | int = MEMORY,
    progress: Progress | None = None,
) -> HistogramResult:
    """Count the values of a stored array in bins of equal width, block by block.

    Parameters
    ----------
    source
        Path of a file, what `open_dataarray` returned, or an `ArraySource`.
    bins
        Number of bins; 64 without it, and 256, one for each value, where the array is uint8.
    range
        Lower and upper edge of all bins.  Without it: all values of uint8; ``drange``, or (0, 1)
        for probabilities, of floats; else a first pass looks for the least and greatest finite value.
    by
        A dim, such as ``"c"``, each position of which gets counts of its own.
    workers, memory, progress
        As for `reduce`.  With a first pass, `progress` counts every block twice.

    Raises
    ------
    AxesError
        `by` names a dim that is not there.
    ArgumentError
        No such bins; or no range was given, and there are no finite values.
    MemoryLimitError
        Counts and blocks do not fit into `memory`.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> histogram(sample("segmentation")).counts[:4].tolist()
    [0, 46473, 772727, 0]
    """
    check_progress(progress, 3)
    stored = as_source(source)
    spec, axis = stored.spec, _axis_of(stored.spec, by)
    bins = _checked_bins(spec, bins)
    workers = _threads_that_fit(spec, axis, bins, workers, parse_size(memory, "memory"))
    stored = with_shared_parts(stored, workers)
    is_known = not (spec.is_inherited and spec.dtype.kind == "f")
    limits = (_known_range(spec) if is_known else None) if range is None else range
    passes = 1 if limits is not None else 2
    if limits is None:
        limits = _extent(stored, workers, progress)
    binning = _Binning.of(spec.dtype, bins, limits)
    rows = 1 if axis is None else spec.shape[axis]
    counts, sizes = np.zeros((rows, bins), np.int64), np.zeros(rows, np.int64)

    def work(_: Region, block: Array) -> Array:
        parts = [block] if axis is None else np.moveaxis(block, axis, 0)
        return np.stack([binning.counts(part.reshape(-1)) for part in parts])

    for region, found in over_blocks(stored, work, workers, progress, passes - 1, passes):
        target = slice(None) if axis is None else region[axis]
        counts[target] += found
        sizes[target] += math.prod(region_shape(region)) // len(found)
    outside = sizes - counts.sum(axis=1)
    if by is None:
        return HistogramResult(binning.edges, counts[0], outside[0], is_of_integers=spec.dtype.kind in "iu")
    labels = to_dataarray(stored).coords.get(by)
    return HistogramResult(binning.edges, counts, outside, by, labels, spec.dtype.kind in "iu")


def _axis_of(spec: ArraySpec, by: str | None) -> int | None:
    if by is not None and by not in spec.dims:
        raise AxesError(f"no dim {by!r} to count by: {spec.storage.location} has {', '.join(spec.dims)}")
    return None if by is None else spec.dims.index(by)


def _checked_bins(spec: ArraySpec, bins: int | None) -> int:
    if spec.dtype.kind not in "biuf":
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: only numbers can be counted")
    if bins is None:
        return 256 if spec.dtype == np.uint8 else 64
    if not 1 <= bins <= _MOST_BINS:
        raise ArgumentError(f"{option('bins', bins)}: expected 1 to {_MOST_BINS:,}")
    return bins


def _threads_that_fit(spec: ArraySpec, axis: int | None, bins: int, workers: int | None, memory: int) -> int:
    block = work_block(spec)
    rows, rows_of_block = (1, 1) if axis is None else (spec.shape[axis], block[axis])
    # A row that is not contiguous is copied; a piece has its scaled values, indices and pairs.
    each = 2 * math.prod(block) * spec.dtype.itemsize + 24 * _PIECE + 8 * rows_of_block * bins * (1 + AHEAD)
    fixed = 8 * rows * (bins + 2)
    if fixed + each > memory:
        raise MemoryLimitError(
            f"the histogram of {spec.storage.location} needs {human_bytes(fixed + each)}, more than "
            f"{option('memory', human_bytes(memory))}: take fewer bins, count without {option('by')}, "
            "or allow more memory"
        )
    return min(threads_for(workers), (memory - fixed) // each)


def _known_range(spec: ArraySpec) -> tuple[float, float] | None:
    if spec.dtype == np.uint8:
        return 0.0, 256.0
    if spec.dtype == np.bool_:
        return 0.0, 1.0
    if spec.dtype.kind != "f":
        return None
    return (0.0, 1.0) if spec.kind == "probabilities" else spec.drange


def _extent(source: ArraySource, workers: int, progress: Progress | None) -> tuple[float, float]:
    """Least and greatest finite value, in a pass of its own."""

    def extent(_: Region, block: Array) -> tuple[Any, Any] | None:
        low, high = block.min(), block.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            block = block[np.isfinite(block)]
            return (block.min(), block.max()) if block.size else None
        return low, high

    extents = [found for _, found in over_blocks(source, extent, workers, progress, 0, 2) if found is not None]
    if not extents:
        what = "finite values" if math.prod(source.spec.shape) else "values"
        where = source.spec.storage.location
        what_now = remedy("range=(lower, upper)", "--range LOWER UPPER")
        raise ArgumentError(f"{where} has no {what} to find a range of: pass {what_now}")
    ends = float(min(low for low, _ in extents)), float(max(high for _, high in extents))
    # What was kept through a computation holds where the values agree with it.
    known = _known_range(source.spec.agreeing(*ends)) if source.spec.is_inherited else None
    return ends if known is None else known


@dataclass(frozen=True, slots=True)
class _Binning:
    """Bins of equal width, and the ways to count in them."""

    edges: Array
    bins: int
    scale: float
    is_bytes: bool
    """Whether there are 256 different values at most."""

    is_exact: bool
    """Whether a value times `scale` is rounded nowhere, so that its whole part is the number of its bin."""

    is_near: bool
    """Whether rounding puts no value further than into a neighbour of its bin."""

    @classmethod
    def of(cls, dtype: np.dtype[Any], bins: int, limits: tuple[float, float]) -> _Binning:
        low, high = float(limits[0]), float(limits[1])
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ArgumentError(f"{option('range', low, high)}: expected two numbers, the lower one first")
        # As numpy does: edges have the dtype of floats, so that 0.29 in float32 lies on the edge 0.29.
        # It widens an empty range, too.
        values = np.empty(0, np.uint8 if dtype.kind == "b" else dtype.newbyteorder("="))
        try:
            edges = np.histogram_bin_edges(values, bins, (low, high))
        except ValueError as error:
            raise ArgumentError(
                f"{option('bins', bins)} between {low} and {high} are too narrow for {dtype}: take fewer"
            ) from error
        scale = bins / float(edges[-1] - edges[0])
        is_exact = dtype in (np.float32, np.float64) and edges[0] == 0 and math.frexp(scale)[0] == 0.5 and scale >= 1
        is_exact = is_exact and float(edges[-1]) * scale == bins
        step = float(np.spacing(np.abs(edges).max()))
        return cls(edges, bins, scale, dtype.itemsize == 1, is_exact, 8 * step * scale < 0.5)

    def counts(self, values: Array) -> Array:
        """Counts of one-dimensional `values` in all bins."""
        total = np.zeros(256 if self.is_bytes else self.bins, np.int64)
        step = _PIECE if self.is_bytes or self.is_exact else _SMALL_PIECE
        for first in range(0, values.size, step):
            piece = values[first : first + step]
            total += _counted(piece.view(np.uint8) if self.is_bytes else self._indices(piece), total.size)
        if not self.is_bytes:
            return total
        each = np.arange(256, dtype=np.uint8).view(np.int8 if values.dtype.kind == "i" else np.uint8)
        return np.asarray(np.histogram(each, self.edges, weights=total)[0])

    def _indices(self, values: Array) -> Array:
        """The bin of each value that lies in one."""
        low, high = self.edges[0], self.edges[-1]
        # Two passes at 90 GB/s, which almost always save a mask; NaN fails the comparison.
        if not (values.min() >= low and values.max() <= high):
            values = values[(values >= low) & (values <= high)]
        small = np.uint8 if self.bins <= 256 else np.intp
        if self.is_exact:
            scaled = values * values.dtype.type(self.scale)
            # The upper edge belongs to the last bin.
            whole: Array = np.minimum(scaled, self.bins - 1, out=scaled).astype(small)
            return whole
        fine = values.dtype if values.dtype.itemsize >= 4 and values.dtype.kind == "f" else np.dtype(np.float64)
        scaled = (values.astype(fine, copy=False) - low) * fine.type(self.scale)
        index: Array = np.minimum(scaled, self.bins - 1, out=scaled).astype(np.intp)
        lower, upper = self.edges[:-1], np.append(self.edges[1:-1], self.edges.dtype.type(np.inf))
        # Edges are rounded, and so is the scaling: what fell beside its bin moves, until all are right.
        while (below := values < lower[index]).any() | (above := values >= upper[index]).any():
            index -= below
            index += above
            if self.is_near:
                break
        return index.astype(small)


def _counted(index: Array, bins: int) -> Array:
    """`numpy.bincount`; where the indices are bytes, of two at a time.

    Neighbours are mostly alike, and adding to one counter again and again stalls: 1.8 ns a value,
    and 0.6 ns where a pair of bytes is one of 65,536 indices.
    """
    if index.dtype != np.uint8 or index.size < 2**14:
        return np.bincount(index, minlength=bins)
    even = index.size // 2 * 2
    pairs = np.bincount(np.ascontiguousarray(index[:even]).view(np.uint16), minlength=2**16).reshape(256, 256)
    counts: Array = pairs.sum(axis=0) + pairs.sum(axis=1)
    counts[index[even:]] += 1
    return counts[:bins]
