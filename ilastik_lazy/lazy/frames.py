"""Which frames of a time series an array shows, after it was cropped along ``t``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.view import View
from ilastik_lazy.core.views.window import WindowSource
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.dask_array import source_behind
from ilastik_lazy.lazy.from_xarray import ComputedSource
from ilastik_lazy.lazy.indexing import SourceArray
from ilastik_lazy.lazy.origins import data_of, found_in

__all__ = ["Frames", "Series", "frames_of", "series_of"]

Frames = np.ndarray[Any, np.dtype[np.int64]]


class Series(NamedTuple):
    """The frames of an image with an axis ``t``."""

    frames: Frames
    """Number of each frame in the whole image."""
    positions: np.ndarray[Any, Any] | None
    """Position of each frame along ``t``; None where the file states none."""
    length: int
    """How many frames the whole image has."""


def frames_of(labels: xr.DataArray | ArraySource) -> tuple[Frames | None, int | None]:
    """Return the number of each frame of `labels`, and how many frames the whole image has.

    Where one frame was selected, so that `labels` have no ``t``, the numbers are an array without dimensions.
    Both values are None for an image without ``t``; an array that was never opened from a file is whole.

    Raises
    ------
    ArgumentError
        Frames were left out of an array, and nothing shows which ones.
    """
    if not isinstance(labels, xr.DataArray):
        return _frames_in(labels)
    if (source := source_behind(labels.variable)) is not None:
        return _frames_in(source)
    labels = labels.rename(T="t") if "T" in labels.dims else labels
    positions = labels.coords["t"].values if "t" in labels.coords else None
    # What was loaded is in memory, without the source that it was read from.
    noted = labels.encoding.get("frames")
    known = [noted] if isinstance(noted, Series) else _series_behind(_sources_behind(labels.variable))
    if "t" not in labels.dims:
        frame = _frames_at(None if positions is None else positions.reshape(-1), known)
        return (None, None) if frame is None else (frame.reshape(()), known[0].length)
    count = labels.sizes["t"]
    if (found := _frames_among(known, positions, count)) is None:
        raise ArgumentError(
            f"the label image holds {count} of {min(len(each.frames) for each in known)} frames, and nothing shows "
            "which: take the image as it was opened, and slice the result"
        )
    return found


def series_of(source: ArraySource) -> Series | None:
    """Return the frames of a source; None if it has no axis ``t``."""
    frames, length = _frames_in(source)
    if frames is None or length is None or not frames.ndim:
        return None
    return Series(frames, source.spec.axes[source.spec.dims.index("t")].positions(len(frames)), length)


def _frames_in(source: ArraySource) -> tuple[Frames | None, int | None]:
    """Return what `frames_of` does; a computation of which nothing shows its frames is whole."""
    spec = source.spec
    if isinstance(source, WindowSource):
        if not source.is_image:
            return _frames_of_part(source)
    elif isinstance(source, ComputedSource):
        if "t" in spec.dims and (found := _frames_of_computed(source)) is not None:
            return found
    # Several images in a row have no single one behind them.
    elif isinstance(source, View) and hasattr(source, "source"):
        return _frames_in(source.source)
    if "t" not in spec.dims:
        return None, None
    length = spec.shape[spec.dims.index("t")]
    return np.arange(length), length


def _frames_of_part(part: WindowSource) -> tuple[Frames | None, int | None]:
    frames, length = _frames_in(part.source)
    if frames is None or not frames.ndim:
        return frames, length
    axis = part.source.spec.dims.index("t")
    first = part.start[axis]
    if axis in part.taken:
        return np.array(frames[first]), length
    return frames[first : first + part.spec.shape[part.spec.dims.index("t")]], length


def _frames_of_computed(source: ComputedSource) -> tuple[Frames, int] | None:
    axis = source.spec.dims.index("t")
    count = source.spec.shape[axis]
    known = _series_behind([each for each in source.origins if isinstance(each, ArraySource)])
    return _frames_among(known, source.spec.axes[axis].positions(count), count)


def _sources_behind(variable: xr.Variable) -> list[ArraySource]:
    return [each.source for each in found_in(data_of(variable)) if isinstance(each, SourceArray)]


def _series_behind(sources: Sequence[ArraySource]) -> list[Series]:
    by_location = {source.spec.storage.location: source for source in sources}
    return [series for source in by_location.values() if (series := series_of(source)) is not None]


def _frames_among(
    known: Sequence[Series], positions: np.ndarray[Any, Any] | None, count: int
) -> tuple[Frames, int] | None:
    """Find `count` frames in what they were computed from; None if frames were left out, and nothing shows which."""
    if not known:
        return np.arange(count), count
    first = known[0]
    if (frames := _frames_at(positions, known)) is not None:
        return frames, first.length
    if count and min(len(each.frames) for each in known) > count:
        return None
    if len(first.frames) == count and all(np.array_equal(each.frames, first.frames) for each in known):
        return first.frames, first.length
    # Files in a row have fewer frames each.
    return np.arange(count), count


def _frames_at(positions: np.ndarray[Any, Any] | None, known: Sequence[Series]) -> Frames | None:
    """Return the frames at `positions` of the only series; None if they cannot be found."""
    places = known[0].positions if len(known) == 1 else None
    if positions is None or places is None or not len(places):
        return None
    at = np.minimum(np.searchsorted(places, positions), len(places) - 1)
    is_found = np.array_equal(places[at], positions) and len(np.unique(at)) == len(at)
    return known[0].frames[at] if is_found else None
