"""The objects of an image as a source: a first pass finds and numbers them, `read` labels its blocks again."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.core.grid import Region, check_region, chunk_region, grid_shape, overlaps, region_shape
from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import View
from ilastik_lazy.lazy.clusters import anywhere_in_order, once_on_cluster
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.reductions.objects.blocks import Block, components_of, numbered_runs
from ilastik_lazy.reductions.objects.masks import ByClass, ByThreshold
from ilastik_lazy.reductions.objects.numbering import Census, Numbers
from ilastik_lazy.reductions.objects.object_axes import ObjectAxes
from ilastik_lazy.reductions.objects.runs import Runs

__all__ = ["Found", "ObjectsSource", "census_of"]

Array = np.ndarray[Any, Any]


class Found(NamedTuple):
    """The objects of one block, as far as they lie in it."""

    mask: Array
    """Frames, z, y and x: whether each voxel belongs to an object."""
    runs: Runs
    numbers: Array
    """Component of each run, from 0."""
    block: Block


@dataclass(frozen=True, slots=True)
class ObjectsSource(View):
    """Label image of the objects in another source."""

    spec: ArraySpec
    source: ArraySource
    rule: ByThreshold | ByClass
    connectivity: int
    least: int | None
    """Sizes of objects, and of cores, that remain."""
    most: int | None
    core_rule: ByThreshold | None = None
    core_source: ArraySource | None = None
    """What the cores are found in; None for `source`."""
    key: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False, repr=False)
    """Key of what the first pass found, in each process that has a copy of this source."""

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return tuple(getattr(self, each.name) for each in fields(self) if each.compare)

    @property
    def origins(self) -> tuple[ArraySource, ...]:
        return (self.source,) if self.core_source is None else (self.source, self.core_source)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"objects": [repr(self.rule), repr(self.core_rule), self.connectivity, self.least, self.most]}

    @property
    def axes(self) -> ObjectAxes:
        """Frames and space of the image."""
        return ObjectAxes.of(self.spec)

    def read(self, region: Region) -> Array:
        """Read `region` (see `ArraySource.read`), after a first pass over the whole image if none was made."""
        check_region(region, self.spec.shape)
        numbers = self._numbers()
        out = np.empty(region_shape(region), self.spec.dtype)
        for overlap in overlaps(region, self.spec.chunks) if out.size else ():
            whole = chunk_region(overlap.chunk, self.spec.chunks, self.spec.shape)
            runs = Runs.of(self._mask(self.source.read(whole), self.rule))
            _, found = numbered_runs(runs, self.connectivity)
            painted = runs.painted(numbers.of_block(self._number_of(overlap.chunk))[found])
            out[overlap.target] = self.axes.restored(painted, region_shape(whole))[overlap.inside]
        return out

    def found_in(self, region: Region) -> Found:
        """Find the objects of one block."""
        values, cores, owners = self.source.read(region), None, None
        mask = self._mask(values, self.rule)
        runs = Runs.of(mask)
        count, numbers = numbered_runs(runs, self.connectivity)
        if self.core_rule is not None:
            values = values if self.core_source is None else self.core_source.read(region)
            inner = Runs.of(self._mask(values, self.core_rule))
            of_core, core_numbers = numbered_runs(inner, self.connectivity)
            cores = components_of(inner, core_numbers, of_core, self.axes, region)
            owners = np.full(of_core, -1)
            if count:
                at = np.searchsorted(runs.starts, inner.starts, side="right") - 1
                holds = (at >= 0) & (inner.starts < runs.ends[at])
                owners[core_numbers[holds]] = numbers[at[holds]]
        components = components_of(runs, numbers, count, self.axes, region)
        return Found(mask, runs, numbers, Block(components, cores, owners))

    def with_shared_parts(self, workers: int) -> ObjectsSource:
        """Compute once what all blocks of a computed image need, such as its mean."""
        return replace(self, source=with_shared_parts(self.source, workers))

    def keep(self, numbers: Numbers) -> None:
        """Keep the numbers that another pass has found, unless there are some already."""
        _NUMBERS.get(self.key, lambda: numbers)

    def _mask(self, values: Array, rule: ByThreshold | ByClass) -> Array:
        return self.axes.canonical(rule.of_values(values))

    def _number_of(self, chunk: tuple[int, ...]) -> int:
        """Return the place of a block in the order of the pass."""
        grid, order = grid_shape(self.spec.shape, self.spec.chunks), self.axes.order
        return int(np.ravel_multi_index([chunk[axis] for axis in order], [grid[axis] for axis in order]))

    def _numbers(self) -> Numbers:
        """Return what the first pass found; it is made once, also on a cluster."""
        if (known := _NUMBERS.known(self.key)) is not None:
            return known
        found = once_on_cluster(f"first-pass-{self.key}", self.first_pass)
        return _NUMBERS.get(self.key, self.first_pass if found is None else lambda: found)

    def first_pass(self, client: Any = None) -> Numbers:
        """Find the objects of the whole image."""
        workers = threads_for(None)
        census, work = census_of(self), self.with_shared_parts(workers)._block_of
        tasks = self.axes.regions(self.spec.chunks)
        with contextlib.closing(anywhere_in_order(work, tasks, workers, client)) as results:
            for (slab, _), block in results:
                census.add(slab, block)
        return census.numbers()

    def _block_of(self, task: tuple[int, Region]) -> Block:
        return self.found_in(task[1]).block


_NUMBERS: ByteCache[Numbers] = ByteCache(lambda numbers: numbers.nbytes)


def census_of(source: ObjectsSource) -> Census:
    """Make the census of an image, before its first block."""
    return Census(source.axes, source.connectivity, source.least, source.most, source.core_rule is not None)
