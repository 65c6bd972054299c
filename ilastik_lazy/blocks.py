"""The dask array over a source: whole blocks a task, and slices that are planned anew.

dask cuts a slice out of the blocks that are there: a plane through 160 columns stays 160 tasks of
0.3 ms, which is more than reading it takes.  Here a slice of an untouched array becomes a new array
over the same source, with blocks of its own.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections import OrderedDict
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from ilastik_lazy.chunks import BLOCK_BYTES_LEAST, BLOCK_BYTES_MOST, block_shape
from ilastik_lazy.errors import LimitExceededError
from ilastik_lazy.indexing import SourceArray
from ilastik_lazy.nanskip import NaNMask, nanmean, without_nan
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


def _from_array(array: SourceArray, lengths: Lengths) -> da.Array:
    spec = array.source.spec
    made: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        array,
        chunks=lengths,
        name=f"{spec.name}-{tokenize(spec.storage.location, array.source, array.window, lengths)}",
        # Without `asarray`, dask hands a slice of the array on to the read; without `meta` it would read to learn.
        asarray=False,
        inline_array=True,
        meta=np.empty((0,) * array.ndim, spec.dtype),
    )
    return made


class BlockArray(da.Array):
    """A dask array that knows which window of a source it is.

    Everything but slicing is dask's own; results of operations, and unpickled copies, are plain dask arrays.
    """

    __slots__ = ("_planned", "_window")
    _window: SourceArray
    _planned: str
    """Name that the array was made with: assignment and ``out=`` give the same object another graph, and name."""

    @classmethod
    def over(cls, array: SourceArray) -> BlockArray:
        """The array over a window, in blocks that suit it."""
        plain = _from_array(array, _planned_lengths(array))
        made: BlockArray = cls.__new__(  # type: ignore[no-untyped-call]
            cls, plain.dask, plain.name, plain.chunks, meta=plain._meta, shape=plain.shape
        )
        made._window, made._planned = array, plain.name
        return made

    def __array_ufunc__(self, numpy_ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        result = super().__array_ufunc__(numpy_ufunc, method, *inputs, **kwargs)  # type: ignore[no-untyped-call]
        if numpy_ufunc is np.isnan and method == "__call__" and not kwargs and self.name == self._planned:
            return NaNMask.over(result, self)
        return result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        # These two are what xarray's sum and mean come down to, unless the caller says skipna=False.
        if func is np.where and len(args) == 3 and isinstance(args[0], NaNMask) and args[0].of is args[2] is self:
            result = without_nan(self, args[1])
            if result is not None:
                return result
        if func is np.nanmean and args and args[0] is self and len(args) == 1 and kwargs.keys() <= {"axis", "dtype"}:
            return nanmean(self, **kwargs)
        return super().__array_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]

    def __getitem__(self, index: Any) -> Any:
        window = self._window.windowed(index) if self.name == self._planned else None
        if window is None or 0 in window.shape:
            return super().__getitem__(index)  # type: ignore[no-untyped-call]
        return self if window.window == self._window.window else BlockArray.over(window)


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
            itemsize /= _PLAIN_COST
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
