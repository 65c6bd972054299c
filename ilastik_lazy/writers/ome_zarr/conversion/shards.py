"""One shard: read from the source, encoded, written and noted in the journal, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, region_shape, regions_of_blocks
from ilastik_lazy.core.spec import ArraySource, EncodedChunks
from ilastik_lazy.errors import CorruptChunkError, DestinationBusyError, VerificationError
from ilastik_lazy.storage.stores import PLAN, ReadableStore, Store
from ilastik_lazy.writers.ome_zarr.commit.journal import Journal, Unit, checksum
from ilastik_lazy.writers.ome_zarr.encode import decode_chunks, decode_shard, encode_chunks, encode_shard
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index
from ilastik_lazy.writers.ome_zarr.verbatim import gzip_from_zlib

__all__ = ["Files", "Intake", "ShardReader", "ShardWriter", "damage", "has_length", "read_back"]

Array = np.ndarray[Any, Any]

Files = list[tuple[str, Sequence[bytes]]]
"""Key and parts of each file of a shard, in the order of the checksum."""


@dataclass(slots=True)
class Intake:
    """What was read for one shard."""

    block: Array
    """Voxels in the target's order of axes and its dtype, contiguous."""

    streams: dict[Index, bytes] = field(default_factory=dict)
    """Encoded chunks by their place in the shard; only if the plan is verbatim."""

    masked: list[str] = field(default_factory=list)
    """Errors of the chunks that cannot be decoded and are filled."""


@dataclass(frozen=True, slots=True)
class ShardReader:
    """Reads shards of level 0 from a source; small when pickled."""

    plan: Plan
    source: ArraySource
    mask: bool = False
    """Fill chunks that cannot be decoded, with NaN or 0, and report them."""

    def read(self, shard: Shard) -> Intake:
        """Read what one shard holds.

        Raises
        ------
        CorruptChunkError
            A chunk cannot be decoded, and `mask` is False.
        """
        region = self.plan.source_region(shard.region)
        streams: dict[Index, bytes] = {}
        masked: list[str] = []
        try:
            values = self._read(region, shard.first_chunk, streams)
        except CorruptChunkError:
            if not self.mask:
                raise
            values = self._read_with_gaps(region, masked)
        block = np.ascontiguousarray(values.transpose(self.plan.permutation), self.plan.dtype)
        return Intake(block, {} if masked else streams, masked)

    def _read(self, region: Region, first: Index, streams: dict[Index, bytes]) -> Array:
        if not self.plan.verbatim or not isinstance(self.source, EncodedChunks):
            return self.source.read(region)

        def keep(chunk: Index, stream: bytes, decoded: Array) -> None:
            if (moved := gzip_from_zlib(stream, decoded)) is not None:
                streams[tuple(chunk[i] - start for i, start in zip(self.plan.permutation, first, strict=True))] = moved

        return self.source.read_encoded(region, keep)

    def _read_with_gaps(self, region: Region, masked: list[str]) -> Array:
        """Read chunk by chunk, and fill gaps with NaN, or with 0 if the voxels are integers."""
        spec = self.source.spec
        out = np.full(region_shape(region), np.nan if spec.dtype.kind == "f" else 0, spec.dtype)
        for piece in regions_of_blocks(out.shape, spec.chunks):
            place = tuple(
                slice(part.start + inner.start, part.start + inner.stop)
                for part, inner in zip(region, piece, strict=True)
            )
            try:
                out[piece] = self.source.read(place)
            except CorruptChunkError as error:
                masked.append(str(error))
        return out


@dataclass(frozen=True, slots=True)
class ShardWriter:
    """Writes the shards of one conversion; small when pickled."""

    store: Store
    journal: Journal
    begun: bytes | None = None
    """The plan that has to be in the store; None if this process holds the lock."""

    def encode(self, shard: Shard, intake: Intake) -> Files:
        """Encode the part of a shard that lies inside the level."""
        level = shard.level
        if level.sharded:
            parts: list[Sequence[bytes]] = [
                encode_shard(intake.block, level.chunks, level.shards, level.codec, intake.streams)
            ]
        else:
            parts = [[data] for _, data in encode_chunks(intake.block, level.chunks, level.codec, intake.streams)]
        return list(zip(shard.keys, parts, strict=True))

    def write(
        self, shard: Shard, files: Files, statistics: Statistics | None = None, masked: Sequence[str] = ()
    ) -> Unit:
        """Write the files of a shard, and only then note it.

        Raises
        ------
        DestinationBusyError
            Another conversion has begun there since.
        """
        if self.begun is not None and self.store.get(PLAN) != self.begun:
            raise DestinationBusyError(f"{self.store.place}: another conversion has begun there, or it was removed")
        written, crc = 0, 0
        for key, parts in files:
            written += self.store.put(key, parts)
            crc = checksum(parts, crc)
        unit = Unit(shard.name, written, crc, statistics, tuple(masked))
        self.journal.add(unit)
        return unit


def damage(store: ReadableStore, shard: Shard, unit: Unit) -> str:
    """Read the files of a shard, and say what differs from what is noted; empty if they are sound."""
    parts = []
    for key in shard.keys:
        if (data := store.get(key)) is None:
            return f"{key} is missing"
        parts.append(data)
    if (found := sum(map(len, parts))) != unit.nbytes:
        return f"{shard.keys[0]} has {found} bytes, and was written with {unit.nbytes}"
    is_same = checksum(parts) == unit.crc32c
    return "" if is_same else f"{shard.keys[0]} is not as it was written: its checksum differs"


def has_length(store: Store, shard: Shard, unit: Unit) -> bool:
    """Whether the files of a shard have the length that is noted, without reading them."""
    return sum(store.size(key) or 0 for key in shard.keys) == unit.nbytes


def read_back(store: Store, shard: Shard, dtype: np.dtype[Any]) -> Array:
    """Decode a shard that is written.

    Raises
    ------
    VerificationError
        A file is gone.
    CorruptChunkError
        A file is not as it was written.
    """
    level = shard.level
    files = []
    for key in shard.keys:
        if (data := store.get(key)) is None:
            raise VerificationError(f"{store.place}: {key} is gone")
        files.append(data)
    if level.sharded:
        return decode_shard(files[0], shard.shape, dtype, level.chunks, level.shards, level.codec)
    places = np.ndindex(shard.chunk_grid)
    return decode_chunks(zip(places, files, strict=True), shard.shape, dtype, level.chunks, level.codec)
