"""One unit: its files, written and noted in the journal, and read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import grid_shape, region_shape
from ilastik_lazy.errors import DestinationBusyError, VerificationError
from ilastik_lazy.storage.stores import PLAN, Store
from ilastik_lazy.writers.ome_zarr.commit.journal import Journal, Unit, checksum
from ilastik_lazy.writers.ome_zarr.conversion.intake import Intake
from ilastik_lazy.writers.ome_zarr.encode.chunks import decode_chunks, encode_chunks
from ilastik_lazy.writers.ome_zarr.encode.shard import decode_shard, encode_shard
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics
from ilastik_lazy.writers.ome_zarr.plan.pyramid import Level, Plan
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index
from ilastik_lazy.writers.ome_zarr.plan.tasks import Task, unit_name

__all__ = ["Encoded", "UnitWriter", "matches", "read_unit", "unit_keys"]


def unit_keys(level: Level, shard: Index) -> list[str]:
    """Keys of the files of a unit, in the order in which its checksum takes them."""
    if level.sharded:
        return [level.shard_key(shard)]
    grid = grid_shape(region_shape(level.region(shard)), level.chunks)
    return [level.chunk_key(shard, chunk) for chunk in np.ndindex(grid)]


def _files(
    level: Level, shard: Index, block: np.ndarray[Any, Any], streams: Mapping[Index, bytes]
) -> Iterator[tuple[str, Sequence[bytes]]]:
    if level.sharded:
        yield level.shard_key(shard), encode_shard(block, level.chunks, level.shards, level.codec, streams)
    else:
        for chunk, encoded in encode_chunks(block, level.chunks, level.codec, streams):
            yield level.chunk_key(shard, chunk), [encoded]


def matches(plan: Plan, store: Store, task: Task, unit: Unit, *, deep: bool) -> bool:
    """Whether the files of a unit are there, and as long as noted; `deep` reads them and compares the checksum."""
    keys = unit_keys(plan.levels[task[0]], task[1])
    if not deep:
        return sum(store.size(key) or 0 for key in keys) == unit.nbytes
    found = [store.get(key) for key in keys]
    parts = [part for part in found if part is not None]
    return len(parts) == len(found) and sum(map(len, parts)) == unit.nbytes and checksum(parts) == unit.crc32c


@dataclass(frozen=True, slots=True)
class Encoded:
    """The files of one unit, in the order in which its checksum takes them."""

    task: Task
    files: list[tuple[str, Sequence[bytes]]]
    """Key, and parts of each."""


@dataclass(frozen=True, slots=True)
class UnitWriter:
    """Writes and reads the units of one conversion; small when pickled."""

    plan: Plan
    store: Store
    journal: Journal
    begun: bytes | None = None
    """What the plan at the place must say; None where this process holds the lock."""

    def encode(self, task: Task, intake: Intake) -> Encoded:
        """The files of the part of a shard that lies inside the level."""
        return Encoded(task, list(_files(self.plan.levels[task[0]], task[1], intake.block, intake.streams)))

    def write(self, encoded: Encoded, statistics: Statistics | None = None, masked: Sequence[str] = ()) -> Unit:
        """Write the files of a unit, and only then note it.

        Raises
        ------
        DestinationBusyError
            Another conversion has begun there since.
        """
        if self.begun is not None and self.store.get(PLAN) != self.begun:
            raise DestinationBusyError(f"{self.store.place}: another conversion has begun there, or it was removed")
        written, crc = 0, 0
        for key, parts in encoded.files:
            written += self.store.put(key, parts)
            crc = checksum(parts, crc)
        unit = Unit(unit_name(encoded.task), written, crc, statistics, tuple(masked))
        self.journal.add(unit)
        return unit

    def read(self, task: Task) -> np.ndarray[Any, Any]:
        """Decode a unit that is written (see `read_unit`)."""
        return read_unit(self.plan, self.store, task)


def read_unit(plan: Plan, store: Store, task: Task) -> np.ndarray[Any, Any]:
    """Decode a unit that is written.

    Raises
    ------
    VerificationError
        A file of it is gone.
    CorruptChunkError
        It is not as it was written.
    """
    level = plan.levels[task[0]]
    files = []
    for key in unit_keys(level, task[1]):
        if (data := store.get(key)) is None:
            raise VerificationError(f"{store.place}: {key} is gone")
        files.append(data)
    shape = region_shape(level.region(task[1]))
    if level.sharded:
        return decode_shard(files[0], shape, plan.dtype, level.chunks, level.shards, level.codec)
    places = np.ndindex(grid_shape(shape, level.chunks))
    return decode_chunks(zip(places, files, strict=True), shape, plan.dtype, level.chunks, level.codec)
