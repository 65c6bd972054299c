"""The same conversion on a dask.distributed cluster: subtrees of the pyramid are tasks, and write their own shards.

A task notes at the target what it has written.  If its worker dies, the task is run again and continues there.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Any

from ilastik_lazy.errors import CorruptChunkError, DestinationError, option
from ilastik_lazy.storage.object_store.store import RemoteStore
from ilastik_lazy.storage.stores import PLAN, WORK
from ilastik_lazy.writers.ome_zarr.commit.journal import Journal, read_journals
from ilastik_lazy.writers.ome_zarr.conversion.one_pass import write_shards
from ilastik_lazy.writers.ome_zarr.conversion.shards import ShardReader, ShardWriter
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard

__all__ = ["write_on_cluster"]

_MOST_SHARDS = 32
"""Shards of level 0 in one task: a lost task costs at most their time."""
_TASKS_PER_THREAD = 4


@dataclass(frozen=True, slots=True)
class _Below:
    """Shards that a task does not write: those of higher levels, and those that are written already."""

    level: int
    written: frozenset[Shard]

    def __contains__(self, shard: object) -> bool:
        return shard in self.written or (isinstance(shard, Shard) and shard.number > self.level)


def write_on_cluster(
    client: Any,
    reader: ShardReader,
    writer: ShardWriter,
    done: Container[Shard],
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write all levels up to one whose shards keep the cluster busy; higher levels are left to the caller.

    Raises
    ------
    CorruptChunkError
        A chunk cannot be decoded, or workers die over it.
    DestinationError
        A worker does not see the target, or the cluster has ended.
    """
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    plan = reader.plan
    # Workers outlive a client that is killed: what they still write must not reach another conversion.
    writer = replace(writer, begun=writer.store.get(PLAN))
    level = _task_level(plan, sum(client.nthreads().values()))
    futures = {}
    for root in plan.tops(level):
        if next(plan.remaining(done, [root]), None) is not None:
            written = frozenset(shard for shard in plan.below(root) if shard in done)
            # Not scattered: data in a worker die with it.
            futures[client.submit(_write_subtree, reader, writer, root, written, pure=False)] = root
    try:
        completed: Any = as_completed  # not typed
        for future in completed(list(futures)):
            try:
                decoded = future.result()
            except KilledWorker as error:
                raise CorruptChunkError(
                    f"{plan.spec.storage.location}: workers died over {futures[future].name}; "
                    f"what is written stays, continue with {option('resume', True)}"
                ) from error
            if progress is not None:
                progress(decoded)
    except (CancelledError, CommClosedError, ClosedClientError) as error:
        raise DestinationError(
            f"{writer.store.place}: the cluster is gone; what is written stays, continue with {option('resume', True)}"
        ) from error
    finally:
        if client.status == "running":
            client.cancel(list(futures))


def _task_level(plan: Plan, threads: int) -> int:
    """The highest level with many shards that are made of few: each becomes one task."""
    shards = math.prod(plan.levels[0].grid)
    # A chunk that several shards share is read once if they are in one task.
    least = next((level.number for level in plan.levels if _holds_chunks(plan, level.number)), 0)
    for number in range(len(plan.levels) - 1, least, -1):
        count = sum(1 for _ in plan.tops(number))
        if count >= _TASKS_PER_THREAD * threads and shards <= _MOST_SHARDS * count:
            return number
    return least


def _holds_chunks(plan: Plan, number: int) -> bool:
    """Whether a shard of a level is made of at least one chunk of the source."""
    if not plan.held:
        return True
    factors = [math.prod(along) for along in zip(*(level.factors for level in plan.levels[: number + 1]), strict=True)]
    made_of = [size * factor for size, factor in zip(plan.levels[number].shards, factors, strict=True)]
    chunks = [min(plan.spec.chunks[i], plan.spec.shape[i]) for i in plan.permutation]
    return all(length >= chunk for length, chunk in zip(made_of, chunks, strict=True))


def _write_subtree(reader: ShardReader, writer: ShardWriter, root: Shard, written: frozenset[Shard]) -> int:
    """Run one task in a worker; returns the decoded bytes of level 0 below `root` that were not written before."""
    shards = list(reader.plan.below(root))
    decoded = sum(shard.voxels for shard in shards if not shard.number and shard not in written)
    if not isinstance(writer.store, RemoteStore):
        if WORK not in (writer.store.names() or []):
            # The worker would write to its own disk.
            raise DestinationError(
                f"{writer.store.place} is not there on {socket.gethostname()}: all workers must share the target"
            )
        # A worker that died in this task may have written some; in a bucket each line would cost a request.
        noted = read_journals(writer.store)
        written |= {shard for shard in shards if shard.name in noted}
    write_shards(
        reader,
        replace(writer, journal=Journal(writer.store)),
        reader.plan.remaining(written, [root]),
        _Below(root.number, written),
        workers=1,
    )
    return decoded * reader.plan.dtype.itemsize
