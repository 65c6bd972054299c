"""Which frames of a time series an array shows, after it was cropped along ``t``."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.dask_array import window_behind
from ilastik_lazy.lazy.indexing import SourceArray
from ilastik_lazy.lazy.origins import data_of, found_in

__all__ = ["Frames", "frames_of"]

Frames = np.ndarray[Any, np.dtype[np.int64]]


def frames_of(labels: xr.DataArray) -> tuple[Frames | None, int | None]:
    """Return the number of each frame of `labels`, and how many frames the whole image has.

    Where one frame was selected, so that `labels` have no ``t``, the numbers are an array without dimensions.
    Both values are None for an image without ``t``; an array that was never opened from a file is whole.

    Raises
    ------
    ArgumentError
        Frames were left out, and nothing shows which ones.
    """
    if (window := window_behind(labels.variable)) is not None:
        if "t" not in window.source.spec.dims:
            return None, None
        axis = window.source.spec.dims.index("t")
        part, length = window.window[axis], window.source.spec.shape[axis]
        return np.array(range(part.start, part.stop) if isinstance(part, slice) else part, np.int64), length
    if "t" not in labels.dims:
        return None, None
    if (found := _frames_by_position(labels)) is not None:
        return found
    count = labels.sizes["t"]
    dims, shape = labels.encoding.get("preferred_chunks", {}), labels.encoding.get("original_shape", ())
    whole = dict(zip(dims, shape, strict=False))
    length = whole["t"] if "t" in whole else _frames_behind(labels, count)
    if length != count and count:
        raise ArgumentError(
            f"the label image holds {count} of {length} frames, and nothing shows which: "
            "take the image as it was opened, and slice the result"
        )
    return np.arange(count), count


def _frames_behind(labels: xr.DataArray, count: int) -> int:
    """Return how many frames there are in what `labels` were computed from; `count` if none of it has more."""
    origins = (each.source.spec for each in found_in(data_of(labels.variable)) if isinstance(each, SourceArray))
    lengths = [spec.shape[spec.dims.index("t")] for spec in origins if "t" in spec.dims]
    # Files in a row have fewer frames each.
    return min(lengths) if lengths and min(lengths) > count else count


def _frames_by_position(labels: xr.DataArray) -> tuple[Frames, int] | None:
    """Look up the positions along ``t`` in the image that `labels` were computed from."""
    origins = (each.source.spec for each in found_in(data_of(labels.variable)) if isinstance(each, SourceArray))
    specs = {spec.storage.location: spec for spec in origins}
    if len(specs) != 1 or "t" not in labels.coords:
        return None
    (spec,) = specs.values()
    length = spec.shape[spec.dims.index("t")] if "t" in spec.dims else 0
    known = spec.axes[spec.dims.index("t")].positions(length) if length else None
    if known is None:
        return None
    wanted = labels.coords["t"].values
    at = np.minimum(np.searchsorted(known, wanted), length - 1)
    return (at, length) if np.array_equal(known[at], wanted) else None
