"""The components of one block: how large each is, where it begins, and what of it lies at the borders of the block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.reductions.objects.object_axes import ObjectAxes
from ilastik_lazy.reductions.objects.runs import Runs, components, spread_out, touching

__all__ = ["Block", "Borders", "Components", "components_of", "numbered_runs"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Borders:
    """Runs at the borders of blocks, where what lies in the next block may touch them."""

    starts: Array
    """Positions in the whole image, as from `spread_out`."""
    ends: Array
    components: Array
    leads_on: Array
    """Whether the run may touch what lies in the next slab of blocks."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The components of one block, in raster order of their first voxels."""

    frames: Array
    firsts: Array
    """Position of the first voxel in its frame, in raster order."""
    sizes: Array
    """Number of voxels."""
    borders: Borders

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.sizes)


class Block(NamedTuple):
    """What the whole image must know of one block."""

    components: Components
    cores: Components | None
    owners: Array | None
    """For each core the component that holds it, or -1."""


def numbered_runs(runs: Runs, connectivity: int) -> tuple[int, Array]:
    """Return the number of components in a block, and the component of each run, from 0."""
    starts = spread_out(*runs.places, runs.shape[1:])
    first, second = touching(starts, starts + runs.lengths, runs.shape[1:], connectivity)
    return components(len(runs.starts), first, second)


def components_of(runs: Runs, numbers: Array, count: int, axes: ObjectAxes, region: Region) -> Components:
    """Collect what the whole image must know of the components of a block."""
    frame, *places = runs.places
    frames = axes.frame_numbers(region)[frame]
    _, height, length = axes.volume
    z, y, x = (place + first for place, first in zip(places, axes.origin(region), strict=True))
    of_first = np.empty(count, np.int64)
    of_first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    firsts = ((z * height + y) * length + x)[of_first]
    sizes = np.bincount(numbers, runs.lengths, count).astype(np.int64)
    at_border = np.zeros(len(numbers), np.bool_)
    leads_on = at_border.copy()
    lasts = (z, y, x + runs.lengths - 1)
    for axis, (low, high) in enumerate(zip((z, y, x), lasts, strict=True)):
        start = axes.origin(region)[axis]
        stop = start + runs.shape[axis + 1]
        if start > 0:
            at_border |= low == start
        if stop < axes.volume[axis]:
            last = high == stop - 1
            at_border |= last
            if axis == 3 - len(axes.space):
                leads_on = last
    chosen = np.flatnonzero(at_border)
    starts = spread_out(frames[chosen], z[chosen], y[chosen], x[chosen], axes.volume)
    borders = Borders(starts, starts + runs.lengths[chosen], numbers[chosen], leads_on[chosen])
    return Components(frames[of_first], firsts, sizes, borders)
