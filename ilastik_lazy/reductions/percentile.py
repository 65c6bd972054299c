"""Percentiles out of core: exactly those of `numpy.percentile`, without holding the whole array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.parallel import MEMORY, Progress, over_blocks, threads_for
from ilastik_lazy.core.size_text import human_bytes, parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.window import window_of
from ilastik_lazy.errors import ArgumentError, MemoryLimitError, option
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.reductions.ranks import selection_of
from ilastik_lazy.reductions.rows import Rows
from ilastik_lazy.showing.progress import shows_progress

__all__ = ["percentile"]

Array = np.ndarray[Any, Any]


@shows_progress("counting", 3)
def percentile(
    source: AnySource,
    q: float | Sequence[float],
    *,
    by: str | None = None,
    skipna: bool = False,
    workers: int | None = None,
    memory: str | int = MEMORY,
    progress: Progress | bool | None = None,
) -> xr.DataArray:
    """Compute percentiles of all values of a stored array, block by block.

    Parameters
    ----------
    source
        Path of a file, what `open_dataarray` returned, or an `ArraySource`.
    q
        One or several percentages, 0 to 100.
    by
        A dim, such as ``"c"``, with separate percentiles for each position along it.
    skipna
        Whether NaN is ignored, as by `numpy.nanpercentile`; one pass more, which counts NaN.
    workers, memory, progress
        See `reduce`; `progress` counts each block once in each pass.

    Returns
    -------
    xarray.DataArray
        float64, with the dim `by` if given, and ``percentile`` for several `q`: the values of `numpy.percentile`
        (method ``linear``).  NaN if the values contain NaN; with `skipna`, if all are NaN.

    Raises
    ------
    AxesError
        The array has no dim `by`.
    ArgumentError
        A percentage is not from 0 to 100, or there are no values.
    MemoryLimitError
        Counts and blocks do not fit into `memory`.
    CorruptChunkError, SourceError
        A block cannot be read; nothing is returned.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> il.reductions.percentile(sample("raw"), [1, 50, 99.8]).values.tolist()
    [9.0, 26.0, 193.0]
    """
    assert not isinstance(progress, bool)
    stored = as_source(source)
    wanted = np.atleast_1d(np.asarray(q, np.float64))
    if wanted.ndim != 1 or not ((wanted >= 0) & (wanted <= 100)).all():
        raise ArgumentError(f"q={q!r}: expected percentages from 0 to 100")
    by = by.lower() if by else None
    rows = _checked_rows(stored.spec, by)
    skipna = skipna and stored.spec.dtype.kind == "f"
    nbytes = parse_size(memory, "memory")
    stored = with_shared_parts(stored, threads_for(workers))
    count = np.full(rows.count(stored.spec.shape), math.prod(stored.spec.shape) // rows.count(stored.spec.shape))
    if skipna:
        count = np.maximum(count - _nans_of(stored, rows, workers), 1)
    # As in numpy: between two neighbours in rank.
    place = wanted / 100 * (count[:, np.newaxis] - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, count[:, np.newaxis] - 1)
    values = _values_at(stored, rows, np.hstack([low, high]), workers, nbytes, progress, skipna)
    below, above = np.hsplit(values, 2)
    with np.errstate(invalid="ignore"):
        # From the nearer neighbour, as in numpy, also for infinities.
        step, share = above - below, place - low
        found = np.where(share < 0.5, below + step * share, above - step * (1 - share))
    return _labelled(stored, by, wanted, found, is_scalar=np.ndim(q) == 0)


def _nans_of(source: ArraySource, rows: Rows, workers: int | None) -> Array:
    """Count the NaN of each row."""
    counts = np.zeros(rows.count(source.spec.shape), np.int64)

    def count(_: Region, block: Array) -> Array:
        parts = rows.of(np.isnan(block))
        found: Array = np.count_nonzero(parts.reshape(len(parts), -1), axis=1)
        return found

    for region, found in over_blocks(source, count, threads_for(workers), None, 0, 1):
        counts[rows.within(region)] += found
    return counts


def _checked_rows(spec: ArraySpec, by: str | None) -> Rows:
    rows = Rows.along(by, spec)
    if spec.dtype.itemsize > 8:
        raise ArgumentError(
            f"{spec.storage.location} holds {spec.dtype}: only numbers of up to 64 bits have percentiles"
        )
    if not math.prod(spec.shape):
        raise ArgumentError(f"{spec.storage.location} has no values: its shape is {spec.shape}")
    return rows


def _values_at(
    source: ArraySource,
    rows: Rows,
    ranks: Array,
    workers: int | None,
    memory: int,
    progress: Progress | None,
    skipna: bool,
) -> Array:
    """Find the values of the ranks, both of shape (rows, ranks), for as many rows at a time as the memory allows."""
    count = length = rows.count(source.spec.shape)
    parts = [source]
    while selection_of(parts[0], rows, ranks[:length], workers, memory) is None and length > 1:
        length = -(-length // 2)
        parts = _cut(source, rows.axis or 0, length)
    selections = [
        selection_of(part, rows, ranks[first : first + length], workers, memory, skipna=skipna)
        for part, first in zip(parts, range(0, count, length), strict=True)
    ]
    blocks = sum(selection.blocks for selection in selections if selection is not None)
    found: list[Array] = []
    done_blocks = done_bytes = 0
    for selection in selections:
        if selection is None:
            raise MemoryLimitError(
                f"percentiles of {source.spec.storage.location} need more than "
                f"{option('memory', human_bytes(memory))}, for "
                f"{human_bytes(source.spec.nbytes / count)} of values: ask for fewer at a time, or allow more memory"
            )
        found.append(selection.values(_shifted(progress, done_blocks, done_bytes, blocks)))
        done_blocks += selection.blocks
        done_bytes += selection.nbytes
    return np.concatenate(found)


def _cut(source: ArraySource, axis: int, length: int) -> list[ArraySource]:
    """Cut `source` into parts of this length along `axis`."""
    shape = source.spec.shape
    first = [[0] * axis + [start] + [0] * (len(shape) - axis - 1) for start in range(0, shape[axis], length)]
    return [
        window_of(source, tuple(start), (*shape[:axis], min(start[axis] + length, shape[axis]), *shape[axis + 1 :]))
        for start in first
    ]


def _shifted(progress: Progress | None, blocks: int, nbytes: int, all_blocks: int) -> Progress | None:
    """Return `progress` for a part, after the given blocks and bytes of the parts before it."""
    if progress is None:
        return None
    return lambda done, _, size: progress(blocks + done, all_blocks, nbytes + size)


def _labelled(source: ArraySource, by: str | None, q: Array, values: Array, *, is_scalar: bool) -> xr.DataArray:
    coordinates: dict[str, Any] = {"percentile": q}
    if by is not None:
        known = to_dataarray(source).coords
        coordinates |= {str(name): each for name, each in known.items() if each.dims == (by,)}
    found = xr.DataArray(values, coordinates, (by or "all", "percentile"), "percentile")
    found = found if by is not None else found[0]
    return found[..., 0] if is_scalar else found
