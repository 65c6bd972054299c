"""The pass over an image that measures its objects: blocks in threads, and what they found as one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.grid import Region, grid_shape, region_shape
from ilastik_lazy.core.parallel import Progress
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.cache import CachedSource
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.window import TransposedSource, WindowSource
from ilastik_lazy.errors import ArgumentError, remedy
from ilastik_lazy.lazy.clusters import anywhere_in_order
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.reductions.objects.blocks import Block
from ilastik_lazy.reductions.objects.labelling import ObjectsSource, census_of
from ilastik_lazy.reductions.objects.object_axes import ObjectAxes, large_block
from ilastik_lazy.reductions.objects.runs import Runs
from ilastik_lazy.reductions.objects.sums import Sums, Wanted, joined, merged, sums_of_runs
from ilastik_lazy.tables.paint import as_ids

__all__ = ["Image", "Measure", "measured_labels", "measured_objects"]

Array = np.ndarray[Any, Any]
Measured = tuple[Array, Array, Sums]
"""Frame, label and sums of each object."""


_LEAST_PENDING = 2**17


def groups_of(frames: Array, ids: Array) -> tuple[Array, Array]:
    """Number the different pairs of a frame and an id in their order; also return the place of one pair of each number.

    >>> groups_of(np.array([0, 1, 0]), np.array([7, 5, 5]))
    (array([1, 2, 0]), array([2, 0, 1]))
    """
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    least, frame = ids.min(), frames.min()
    span, others = int(ids.max() - least) + 1, int(frames.max() - frame) + 1
    if span * others <= 4 * len(ids) + 1024:
        # Most blocks hold ids that lie close together: no need to sort them.
        keys = (ids - least).astype(np.int64) + (frames - frame) * span
        place = np.full(span * others, -1)
        place[keys] = np.arange(len(keys))
        present = place >= 0
        return (np.cumsum(present) - 1)[keys], place[present]
    order = np.lexsort((ids, frames))
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (np.diff(frames[order]) != 0) | (ids[order][1:] != ids[order][:-1])
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(begins) - 1
    return groups, order[begins]


class Tally:
    """Parts of objects by frame and id; merged now and then, so that memory grows with objects and not with blocks."""

    def __init__(self) -> None:
        self._frames, self._ids, self._sums = list[Array](), list[Array](), list[Sums]()
        self._merged = self._pending = 0

    def add(self, frames: Array, ids: Array, sums: Sums) -> None:
        """Take the parts in a block."""
        self._frames.append(frames)
        self._ids.append(ids)
        self._sums.append(sums)
        self._pending += sums.count
        if self._pending > max(_LEAST_PENDING, self._merged):
            self._merge()

    def _merge(self) -> None:
        frames, ids = np.concatenate(self._frames), np.concatenate(self._ids)
        groups, first = groups_of(frames, ids)
        sums = merged(joined(self._sums), groups, len(first))
        self._frames, self._ids, self._sums = [frames[first]], [ids[first]], [sums]
        self._merged, self._pending = sums.count, 0

    def result(self) -> tuple[Array, Array, Sums]:
        """Return frame, id and sums of each object, in the order of frames and ids; after one block at least."""
        self._merge()
        return self._frames[0], self._ids[0], self._sums[0]


@dataclass(frozen=True, slots=True)
class Image:
    """Intensities, whose axes are those of the labels without their channels, and an axis of channels behind them."""

    source: ArraySource
    channels: int
    """0 where it has no such axis."""

    def read(self, region: Region, labels: tuple[str, ...]) -> Iterator[Array]:
        """Yield the intensities of each channel, in the shape of the labels in `region`, whose dims are `labels`."""
        shape = region_shape(region)
        here = tuple(part for part, name in zip(region, labels, strict=True) if name != "c")
        values = self.source.read((*here, slice(0, self.channels)) if self.channels else here)
        for channel in np.moveaxis(values, -1, 0) if self.channels else [values]:
            yield np.broadcast_to(np.expand_dims(channel, labels.index("c")), shape) if "c" in labels else channel


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured."""

    axes: ObjectAxes
    dims: tuple[str, ...]
    wanted: Wanted
    image: Image | None

    def with_shared_parts(self, workers: int) -> Measure:
        """Compute once what all blocks of a computed image need, and keep chunks that several blocks need."""
        if self.image is None:
            return self
        return replace(self, image=replace(self.image, source=_cached(with_shared_parts(self.image.source, workers))))

    def sums(self, runs: Runs, groups: Array, count: int, region: Region, block: Array) -> Sums:
        """Compute the sums over each group of the runs of a block, which are where `block` is above 0."""
        intensities: list[Array] = []
        if self.image is not None:
            inside = block.reshape(-1) if block.dtype.kind == "b" else block.reshape(-1) > 0
            channels = self.image.read(region, self.dims)
            # In a dense block a quarter of the time that an index of each voxel takes.
            intensities = [self.axes.canonical(channel).reshape(-1).compress(inside) for channel in channels]
            for values in intensities:
                _require_exact(values, self.image.source)
        return sums_of_runs(runs, groups, count, self.axes.origin(region), self.wanted, intensities)


def _require_exact(values: Array, source: ArraySource) -> None:
    """Raise if float64, in which sums are computed, would change whole numbers."""
    if values.dtype.kind not in "iu" or values.itemsize < 8 or not values.size:
        return
    low, high = int(values.min()), int(values.max())
    if max(-low, high) > _LARGEST_EXACT:
        raise ArgumentError(
            f"{source.spec.storage.location} holds {low if -low > high else high}, and numbers beyond 2**53 would be "
            "rounded: if these are ids, they are no intensities; otherwise "
            + remedy("convert with .astype('float64')", "convert the image to float64 first")
        )


_LARGEST_EXACT = 2**53
_CACHED_BYTES = 64 * 2**20
"""Chunks of intensities that are kept: blocks follow the chunks of the labels, and would decode them three times."""


def _cached(source: ArraySource) -> ArraySource:
    """Return `source` with the chunks kept that several blocks need, if they have to be decoded."""
    if isinstance(source, DescribedSource | WindowSource | TransposedSource):
        return replace(source, source=_cached(source.source))
    spec = source.spec
    chunk = math.prod(spec.chunks) * spec.dtype.itemsize
    if spec.storage.compression == "none" or isinstance(source, CachedSource) or 8 * chunk > _CACHED_BYTES:
        return source
    return CachedSource(source, _CACHED_BYTES)


class _Part(NamedTuple):
    block: Block
    sums: Sums


@dataclass(frozen=True, slots=True)
class _FindAndMeasure:
    """The work on a block of what `label_objects` made."""

    source: ObjectsSource
    measure: Measure

    def __call__(self, task: tuple[int, Region]) -> _Part:
        found = self.source.found_in(task[1])
        count = found.block.components.count
        return _Part(found.block, self.measure.sums(found.runs, found.numbers, count, task[1], found.mask))


@dataclass(frozen=True, slots=True)
class _MeasureLabels:
    """The work on a block of a label image."""

    source: ArraySource
    measure: Measure

    def __call__(self, task: tuple[int, Region]) -> Measured:
        region, axes = task[1], self.measure.axes
        values = self.source.read(region)
        block = axes.canonical(as_ids(values) if values.dtype.kind in "bf" else values)
        runs = Runs.of(block)
        if runs.values.dtype.kind == "i":
            runs = runs.taken(np.flatnonzero(runs.values > 0))
        frames, ids = axes.frame_numbers(region)[runs.places[0]], runs.values.astype(np.uint64)
        groups, first = groups_of(frames, ids)
        return frames[first], ids[first], self.measure.sums(runs, groups, len(first), region, block)


def measured_objects(source: ObjectsSource, measure: Measure, workers: int, progress: Progress | None) -> Measured:
    """Find and measure the objects of an image in one pass."""
    measure = measure.with_shared_parts(workers)
    work = _FindAndMeasure(source.with_shared_parts(workers), measure)
    tasks = measure.axes.regions(source.spec.chunks)
    census, parts = census_of(source), [_nothing(measure)]
    with contextlib.closing(anywhere_in_order(work, tasks, workers)) as results:
        for (slab, _), part in _reported(results, source, source.spec.chunks, progress):
            census.add(slab, part.block)
            parts.append(part.sums)
    numbers = census.numbers()
    source.keep(numbers)
    sums, chosen = joined(parts), np.flatnonzero(numbers.numbers)
    frames, ids = numbers.frames[chosen].astype(np.int64), numbers.numbers[chosen].astype(np.int64)
    groups, first = groups_of(frames, ids)
    return frames[first], ids[first], merged(sums.taken(chosen), groups, len(first))


def measured_labels(source: ArraySource, measure: Measure, workers: int, progress: Progress | None) -> Measured:
    """Measure the objects of a label image in one pass."""
    measure = measure.with_shared_parts(workers)
    work = _MeasureLabels(with_shared_parts(source, workers), measure)
    block = _block_of_both(source, measure.image)
    tally = Tally()
    tally.add(np.zeros(0, np.int64), np.zeros(0, np.uint64), _nothing(measure))
    with contextlib.closing(anywhere_in_order(work, measure.axes.regions(block), workers)) as results:
        for _, part in _reported(results, source, block, progress):
            tally.add(*part)
    return tally.result()


def _block_of_both(labels: ArraySource, image: Image | None) -> tuple[int, ...]:
    """Return the block that one thread reads at a time: chunks as large as the larger ones of the two images."""
    spec = labels.spec
    others = {} if image is None else dict(zip(image.source.spec.dims, image.source.spec.chunks, strict=True))
    both = [
        max(chunk, 1 if name == "c" else others.get(name, 1))
        for chunk, name in zip(spec.chunks, spec.dims, strict=True)
    ]
    return large_block(replace(spec, chunks=tuple(both)))


def _nothing(measure: Measure) -> Sums:
    """Return the sums over no parts."""
    runs = Runs.of(np.zeros((1, 1, 1, 0), np.bool_))
    channels = 0 if measure.image is None else max(1, measure.image.channels)
    none = np.zeros(0, np.int64)
    return sums_of_runs(runs, none, 0, np.zeros(3, np.int64), measure.wanted, [np.zeros(0)] * channels)


def _reported(
    results: Iterable[tuple[tuple[int, Region], Any]],
    source: ArraySource,
    block: tuple[int, ...],
    progress: Progress | None,
) -> Generator[tuple[tuple[int, Region], Any], None, None]:
    blocks, nbytes = math.prod(grid_shape(source.spec.shape, block)), 0
    for done, (task, part) in enumerate(results, 1):
        if progress is not None:
            nbytes += math.prod(region_shape(task[1])) * source.spec.dtype.itemsize
            progress(done, blocks, nbytes)
        yield task, part
