"""Histograms out of core: the counts of `numpy.histogram`, about twice as fast, with values outside counted too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.core.grid import Region, region_shape
from ilastik_lazy.core.parallel import AHEAD, MEMORY, Progress, over_blocks, threads_for, work_block
from ilastik_lazy.core.size_text import human_bytes, parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError, MemoryLimitError, option, remedy
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.reductions.rows import Rows
from ilastik_lazy.showing.progress import shows_progress

__all__ = ["HistogramResult", "counted", "histogram"]

Array = np.ndarray[Any, Any]

_MOST_BINS = 2**20

# Values that are binned at a time: many, since each piece has counts of 2**16 pairs; fewer if indices must be
# corrected, which takes seven passes over them.
_PIECE, _SMALL_PIECE = 2**19, 2**16


@dataclass(frozen=True, slots=True, eq=False)
class HistogramResult:
    """Counts of values in bins, and of values outside all bins."""

    edges: Array
    """``edges[i] <= value < edges[i + 1]`` is bin ``i``; the last bin holds its upper edge too."""

    counts: Array
    """int64; with `by`, one row for each position along it."""

    outside: Array
    """int64, `counts` without its last axis: how many values are below, above, or NaN."""

    by: str | None = None

    labels: xr.DataArray | None = None
    """Coordinate of `by`, such as the names of the classes; None if it has none."""

    is_of_integers: bool = False

    classes: tuple[str, ...] = ()
    """Names of the classes 1, 2, ..., where they are known."""

    def to_dataarray(self) -> xr.DataArray:
        """Return the counts with the dim ``bin``; coordinates are its centres and its ``left`` and ``right`` edges.

        For integers in bins of width 1, the coordinate is the integer itself.  ``share`` is the share of all values, of
        those along `by` alone; ``class`` is the name of the class, empty for other values.
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
            "share": ((*rows, "bin"), self.counts / np.maximum(self.counts.sum(-1) + self.outside, 1)[..., np.newaxis]),
        }
        if self.classes and centres.dtype.kind == "i":
            coordinates["class"] = ("bin", [dict(enumerate(self.classes, 1)).get(value, "") for value in centres])
        if self.by is not None and self.labels is not None:
            coordinates[self.by] = self.labels
        return xr.DataArray(self.counts, coordinates, (*rows, "bin"), "histogram")


@shows_progress("counting", 3)
def histogram(
    source: AnySource,
    *,
    bins: int | None = None,
    range: tuple[float, float] | None = None,  # numpy's name for it
    by: str | None = None,
    workers: int | None = None,
    memory: str | int = MEMORY,
    progress: Progress | bool | None = None,
) -> HistogramResult:
    """Count the values of a stored array in bins of equal width, block by block, and return a `HistogramResult`.

    Parameters
    ----------
    source
        Path of a file, what `open_dataarray` returned, or an `ArraySource`.
    bins
        Number of bins; by default 64, or one for each value of uint8, of a mask, and of classes and ids.
    range
        Lower and upper edge of all bins.  By default: all values of uint8; ``drange`` of floats, or (0, 1) for
        probabilities; else a first pass finds the least and greatest finite value.
    by
        A dim, such as ``"c"``, with separate counts for each position along it.
    workers, memory, progress
        See `reduce`.  With a first pass, `progress` counts every block twice.

    Raises
    ------
    AxesError
        The array has no dim `by`.
    ArgumentError
        `bins` or `range` is invalid; or there is no range, and no finite value to find one.
    MemoryLimitError
        Counts and blocks do not fit into `memory`.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> il.reductions.histogram(sample("segmentation")).counts[:4].tolist()
    [0, 46473, 772727, 0]
    """
    assert not isinstance(progress, bool)
    stored = as_source(source)
    by = by.lower() if by else None
    spec, rows = stored.spec, Rows.along(by, stored.spec)
    has_own_bins = bins is None and range is None and spec.dtype != np.uint8 and spec.is_label_image
    bins, most = _checked_bins(spec, bins), parse_size(memory, "memory")
    workers = _threads_that_fit(spec, rows, bins, workers, most)
    stored = with_shared_parts(stored, workers)
    is_known = not (spec.is_inherited and spec.dtype.kind == "f")
    limits = (_known_range(spec) if is_known else None) if range is None else range
    passes = 1 if limits is not None else 2
    if limits is None:
        limits = _extent(stored, workers, progress)
        if has_own_bins and limits[1] - limits[0] < _MOST_BINS:
            # A bin for each class or id.
            limits = limits[0], limits[1] + 1
            bins = int(limits[1] - limits[0])
            workers = _threads_that_fit(spec, rows, bins, workers, most)
    binning = _Binning.of(spec.dtype, bins, limits)
    count = rows.count(spec.shape)
    counts, sizes = np.zeros((count, bins), np.int64), np.zeros(count, np.int64)

    def work(_: Region, block: Array) -> Array:
        return np.stack([binning.counts(row.reshape(-1)) for row in rows.of(block)])

    for region, found in over_blocks(stored, work, workers, progress, passes - 1, passes):
        target = rows.within(region)
        counts[target] += found
        sizes[target] += math.prod(region_shape(region)) // len(found)
    outside = sizes - counts.sum(axis=1)
    labels = None if by is None else to_dataarray(stored).coords.get(by)
    counts, outside = (counts[0], outside[0]) if by is None else (counts, outside)
    names = spec.channel_names if spec.holds_classes else ()
    return HistogramResult(binning.edges, counts, outside, by, labels, spec.dtype.kind in "biu", names)


def _checked_bins(spec: ArraySpec, bins: int | None) -> int:
    if bins is None:
        return {"uint8": 256, "bool": 2}.get(spec.dtype.name, 64)
    if not 1 <= bins <= _MOST_BINS:
        raise ArgumentError(f"{option('bins', bins)}: expected 1 to {_MOST_BINS:,}")
    return bins


def _threads_that_fit(spec: ArraySpec, rows: Rows, bins: int, workers: int | None, memory: int) -> int:
    block = work_block(spec)
    # A row that is not contiguous is copied; a piece has its scaled values, indices and pairs.
    each = 2 * math.prod(block) * spec.dtype.itemsize + 24 * _PIECE + 8 * rows.count(block) * bins * (1 + AHEAD)
    fixed = 8 * rows.count(spec.shape) * (bins + 2)
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
        return 0.0, 2.0
    if spec.dtype.kind != "f":
        return None
    return spec.drange or ((0.0, 1.0) if spec.kind == "probabilities" else None)


def _extent(source: ArraySource, workers: int, progress: Progress | None) -> tuple[float, float]:
    """Find the least and greatest finite value in a separate pass."""

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
    # A range inherited through a computation is valid if the values agree with it.
    known = _known_range(source.spec.agreeing(*ends)) if source.spec.is_inherited else None
    return ends if known is None else known


@dataclass(frozen=True, slots=True)
class _Binning:
    """Bins of equal width, and how to count in them."""

    edges: Array
    bins: int
    scale: float
    is_bytes: bool
    """Whether there are at most 256 different values."""

    is_exact: bool
    """Whether value times `scale` is never rounded, so that its whole part is the number of the bin."""

    is_near: bool
    """Whether rounding moves values at most to a neighbouring bin."""

    @classmethod
    def of(cls, dtype: np.dtype[Any], bins: int, limits: tuple[float, float]) -> _Binning:
        low, high = float(limits[0]), float(limits[1])
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ArgumentError(f"{option('range', low, high)}: expected two numbers, the lower one first")
        # As in numpy, edges have the dtype of floats, so that 0.29 in float32 lies on the edge 0.29, and an empty
        # range is widened.
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
        """Count one-dimensional `values` in all bins."""
        total = np.zeros(256 if self.is_bytes else self.bins, np.int64)
        step = _PIECE if self.is_bytes or self.is_exact else _SMALL_PIECE
        for first in range(0, values.size, step):
            piece = values[first : first + step]
            total += counted(piece.view(np.uint8) if self.is_bytes else self._indices(piece), total.size)
        if not self.is_bytes:
            return total
        each = np.arange(256, dtype=np.uint8).view(np.int8 if values.dtype.kind == "i" else np.uint8)
        return np.asarray(np.histogram(each, self.edges, weights=total)[0])

    def _indices(self, values: Array) -> Array:
        """Return the bin of each value that lies in one."""
        low, high = self.edges[0], self.edges[-1]
        # Two passes at 90 GB/s, which usually make a mask unnecessary; NaN fails the comparison.
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
        # Edges and scaling are rounded: indices move to the neighbouring bin until all are right.
        while (below := values < lower[index]).any() | (above := values >= upper[index]).any():
            index -= below
            index += above
            if self.is_near:
                break
        return index.astype(small)


def counted(index: Array, bins: int) -> Array:
    """Count indices as `numpy.bincount`; two at a time if they are bytes.

    Neighbours are mostly equal, and repeated additions to one counter stall: 1.8 ns a value, but 0.6 ns if a pair of
    bytes is one of 65,536 indices.
    """
    if index.dtype != np.uint8 or index.size < 2**14:
        return np.bincount(index, minlength=bins)
    even = index.size // 2 * 2
    pairs = np.bincount(np.ascontiguousarray(index[:even]).view(np.uint16), minlength=2**16).reshape(256, 256)
    counts: Array = pairs.sum(axis=0) + pairs.sum(axis=1)
    counts[index[even:]] += 1
    return counts[:bins]
