"""Percentiles out of core: those of `numpy.percentile`, exact, though large arrays are never held as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.core.parallel import MEMORY, Progress, check_progress, threads_for
from ilastik_lazy.core.sizes import human_bytes, parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.window import window_of
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError, option
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.reductions.ranks import selection_of

__all__ = ["percentile"]

Array = np.ndarray[Any, Any]


def percentile(
    source: AnySource,
    q: float | Sequence[float],
    *,
    by: str | None = None,
    workers: int | None = None,
    memory: str | int = MEMORY,
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
        As for `reduce`; `progress` counts each block once a pass.

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
    check_progress(progress, 3)
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
    nbytes = parse_size(memory, "memory")
    stored = with_shared_parts(stored, threads_for(workers))
    values = _values_at(stored, axis, ranks, workers, nbytes, progress)
    below, above = (values[:, np.searchsorted(ranks, each)] for each in (low, high))
    with np.errstate(invalid="ignore"):
        # From the nearer neighbour, as numpy has it, infinities too.
        step, share = above - below, place - low
        found = np.where(share < 0.5, below + step * share, above - step * (1 - share))
    return _labelled(stored, by, wanted, found, is_scalar=np.ndim(q) == 0)


def _axis_of(spec: ArraySpec, by: str | None) -> int | None:
    if by is not None and by not in spec.dims:
        raise AxesError(f"no dim {by!r} to take percentiles by: {spec.storage.location} has {', '.join(spec.dims)}")
    if spec.dtype.kind not in "biuf" or spec.dtype.itemsize > 8:
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: only numbers have percentiles")
    if not math.prod(spec.shape):
        raise ArgumentError(f"{spec.storage.location} has no values: its shape is {spec.shape}")
    return None if by is None else spec.dims.index(by)


def _values_at(
    source: ArraySource, axis: int | None, ranks: Array, workers: int | None, memory: int, progress: Progress | None
) -> Array:
    """Values of the ranks in each row, of shape (rows, ranks): of as many rows at a time as the memory allows."""
    rows = 1 if axis is None else source.spec.shape[axis]
    length, parts = rows, [source]
    while selection_of(parts[0], axis, ranks, workers, memory) is None and length > 1:
        length = -(-length // 2)
        parts = _cut(source, axis or 0, length)
    selections = [selection_of(part, axis, ranks, workers, memory) for part in parts]
    blocks = sum(selection.blocks for selection in selections if selection is not None)
    found: list[Array] = []
    done_blocks = done_bytes = 0
    for selection in selections:
        if selection is None:
            raise MemoryLimitError(
                f"percentiles of {source.spec.storage.location} need more than "
                f"{option('memory', human_bytes(memory))}, for "
                f"{human_bytes(source.spec.nbytes / rows)} of values: ask for fewer at a time, or allow more memory"
            )
        found.append(selection.values(_shifted(progress, done_blocks, done_bytes, blocks)))
        done_blocks += selection.blocks
        done_bytes += selection.nbytes
    return np.concatenate(found)


def _cut(source: ArraySource, axis: int, length: int) -> list[ArraySource]:
    """Parts of `source` that are so long along `axis`."""
    shape = source.spec.shape
    first = [[0] * axis + [start] + [0] * (len(shape) - axis - 1) for start in range(0, shape[axis], length)]
    return [
        window_of(source, tuple(start), (*shape[:axis], min(start[axis] + length, shape[axis]), *shape[axis + 1 :]))
        for start in first
    ]


def _shifted(progress: Progress | None, blocks: int, nbytes: int, all_blocks: int) -> Progress | None:
    """`progress` of a part, before which so many blocks and bytes were done."""
    if progress is None:
        return None
    return lambda done, _, size: progress(blocks + done, all_blocks, nbytes + size)


def _labelled(source: ArraySource, by: str | None, q: Array, values: Array, *, is_scalar: bool) -> xr.DataArray:
    coordinates: dict[str, Any] = {"percentile": q}
    if by is not None:
        known = to_dataarray(source).coords
        coordinates |= {by: known[by]} if by in known else {}
    found = xr.DataArray(values, coordinates, (by or "all", "percentile"), "percentile")
    found = found if by is not None else found[0]
    return found[..., 0] if is_scalar else found
