"""Carry out a plan: one pass over the source, all levels at once, one shard in each task.

A shard is halved while it is in memory; the parts are collected in the shard of the next level, which is
written as soon as it is complete.  So each source chunk is decoded once, and nothing is read back, except
what an interrupted conversion has left.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from ilastik_lazy.core.parallel import in_order
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit
from ilastik_lazy.writers.ome_zarr.conversion.shards import Intake, ShardReader, ShardWriter, read_back
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics, statistics_of
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard

__all__ = ["Writer", "write_shards"]


class Writer(Protocol):
    """Encodes and writes shards; both in several threads at once."""

    def encode(self, shard: Shard, intake: Intake) -> Any:
        """Return what `write` is given."""

    def write(self, shard: Shard, files: Any, statistics: Statistics | None = None, masked: Sequence[str] = ()) -> Unit:
        """Write what `encode` returned."""


class _UpperShards:
    """Shards of levels 1 and up that still wait for some of their parts."""

    def __init__(self, plan: Plan, done: Container[Shard]) -> None:
        self._plan, self._done = plan, done
        self._lock = threading.Lock()
        self._parts: dict[Shard, tuple[np.ndarray[Any, Any], int]] = {}

    def add(self, shard: Shard, block: np.ndarray[Any, Any]) -> tuple[Shard, np.ndarray[Any, Any]] | None:
        """Downsample `block` into the shard of the next level; return that shard once it is whole."""
        upper = self._plan.parent(shard)
        if upper is None or upper in self._done:
            return None
        region, part = self._plan.downsampled(shard, block)
        place = tuple(slice(r.start - u.start, r.stop - u.start) for r, u in zip(region, upper.region, strict=True))
        with self._lock:
            if upper not in self._parts:
                self._parts[upper] = np.empty(upper.shape, self._plan.dtype), len(self._plan.children(upper))
            whole, missing = self._parts[upper]
            whole[place] = part
            if missing > 1:
                self._parts[upper] = whole, missing - 1
                return None
            del self._parts[upper]
        return upper, whole


def write_shards(
    reader: ShardReader,
    writer: Writer,
    shards: Iterator[Shard],
    done: Container[Shard],
    *,
    workers: int,
    progress: Callable[[int], None] | None = None,
    ranges: bool = True,
) -> list[Unit]:
    """Convert or read back `shards`, and write all shards that become whole by them.

    Parameters
    ----------
    done
        Shards that are written; none of them is written again.
    progress
        Called in this thread with the bytes of level 0 that were converted.
    ranges
        Whether the ranges of the voxels are measured.

    Raises
    ------
    CorruptChunkError
        A chunk cannot be decoded, and `reader` does not mask it.
    DestinationError
        A shard cannot be written.
    """
    plan = reader.plan
    upper = _UpperShards(plan, done)
    units: list[Unit] = []
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(_Disk(writer, workers))

        def convert(shard: Shard) -> tuple[int, list[Future[Unit]]]:
            if shard in done:
                assert isinstance(writer, ShardWriter), "only a conversion to OME-Zarr is resumed"
                decoded, made, block = 0, [], read_back(writer.store, shard, plan.dtype)
            else:
                intake = reader.read(shard)
                block, decoded = intake.block, intake.block.nbytes
                files = writer.encode(shard, intake)
                measured = statistics_of(plan.spec, shard, block, ranges=ranges)
                made = [disk.write(shard, files, measured, intake.masked)]
                del intake, files
            while (whole := upper.add(shard, block)) is not None:
                shard, block = whole
                made.append(disk.write(shard, writer.encode(shard, Intake(block))))
            return decoded, made

        # Closed at once if a shard fails or `progress` raises, so that no thread outlives this call.
        results = stack.enter_context(contextlib.closing(in_order(convert, plan.in_turn(shards), workers)))
        for _, (decoded, made) in results:
            units += [future.result() for future in made]
            if progress is not None:
                progress(decoded)
    return units


class _Disk:
    """Threads that wait for the disk, so that the threads that decode and encode do not: an fsync takes 5 to 10 ms.

    At most as many shards wait as there are workers.
    """

    def __init__(self, writer: Writer, workers: int) -> None:
        self._writer = writer
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ilastik_lazy disk")
        self._free = threading.BoundedSemaphore(workers)

    def __enter__(self) -> _Disk:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, shard: Shard, files: Any, *noted: Any) -> Future[Unit]:
        """Have `Writer.write` called with these arguments."""
        self._free.acquire()
        future = self._pool.submit(self._writer.write, shard, files, *noted)
        future.add_done_callback(lambda _: self._free.release())
        return future
