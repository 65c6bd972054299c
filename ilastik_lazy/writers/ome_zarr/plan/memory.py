"""How much memory a conversion needs, by the lengths of its shards and chunks and the number of its workers."""

from __future__ import annotations

import math

from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = ["memory_needed"]


def memory_needed(
    shards: Index, stored: Index, itemsize: int, workers: int, levels: int, buffers: int = 2, held: int = 0
) -> int:
    """Return the bytes in the worst case.

    Each worker has a block as read, moved, encoded, and waiting to be written; there are upper shards besides.
    A chunk that is held was decoded in place, without a copy; and each worker begins an upper shard of its own.
    """
    shard, chunk = math.prod(shards) * itemsize, math.prod(stored) * itemsize
    chunks, waiting = (held + buffers - 1, (workers - 1) * shard) if held else (buffers, 0)
    return workers * (4 * shard + chunks * chunk) + (levels - 1) * 2 * shard + waiting + 16 * 2**20
