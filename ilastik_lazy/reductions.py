"""Reductions out of core: threads read and reduce blocks, the caller's thread merges the results.

A `Reduction` is three pure functions.  Its partial results are merged in the order of the blocks,
so that the result has the same bits however many threads there are, and whichever is first.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import xarray as xr

from ilastik_lazy.chunks import BLOCK_BYTES_LEAST, BLOCK_BYTES_MOST, Region, block_shape, grid_shape, regions_of_blocks
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError
from ilastik_lazy.lazy import to_dataset
from ilastik_lazy.spec import ArraySource, ArraySpec

__all__ = [
    "MEMORY",
    "REDUCTIONS",
    "Progress",
    "Reduction",
    "ReductionPlan",
    "default_workers",
    "in_order",
    "plan_reduction",
    "reduce",
    "work_block",
]

Array = np.ndarray[Any, Any]
Partial = tuple[Array, ...]
Progress = Callable[[int, int, int], None]
"""Called with blocks done, blocks in all, and decoded bytes so far; in the caller's thread only."""

MEMORY = 2 * 2**30

# Partials that wait for an earlier block to be merged cost memory; three a thread keep all threads busy.
_AHEAD = 3

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Reduction:
    """Three pure functions, of which a reduction over any number of blocks is made."""

    start: Callable[[Array, tuple[int, ...]], Partial]
    """Reduce one block over some of its axes, which stay with length 1."""

    combine: Callable[[Partial, Partial], Partial]
    """Merge what two groups of blocks gave for the same elements of the result."""

    finish: Callable[[Partial, int], Array]
    """Result from the partial of all blocks and the number of values behind each element."""

    of_nothing: bool = False
    """Whether the reduction of no values is defined."""

    keeps_values: bool = False
    """Whether results are values of the array, so that its attributes hold for them."""


def _start_sum(block: Array, axes: tuple[int, ...]) -> Partial:
    """Sums of floats in float64, of integers in 64 bits; for wide integers a sum in float64 beside it."""
    if block.dtype.kind == "f":
        # numpy adds pairwise within 8192 values: a relative error below 1e-13 of the sum of
        # absolute values, at 15 GB/s a core.  float32 would be 1.6 times as fast, and wrong by 1e-6.
        return (np.add.reduce(block, axis=axes, dtype=np.float64, keepdims=True),)
    wide, narrow = (np.uint64, np.uint32) if block.dtype.kind == "u" else (np.int64, np.int32)
    if block.dtype.itemsize == 1 and block.size <= 2**23:
        # 2**23 * 255 fits 32 bits, and numpy adds bytes to them 2.5 times as fast as to 64.
        return (np.add.reduce(block, axis=axes, dtype=narrow, keepdims=True).astype(wide),)
    total = np.add.reduce(block, axis=axes, dtype=wide, keepdims=True)
    if block.dtype.itemsize < 4:
        return (total,)
    return total, np.add.reduce(block, axis=axes, dtype=np.float64, keepdims=True)


def _finish_sum(partial: Partial, count: int) -> Array:
    # The integer sum is right modulo 2**64, the float sum to a relative 1e-13: together they tell an overflow.
    if len(partial) == 2 and np.any(np.abs(partial[1] - partial[0].astype(np.float64)) > 2.0**62):
        raise ArgumentError(f"a sum of {count} values does not fit {partial[0].dtype}: take the mean, or fewer axes")
    return partial[0]


def _start_moments(block: Array, axes: tuple[int, ...]) -> Partial:
    """Count, mean, and sum of squared differences from the mean, slab by slab.

    The float64 copy of a slab of 2**16 values stays in the second-level cache.
    """
    along = next((i for i, length in enumerate(block.shape) if length > 1), 0)
    rows = max(1, 2**16 * block.shape[along] // block.size)
    slabs = [
        _moments(block[(slice(None),) * along + (slice(first, first + rows),)], axes)
        for first in range(0, block.shape[along], rows)
    ]
    if along in axes:
        return functools.reduce(_combine_moments, slabs)
    return slabs[0][0], np.concatenate([s[1] for s in slabs], along), np.concatenate([s[2] for s in slabs], along)


def _moments(slab: Array, axes: tuple[int, ...]) -> Partial:
    count = np.float64(math.prod(slab.shape[axis] for axis in axes))
    values = slab.astype(np.float64)
    mean = np.add.reduce(values, axis=axes, keepdims=True) / count
    # Two passes: the sum of squares less the square of the sum loses all digits at a large offset.
    values -= mean
    values *= values
    return np.asarray(count), mean, np.add.reduce(values, axis=axes, keepdims=True)


def _combine_moments(a: Partial, b: Partial) -> Partial:
    """Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm ...", equation 2.1."""
    count = a[0] + b[0]
    delta = b[1] - a[1]
    return np.asarray(count), a[1] + delta * (b[0] / count), a[2] + b[2] + delta * delta * (a[0] * b[0] / count)


def _extremum(choose: np.ufunc) -> Reduction:
    """Least or greatest value, in the dtype of the array."""
    return Reduction(
        start=lambda block, axes: (choose.reduce(block, axis=axes, keepdims=True),),
        combine=lambda a, b: (choose(a[0], b[0]),),
        finish=lambda partial, count: partial[0],
        keeps_values=True,
    )


def _combine_sums(a: Partial, b: Partial) -> Partial:
    return tuple(x + y for x, y in zip(a, b, strict=True))


REDUCTIONS: Mapping[str, Reduction] = MappingProxyType(
    {
        # The last sum is the one in float64, where there is one: it does not overflow.
        "mean": Reduction(_start_sum, _combine_sums, lambda partial, count: partial[-1] / np.float64(count)),
        "max": _extremum(np.maximum),
        "min": _extremum(np.minimum),
        "sum": Reduction(_start_sum, _combine_sums, _finish_sum, of_nothing=True),
        "std": Reduction(_start_moments, _combine_moments, lambda partial, count: np.sqrt(partial[2] / partial[0])),
    }
)


class ReductionTask(NamedTuple):
    """What one thread does in one go."""

    target: Region
    """The part of the result that the blocks belong to."""

    regions: tuple[Region, ...]
    """Blocks to read, one after the other; all have the same target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReductionPlan:
    """A reduction as it will be carried out: what is read, what comes out, what it needs."""

    source_shape: tuple[int, ...]
    block: tuple[int, ...]
    over: tuple[str, ...]
    """Dims that go, in storage order."""

    axes: tuple[int, ...]
    """Their numbers."""

    dims: tuple[str, ...]
    """Dims that stay, in storage order."""

    dtype: np.dtype[Any]
    run: int
    """Most blocks of a task."""

    workers: int
    """Threads: those asked for, or as many as the memory allows."""

    nbytes: int
    """Most memory that result, blocks and partials take together."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return _without(self.source_shape, self.axes)

    @property
    def count(self) -> int:
        """Number of values behind each element of the result."""
        return math.prod(self.source_shape[axis] for axis in self.axes)

    @property
    def blocks(self) -> int:
        """Number of blocks to read."""
        return math.prod(grid_shape(self.source_shape, self.block))

    def tasks(self) -> Iterator[ReductionTask]:
        """All tasks; those with the same target follow each other, so that one at a time is unfinished."""
        length, step = [self.source_shape[i] for i in self.axes], [self.block[i] for i in self.axes]
        for target in regions_of_blocks(self.shape, _without(self.block, self.axes)):
            inner = regions_of_blocks(length, step)
            while part := tuple(itertools.islice(inner, self.run)):
                yield ReductionTask(target, tuple(self._joined(target, reduced) for reduced in part))

    def _joined(self, kept: Region, reduced: Region) -> Region:
        from_kept, from_reduced = iter(kept), iter(reduced)
        return tuple(next(from_reduced if i in self.axes else from_kept) for i in range(len(self.source_shape)))


def _without(lengths: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for i, length in enumerate(lengths) if i not in axes)


def default_workers() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_block(spec: ArraySpec) -> tuple[int, ...]:
    """Block that one thread reads at a time: whole chunks, 4 to 32 MiB, and some 64 blocks at least.

    Columns of chunks are decoded into place, 8 % faster than chunk by chunk; and since
    a column has left the cache anyway, blocks that would fit it are no faster.
    """
    most = min(BLOCK_BYTES_MOST, max(BLOCK_BYTES_LEAST, spec.nbytes // 64))
    return block_shape(spec.shape, spec.chunks, spec.dtype.itemsize, spec.dims, most=most)


def _axes_over(spec: ArraySpec, over: Iterable[str] | None) -> tuple[int, ...]:
    wanted = tuple(over or ()) or spec.dims
    if unknown := [name for name in wanted if name not in spec.dims]:
        raise AxesError(f"cannot reduce over {unknown[0]!r}: {spec.storage.location} has {', '.join(spec.dims)}")
    return tuple(i for i, name in enumerate(spec.dims) if name in wanted)


def plan_reduction(
    spec: ArraySpec,
    name: str,
    over: Iterable[str] | None = ("z",),
    *,
    workers: int | None = None,
    memory: int = MEMORY,
) -> ReductionPlan:
    """Decide how `reduce` will go about its work; nothing is read.  The parameters are those of `reduce`."""
    if name not in REDUCTIONS:
        raise ArgumentError(f"unknown reduction {name!r}: expected one of {', '.join(REDUCTIONS)}")
    return _plan(spec, REDUCTIONS[name], _axes_over(spec, over), workers, memory)


def _plan(
    spec: ArraySpec, reduction: Reduction, axes: tuple[int, ...], workers: int | None, memory: int
) -> ReductionPlan:
    if spec.dtype.kind not in "biuf":
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: only numbers can be reduced")
    if workers is not None and workers < 1:
        raise ArgumentError(f"workers={workers}: expected 1 or more")
    over = tuple(spec.dims[axis] for axis in axes)
    if 0 in (spec.shape[axis] for axis in axes) and not reduction.of_nothing:
        raise ArgumentError(f"{spec.storage.location} has no values over {', '.join(over)}: its shape is {spec.shape}")
    # The dtypes of a partial and of the result are those that one value gives.
    partial = reduction.start(np.zeros((1,) * spec.ndim, spec.dtype), axes)
    dtype = reduction.finish(partial, 1).dtype
    block = work_block(spec)
    elements, values = math.prod(_without(block, axes)), math.prod(block)
    run, blocks = 1, math.prod(grid_shape(spec.shape, block))
    if values < 16 * elements:
        # Partials nearly as large as blocks (over c, say) would keep the merging thread busier than all others.
        run = max(8, min(32, blocks // 256))
    result_bytes = math.prod(_without(spec.shape, axes)) * dtype.itemsize
    partial_bytes = elements * sum(part.dtype.itemsize for part in partial)
    # A thread has a block, the chunk that it decodes, two partials that it merges, and those that wait.
    each = (values + 2 * math.prod(spec.chunks)) * spec.dtype.itemsize + (2 + _AHEAD) * partial_bytes
    fixed = result_bytes + 3 * partial_bytes
    if fixed + each > memory:
        raise MemoryLimitError(
            f"reducing {spec.storage.location} over {', '.join(over)} needs {(fixed + each) / 1e6:,.0f} MB, of which the "
            f"result takes {result_bytes / 1e6:,.0f} MB, and memory={memory / 1e6:,.0f} MB: reduce over more axes, "
            f"allow more memory, or reduce what open_dataarray returns and write it to Zarr"
        )
    workers = min(workers or default_workers(), (memory - fixed) // each, max(1, blocks))
    return ReductionPlan(
        source_shape=spec.shape,
        block=block,
        over=over,
        axes=axes,
        dims=tuple(name for name in spec.dims if name not in over),
        dtype=dtype,
        run=run,
        workers=workers,
        nbytes=fixed + workers * each,
    )


def in_order(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int
) -> Generator[tuple[_Task, _Result], None, None]:
    """Do `work` in threads, and yield each task with its result, in the order of `tasks`.

    At most `_AHEAD` tasks a thread are begun or waiting to be taken.  When one fails, or the generator
    is closed, those not begun are dropped and the few running ones are waited for.
    """
    pending: deque[tuple[_Task, Future[_Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ilastik_lazy")
    try:
        for task in tasks:
            pending.append((task, pool.submit(work, task)))
            if len(pending) >= _AHEAD * workers:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def reduce(
    source: ArraySource,
    name: str,
    over: Iterable[str] | None = ("z",),
    *,
    workers: int | None = None,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> xr.DataArray:
    """Reduce a stored array block by block.

    Parameters
    ----------
    source
        What `open_source` returns, for instance.
    name
        ``mean``, ``max``, ``min``, ``sum`` or ``std`` (of the population, as numpy's).
    over
        Dims to reduce over, such as ``("z",)`` or ``"zy"``; None or none of them means all.
    workers
        Number of threads; one for each processor without it.  The result does not depend on it.
    memory
        Bytes that the result and the blocks in work may take; fewer threads run where they do not fit.
    progress
        Called now and then from this thread; an exception that it raises ends the work.

    Returns
    -------
    xarray.DataArray
        The other dims with their coordinates, in storage order.  ``min`` and ``max`` keep the dtype.
        Sums of integers are int64 or uint64 and exact; all else is accumulated in, and is, float64.
        A NaN makes each element that it belongs to NaN, as in numpy (and unlike xarray's ``skipna``).

    Raises
    ------
    AxesError
        `over` names a dim that is not there.
    ArgumentError
        No such reduction, no values to reduce, or a sum beyond 64 bits.
    MemoryLimitError
        The result does not fit into `memory`.
    CorruptChunkError, SourceError
        A block cannot be read; nothing is returned.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> from ilastik_lazy.location import Location
    >>> from ilastik_lazy.sources import open_source
    >>> source = open_source(Location.parse(sample("probabilities"), None))
    >>> reduce(source, "max", over="zc").sizes
    Frozen({'y': 128, 'x': 160})
    """
    plan = plan_reduction(source.spec, name, over, workers=workers, memory=memory)
    values = _carried_out(source, REDUCTIONS[name], plan, progress)
    return _labelled(source, name, plan, values)


def _carried_out(source: ArraySource, reduction: Reduction, plan: ReductionPlan, progress: Progress | None) -> Array:
    """Values of the result; each part of it is finished before the next one is begun."""

    def work(task: ReductionTask) -> Partial:
        # NaN and inf are seen in the result: no need of numpy's warnings from the middle of a thread.
        with np.errstate(invalid="ignore", over="ignore"):
            partials = (reduction.start(source.read(region), plan.axes) for region in task.regions)
            return functools.reduce(reduction.combine, partials)

    result = np.zeros(plan.shape, plan.dtype)
    with contextlib.closing(in_order(work, plan.tasks(), plan.workers)) as results:
        reported = _reported(results, plan, source.spec.dtype.itemsize, progress)
        for target, group in itertools.groupby(reported, key=lambda pair: pair[0].target):
            with np.errstate(invalid="ignore", over="ignore"):
                total = functools.reduce(reduction.combine, (partial for _, partial in group))
                result[target] = reduction.finish(total, plan.count).reshape(result[target].shape)
    return result


def _reported(
    results: Iterable[tuple[ReductionTask, Partial]], plan: ReductionPlan, itemsize: int, progress: Progress | None
) -> Iterator[tuple[ReductionTask, Partial]]:
    done = nbytes = 0
    for task, partial in results:
        if progress is not None:
            done += len(task.regions)
            nbytes += itemsize * sum(math.prod(part.stop - part.start for part in region) for region in task.regions)
            progress(done, plan.blocks, nbytes)
        yield task, partial


def _labelled(source: ArraySource, name: str, plan: ReductionPlan, values: Array) -> xr.DataArray:
    """`values` with the coordinates that are left; attributes of the array only where they still hold."""
    variable = to_dataset({source.spec.name: source})[source.spec.name]
    attributes = dict(variable.attrs) if REDUCTIONS[name].keeps_values else {}
    units = {dim: unit for dim, unit in variable.attrs.get("axis_units", {}).items() if dim in plan.dims}
    attributes |= {"axis_units": units} if units else {}
    attributes |= {"reduction": name, "over": list(plan.over)}
    coordinates = {dim: variable.coords[dim] for dim in plan.dims if dim in variable.coords}
    return xr.DataArray(values, coordinates, plan.dims, source.spec.name, attributes)
