"""The levels of a served image: those that are stored, and others, made when a chunk of them is asked for.

A chunk is halved from chunks of the level below, and these are kept, up to a number of bytes that all images of a
server share.  The voxels are those that `to_ome_zarr` writes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.core.display import as_shown
from ilastik_lazy.core.grid import Region, overlaps, region_shape
from ilastik_lazy.core.spec import COMPUTED, ArraySource, ArraySpec, EncodedChunks
from ilastik_lazy.core.views.view import leaves_of, storage_of
from ilastik_lazy.core.views.whole_chunks import WholeChunks, chunks_held
from ilastik_lazy.formats.zarr.array import coarser_levels
from ilastik_lazy.storage.files import Stamp, require_unchanged, stamp_of
from ilastik_lazy.writers.ome_zarr.downsample import Method, downsample
from ilastik_lazy.writers.ome_zarr.encode import whole_chunks
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Plan
from ilastik_lazy.writers.ome_zarr.plan.pyramid import downsampled_axis, method_for, plan_pyramid
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index
from ilastik_lazy.writers.ome_zarr.verbatim import is_zlib, why_recompress

__all__ = ["Blocks", "Pyramid", "plan_served"]

Array = np.ndarray[Any, Any]
Blocks = ByteCache[Array]
"""Chunks of upper levels, by image, level and position."""

# Viewers ask for the coarsest level first.  A plane of each further level takes more layers of chunks of the file:
# of an export of 20 GB, 6 s of a processor for one of 42 pixels, and less than a second for one of 339.
_COARSEST_PLANE = 512
# Below this a request takes longer than what it brings.
_SMALLEST_CHUNK = 16 * 2**10


def plan_served(source: ArraySource, stored: Sequence[ArraySource] = ()) -> Plan:
    """Plan the levels of an image: the first ones of `to_ome_zarr`, without shards, with smaller upper chunks.

    Parameters
    ----------
    stored
        Levels of lower resolution that exist; others follow the last of them.

    Raises
    ------
    AxesError
        The array has no y or no x axis.
    ArgumentError
        The array is empty, or of a type that Zarr has not.
    """
    method, why = method_for(source.spec, "auto")
    plan = plan_pyramid(source.spec, method=method)
    reason = why_recompress(source, plan.permutation, plan.levels[0].chunks)
    specs = [source.spec]
    for each in stored:
        specs.append(_placed(each.spec, specs[-1], method))
    levels = [_served(plan_pyramid(spec, method=method).levels[0], number) for number, spec in enumerate(specs)]
    for level in plan_pyramid(specs[-1], method=method).levels[1:]:
        if max(levels[-1].shape[-2:]) <= _COARSEST_PLANE:
            break
        levels.append(_served(level, len(levels), _upper_chunks(levels[-1].chunks, level, plan.dtype.itemsize)))
    return replace(
        plan, levels=tuple(levels), codec="none", verbatim=not reason, reason=reason, method_reason=why, held=0
    )


def _placed(spec: ArraySpec, finer: ArraySpec, method: Method) -> ArraySpec:
    """Return the spec of a stored level with steps along the axes whose size is unknown: of the finest level, it is 1.

    The lengths of both levels show the factor between them, which is mostly 2: the last voxel of an odd length may be
    left out, or be a voxel of its own.
    """
    axes = []
    for axis, before, length, longer in zip(spec.axes, finer.axes, spec.shape, finer.shape, strict=True):
        factor: float = round(longer / length)
        if abs(longer - factor * length) > factor:
            factor = longer / length
        axes.append(axis if axis.scale is not None else downsampled_axis(before, factor, method))
    return replace(spec, axes=tuple(axes))


def _served(level: Level, number: int, chunks: Index | None = None) -> Level:
    chunks = chunks or level.chunks
    return replace(level, number=number, chunks=chunks, shards=chunks, codec="none", sharded=False)


def _upper_chunks(below: Index, level: Level, itemsize: int) -> Index:
    """Halve the chunks of the level below where that is possible: one of this level then needs few of them.

    With chunks of one size on all levels, a plane of level 3 would need eight layers of chunks of level 0.
    """
    chunks = tuple(n // 2 if f == 2 and n % 2 == 0 else n for n, f in zip(below, level.factors, strict=True))
    if math.prod(chunks) * itemsize < _SMALLEST_CHUNK:
        chunks = below
    return tuple(min(n, length) for n, length in zip(chunks, level.shape, strict=True))


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The chunks of all levels of one image."""

    source: ArraySource
    coarser: tuple[ArraySource, ...]
    """Stored levels of lower resolution."""
    plan: Plan
    blocks: Blocks
    """Shared by all images of a server."""
    name: str
    """What distinguishes the image from the others in `blocks`."""
    stamps: Mapping[str, Stamp]
    """Versions of the files that are read, by path: what is kept of another version is not served."""

    @classmethod
    def of(cls, source: ArraySource, blocks: Blocks, name: str, spare: int) -> Pyramid:
        """Return the levels of an image; `spare` bytes are for chunks of the source that hold several served ones."""
        coarser = tuple(map(as_shown, coarser_levels(source)))
        source = as_shown(source)
        plan, spec = plan_served(source, coarser), source.spec
        paths = {storage_of(leaf).path for leaf in leaves_of(source)}
        stamps = {path: stamp_of(path) for path in paths if os.path.isfile(path)}
        pieces = [1] * spec.ndim
        for target, axis in enumerate(plan.permutation):
            pieces[axis] = plan.levels[0].chunks[target]
        # From chunks that are not compressed, only the wanted part is read.  A computation may take any time.
        is_shared = spec.storage.compression != "none" and chunks_held(pieces, spec.chunks, spec.shape)
        if is_shared or spec.storage.access == COMPUTED:
            chunk = math.prod(map(min, spec.chunks, spec.shape)) * spec.dtype.itemsize
            source = WholeChunks.of(source, max(1, spare // chunk))
        return cls(source, coarser, plan, blocks, name, stamps)

    def nbytes(self, level: Level) -> int:
        """Bytes of each chunk of a level."""
        return math.prod(level.chunks) * self.plan.dtype.itemsize

    def stored(self, level: Level, index: Index) -> bytes | None:
        """Return a chunk as its file holds it, a zlib stream; None where it has to be decoded."""
        if level.number or not self.plan.verbatim or not isinstance(self.source, EncodedChunks):
            return None
        place = [0] * len(index)
        for target, axis in enumerate(self.plan.permutation):
            place[axis] = index[target]
        stream = self.source.encoded(tuple(place))
        return stream if stream is not None and is_zlib(stream) else None

    def chunk(self, level: Level, index: Index) -> memoryview:
        """Return the decoded bytes of a whole chunk; behind the end of the image they are zeros.

        Raises
        ------
        CorruptChunkError
            A chunk of the source cannot be decoded.
        SourceChangedError
            The file is not the one that was opened.
        """
        ((_, whole),) = whole_chunks(self._block(level, index), level.chunks)
        if level.number or isinstance(self.source, WholeChunks):
            for path, stamp in self.stamps.items():
                require_unchanged(path, stamp)
        return whole.reshape(-1).view(np.uint8).data

    def _block(self, level: Level, index: Index) -> Array:
        """Voxels of a chunk inside the level."""
        region = level.shard(index).region
        if level.number <= len(self.coarser):
            return self._read(region, level.number)
        return self.blocks.get((self.name, level.number, index), lambda: self._halved(level, region))

    def _halved(self, level: Level, region: Region) -> Array:
        below = self.plan.levels[level.number - 1]
        part = tuple(
            slice(side.start * factor, min(side.stop * factor, length))
            for side, factor, length in zip(region, level.factors, below.shape, strict=True)
        )
        if below.number <= len(self.coarser):
            block = self._read(part, below.number)
        else:
            block = np.empty(region_shape(part), self.plan.dtype)
            for overlap in overlaps(part, below.chunks):
                block[overlap.target] = self._block(below, overlap.chunk)[overlap.inside]
        return downsample(block, level.factors, self.plan.method)

    def _read(self, region: Region, number: int) -> Array:
        """Read a part of a level that is stored."""
        values = (self.source, *self.coarser)[number].read(self.plan.source_region(region))
        return np.ascontiguousarray(values.transpose(self.plan.permutation), self.plan.dtype)
