"""The contrast of images that state none, from a few chunks: a view must not wait for the whole image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ilastik_lazy.core.display import states_contrast
from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import IlastikLazyError

__all__ = ["measured_contrast"]

_Range = tuple[float, float]

# Chunks at these places of the grid, along the diagonal of the volume: about 2 MB for each channel.
_PLACES = (0.5, 0.25, 0.75)
# Along each axis of a chunk; what is stored without chunks is read in larger pieces.
_MOST_VOXELS = 128
_MOST_CHANNELS = 32
_PERCENTILES = (0.5, 99.9)


def measured_contrast(source: ArraySource) -> list[_Range] | None:
    """Return the range of values of each channel in some chunks; None where it need not be measured.

    A chunk that cannot be read is passed over: the client that shows it gets the error.
    """
    spec = source.spec
    channels = spec.channels
    if states_contrast(spec) or channels > _MOST_CHANNELS:
        return None
    return [_range_of(source, channel) for channel in range(channels)]


def _range_of(source: ArraySource, channel: int) -> _Range:
    found = []
    for region in dict.fromkeys(map(_hashable, _regions(source.spec, channel))):
        try:
            values = source.read(tuple(slice(start, stop) for start, stop in region))
        except IlastikLazyError:
            continue
        found.append(values[np.isfinite(values)].astype(np.float64))
    values = np.concatenate(found) if found else np.empty(0)
    if not values.size:
        return (np.nan, np.nan)
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def _regions(spec: ArraySpec, channel: int) -> Iterator[Region]:
    for place in _PLACES:
        parts = []
        for dim, length, chunk in zip(spec.dims, spec.shape, spec.chunks, strict=True):
            if dim == "c":
                parts.append(slice(channel, channel + 1))
                continue
            size = 1 if dim == "t" else min(chunk, _MOST_VOXELS)
            start = min(int(length * place) // chunk * chunk, length - 1)
            parts.append(slice(start, min(start + size, length)))
        yield tuple(parts)


def _hashable(region: Region) -> tuple[tuple[int, int], ...]:
    return tuple((part.start, part.stop) for part in region)
