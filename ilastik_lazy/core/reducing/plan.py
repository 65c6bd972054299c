"""Reduce dims out of core: threads read and reduce blocks, the caller's thread merges the results.

A `Reduction` is three pure functions.  Its partial results are merged in the order of the blocks,
so that the result has the same bits for any number of threads.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.grid import Region, grid_shape, region_shape, regions_of_blocks
from ilastik_lazy.core.parallel import AHEAD, MEMORY, Progress, in_order, threads_for, work_block
from ilastik_lazy.core.reducing.arithmetic import REDUCTIONS, Array, Partial, Reduction
from ilastik_lazy.core.size_text import human_bytes, parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError, option, remedy

__all__ = ["ReductionPlan", "carried_out", "plan_reduction"]


class ReductionTask(NamedTuple):
    """The work of one thread at a time."""

    target: Region
    """The part of the result that the blocks belong to."""

    regions: tuple[Region, ...]
    """Blocks to read, one after the other; all have the same target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReductionPlan:
    """How a reduction will be carried out: blocks, result, threads and memory."""

    source_shape: tuple[int, ...]
    block: tuple[int, ...]
    """Shape of what is read at a time, in the order of `source_shape`."""

    over: tuple[str, ...]
    """Dims that are reduced, in storage order."""

    axes: tuple[int, ...]
    """Numbers of these dims."""

    dims: tuple[str, ...]
    """Dims of the result, in storage order."""

    dtype: np.dtype[Any]
    run: int
    """Largest number of blocks in a task."""

    workers: int
    """Threads: as many as requested, or as the memory allows."""

    nbytes: int
    """Largest memory of result, blocks and partials together, in bytes."""

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
        """Yield all tasks; tasks with the same target follow each other, so that one target at a time is unfinished."""
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


def _axes_over(spec: ArraySpec, over: Iterable[str] | None) -> tuple[int, ...]:
    wanted = tuple(name.lower() for name in over or ()) or spec.dims
    if unknown := [name for name in wanted if name not in spec.dims]:
        raise AxesError(
            f"cannot reduce over {unknown[0]!r}: {spec.storage.location} has the axes {', '.join(spec.dims)}"
        )
    return tuple(i for i, name in enumerate(spec.dims) if name in wanted)


def plan_reduction(
    spec: ArraySpec,
    name: str,
    over: Iterable[str] | None = None,
    *,
    skipna: bool | None = None,
    workers: int | None = None,
    memory: str | int = MEMORY,
) -> ReductionPlan:
    """Decide how `reduce` will work; nothing is read.

    Parameters
    ----------
    spec
        The image: one of the ``images`` of `ilastik_lazy.info`.
    name, over, skipna, workers, memory
        See `reduce`, also for the errors.

    Returns
    -------
    ReductionPlan
        Dims, shape and dtype of the result; the blocks to read, the threads, and their memory in bytes.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> plan = il.reductions.plan_reduction(il.info(sample("probabilities")).images[0], "max", over="z")
    >>> plan.dims, plan.shape, plan.dtype
    (('y', 'x', 'c'), (128, 160, 2), dtype('float32'))
    """
    return _plan(spec, _reduction_of(spec, name, skipna), _axes_over(spec, over), workers, parse_size(memory, "memory"))


def _reduction_of(spec: ArraySpec, name: str, skipna: bool | None) -> Reduction:
    if name not in REDUCTIONS:
        raise ArgumentError(f"unknown reduction {name!r}: expected one of {', '.join(REDUCTIONS)}")
    if not (skipna is None or isinstance(skipna, bool | np.bool_)):
        raise ArgumentError(f"{option('skipna', skipna)}: expected True, False, or None (True for floats)")
    found = REDUCTIONS[name]
    is_skipping = spec.dtype.kind == "f" and (skipna is None or bool(skipna))
    return found.without_nan if is_skipping and found.without_nan is not None else found


def _plan(
    spec: ArraySpec, reduction: Reduction, axes: tuple[int, ...], workers: int | None, memory: int
) -> ReductionPlan:
    if spec.dtype.kind not in "biuf":
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: only numbers can be reduced")
    over = tuple(spec.dims[axis] for axis in axes)
    if 0 in (spec.shape[axis] for axis in axes) and not reduction.of_nothing:
        raise ArgumentError(f"{spec.storage.location} has no values over {', '.join(over)}: its shape is {spec.shape}")
    # One value shows the dtypes of a partial and of the result.
    partial = reduction.start(np.zeros((1,) * spec.ndim, spec.dtype), axes)
    dtype = reduction.finish(partial, 1).dtype
    result_bytes = math.prod(_without(spec.shape, axes)) * dtype.itemsize
    for is_small in (False, True):
        block = work_block(spec, is_small=is_small)
        elements, values = math.prod(_without(block, axes)), math.prod(block)
        run, blocks = 1, math.prod(grid_shape(spec.shape, block))
        if values < 16 * elements:
            # Partials nearly as large as blocks (over c, say) would keep the merging thread busier than all others.
            run = max(8, min(32, blocks // 256))
        partial_bytes = elements * sum(part.dtype.itemsize for part in partial)
        # A thread has a block, the chunk that it decodes, a slab, two partials that it merges, and those that wait.
        each = (values + 2 * math.prod(spec.chunks)) * spec.dtype.itemsize + 2**20 + (2 + AHEAD) * partial_bytes
        fixed = result_bytes + 3 * partial_bytes
        if fixed + threads_for(workers) * each <= memory:
            break
    if fixed + each > memory:
        fewer = ", or reduce over more axes"
        fewer += remedy(", or reduce what open_dataarray returns and write it to Zarr")
        raise MemoryLimitError(
            f"reducing {spec.storage.location} over {', '.join(over)} needs {human_bytes(fixed + each)}, of which the "
            f"result takes {human_bytes(result_bytes)}, more than {option('memory', human_bytes(memory))}: "
            f"allow more memory{fewer if len(axes) < spec.ndim else ''}"
        )
    workers = min(threads_for(workers), (memory - fixed) // each, max(1, blocks))
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


def carried_out(
    source: ArraySource, name: str, plan: ReductionPlan, skipna: bool | None, progress: Progress | None
) -> Array:
    """Compute the values of the result; each part is finished before the next one begins."""
    reduction = _reduction_of(source.spec, name, skipna)

    def work(task: ReductionTask) -> Partial:
        # NaN and inf show in the result: numpy need not warn of them in a thread.
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
            nbytes += itemsize * sum(math.prod(region_shape(region)) for region in task.regions)
            progress(done, plan.blocks, nbytes)
        yield task, partial
