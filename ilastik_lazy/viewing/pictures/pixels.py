"""Read a plane block by block, and reduce it on the way to about the pixels that a picture has for it.

Only chunks that the plane touches are read, and what is held does not grow with the plane.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ilastik_lazy.core.grid import Region, block_shape, regions_of_blocks
from ilastik_lazy.core.parallel import in_order, threads_for
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.window import windowed
from ilastik_lazy.lazy.from_xarray import ComputedSource
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.viewing.pictures.planes import Plane

__all__ = ["Pixels", "read_plane"]

Pixels = np.ndarray[Any, Any]
_Slices = tuple[slice, slice, slice]
"""Parts of the channels, down and across."""


def read_plane(source: ArraySource, plane: Plane, steps: tuple[int, int], method: Literal["mean", "nearest"]) -> Pixels:
    """Return the pixels of `plane`, with axes (channel, down, across).

    Parameters
    ----------
    steps
        Voxels (down, across) that become one pixel.
    method
        ``mean`` of them, without NaN, in float64 unless all steps are 1; ``nearest`` takes the one in the middle.
    """
    lengths = dict(zip(source.spec.dims, source.spec.shape, strict=True))
    sizes = lengths[plane.down], lengths[plane.across]
    channels = 1 if "c" in plane.at else lengths.get("c", 1)
    shape = (channels, *(-(-n // step) for n, step in zip(sizes, steps, strict=True)))
    if method == "mean" and max(steps) > 1:
        return _means(source, plane, shape, steps)
    pixels = np.empty(shape, source.spec.dtype)
    picks = [np.minimum(np.arange(0, n, step) + step // 2, n - 1) for n, step in zip(sizes, steps, strict=True)]

    def chosen(part: slice, picks: Pixels) -> slice:
        return slice(*np.searchsorted(picks, (part.start, part.stop)).tolist())

    def work(place: _Slices, values: Pixels) -> Pixels:
        rows, columns = (p[chosen(part, p)] - part.start for part, p in zip(place[1:], picks, strict=True))
        return values[:, rows][:, :, columns]

    def is_wanted(place: _Slices) -> bool:
        return all(at.start < at.stop for at in map(chosen, place[1:], picks))

    for place, values in _over_blocks(source, plane, work, is_wanted):
        pixels[place[0], chosen(place[1], picks[0]), chosen(place[2], picks[1])] = values
    return pixels


def _means(source: ArraySource, plane: Plane, shape: tuple[int, ...], steps: tuple[int, int]) -> Pixels:
    sums, counts = np.zeros(shape), np.zeros(shape)

    def work(place: _Slices, values: Pixels) -> tuple[Pixels, Pixels]:
        is_number = np.ones((1, *values.shape[1:]), bool) if values.dtype.kind != "f" else ~np.isnan(values)
        numbers = values if values.dtype.kind != "f" else np.where(is_number, values, 0)
        with np.errstate(invalid="ignore", over="ignore"):
            return _summed(numbers, place, steps), _summed(is_number, place, steps)

    for (channels, *parts), (some, count) in _over_blocks(source, plane, work):
        # Blocks begin and end within pixels.
        down, across = (slice(p.start // n, -(-p.stop // n)) for p, n in zip(parts, steps, strict=True))
        sums[channels, down, across] += some
        counts[channels, down, across] += count
    with np.errstate(invalid="ignore"):
        return sums / counts  # NaN where there is no number


def _summed(values: Pixels, place: _Slices, steps: tuple[int, int]) -> Pixels:
    """Sum the voxels of each pixel."""
    down, across = (
        np.maximum(np.arange(part.start // step * step, part.stop, step) - part.start, 0)
        for part, step in zip(place[1:], steps, strict=True)
    )
    # Rows are added whole: `reduceat` along them takes six times as long.
    ends = [*down[1:].tolist(), values.shape[1]]
    rows = [np.add.reduce(values[:, a:b], 1, np.float64) for a, b in zip(down.tolist(), ends, strict=True)]
    return np.add.reduceat(np.stack(rows, 1), across, 2)


def _over_blocks(
    source: ArraySource,
    plane: Plane,
    work: Callable[[_Slices, Pixels], Any],
    is_wanted: Callable[[_Slices], bool] = lambda place: True,
) -> Iterator[tuple[_Slices, Any]]:
    """Yield the place of each block that `is_wanted`, and what `work` makes of its values (channel, down, across)."""
    spec, dims = source.spec, source.spec.dims
    part = _part(source, plane)
    # Blocks are as large as what is decoded for them: whole chunks, however thin the plane is.
    touched = [min(n, c) if dim in plane.at else n for dim, n, c in zip(dims, spec.shape, spec.chunks, strict=True)]
    block = block_shape(touched, spec.chunks, spec.dtype.itemsize, dims)
    shown = [dim for dim in ("c", plane.down, plane.across) if dim in dims]
    others = tuple(axis for axis, dim in enumerate(dims) if dim not in shown)
    order = [[dim for dim in dims if dim in shown].index(dim) for dim in shown]

    def place_of(region: Region) -> _Slices:
        parts = dict(zip(dims, region, strict=True))
        return parts.get("c", slice(0, 1)), parts[plane.down], parts[plane.across]

    def worked(region: Region) -> Any:
        values = part.read(region).squeeze(others).transpose(order)
        return work(place_of(region), values if "c" in dims else values[np.newaxis])

    regions = (r for r in regions_of_blocks(part.spec.shape, block) if is_wanted(place_of(r)))
    with contextlib.closing(in_order(worked, regions, threads_for(None))) as results:
        for region, result in results:
            yield place_of(region), result


def _part(source: ArraySource, plane: Plane) -> ArraySource:
    """Return the part of `source` that `plane` shows, with all axes."""
    spec = source.spec
    window = tuple(
        slice(plane.at[dim], plane.at[dim] + 1) if dim in plane.at else slice(0, length)
        for dim, length in zip(spec.dims, spec.shape, strict=True)
    )
    part = windowed(source, window)
    if isinstance(source, ComputedSource):
        # With the graph of the plane alone, so that what only other planes need is not computed.
        part = replace(source, spec=part.spec, variable=source.variable[window])
    return with_shared_parts(part, threads_for(None))
