"""Sums and means over blocks, one task per block, without the copies that skipping NaN takes.

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

from ilastik_lazy.lazy.indexing import SourceArray

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
    axis: Any,
    dtype: Any,
    skipna: bool,
    token: str,
) -> da.Array | None:
    """Return the sum or mean of `array` over `axis`, as dask gives it; None for what is left to dask.

    Parameters
    ----------
    lengths
        Lengths of the blocks along each axis.
    axis
        An axis, several different ones, or None for all; anything else is left to dask, with its errors.
    dtype
        Dtype of the result; None takes numpy's.  An integer type for floats, or for a mean, is left to dask: the
        total is searched for NaN, and would have none.
    skipna
        Whether NaN is ignored; otherwise each result that it belongs to is NaN.
    token
        dask's token of the source of `array`.
    """
    axes, out = _axes_of(axis, array.ndim), _dtype_of(array.dtype, kind, dtype)
    if axes is None or out is None:
        return None
    starts = [list(itertools.accumulate(along, initial=0)) for along in lengths]
    kept = [i for i in range(array.ndim) if i not in axes]
    # A mean in float16, as dask takes it, is inf / inf from 65,505 values on; numpy takes its sum in float32.
    within = np.result_type(out, np.float32) if kind == "mean" else out
    partial = functools.partial(_partial, array, axes, within, skipna)
    finish: Callable[[Any], Array] = functools.partial(_mean if kind == "mean" else _sum, axes, within, out)
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


def _axes_of(axis: Any, ndim: int) -> Axes | None:
    """Return the numbers of the axes, in order; None where numpy or dask may see an error in them."""
    wanted = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not all(isinstance(i, int | np.integer) and not isinstance(i, bool) and -ndim <= i < ndim for i in wanted):
        return None
    axes = tuple(sorted({int(i) % ndim for i in wanted}))
    return axes if len(axes) == len(wanted) else None


def _dtype_of(dtype: np.dtype[Any], kind: Literal["sum", "mean"], wanted: Any) -> np.dtype[Any] | None:
    """Return the type of the result for values of `dtype`; None for one that values or NaN may be lost in."""
    usual: np.dtype[Any] = getattr(np, kind)(np.ones(1, dtype)).dtype
    out = usual if wanted is None else np.dtype(wanted)
    return out if out == usual or out in (np.float32, np.float64) else None


def _regions(starts: Sequence[Sequence[int]], fixed: dict[int, int]) -> Iterator[tuple[slice, ...]]:
    """Return the regions of all blocks that lie at the `fixed` places, in C order."""
    choices = [[fixed[i]] if i in fixed else range(len(along) - 1) for i, along in enumerate(starts)]
    for block in itertools.product(*choices):
        yield tuple(slice(along[i], along[i + 1]) for along, i in zip(starts, block, strict=True))


def _partial(array: SourceArray, axes: Axes, within: np.dtype[Any], skipna: bool, region: tuple[slice, ...]) -> Any:
    """Sum one block, and count the values."""
    block = array[region]
    count: Any = math.prod(block.shape[i] for i in axes)
    # Infinities of both signs, and sums beyond the largest number, are NaN and inf: dask says nothing of them either.
    with np.errstate(over="ignore", invalid="ignore"):
        total = block.sum(axes, dtype=within, keepdims=True)
    if skipna and block.dtype.kind == "f" and np.isnan(total).any():
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.nansum(block, axes, dtype=within, keepdims=True)
        count = np.sum(~np.isnan(block), axes, keepdims=True)
    # Added up in float64: float32 would lose three digits over a thousand blocks.
    return total.astype(np.float64) if within.kind == "f" else total, count


def _added(parts: list[Any]) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        return functools.reduce(lambda a, b: (a[0] + b[0], a[1] + b[1]), parts)


def _sum(axes: Axes, within: np.dtype[Any], out: np.dtype[Any], parts: list[Any]) -> Array:
    return np.asarray(_added(parts)[0].squeeze(axes), out)


def _mean(axes: Axes, within: np.dtype[Any], out: np.dtype[Any], parts: list[Any]) -> Array:
    total, count = _added(parts)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.divide(total, count, dtype=within, casting="unsafe").squeeze(axes), out)
