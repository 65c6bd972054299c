"""Sums and means over blocks, one task a block, without the copies that skipping NaN takes.

To skip NaN, xarray has dask make a mask of each block, a copy without NaN, and the sum of that copy; dask
runs these as a graph of their own inside each task.  Together that is half of the time that decoding takes.
Here a task reads a block and sums it, and looks for NaN only where the sum is one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from ilastik_lazy.indexing import SourceArray

__all__ = ["quick_reduction"]

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]
Key = tuple[Any, ...]

# Partial results that one task adds up: dask's own trees take 4 to 16.
_FAN_IN = 16


def quick_reduction(
    array: SourceArray,
    lengths: Sequence[Sequence[int]],
    kind: Literal["sum", "mean"],
    *,
    axis: int | Sequence[int] | None,
    dtype: Any,
    skipna: bool,
    token: str,
) -> da.Array:
    """The sum or mean of `array` over `axis`, as dask gives it.

    Parameters
    ----------
    lengths
        Of the blocks along each axis.
    dtype
        Of the result; None takes numpy's.
    skipna
        Whether NaN counts for nothing; else it makes all that it belongs to NaN.
    token
        Of the source of `array`.
    """
    axes = _normal(axis, array.ndim)
    out = np.dtype(dtype) if dtype is not None else getattr(np, kind)(np.ones(1, array.dtype)).dtype
    starts = [list(itertools.accumulate(along, initial=0)) for along in lengths]
    kept = [i for i in range(array.ndim) if i not in axes]
    partial = functools.partial(_partial, array, axes, out, skipna)
    finish: Callable[[Any], Array] = functools.partial(_mean if kind == "mean" else _sum, axes, out)
    name = f"{kind}-{tokenize(kind, token, array.window, lengths, axes, out, skipna)}"
    graph: dict[Any, Any] = {}
    for place in itertools.product(*(range(len(lengths[i])) for i in kept)):
        regions = _regions(starts, dict(zip(kept, place, strict=True)))
        keys: list[Key] = []
        for number, region in enumerate(regions):
            keys.append((f"{name}-part", *place, number))
            graph[keys[-1]] = (partial, region)
        depth = 0
        while len(keys) > _FAN_IN:
            groups = [keys[i : i + _FAN_IN] for i in range(0, len(keys), _FAN_IN)]
            keys = [(f"{name}-tree", *place, depth, number) for number in range(len(groups))]
            graph.update({key: (_added, group) for key, group in zip(keys, groups, strict=True)})
            depth += 1
        graph[(name, *place)] = (finish, keys)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[])
    made: da.Array = da.Array(  # type: ignore[no-untyped-call]
        layers, name, tuple(tuple(lengths[i]) for i in kept), meta=np.empty((0,) * len(kept), out)
    )
    return made


def _normal(axis: int | Sequence[int] | None, ndim: int) -> Axes:
    if axis is None:
        return tuple(range(ndim))
    wanted = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    return tuple(sorted({np.lib.array_utils.normalize_axis_index(int(i), ndim) for i in wanted}))


def _regions(starts: Sequence[Sequence[int]], fixed: dict[int, int]) -> Iterator[tuple[slice, ...]]:
    """Regions of all blocks that lie at the `fixed` places, in C order."""
    choices = [[fixed[i]] if i in fixed else range(len(along) - 1) for i, along in enumerate(starts)]
    for block in itertools.product(*choices):
        yield tuple(slice(along[i], along[i + 1]) for along, i in zip(starts, block, strict=True))


def _partial(array: SourceArray, axes: Axes, out: np.dtype[Any], skipna: bool, region: tuple[slice, ...]) -> Any:
    """Sum of one block, and how many values it is of."""
    block = array[region]
    count: Any = math.prod(block.shape[i] for i in axes)
    # Infinities of both signs, and sums beyond the largest number, are NaN and inf: dask says nothing of them either.
    with np.errstate(over="ignore", invalid="ignore"):
        total = block.sum(axes, dtype=out, keepdims=True)
    if skipna and block.dtype.kind == "f" and np.isnan(total).any():
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.nansum(block, axes, dtype=out, keepdims=True)
        count = np.sum(~np.isnan(block), axes, keepdims=True)
    # Added up in float64: of a thousand blocks, float32 would lose three digits.
    return total.astype(np.float64) if out.kind == "f" else total, count


def _added(parts: list[Any]) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        return functools.reduce(lambda a, b: (a[0] + b[0], a[1] + b[1]), parts)


def _sum(axes: Axes, out: np.dtype[Any], parts: list[Any]) -> Array:
    return np.asarray(_added(parts)[0].squeeze(axes), out)


def _mean(axes: Axes, out: np.dtype[Any], parts: list[Any]) -> Array:
    total, count = _added(parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(total, count, dtype=out, casting="unsafe").squeeze(axes), out)
