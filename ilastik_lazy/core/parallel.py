"""Work on a source block by block: which blocks, how many threads, and results in order."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ilastik_lazy.core.grid import (
    BLOCK_BYTES_LEAST,
    BLOCK_BYTES_MOST,
    Region,
    block_shape,
    grid_shape,
    region_shape,
    regions_of_blocks,
)
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError, option

__all__ = [
    "AHEAD",
    "MEMORY",
    "Progress",
    "block_bytes",
    "check_progress",
    "in_bytes",
    "in_order",
    "in_pass",
    "over_blocks",
    "threads_for",
    "work_block",
]

Progress = Callable[[int, int, int], None]
"""Called with blocks done, blocks in all, and decoded bytes so far; in the caller's thread only."""

MEMORY = 2 * 2**30

# Results that wait for an earlier one to be taken cost memory; three tasks per thread keep all threads busy.
AHEAD = 3

# A request waits for 20 to 100 ms, so that dozens are made at once: so large are the blocks of all cores together.
_REMOTE_BYTES = 128 * 2**20

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def threads_for(workers: int | None) -> int:
    """Return the wanted number of threads; without one, the number of processors that this process may use."""
    if workers is not None and not (isinstance(workers, int | np.integer) and workers >= 1):
        raise ArgumentError(f"{option('workers', workers)}: expected a whole number from 1 on")
    return workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def check_progress(progress: Callable[..., object] | None, arguments: int) -> None:
    """Raise `ArgumentError` unless `progress` can be called with so many numbers: before the work, not in its midst."""
    if progress is None:
        return
    if not callable(progress):
        raise ArgumentError(f"progress={progress!r}: expected True, or a function of {arguments} numbers")
    try:
        signature = inspect.signature(progress)
    except (TypeError, ValueError):
        return  # some builtins have no signature
    try:
        signature.bind(*range(arguments))
    except TypeError as error:
        raise ArgumentError(
            f"progress={progress!r} cannot be called with {arguments} numbers ({error}): correct its parameters"
        ) from error


def block_bytes(spec: ArraySpec) -> tuple[int, int]:
    """Return the least and the most bytes of a block that one thread reads at a time."""
    if not spec.storage.is_remote:
        return BLOCK_BYTES_LEAST, BLOCK_BYTES_MOST
    each = max(BLOCK_BYTES_LEAST, _REMOTE_BYTES // threads_for(None))
    return each, max(each, BLOCK_BYTES_MOST)


def work_block(spec: ArraySpec, *, is_small: bool = False) -> tuple[int, ...]:
    """Choose the block that one thread reads at a time: whole chunks, with as many bytes as `block_bytes` states.

    Larger blocks than the least are for images that have 64 of them.  Columns of chunks are decoded into place, 8 %
    faster than chunk by chunk; and since a column has left the cache anyway, blocks that would fit it are no faster.

    Parameters
    ----------
    is_small
        Whether memory is short: blocks on servers are as small as those of files.
    """
    least, most = (BLOCK_BYTES_LEAST, BLOCK_BYTES_MOST) if is_small else block_bytes(spec)
    most = min(most, max(least, spec.nbytes // 64))
    block = block_shape(spec.shape, spec.chunks, spec.dtype.itemsize, spec.dims, least=least, most=most)
    # An array without any values has blocks, too.
    return tuple(max(1, length) for length in block)


def in_order(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int
) -> Generator[tuple[_Task, _Result], None, None]:
    """Do `work` in threads, and yield each task with its result, in the order of `tasks`.

    At most `AHEAD` tasks per thread are begun or waiting to be taken.  When one fails, or the generator
    is closed, those not begun are dropped and the few running ones are waited for.
    """
    pending: deque[tuple[_Task, Future[_Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ilastik_lazy")
    try:
        for task in tasks:
            pending.append((task, pool.submit(work, task)))
            if len(pending) >= AHEAD * workers:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def over_blocks(
    source: ArraySource,
    work: Callable[[Region, np.ndarray[Any, Any]], _Result],
    workers: int,
    progress: Progress | None,
    number: int,
    passes: int,
) -> Iterator[tuple[Region, _Result]]:
    """Yield what `work` makes of each block, in order; `number` and `passes` say to `progress` which pass this is."""
    spec, block = source.spec, work_block(source.spec)
    blocks, nbytes = math.prod(grid_shape(spec.shape, block)), 0
    counted = in_pass(progress, number, passes, spec.nbytes)
    regions = regions_of_blocks(spec.shape, block)
    with contextlib.closing(in_order(lambda region: work(region, source.read(region)), regions, workers)) as results:
        for done, (region, result) in enumerate(results, 1):
            nbytes += math.prod(region_shape(region)) * spec.dtype.itemsize
            if counted is not None:
                counted(done, blocks, nbytes)
            yield region, result


def in_pass(progress: Progress | None, number: int, passes: int, nbytes: int) -> Progress | None:
    """Adapt `progress` over several passes to a call in pass `number`; each pass reads `nbytes`."""
    if progress is None:
        return None
    return lambda done, blocks, size: progress(number * blocks + done, passes * blocks, number * nbytes + size)


def in_bytes(progress: Callable[[int, int], None] | None, spec: ArraySpec) -> Progress | None:
    """Called as a `Progress`, calls `progress` with bytes done and bytes in all, those of every pass."""
    if progress is None:
        return None
    blocks = max(1, math.prod(grid_shape(spec.shape, work_block(spec))))
    return lambda _, all_blocks, size: progress(size, spec.nbytes * all_blocks // blocks)
