"""The dask array over a source: whole blocks a task, and slices that are planned anew.

dask cuts a slice out of the blocks that are there: a plane through 160 columns stays 160 tasks of
0.3 ms, which is more than reading it takes.  Here a slice of an untouched array becomes a new array
over the same source, with blocks of its own.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Hashable
from typing import Any, Literal, TypeVar

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from xarray.core import indexing

from ilastik_lazy.chunks import BLOCK_BYTES_LEAST, BLOCK_BYTES_MOST, block_shape
from ilastik_lazy.errors import LimitExceededError
from ilastik_lazy.indexing import SourceArray
from ilastik_lazy.origins import data_of, found_in
from ilastik_lazy.quick import quick_reduction
from ilastik_lazy.sources.window import windowed
from ilastik_lazy.spec import ArraySource

__all__ = ["source_behind", "to_dask"]

Lengths = tuple[tuple[int, ...], ...]

# Below this share of wanted voxels in the chunks that are read, blocks are sized by what they
# decode and no longer by what they return.
_SPARSE = 0.25
_SPARSE_BYTES_MOST = 32 * 2**20
# dask keeps about 1 kB for each task; a 1 TB export takes 200,000.
_MOST_BLOCKS = 2_000_000
# Copying a plain chunk costs about an eighth of inflating one.
_PLAIN_COST = 8


def to_dask(source: ArraySource, lengths: Lengths | None) -> da.Array:
    """A dask array over `source`.

    Parameters
    ----------
    lengths
        Of the blocks along each axis, where the caller wants them so, also after slicing; None
        chooses them for the array and anew for each slice of it.
    """
    array = SourceArray(source)
    # dask's experimental array expressions are another class altogether.
    if dask.config.get("array.query-planning", False):
        return _from_array(array, _planned_lengths(array) if lengths is None else lengths)
    return BlockArray.over(array, lengths)


def source_behind(variable: xr.Variable) -> ArraySource | None:
    """The source that a variable shows as it is: as it was opened, cut out, turned or in other blocks.

    None for anything else, and for what was loaded or persisted: that is in memory.
    """
    window = _lazy_window(variable) if variable.chunks is None else _window_behind(variable.data)
    return None if window is None or window.shape != variable.shape else windowed(window.source, window.window)


def _window_behind(data: Any) -> SourceArray | None:
    if isinstance(data, BlockArray) and data._is_untouched:
        return data._window
    # Copies and what was unpickled: the name says that nothing was done, and the graph, that it is not in memory.
    layers = getattr(data.dask, "layers", {})
    arrays = list(found_in([data.dask])) if list(layers) == [data.name] else []
    window = arrays[0] if len(arrays) == 1 else None
    is_named_so = isinstance(window, SourceArray) and data.name == _name_of(window, data.chunks)
    return window if isinstance(window, SourceArray) and is_named_so else None


def _lazy_window(variable: xr.Variable) -> SourceArray | None:
    """What an array that is indexed lazily shows, behind whatever wrappers xarray puts around it."""
    (data,) = data_of(variable) or (None,)
    while not isinstance(data, indexing.LazilyIndexedArray):
        if not isinstance(data, indexing.ExplicitlyIndexed) or not hasattr(data, "array"):
            return None
        data = data.array
    found = getattr(data.array, "array", data.array)
    return found.windowed(data.key.tuple) if isinstance(found, SourceArray) else None


@functools.lru_cache(maxsize=256)
def _token_of(source: Hashable) -> str:
    """Token of a source for dask, which takes as long to make as a small plane to read."""
    return str(tokenize(source))


def _name_of(array: SourceArray, lengths: Lengths) -> str:
    return f"{array.source.spec.name}-{tokenize(_token_of(array.source), array.window, lengths)}"


def _from_array(array: SourceArray, lengths: Lengths) -> da.Array:
    spec = array.source.spec
    made: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        array,
        chunks=lengths,
        name=_name_of(array, lengths),
        # Without `asarray`, dask hands a slice of the array on to the read; without `meta` it would read to learn.
        asarray=False,
        inline_array=True,
        meta=np.empty((0,) * array.ndim, spec.dtype),
    )
    return made


class BlockArray(da.Array):
    """A dask array that knows which window of a source it is, also when it is cut, turned or rechunked.

    In blocks of our own choice it plans slices anew, and sums and means (`quick`).  All else is dask's own;
    what comes out of operations, and unpickled copies, are plain dask arrays.
    """

    __slots__ = ("_chosen", "_mask", "_planned", "_window", "_zeros")
    _window: SourceArray
    _chosen: bool
    """Whether the blocks are ours, and not the caller's."""
    _planned: str
    """Name that the array was made with: assignment and ``out=`` give the same object another graph, and name."""
    _mask: str
    """Name of ``np.isnan`` of this array, once asked for."""
    _zeros: str
    """Name of ``np.zeros_like`` of this array, once asked for."""

    @classmethod
    def over(cls, array: SourceArray, lengths: Lengths | None = None) -> BlockArray:
        """The array over a window, in blocks of some lengths, or that suit it."""
        plain = _from_array(array, _planned_lengths(array) if lengths is None else lengths)
        return cls.showing(array, plain, chosen=lengths is None)

    @classmethod
    def showing(cls, window: SourceArray, array: da.Array, *, chosen: bool) -> BlockArray:
        """`array`, known to hold the voxels of a window."""
        made: BlockArray = _as_class(cls, array)
        made._window, made._planned, made._chosen, made._mask, made._zeros = window, made.name, chosen, "", ""
        return made

    @property
    def _is_untouched(self) -> bool:
        return bool(self.name == self._planned)

    @property
    def _is_quick(self) -> bool:
        return self._chosen and self._is_untouched

    def __array_ufunc__(self, numpy_ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        result = super().__array_ufunc__(numpy_ufunc, method, *inputs, **kwargs)  # type: ignore[no-untyped-call]
        if numpy_ufunc is np.isnan and method == "__call__" and not kwargs and self._is_quick:
            self._mask = result.name
        return result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if self._is_quick:
            if func in _QUICK and len(args) == 1 and kwargs.keys() <= {"axis", "dtype"}:
                kind, skipna = _QUICK[func]
                return self.reduced(kind, skipna=skipna, **kwargs)
            # What xarray's sum does to skip NaN: sum(where(isnan(a), zeros_like(a), a)).
            if func is np.zeros_like and len(args) == 1 and not kwargs:
                zeros = func(_plain(self))
                self._zeros = zeros.name
                return zeros
            if func is np.where and len(args) == 3 and args[2] is self:
                names = [getattr(part, "name", None) for part in args[:2]]
                if names == [self._mask, self._zeros]:
                    return FilledArray.over(func(*map(_plain, args)), self)
        return func(*_plain(args), **_plain(kwargs))

    def reduced(self, kind: Literal["sum", "mean"], *, skipna: bool, axis: Any = None, dtype: Any = None) -> da.Array:
        """Sum or mean, one task a block."""
        return quick_reduction(
            self._window, self.chunks, kind, axis=axis, dtype=dtype, skipna=skipna, token=_token_of(self._window.source)
        )

    def __getitem__(self, index: Any) -> Any:
        window = self._window.windowed(index) if self._is_untouched else None
        if window is None or 0 in window.shape:
            return super().__getitem__(index)  # type: ignore[no-untyped-call]
        if window.window == self._window.window:
            return self
        if self._chosen:
            return BlockArray.over(window)
        return BlockArray.showing(window, super().__getitem__(index), chosen=False)  # type: ignore[no-untyped-call]

    def transpose(self, *axes: Any) -> da.Array:
        """The array with its axes in another order (see `dask.array.transpose`)."""
        moved: da.Array = super().transpose(*axes)  # type: ignore[no-untyped-call]
        if moved is self or not self._is_untouched:
            return moved
        wanted = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        order = [int(axis) % self.ndim for axis in wanted or range(self.ndim)[::-1]]
        window = self._window.transposed(order)
        # The same blocks: only the caller's are read as dask had them read.
        made = _from_array(window, tuple(self.chunks[axis] for axis in order)) if self._chosen else moved
        return BlockArray.showing(window, made, chosen=self._chosen)

    def rechunk(self, *args: Any, **kwargs: Any) -> da.Array:
        """The array in other blocks (see `dask.array.rechunk`)."""
        made: da.Array = super().rechunk(*args, **kwargs)  # type: ignore[no-untyped-call]
        if made is self or not self._is_untouched:
            return made
        return BlockArray.showing(self._window, made, chosen=False)


class FilledArray(da.Array):
    """A `BlockArray` with zeros for its NaN, of which the sum is the sum that skips them."""

    __slots__ = ("_made", "_of")
    _of: BlockArray
    _made: str

    @classmethod
    def over(cls, filled: da.Array, array: BlockArray) -> FilledArray:
        """`filled`, known to be `array` with zeros for its NaN."""
        made: FilledArray = _as_class(cls, filled)
        made._of, made._made = array, filled.name
        return made

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is np.sum and len(args) == 1 and kwargs.keys() <= {"axis", "dtype"} and self.name == self._made:
            return self._of.reduced("sum", skipna=True, **kwargs)
        return func(*_plain(args), **_plain(kwargs))


_QUICK: dict[Any, tuple[Literal["sum", "mean"], bool]] = {
    np.sum: ("sum", False),
    np.mean: ("mean", False),
    np.nansum: ("sum", True),
    np.nanmean: ("mean", True),
}

_Class = TypeVar("_Class", bound=da.Array)


def _as_class(cls: type[_Class], array: da.Array) -> _Class:
    made: _Class = cls.__new__(  # type: ignore[no-untyped-call]
        cls, array.dask, array.name, array.chunks, meta=array._meta, shape=array.shape
    )
    return made


def _plain(part: Any) -> Any:
    """The same, with plain dask arrays for those of this module: numpy's protocol does not mix the two classes."""
    if isinstance(part, BlockArray | FilledArray):
        return _as_class(da.Array, part)
    if isinstance(part, tuple | list):
        return type(part)(_plain(each) for each in part)
    if isinstance(part, dict):
        return {key: _plain(each) for key, each in part.items()}
    return part


def _planned_lengths(array: SourceArray) -> Lengths:
    """Lengths of blocks along each axis of a window, at chunk borders of the source."""
    spec = array.source.spec
    spans = [part if isinstance(part, slice) else slice(part, part + 1) for part in array.window]
    first = [span.start // chunk * chunk for span, chunk in zip(spans, spec.chunks, strict=True)]
    touched = [
        min(-(-span.stop // chunk) * chunk, length) - start
        for span, chunk, length, start in zip(spans, spec.chunks, spec.shape, first, strict=True)
    ]
    wanted = math.prod(span.stop - span.start for span in spans)
    itemsize, least = float(spec.dtype.itemsize), BLOCK_BYTES_LEAST
    if wanted < _SPARSE * math.prod(touched):
        if spec.storage.compression == "none":
            # Of a plain chunk only the slab along its first axis is read.
            slab = spec.storage.order.index(0) if spec.storage.order else 0
            itemsize *= (spans[slab].stop - spans[slab].start) / touched[slab] / _PLAIN_COST
        # A block for each core, or for each 32 MiB that are decoded: more of them cost more than they share.
        least = int(min(max(math.prod(touched) * itemsize / (os.cpu_count() or 1), least), _SPARSE_BYTES_MOST))
    block = block_shape(touched, spec.chunks, itemsize, spec.dims, least=least, most=max(least, BLOCK_BYTES_MOST))
    count = math.prod(-(-extent // max(length, 1)) for extent, length in zip(touched, block, strict=True))
    if count > _MOST_BLOCKS:
        raise LimitExceededError(
            f"{spec.storage.location} would take {count:,} tasks (shape {spec.shape}): pass chunks= with larger blocks"
        )
    lengths = []
    for part, span, start, length in zip(array.window, spans, first, block, strict=True):
        step = max(length, 1)
        if isinstance(part, slice):
            borders = [span.start, *range(start + step, span.stop, step), span.stop]
            lengths.append(tuple(high - low for low, high in itertools.pairwise(borders)))
    return tuple(lengths)
