"""What a conversion will write, worked out before anything is touched: levels, shards, memory.

Everything here is arithmetic; ``--dry-run`` prints it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region, grid_shape
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.text import encodable
from ilastik_lazy.core.views.whole_chunks import chunks_held
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError, option
from ilastik_lazy.writers.ome_zarr.downsample import Method
from ilastik_lazy.writers.ome_zarr.encode.chunks import CODECS, Codec
from ilastik_lazy.writers.ome_zarr.plan.shapes import MOST_LEVELS, Index, inner_chunks, level_shapes, shard_shape

__all__ = ["OME_ORDER", "Level", "Plan", "Version", "plan_pyramid"]

OME_ORDER = ("t", "c", "z", "y", "x")
"""Order of axes that https://ngff.openmicroscopy.org/0.5/#multiscale-md demands."""

Version = Literal["0.4", "0.5"]
"""Of OME-Zarr: 0.4 lies on Zarr v2, 0.5 on v3."""

_SHARD_BYTES = 16 * 2**20
# What is computed once for all shards may take so much where nobody says how much memory there is.
_SPARE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of the pyramid; all tuples are in OME order."""

    number: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    """Shape of a shard: a multiple of `chunks`, converted as a whole by one task."""

    factors: tuple[int, ...]
    """1 or 2 for each axis: downsampling from the level before."""

    axes: tuple[Axis, ...]
    """Scale and translation of this level."""

    codec: Codec = "zstd"
    sharded: bool = True
    """Whether a shard is one file; else, as in Zarr v2, each chunk in it is."""

    @property
    def path(self) -> str:
        """Path of the array in the store; its folder also holds the coordinates."""
        return f"scale{self.number}/image"

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of shards along each axis."""
        return grid_shape(self.shape, self.shards)

    def region(self, shard: Index) -> Region:
        """The part of the level that a shard holds, clipped to the level."""
        return tuple(
            slice(i * size, min((i + 1) * size, length))
            for i, size, length in zip(shard, self.shards, self.shape, strict=True)
        )

    def shard_key(self, shard: Index) -> str:
        """Key of a shard that is one file."""
        return "/".join([self.path, "c", *map(str, shard)])

    def chunk_key(self, shard: Index, chunk: Index) -> str:
        """Key of a chunk that is a file of its own; `chunk` is counted from the start of its shard."""
        places = zip(shard, self.shards, self.chunks, chunk, strict=True)
        return "/".join([self.path, *(str(i * (size // length) + j) for i, size, length, j in places)])


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
    """Bytes that were granted beside these."""

    held: int = 0
    """Chunks of the source that each worker holds, since several shards need them; 0 where none is shared."""

    version: Version = "0.5"
    verbatim: bool = False
    """Whether chunks of the source become chunks of level 0 without being compressed again."""

    reason: str = ""
    """Why that is so, or why not."""

    method_reason: str = ""
    """Why levels are made by `method`."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Zarr holds little-endian numbers."""
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

    def parent(self, level: int, shard: Index) -> Index | None:
        """The shard of the next level that this one's downsampled voxels go to; None if there are none."""
        if level + 1 == len(self.levels):
            return None
        upper = self.levels[level + 1]
        start = [part.start // f for part, f in zip(self.levels[level].region(shard), upper.factors, strict=True)]
        # An odd last voxel that has a shard to itself is left out of the next level.
        if any(s >= length for s, length in zip(start, upper.shape, strict=True)):
            return None
        return tuple(s // size for s, size in zip(start, upper.shards, strict=True))

    def children(self, level: int, shard: Index) -> tuple[range, ...]:
        """Shards of the level before that `shard` is made of, along each axis."""
        upper, lower = self.levels[level], self.levels[level - 1]
        return tuple(
            range(part.start * f // size, -(-part.stop * f // size))
            for part, f, size in zip(upper.region(shard), upper.factors, lower.shards, strict=True)
        )


def plan_pyramid(
    spec: ArraySpec,
    *,
    levels: int | None = None,
    method: Method = "mean",
    codec: Codec | None = None,
    version: Version = "0.5",
    workers: int = 1,
    memory: int | None = None,
) -> Plan:
    """Plan the conversion of an array to OME-Zarr.

    Parameters
    ----------
    spec
        Of the source.
    levels
        Number of resolutions, the full one included; None goes on until no axis of space is longer than 256.
    codec
        How chunks are compressed; None takes ``zstd``, and ``blosc`` for 0.4, since many of the programs that
        read no newer version know no other: https://github.com/bcdev/jzarr has zlib and blosc.
    version
        Of OME-Zarr.
    workers
        Threads that convert one shard each.
    memory
        Bytes that may be used; None takes shards of 16 MiB.

    Raises
    ------
    AxesError
        The array has no y or no x axis.
    MemoryLimitError
        `memory` is too small; the message says what would do.
    """
    _check_convertible(spec)
    if levels is not None and not (isinstance(levels, int | np.integer) and 1 <= levels <= MOST_LEVELS):
        raise ArgumentError(f"{option('levels', levels)}: expected a whole number from 1 to {MOST_LEVELS}")
    if version not in get_args(Version):
        raise ArgumentError(f"{option('version', version)}: expected '0.5' or '0.4'")
    codec = codec or ("zstd" if version == "0.5" else "blosc")
    if codec not in CODECS:
        raise ArgumentError(f"{option('codec', codec)}: expected one of {', '.join(map(repr, CODECS))}")
    permutation = tuple(spec.dims.index(name) for name in OME_ORDER if name in spec.dims)
    shape = tuple(spec.shape[i] for i in permutation)
    axes = tuple(spec.axes[i] for i in permutation)
    stored = tuple(min(spec.chunks[i], spec.shape[i]) for i in permutation)
    itemsize = spec.dtype.itemsize
    chunks = inner_chunks(shape, stored, itemsize, axes)
    shapes = level_shapes(shape, axes, levels)
    factors = shapes[1][1] if len(shapes) > 1 else ()
    # Smaller shards first, then fewer workers: both cost speed, the second more.
    crews = [(part, workers) for part in (1, 2, 4)] + [(4, crew) for crew in range(workers - 1, 0, -1)]
    for part, crew in [*crews, (8, 1), (16, 1)]:
        shards = shard_shape(shape, stored, chunks, itemsize, axes, _SHARD_BYTES // part, factors)
        # Of chunks that are stored as they are, the wanted part alone is read.
        held = 0 if spec.storage.compression == "none" else chunks_held(shards, stored, shape)
        need = _memory(shards, stored, itemsize, crew, len(shapes), spec.storage.buffers, held)
        if memory is None or need <= memory:
            made = tuple(
                replace(level, codec=codec, sharded=version == "0.5")
                for level in _levels(shapes, axes, chunks, shards, method)
            )
            spec = replace(spec, channel_names=tuple(map(encodable, spec.channel_names)))
            spare = _SPARE if memory is None else memory - need
            return Plan(spec, permutation, made, method, codec, crew, need, spare, held, version)
    few = f"{option('memory', memory)} bytes are too few"
    raise MemoryLimitError(f"{few} to convert {spec.storage.location}: {-(-need // 10**6)} MB would do")


def _check_convertible(spec: ArraySpec) -> None:
    if missing := [name for name in "yx" if name not in spec.dims]:
        raise AxesError(f"{spec.storage.location} has no axis {missing[0]!r}: OME-Zarr holds images with y and x")
    if any(length == 0 for length in spec.shape):
        raise ArgumentError(f"{spec.storage.location} is empty (shape {spec.shape}): there is nothing to convert")
    if spec.dtype.kind not in "biuf" or spec.dtype.itemsize > 8:
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: Zarr has no such type")


def _levels(
    shapes: list[tuple[Index, Index]], axes: tuple[Axis, ...], chunks: Index, shards: Index, method: Method
) -> tuple[Level, ...]:
    made: list[Level] = []
    for number, (shape, factors) in enumerate(shapes):
        axes = tuple(_downsampled_axis(axis, factor, method) for axis, factor in zip(axes, factors, strict=True))
        inner = tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
        # One shard along an axis may be cut to whole chunks; several keep their length, or parents would not align.
        outer = tuple(-(-n // c) * c if n <= s else s for n, c, s in zip(shape, inner, shards, strict=True))
        made.append(Level(number, shape, inner, outer, factors, axes))
    return tuple(made)


def _downsampled_axis(axis: Axis, factor: int, method: Method) -> Axis:
    """Twice the step, and half an old step further: the middle of each pair, but where its first voxel is taken."""
    if factor == 1:
        return axis
    step = axis.scale or 1.0
    moved = 0.0 if method == "nearest" else step * (factor - 1) / 2
    return replace(axis, scale=step * factor, translation=axis.translation + moved)


def _memory(
    shards: Index, stored: Index, itemsize: int, workers: int, levels: int, buffers: int = 2, held: int = 0
) -> int:
    """Bytes at the worst: for each worker a block as read, moved, encoded, and on its way to the disk; upper shards.

    A chunk that is held was decoded in its place, without a copy; and each worker begins an upper shard of its own.
    """
    shard, chunk = math.prod(shards) * itemsize, math.prod(stored) * itemsize
    chunks, waiting = (held + buffers - 1, (workers - 1) * shard) if held else (buffers, 0)
    return workers * (4 * shard + chunks * chunk) + (levels - 1) * 2 * shard + waiting + 16 * 2**20
