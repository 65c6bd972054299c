"""The dask array over a source: whole blocks a task, and slices that are planned anew.

dask cuts a slice out of the blocks that are there: a plane through 160 columns stays 160 tasks of
0.3 ms, which is more than reading it takes.  Here a slice of an untouched array becomes a new array
over the same source, with blocks of its own.
"""

from __future__ import annotations

from typing import Any, Literal

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from xarray.core import indexing

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.window import windowed
from ilastik_lazy.lazy.blocks import Lengths, planned_lengths
from ilastik_lazy.lazy.channels import (
    EXTREMES,
    PLACES,
    all_nan,
    best_or_first,
    channel_axis,
    extreme_channels,
    is_any_number,
)
from ilastik_lazy.lazy.indexing import SourceArray
from ilastik_lazy.lazy.origins import data_of, found_in, layers_of
from ilastik_lazy.lazy.sums_and_means import quick_reduction

__all__ = ["source_behind", "to_dask", "window_behind"]


def to_dask(source: ArraySource, lengths: Lengths | None) -> da.Array:
    """A dask array over `source`.

    Parameters
    ----------
    lengths
        Lengths of the blocks along each axis, if the caller wants them so, also after slicing; None
        chooses them for the array and anew for each slice of it.
    """
    array = SourceArray(source)
    # dask's experimental array expressions are another class altogether.
    if dask.config.get("array.query-planning", False):
        return _from_array(array, planned_lengths(array) if lengths is None else lengths)
    return BlockArray.over(array, lengths)


def source_behind(variable: xr.Variable) -> ArraySource | None:
    """The source that a variable shows as it is: as it was opened, cut out, turned or in other blocks.

    None for anything else, and for what was loaded or persisted: that is in memory.
    """
    return None if (window := window_behind(variable)) is None else windowed(window.source, window.window)


def window_behind(variable: xr.Variable) -> SourceArray | None:
    """The window of a source that a variable shows (see `source_behind`)."""
    window = _lazy_window(variable) if variable.chunks is None else _window_of_dask(variable.data)
    return window if window is not None and window.shape == variable.shape else None


def _window_of_dask(data: Any) -> SourceArray | None:
    if isinstance(data, BlockArray) and (known := data._untouched()) is not None:
        return known
    # Copies and what was unpickled: the name says that nothing was done, and the graph, that it is not in memory.
    arrays = list(found_in([data.dask])) if layers_of(data) == [data.name] else []
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


def _token_of(array: SourceArray) -> str:
    """Token of a source for dask.  The array itself holds it: a list of sources would keep their memory (`cache`)."""
    array.token = array.token or str(tokenize(array.source))
    return array.token


def _name_of(array: SourceArray, lengths: Lengths) -> str:
    return f"{array.source.spec.name}-{tokenize(_token_of(array), array.window, lengths)}"


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

    In blocks of our own choice it plans slices anew, sums and means, and extremes along ``c``.  All else is dask's own;
    what comes out of operations, and unpickled copies, are plain dask arrays.  There is one class for all, what
    was cut out with steps included: dask adds no array of one subclass to one of another.
    """

    __slots__ = ("_chosen", "_is_filled", "_mask", "_nan_of", "_planned", "_window", "_with_first", "_zeros")
    _window: SourceArray | None
    """None for what was cut out with steps."""
    _is_filled: bool
    """Whether it has zeros for the NaN of the window, so that its sum is the sum that skips them."""
    _chosen: bool
    """Whether the blocks are ours, and not the caller's."""
    _planned: str
    """Name that the array was made with: assignment and ``out=`` give the same object another graph, and name."""
    _mask: str
    """Name of ``np.isnan`` of this array, once asked for."""
    _zeros: str
    """Name of ``np.zeros_like`` of this array, once asked for."""
    _nan_of: BlockArray | None
    """The array that this one is ``np.isnan`` of."""
    _with_first: BlockArray | None
    """The array that this one is, with zeros where all channels are NaN."""

    @classmethod
    def over(cls, array: SourceArray, lengths: Lengths | None = None) -> BlockArray:
        """The array over a window, in blocks of some lengths, or that suit it."""
        plain = _from_array(array, planned_lengths(array) if lengths is None else lengths)
        return cls.showing(array, plain, chosen=lengths is None)

    @classmethod
    def showing(
        cls, window: SourceArray | None, array: da.Array, *, chosen: bool = False, is_filled: bool = False
    ) -> BlockArray:
        """`array`, known to hold the voxels of a window."""
        made: BlockArray = cls.__new__(  # type: ignore[no-untyped-call]
            cls, array.dask, array.name, array.chunks, meta=array._meta, shape=array.shape
        )
        made._window, made._chosen, made._is_filled = window, chosen, is_filled
        made._planned, made._mask, made._zeros = made.name, "", ""
        made._nan_of = made._with_first = None
        return made

    def _untouched(self, *, is_filled: bool = False) -> SourceArray | None:
        """The window that this array still shows, as it is or `is_filled`."""
        return self._window if self.name == self._planned and self._is_filled == is_filled else None

    @property
    def _is_quick(self) -> bool:
        return self._chosen and self._untouched() is not None

    def __array_ufunc__(self, numpy_ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        result = super().__array_ufunc__(numpy_ufunc, method, *inputs, **kwargs)  # type: ignore[no-untyped-call]
        if numpy_ufunc is np.isnan and method == "__call__" and not kwargs and self._is_quick:
            self._mask = result.name
            result = BlockArray.showing(None, result)
            result._nan_of = self
        return result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in _QUICK and len(args) == 1 and kwargs.keys() <= {"axis", "dtype"}:
            kind, skipna = _QUICK[func]
            window = self._untouched() if self._chosen else None
            if func is np.sum and self._is_filled:
                window, skipna = self._untouched(is_filled=True), True
            if window is not None:
                token = _token_of(window)
                quick = quick_reduction(window, self.chunks, kind, **_NUMPYS | kwargs, skipna=skipna, token=token)
                if quick is not None:
                    return quick
        if func in EXTREMES and len(args) == 1 and kwargs.keys() <= {"axis", "keepdims"} and self._is_quick:
            window = self._untouched()
            assert window is not None
            if (found := extreme_channels(window, self.chunks, func, **kwargs, token=_token_of(window))) is not None:
                return found
        of = self._nan_of if func is np.all else self._with_first if func in PLACES else None
        if of is not None and self.name == self._planned and len(args) == 1 and not kwargs.get("keepdims"):
            window = of._untouched() if kwargs.keys() <= {"axis", "keepdims"} else None
            if window is not None and (axis := channel_axis(window, kwargs.get("axis"))) is not None:
                return all_nan(of, axis) if func is np.all else best_or_first(of, axis, func)
        # numpy's protocol mixes no subclasses, not even with what they derive from.
        others = tuple(each for each in types if not issubclass(each, da.Array))
        result = super().__array_function__(func, (da.Array, *others), args, kwargs)  # type: ignore[no-untyped-call]
        # What xarray's sum does to skip NaN: sum(where(isnan(a), zeros_like(a), a)).
        if func is np.zeros_like and len(args) == 1 and not kwargs and self._is_quick:
            self._zeros = result.name
        # numpy asks the first argument of this class, which is the mask.
        last = args[2] if func is np.where and len(args) == 3 else None
        if isinstance(last, BlockArray) and last._is_quick and last._is_filling(*args[:2]):
            return BlockArray.showing(last._window, result, is_filled=True)
        # What xarray's idxmax does to skip NaN: nanargmax(where(~isnan(a).all("c"), a, 0)).
        if func is np.where and len(args) == 3 and args[1] is self and self._is_quick and self._mask:
            window = self._untouched()
            if window is not None and is_any_number(args[0], args[2], self, channel_axis(window)):
                result = BlockArray.showing(None, result)
                result._with_first = self
        return result

    def _is_filling(self, mask: Any, zeros: Any) -> bool:
        # Names of arrays only: those of other things, such as a Series, may be "" as well.
        if not isinstance(mask, da.Array) or not isinstance(zeros, da.Array):
            return False
        return bool(mask.name == self._mask and zeros.name == self._zeros)

    def __getitem__(self, index: Any) -> Any:
        if self._nan_of is not None or self._with_first is not None:
            return super().__getitem__(index)  # type: ignore[no-untyped-call]
        here = self._untouched()
        window = here.windowed(index) if here is not None else None
        if here is None or window is None or 0 in window.shape:
            cut: da.Array = super().__getitem__(index)  # type: ignore[no-untyped-call]
            return _uniform(cut) if self._window is None or (here is not None and _has_steps(index)) else cut
        if window.window == here.window:
            return self
        if self._chosen:
            return BlockArray.over(window)
        return BlockArray.showing(window, super().__getitem__(index))  # type: ignore[no-untyped-call]

    def transpose(self, *axes: Any) -> da.Array:
        """The array with its axes in another order (see `dask.array.transpose`)."""
        moved: da.Array = super().transpose(*axes)  # type: ignore[no-untyped-call]
        here = self._untouched()
        if moved is self or here is None:
            return moved
        wanted = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        order = [int(axis) % self.ndim for axis in wanted or range(self.ndim)[::-1]]
        window = here.transposed(order)
        # The same blocks: only the caller's are read as dask had them read.
        made = _from_array(window, tuple(self.chunks[axis] for axis in order)) if self._chosen else moved
        return BlockArray.showing(window, made, chosen=self._chosen)

    def rechunk(self, *args: Any, **kwargs: Any) -> da.Array:
        """The array in other blocks (see `dask.array.rechunk`)."""
        made: da.Array = super().rechunk(*args, **kwargs)  # type: ignore[no-untyped-call]
        here = self._untouched()
        return made if made is self or here is None else BlockArray.showing(here, made)


_QUICK: dict[Any, tuple[Literal["sum", "mean"], bool]] = {
    np.sum: ("sum", False),
    np.mean: ("mean", False),
    np.nansum: ("sum", True),
    np.nanmean: ("mean", True),
}

_NUMPYS: dict[str, Any] = {"axis": None, "dtype": None}


def _has_steps(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, slice) and part.step not in (None, 1) for part in parts)


def _uniform(cut: da.Array) -> da.Array:
    """What was cut out with steps, in blocks of one shape but for the last, as are those of its own slices.

    Every other voxel of blocks of 5 comes as 3, 2, 3, 2 from dask, which xarray refuses to write to Zarr.
    """
    if not all(isinstance(length, int) for along in cut.chunks for length in along):
        return cut
    if not all(set(along[:-1]) <= {along[0]} and along[-1] <= along[0] for along in cut.chunks):
        cut = cut.rechunk(tuple(map(max, cut.chunks)), method="tasks")  # type: ignore[no-untyped-call]
    return BlockArray.showing(None, cut)
