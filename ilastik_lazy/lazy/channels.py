"""Largest and smallest values along the channels, one task per block, plane by plane.

numpy and dask search each voxel's channels on their own, five times as long as the decoding takes; whole planes are
compared as fast as they are summed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from ilastik_lazy.lazy.indexing import SourceArray

__all__ = [
    "EXTREMES",
    "PLACES",
    "all_nan",
    "best_channels",
    "best_or_first",
    "channel_axis",
    "extreme_channels",
    "is_any_number",
]

Array = np.ndarray[Any, Any]

_PLACES: dict[Any, tuple[np.ufunc, np.ufunc]] = {
    np.argmax: (np.greater, np.maximum),
    np.nanargmax: (np.greater, np.maximum),
    np.argmin: (np.less, np.minimum),
    np.nanargmin: (np.less, np.minimum),
}
_VALUES: dict[Any, np.ufunc] = {np.max: np.maximum, np.nanmax: np.fmax, np.min: np.minimum, np.nanmin: np.fmin}

EXTREMES = frozenset({*_PLACES, *_VALUES})
"""numpy's functions that `extreme_channels` computes."""

PLACES = frozenset({np.nanargmax, np.nanargmin})
"""Those of them that `best_or_first` computes."""


def best_channels(
    blocks: Iterable[Array],
    axis: int,
    dtype: np.dtype[Any],
    is_better: np.ufunc = np.greater,
    better: np.ufunc = np.maximum,
) -> tuple[Array, Array]:
    """Return the number of each voxel's largest channel, counted from 1, and its value.

    The first one of several equal channels is the largest.  With NaN in any channel, the value is NaN, and the
    number is meaningless.

    Parameters
    ----------
    blocks
        Blocks with their channels along `axis`, one after the other.
    dtype
        Dtype of the numbers, the smaller the faster.
    is_better, better
        The comparison: `numpy.less` and `numpy.minimum` find the smallest channel.
    """
    planes = _planes(blocks, axis)
    best = np.array(next(planes))
    numbers = np.ones(best.shape, dtype)
    for number, plane in enumerate(planes, 2):
        # Numbers rise, so that the largest one is the last that was better; both steps take 16 voxels at once.
        improved = is_better(plane, best).astype(dtype, copy=False)
        np.maximum(numbers, improved * dtype.type(number), out=numbers)
        better(best, plane, out=best)  # keeps a NaN
    return numbers, best


def extreme_channels(
    array: SourceArray,
    lengths: Sequence[Sequence[int]],
    func: Callable[..., Any],
    *,
    axis: Any = None,
    keepdims: bool = False,
    token: str,
) -> da.Array | None:
    """Return what `func` of `EXTREMES` gives of `array` over the axis ``c``; None for other axes, left to dask.

    Parameters
    ----------
    lengths
        Lengths of the blocks along each axis.
    token
        dask's token of the source of `array`.
    """
    channels = channel_axis(array, axis)
    if channels is None or keepdims not in (True, False):
        return None
    starts = [list(itertools.accumulate(along, initial=0)) for along in lengths]
    kept = [i for i in range(array.ndim) if i != channels]
    dtype = func(np.ones(1, array.dtype)).dtype
    name = f"{func.__name__}-{tokenize(func.__name__, token, array.window, lengths)}"
    graph: dict[Any, Any] = {}
    for place in itertools.product(*(range(len(lengths[i])) for i in kept)):
        part: list[Any] = [slice(starts[i][at], starts[i][at + 1]) for i, at in zip(kept, place, strict=True)]
        parts = [(*part[:channels], slice(*ends), *part[channels:]) for ends in itertools.pairwise(starts[channels])]
        graph[(name, *place)] = (functools.partial(_extreme, array, func, channels, dtype), parts)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[])
    made: da.Array = da.Array(  # type: ignore[no-untyped-call]
        layers, name, tuple(tuple(lengths[i]) for i in kept), meta=np.empty((0,) * len(kept), dtype)
    )
    return da.expand_dims(made, channels) if keepdims else made


def channel_axis(array: SourceArray, axis: Any = "c") -> int | None:
    """Return the number of the axis ``c`` of `array`, if it has voxels, and `axis` is no other one."""
    dims = [name for name, part in zip(array.source.spec.dims, array.window, strict=True) if isinstance(part, slice)]
    if "c" not in dims or 0 in array.shape:
        return None
    channels = dims.index("c")
    wanted = axis if isinstance(axis, tuple) else (axis,)
    return channels if wanted in (("c",), (channels,), (channels - array.ndim,)) else None


def is_any_number(mask: Any, other: Any, array: da.Array, axis: int | None) -> bool:
    """Whether `mask` says where any channel of `array` along `axis` is no NaN, and `other` is 0."""
    if axis is None or not isinstance(mask, da.Array) or isinstance(other, da.Array) or np.ndim(other) or other != 0:
        return False
    # xarray adds an axis by indexing, and none in front.
    key = tuple(None if i == axis else slice(None) for i in range(array.ndim))
    return bool(mask.name == (~all_nan(array, axis))[key if axis else ()].name)


def all_nan(array: da.Array, axis: int) -> da.Array:
    """Return where all channels along `axis` are NaN."""
    return _along(array, axis, functools.partial(_all_nan, axis=axis), np.dtype(bool))


def best_or_first(array: da.Array, axis: int, func: Callable[..., Any]) -> da.Array:
    """Return what `func`, such as `numpy.nanargmax`, gives along `axis`, and 0 where all channels are NaN."""
    dtype = np.dtype(np.intp)
    return _along(array, axis, functools.partial(_best_or_first, axis=axis, func=func, dtype=dtype), dtype)


def _along(array: da.Array, axis: int, work: Callable[..., Any], dtype: np.dtype[Any]) -> da.Array:
    """Return what `work` makes of the list of blocks along `axis`, which it shares with whatever else needs them."""
    places = tuple(range(array.ndim))
    kept = tuple(i for i in places if i != axis)
    meta = np.empty((0,) * len(kept), dtype)
    made: da.Array = da.blockwise(work, kept, array, places, concatenate=False, dtype=dtype, meta=meta)  # type: ignore[no-untyped-call]
    return made


def _all_nan(blocks: Sequence[Array], axis: int) -> Array:
    planes = _planes(blocks, axis)
    found: Array = np.isnan(next(planes))
    for plane in planes:
        if not found.any():
            break
        found &= np.isnan(plane)
    return found


def _best_or_first(blocks: Sequence[Array], axis: int, func: Callable[..., Any], dtype: np.dtype[Any]) -> Array:
    channels = sum(block.shape[axis] for block in blocks)
    numbers, best = best_channels(blocks, axis, np.min_scalar_type(channels), *_PLACES[func])
    if np.isnan(best).any():
        values = np.concatenate(blocks, axis)
        values[np.broadcast_to(np.isnan(values).all(axis, keepdims=True), values.shape)] = 0
        return np.asarray(func(values, axis), dtype)
    return numbers.astype(dtype) - 1


def _extreme(
    array: SourceArray, func: Callable[..., Any], axis: int, dtype: np.dtype[Any], parts: Sequence[tuple[slice, ...]]
) -> Array:
    if func in _VALUES:
        return np.array(functools.reduce(_VALUES[func], _planes(map(array.__getitem__, parts), axis)), dtype)
    small = np.min_scalar_type(array.shape[axis])
    numbers, best = best_channels(map(array.__getitem__, parts), axis, small, *_PLACES[func])
    if best.dtype.kind == "f" and np.isnan(best).any():
        found: Array = func(np.concatenate([array[part] for part in parts], axis), axis)
        return found
    return numbers.astype(dtype) - 1


def _planes(blocks: Iterable[Array], axis: int) -> Iterator[Array]:
    return itertools.chain.from_iterable(np.moveaxis(block, axis, 0) for block in blocks)
