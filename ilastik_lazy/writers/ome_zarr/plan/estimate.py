"""Estimate the time of a conversion and the size of its store from a few shards, without writing anything.

With disks and servers that are slower than the processors a conversion takes longer than estimated.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass

import numpy as np

from ilastik_lazy.core.parallel import in_order
from ilastik_lazy.core.size_text import human_bytes, human_seconds
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.writers.ome_zarr.conversion.shards import ShardReader
from ilastik_lazy.writers.ome_zarr.downsample import downsample
from ilastik_lazy.writers.ome_zarr.encode import encode_chunks
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard

__all__ = ["Estimate", "estimate_conversion"]

# Rounds of one shard for each worker; a shard before them is not counted: it waits for imports, threads and the disk.
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and size of a conversion, extrapolated from a few shards."""

    seconds: float
    nbytes: int
    """Bytes of the store."""

    measured: int
    """Decoded bytes of the source that were converted to measure this."""

    def __str__(self) -> str:
        return (
            f"about {human_seconds(self.seconds)} and {human_bytes(self.nbytes)} on disk, an estimate: "
            f"{human_bytes(self.measured)} were converted in memory, nothing was written"
        )


def estimate_conversion(source: ArraySource, plan: Plan) -> Estimate:
    """Read, downsample and encode a few shards of `source` with the workers of `plan`, in memory.

    Raises
    ------
    CorruptChunkError
        A chunk of these shards cannot be decoded.
    """
    level = plan.levels[0]
    wanted = _spread(math.prod(level.grid), 1 + _ROUNDS * plan.workers)
    warm, *counted = [level.shard(tuple(map(int, np.unravel_index(number, level.grid)))) for number in wanted]
    convert = functools.partial(_convert, ShardReader(plan, source))
    convert(warm)
    start = time.perf_counter()
    results = [result for _, result in in_order(convert, counted or [warm], plan.workers)]
    seconds = time.perf_counter() - start
    decoded = sum(size for size, _ in results)
    share = plan.spec.nbytes / decoded
    return Estimate(seconds * share, round(sum(encoded for _, encoded in results) * share), decoded)


def _spread(count: int, most: int) -> list[int]:
    """Choose up to `most` of `count` numbers, as far apart as possible.

    >>> _spread(10, 3), _spread(2, 5)
    ([0, 3, 6], [0, 1])
    """
    return [i * count // most for i in range(most)] if count > most else list(range(count))


def _convert(reader: ShardReader, shard: Shard) -> tuple[int, int]:
    """Convert a shard; returns its decoded and encoded bytes, the latter with its part of all levels."""
    intake = reader.read(shard)
    block, streams = intake.block, intake.streams
    decoded, encoded = block.nbytes, 0
    for level in reader.plan.levels:
        if level.number:
            block, streams = downsample(block, level.factors, reader.plan.method), {}
        encoded += sum(len(data) for _, data in encode_chunks(block, level.chunks, level.codec, streams))
    return decoded, encoded
