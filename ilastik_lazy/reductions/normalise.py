"""Scale values in two passes: the first measures, the second is lazy and scales block by block.

In a single dask graph, ``(array - array.mean()) / array.std()`` holds every block until the mean is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.core.parallel import MEMORY, Progress, in_pass
from ilastik_lazy.errors import ArgumentError, AxesError, option
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.reductions.percentile import percentile
from ilastik_lazy.reductions.reducing import reduce
from ilastik_lazy.showing.progress import shows_progress

__all__ = ["normalise", "standardise"]

Array = np.ndarray[Any, Any]

_AT_ONCE = 2**15


@shows_progress("measuring", 3)
def normalise(
    source: AnySource,
    percentiles: Sequence[float] = (0.0, 100.0),
    *,
    by: str | None = None,
    clip: bool = False,
    skipna: bool = False,
    workers: int | None = None,
    memory: str | int = MEMORY,
    progress: Progress | bool | None = None,
) -> xr.DataArray:
    """Scale an array so that two of its percentiles become 0 and 1.

    Parameters
    ----------
    source
        Path of a file, what `open_dataarray` returned, or an `ArraySource`.
    percentiles
        The percentiles that become 0 and 1: by default the least and greatest value; ``(1, 99.8)`` for instance.
    by
        A dim, such as ``"c"``, with a separate scale for each position along it.
    clip
        Whether results below 0 become 0, and those above 1 become 1.
    skipna
        Whether NaN is ignored where values are measured; in the result, NaN stays NaN.
    workers, memory, progress
        Options of the pass that measures (see `percentile`).

    Returns
    -------
    xarray.DataArray
        float32 (float64 for float64 and for integers of more than 16 bits), with the dims and coordinates of
        `source`; lazy: a block is read again when it is computed.  ``attrs["value_of_0"]`` and
        ``attrs["value_of_1"]`` are the values that become 0 and 1.  If both are equal, they become 0.

    Raises
    ------
    ArgumentError
        `percentiles` are not two percentages, the lower one first; the array has no values, or contains NaN
        without `skipna`.
    AxesError, MemoryLimitError, CorruptChunkError, SourceError
        See `percentile`.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> bright = il.reductions.normalise(sample("raw"), (1, 99.8), clip=True)
    >>> bright.dtype, float(bright.min()), float(bright.max())
    (dtype('float32'), 0.0, 1.0)
    """
    if len(percentiles) != 2 or not percentiles[0] < percentiles[1]:
        raise ArgumentError(f"percentiles={percentiles!r}: expected two percentages, the lower one first")
    array = _opened(source)
    found = percentile(array, percentiles, by=by, skipna=skipna, workers=workers, memory=memory, progress=progress)
    scaled = _scaled(array, found.isel(percentile=0, drop=True), found.isel(percentile=1, drop=True))
    return scaled.clip(0, 1, keep_attrs=True) if clip else scaled


@shows_progress("measuring", 3)
def standardise(
    source: AnySource,
    *,
    by: str | None = None,
    skipna: bool = False,
    workers: int | None = None,
    memory: str | int = MEMORY,
    progress: Progress | bool | None = None,
) -> xr.DataArray:
    """Shift and scale an array so that its mean becomes 0, and its standard deviation (of the population) 1.

    Parameters, result and errors are those of `normalise`; ``attrs["value_of_0"]`` is the mean, and
    ``attrs["value_of_1"]`` is one standard deviation more.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> even = il.reductions.standardise(sample("raw"))
    >>> bool(abs(even.mean()) < 1e-4), round(float(even.std()), 4)
    (True, 1.0)
    """
    assert not isinstance(progress, bool)
    array = _opened(source)
    over = [str(dim) for dim in array.dims if dim != by]
    if not over or (by is not None and by not in array.dims):
        raise AxesError(f"cannot standardise by {by!r}: the dims are {', '.join(map(str, array.dims))}")
    options: dict[str, Any] = {"skipna": skipna, "workers": workers, "memory": memory}
    mean, deviation = (
        reduce(array, name, over, progress=in_pass(progress, number, 2, array.nbytes), **options)
        for number, name in enumerate(("mean", "std"))
    )
    return _scaled(array, mean, mean + deviation)


def _opened(source: AnySource) -> xr.DataArray:
    """Return the array itself, or as `open_dataarray` returns it."""
    return source if isinstance(source, xr.DataArray) else to_dataarray(as_source(source), "auto")


def _scaled(array: xr.DataArray, low: xr.DataArray, high: xr.DataArray) -> xr.DataArray:
    """Scale `array` from `low` and `high` to 0 and 1; both have no dims, or one of the array's."""
    # Without coordinates: names of classes may repeat, which xarray cannot align.
    first, last = (each.drop_vars(list(each.coords)).astype(np.float64) for each in (low, high))
    if not (np.isfinite(first.values) & np.isfinite(last.values)).all():
        raise ArgumentError(
            f"{array.name}: NaN or infinity among its values, which no scale can hold: "
            f"pass {option('skipna', True)} to ignore NaN, and replace infinity with .where()"
        )
    dtype = np.result_type(array.dtype, np.float32)
    width = (last - first).where(last > first, 1.0)
    scaled: xr.DataArray = xr.apply_ufunc(
        _scaled_block, array, first, width, kwargs={"dtype": dtype}, dask="parallelized", output_dtypes=[dtype]
    )
    gone = ("drange", "ilastik_kind", "flag_values", "flag_meanings", "flag_colors")
    scaled.attrs = {key: value for key, value in array.attrs.items() if key not in gone}
    if "long_name" in array.attrs:
        scaled.attrs["long_name"] = f"scaled {array.attrs['long_name']}"
    scaled.attrs |= {"value_of_0": first.values.tolist(), "value_of_1": last.values.tolist()}
    return scaled.rename(array.name).transpose(*array.dims)


def _scaled_block(values: Array, first: Array, width: Array, dtype: np.dtype[Any]) -> Array:
    """Scale one block in float64: float32 cannot resolve small differences between values far from 0.

    Piece by piece, since the whole block as float64 would double the memory of a pass.
    """
    double = np.dtype(np.float64)
    pieces = np.nditer(
        [values, first, width, None],
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"], ["readonly"], ["readonly"], ["writeonly", "allocate"]],
        [double, double, double, dtype],
        casting="same_kind",
        buffersize=_AT_ONCE,
    )
    with pieces:
        for value, low, span, out in pieces:
            out[...] = (value - low) / span
        return np.asarray(pieces.operands[3])
