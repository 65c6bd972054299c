"""A shard of level 0 as it comes from the source: in the target's order, with the chunks that need no encoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, region_shape, regions_of_blocks
from ilastik_lazy.core.spec import ArraySource, EncodedChunks
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.writers.ome_zarr.encode.verbatim import gzip_from_zlib
from ilastik_lazy.writers.ome_zarr.plan.pyramid import Plan
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = ["Intake", "read_shard"]


@dataclass(slots=True)
class Intake:
    """What was read for one shard."""

    block: np.ndarray[Any, Any]
    """Voxels in the target's order of axes and its dtype, contiguous."""

    streams: dict[Index, bytes] = field(default_factory=dict)
    """Encoded chunks by their place in the shard; only of a verbatim plan."""

    masked: list[str] = field(default_factory=list)
    """What is wrong with the chunks that could not be decoded, and are filled."""


def read_shard(plan: Plan, source: ArraySource, shard: Index, *, mask: bool = False) -> Intake:
    """Read what one shard of level 0 holds.

    Parameters
    ----------
    mask
        Fill chunks that cannot be decoded, with NaN or 0, and name them.

    Raises
    ------
    CorruptChunkError
        A chunk cannot be decoded, and `mask` is False.
    """
    level = plan.levels[0]
    region = plan.source_region(level.region(shard))
    streams: dict[Index, bytes] = {}
    masked: list[str] = []
    try:
        values = _read(plan, source, region, shard, streams)
    except CorruptChunkError:
        if not mask:
            raise
        values = _read_with_gaps(source, region, masked)
    block = np.ascontiguousarray(values.transpose(plan.permutation), plan.dtype)
    return Intake(block, {} if masked else streams, masked)


def _read(
    plan: Plan, source: ArraySource, region: Region, shard: Index, streams: dict[Index, bytes]
) -> np.ndarray[Any, Any]:
    if not plan.verbatim or not isinstance(source, EncodedChunks):
        return source.read(region)
    level = plan.levels[0]
    first = [i * (size // length) for i, size, length in zip(shard, level.shards, level.chunks, strict=True)]

    def keep(chunk: Index, stream: bytes, decoded: np.ndarray[Any, Any]) -> None:
        if (moved := gzip_from_zlib(stream, decoded)) is not None:
            streams[tuple(chunk[i] - start for i, start in zip(plan.permutation, first, strict=True))] = moved

    return source.read_encoded(region, keep)


def _read_with_gaps(source: ArraySource, region: Region, masked: list[str]) -> np.ndarray[Any, Any]:
    """Read chunk by chunk; NaN tells of a gap where there is one, 0 is the best that integers have."""
    spec = source.spec
    out = np.full(region_shape(region), np.nan if spec.dtype.kind == "f" else 0, spec.dtype)
    for piece in regions_of_blocks(out.shape, spec.chunks):
        place = tuple(
            slice(part.start + inner.start, part.start + inner.stop) for part, inner in zip(region, piece, strict=True)
        )
        try:
            out[piece] = source.read(place)
        except CorruptChunkError as error:
            masked.append(str(error))
    return out
