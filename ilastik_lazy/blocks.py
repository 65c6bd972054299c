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
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Literal, TypeVar

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from ilastik_lazy.chunks import BLOCK_BYTES_LEAST, BLOCK_BYTES_MOST, block_shape
from ilastik_lazy.errors import LimitExceededError
from ilastik_lazy.indexing import SourceArray
from ilastik_lazy.quick import quick_reduction
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

# Which source a dask array reads, by its name: so that a DataArray finds its way back without
# a look into dask's graph.  Names are tokens of file and version, so an old entry is never wrong.
_sources: OrderedDict[str, ArraySource] = OrderedDict()
_sources_lock = threading.Lock()
_MOST_SOURCES = 1024


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
    if lengths is None and not dask.config.get("array.query-planning", False):
        made: da.Array = BlockArray.over(array)
    else:
        made = _from_array(array, _planned_lengths(array) if lengths is None else lengths)
    with _sources_lock:
        _sources[made.name] = source
        while len(_sources) > _MOST_SOURCES:
            _sources.popitem(last=False)
    return made


def source_behind(variable: xr.Variable) -> ArraySource | None:
    """The source that an untouched variable of `open_dataarray` reads; None for anything else."""
    if variable.chunks is None:
        return None
    with _sources_lock:
        source = _sources.get(variable.data.name)
    return source if source is not None and source.spec.shape == variable.shape else None


@functools.lru_cache(maxsize=256)
def _token_of(source: Hashable) -> str:
    """Token of a source for dask, which takes as long to make as a small plane to read."""
    return str(tokenize(source))


def _from_array(array: SourceArray, lengths: Lengths) -> da.Array:
    spec = array.source.spec
    made: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        array,
        chunks=lengths,
        name=f"{spec.name}-{tokenize(_token_of(array.source), array.window, lengths)}",
        # Without `asarray`, dask hands a slice of the array on to the read; without `meta` it would read to learn.
        asarray=False,
        inline_array=True,
        meta=np.empty((0,) * array.ndim, spec.dtype),
    )
    return made


class BlockArray(da.Array):
    """A dask array that knows which window of a source it is.

    It plans slices anew, and sums and means (`quick`).  All else is dask's own; what comes out of
    operations, and unpickled copies, are plain dask arrays.
    """

    __slots__ = ("_mask", "_planned", "_window", "_zeros")
    _window: SourceArray
    _planned: str
    """Name that the array was made with: assignment and ``out=`` give the same object another graph, and name."""
    _mask: str
    """Name of ``np.isnan`` of this array, once asked for."""
    _zeros: str
    """Name of ``np.zeros_like`` of this array, once asked for."""

    @classmethod
    def over(cls, array: SourceArray) -> BlockArray:
        """The array over a window, in blocks that suit it."""
        made: BlockArray = _as_class(cls, _from_array(array, _planned_lengths(array)))
        made._window, made._planned, made._mask, made._zeros = array, made.name, "", ""
        return made

    @property
    def _is_untouched(self) -> bool:
        return bool(self.name == self._planned)

    def __array_ufunc__(self, numpy_ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        result = super().__array_ufunc__(numpy_ufunc, method, *inputs, **kwargs)  # type: ignore[no-untyped-call]
        if numpy_ufunc is np.isnan and method == "__call__" and not kwargs and self._is_untouched:
            self._mask = result.name
        return result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if self._is_untouched:
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
        return self if window.window == self._window.window else BlockArray.over(window)


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
            itemsize *= (spans[0].stop - spans[0].start) / touched[0] / _PLAIN_COST
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
