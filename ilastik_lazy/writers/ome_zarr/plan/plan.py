"""The values of a plan: levels, their shards, and which shards each shard is made from.

Everything here is arithmetic; nothing is read or written.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region, chunk_region, grid_shape, region_shape
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.views.whole_chunks import cell_of, interleaved
from ilastik_lazy.writers.ome_zarr.downsample import Method, downsample
from ilastik_lazy.writers.ome_zarr.encode import Codec
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = ["Level", "Plan", "Shard", "Version"]

Version = Literal["0.4", "0.5"]
"""Version of OME-Zarr: 0.4 uses Zarr v2, 0.5 uses v3."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of the pyramid; all tuples are in OME order."""

    number: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    """Shape of a shard: a multiple of `chunks`, converted as a whole by one task."""

    factors: tuple[int, ...]
    """Downsampling from the level before: 1 or 2 for each axis."""

    axes: tuple[Axis, ...]
    """Scale and translation of this level."""

    codec: Codec = "zstd"
    sharded: bool = True
    """Whether a shard is one file; in Zarr v2 each chunk is a file."""

    @property
    def path(self) -> str:
        """Path of the array in the store; its folder also holds the coordinates."""
        return f"scale{self.number}/image"

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of shards along each axis."""
        return grid_shape(self.shape, self.shards)

    def shard(self, index: Index) -> Shard:
        """Return the shard at a position in `grid`."""
        return Shard(self.number, index, self)

    def all_shards(self) -> Iterator[Shard]:
        """Every shard, in C order."""
        return map(self.shard, np.ndindex(self.grid))

    def settings(self) -> list[Any]:
        """The values that a manifest notes; `from_settings` reads them."""
        return [self.path, self.shape, self.chunks, self.shards, self.factors, self.codec, self.sharded]

    @classmethod
    def from_settings(cls, number: int, noted: Sequence[Any]) -> Level:
        """Return a level that knows only its shards and their keys, but no axes."""
        _, shape, chunks, shards, factors, codec, sharded = noted
        return cls(number, tuple(shape), tuple(chunks), tuple(shards), tuple(factors), (), codec, bool(sharded))


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard of a level: what one task converts, one unit for the journal.

    Where the array is not sharded, as in Zarr v2, it is the block of chunks that would be a shard.
    """

    number: int
    """Number of its level."""

    index: Index
    """Position in the grid of shards."""

    level: Level = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """What the journal calls it, such as ``0/3.2.1``."""
        return f"{self.number}/{'.'.join(map(str, self.index))}"

    @property
    def region(self) -> Region:
        """The part of the level that it holds, clipped to the level."""
        return chunk_region(self.index, self.level.shards, self.level.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return region_shape(self.region)

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def first_chunk(self) -> Index:
        """Position of its first chunk in the grid of all chunks of the level."""
        level = self.level
        return tuple(i * (s // c) for i, s, c in zip(self.index, level.shards, level.chunks, strict=True))

    @property
    def chunk_grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis, without those that lie outside the level."""
        return grid_shape(self.shape, self.level.chunks)

    @property
    def keys(self) -> list[str]:
        """Keys of its files: one, or one for each chunk, in the order of the checksum."""
        if self.level.sharded:
            return ["/".join([self.level.path, "c", *map(str, self.index)])]
        first = self.first_chunk
        return [
            "/".join([self.level.path, *(str(i + j) for i, j in zip(first, chunk, strict=True))])
            for chunk in np.ndindex(self.chunk_grid)
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what is written."""

    spec: ArraySpec
    permutation: tuple[int, ...]
    """``target axis k`` is ``source axis permutation[k]``."""

    levels: tuple[Level, ...]
    method: Method
    codec: Codec
    workers: int
    memory: int
    """Bytes that the conversion needs at most, beside the interpreter and its libraries."""

    spare: int
    """Bytes that may be used in addition to `memory`."""

    held: int = 0
    """Chunks of the source that each worker keeps, because several shards need them; 0 if none is shared."""

    version: Version = "0.5"
    verbatim: bool = False
    """Whether chunks of the source become chunks of level 0 without being compressed again."""

    reason: str = ""
    """Why chunks are moved as they are, or why not."""

    method_reason: str = ""
    """Why levels are made by `method`."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The voxels are stored as little-endian numbers."""
        return self.spec.dtype.newbyteorder("<")

    @property
    def voxels(self) -> int:
        return sum(math.prod(level.shape) for level in self.levels)

    @property
    def nbytes(self) -> int:
        """Decoded bytes of all levels."""
        return self.voxels * self.dtype.itemsize

    def source_region(self, region: Region) -> Region:
        """A region of level 0 in the source's own axis order."""
        parts = [slice(0, 0)] * len(region)
        for target, source in enumerate(self.permutation):
            parts[source] = region[target]
        return tuple(parts)

    def settings(self) -> dict[str, Any]:
        """Plain JSON values of everything that decides which voxels are written where."""
        return {
            "ome_zarr": self.version,
            # For a cube that is read with other axes, nothing else differs.
            "axes": "".join(self.spec.dims),
            "levels": [level.settings() for level in self.levels],
            "method": self.method,
            "moved chunks": self.verbatim,
        }

    def downsampled(self, shard: Shard, block: np.ndarray[Any, Any]) -> tuple[Region, np.ndarray[Any, Any]]:
        """Downsample `shard`; return its region in the next level, and the voxels there."""
        factors = self.levels[shard.number + 1].factors
        part = downsample(block, factors, self.method)
        start = [axis.start // f for axis, f in zip(shard.region, factors, strict=True)]
        return tuple(slice(s, s + n) for s, n in zip(start, part.shape, strict=True)), part

    def parent(self, shard: Shard) -> Shard | None:
        """Return the shard of the next level that receives the downsampled voxels; None if there are none."""
        if shard.number + 1 == len(self.levels):
            return None
        upper = self.levels[shard.number + 1]
        start = [part.start // f for part, f in zip(shard.region, upper.factors, strict=True)]
        # An odd last voxel alone in a shard is left out of the next level.
        if any(s >= length for s, length in zip(start, upper.shape, strict=True)):
            return None
        return upper.shard(tuple(s // size for s, size in zip(start, upper.shards, strict=True)))

    def children(self, shard: Shard) -> list[Shard]:
        """Return the shards of the previous level that `shard` is made from."""
        lower = self.levels[shard.number - 1]
        along = [
            range(part.start * f // size, -(-part.stop * f // size))
            for part, f, size in zip(shard.region, shard.level.factors, lower.shards, strict=True)
        ]
        return list(map(lower.shard, itertools.product(*along)))

    def below(self, shard: Shard) -> Iterator[Shard]:
        """Yield `shard` and all shards that it is made from, on all levels."""
        yield shard
        if shard.number > 0:
            for child in self.children(shard):
                yield from self.below(child)

    def all_shards(self) -> Iterator[Shard]:
        """Every shard of every level."""
        return itertools.chain.from_iterable(level.all_shards() for level in self.levels)

    def tops(self, highest: int | None = None) -> Iterator[Shard]:
        """Shards of level `highest`, and lower ones that feed no higher one: odd last voxels alone."""
        highest = len(self.levels) - 1 if highest is None else highest
        for level in self.levels[highest::-1]:
            shards = level.all_shards()
            for shard in sorted(shards, key=self._chunk_below) if self.held else shards:
                if level.number == highest or self.parent(shard) is None:
                    yield shard

    def remaining(self, done: Container[Shard], tops: Iterable[Shard] | None = None) -> Iterator[Shard]:
        """Yield the work left below `tops`, in an order that keeps few unfinished shards of upper levels in memory.

        A shard of level 0 that is not written is converted.  A written shard of any level that feeds an unwritten
        one is read back.  All others result from these.
        """
        for top in self.tops() if tops is None else tops:
            yield from self._remaining_below(top, top in done, done)

    def _remaining_below(self, shard: Shard, is_done: bool, done: Container[Shard]) -> Iterator[Shard]:
        if shard.number == 0:
            if not is_done:
                yield shard
            return
        for child in self.children(shard):
            child_is_done = child in done
            yield from self._remaining_below(child, child_is_done, done)
            if child_is_done and not is_done:
                yield child

    def in_turn(self, shards: Iterator[Shard]) -> Iterator[Shard]:
        """Reorder `shards` that share chunks of the source: those of one chunk for each worker in turn."""
        if not self.held or self.workers == 1:
            return shards

        def chunk_of(shard: Shard) -> Hashable:
            return shard if shard.number else self._chunk_below(shard)

        return interleaved(shards, chunk_of, self.workers)

    def _chunk_below(self, shard: Shard) -> tuple[int, ...]:
        """Return the chunk of the source in which a shard of any level begins."""
        while shard.number:
            shard = self.children(shard)[0]
        return cell_of(self.source_region(shard.region), self.spec.chunks)
