"""Carry out a plan: one pass over the source, all levels at once, a shard a task.

A finished shard is halved while it is in memory; the parts meet in the shard of the next level,
which is written as soon as it is whole.  So each source chunk is decoded once, and nothing that
was written is read back, but for what an interrupted conversion has left.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import region_shape
from ilastik_lazy.core.parallel import in_order
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit
from ilastik_lazy.writers.ome_zarr.conversion.intake import Intake, read_shard
from ilastik_lazy.writers.ome_zarr.conversion.units import Encoded, UnitWriter
from ilastik_lazy.writers.ome_zarr.downsample import downsample
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics, statistics_of
from ilastik_lazy.writers.ome_zarr.plan.pyramid import Plan
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index
from ilastik_lazy.writers.ome_zarr.plan.tasks import Task, in_turn

__all__ = ["Progress", "shard_bytes", "write_shards"]

Progress = Callable[[int, int], None]
"""Called with the decoded bytes of level 0 that are done, and all of them."""


def shard_bytes(plan: Plan, shard: Index) -> int:
    """Decoded bytes of a shard of level 0."""
    return math.prod(region_shape(plan.levels[0].region(shard))) * plan.dtype.itemsize


class _UpperShards:
    """Shards of levels 1 and up that still wait for some of their parts."""

    def __init__(self, plan: Plan, done: Container[Task]) -> None:
        self._plan, self._done = plan, done
        self._lock = threading.Lock()
        self._parts: dict[Task, tuple[np.ndarray[Any, Any], int]] = {}

    def add(self, task: Task, block: np.ndarray[Any, Any]) -> tuple[Task, np.ndarray[Any, Any]] | None:
        """Put what a shard gives to the next level in its place; returns that shard once it is whole."""
        level, shard = task
        upper_index = self._plan.parent(level, shard)
        if upper_index is None or (key := (level + 1, upper_index)) in self._done:
            return None
        upper, lower = self._plan.levels[level + 1], self._plan.levels[level]
        part = downsample(block, upper.factors, self._plan.method)
        region = upper.region(upper_index)
        start = [r.start // f for r, f in zip(lower.region(shard), upper.factors, strict=True)]
        place = tuple(slice(s - r.start, s - r.start + n) for s, r, n in zip(start, region, part.shape, strict=True))
        with self._lock:
            if key not in self._parts:
                self._parts[key] = (
                    np.empty(region_shape(region), self._plan.dtype),
                    math.prod(map(len, self._plan.children(*key))),
                )
            whole, missing = self._parts[key]
            whole[place] = part
            if missing > 1:
                self._parts[key] = whole, missing - 1
                return None
            del self._parts[key]
        return key, whole


def write_shards(
    writer: UnitWriter,
    source: ArraySource,
    tasks: Iterator[Task],
    done: Container[Task],
    *,
    workers: int,
    mask: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Unit]:
    """Do `tasks`, and write all shards that become whole by them.

    Parameters
    ----------
    done
        Shards that are written; none of them is written again.
    progress
        Called in this thread with the bytes of level 0 that a task has converted.

    Raises
    ------
    CorruptChunkError
        A chunk cannot be decoded, and `mask` is False.
    DestinationError
        A unit cannot be written.
    """
    plan = writer.plan
    upper = _UpperShards(plan, done)
    units: list[Unit] = []
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(_Disk(writer, workers))

        def convert(task: Task) -> tuple[int, list[Future[Unit]]]:
            if task in done:
                decoded, made, block = 0, [], writer.read(task)
            else:
                intake = read_shard(plan, source, task[1], mask=mask)
                block, decoded = intake.block, intake.block.nbytes
                encoded = writer.encode(task, intake)
                made = [disk.write(encoded, _statistics(plan, task[1], block), intake.masked)]
                del intake, encoded
            while (whole := upper.add(task, block)) is not None:
                task, block = whole
                made.append(disk.write(writer.encode(task, Intake(block))))
            return decoded, made

        # Closed at once when a shard fails, or `progress` raises: no thread outlives this call.
        results = stack.enter_context(contextlib.closing(in_order(convert, in_turn(plan, tasks), workers)))
        for _, (decoded, made) in results:
            units += [future.result() for future in made]
            if progress is not None:
                progress(decoded)
    return units


class _Disk:
    """Threads that wait for the disk, so that those which decode and encode need not: an fsync takes 5 to 10 ms.

    At most as many units wait as there are workers.
    """

    def __init__(self, writer: UnitWriter, workers: int) -> None:
        self._writer = writer
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ilastik_lazy disk")
        self._free = threading.BoundedSemaphore(workers)

    def __enter__(self) -> _Disk:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, encoded: Encoded, statistics: Statistics | None = None, masked: Sequence[str] = ()) -> Future[Unit]:
        self._free.acquire()
        future = self._pool.submit(self._writer.write, encoded, statistics, masked)
        future.add_done_callback(lambda _: self._free.release())
        return future


def _statistics(plan: Plan, shard: Index, block: np.ndarray[Any, Any]) -> Statistics:
    names = [axis.name for axis in plan.levels[0].axes]
    axis = names.index("c") if "c" in names else None
    first = 0 if axis is None else plan.levels[0].region(shard)[axis].start
    return statistics_of(plan.spec, block, axis, first)
