"""Carry out a plan: one pass over the source, all levels at once, a shard a task.

A finished shard is halved while it is in memory; the parts meet in the shard of the next level,
which is written as soon as it is whole.  So each source chunk is decoded once, and nothing that
was written is read back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.blockwise import in_order
from ilastik_lazy.ome_zarr.downsample import downsample
from ilastik_lazy.ome_zarr.layout import Index
from ilastik_lazy.ome_zarr.plan import Plan
from ilastik_lazy.ome_zarr.target import LocalTarget
from ilastik_lazy.sizes import human_bytes
from ilastik_lazy.spec import ArraySource

__all__ = ["ConversionReport", "Progress", "write_levels"]

Progress = Callable[[int, int], None]
"""Called with the decoded bytes of level 0 that are done, and all of them."""


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion wrote."""

    target: str
    levels: tuple[tuple[int, ...], ...]
    """Shape of each level, in OME order."""

    dims: tuple[str, ...]
    method: str
    codec: str
    bytes_decoded: int
    """Size of level 0 in memory."""

    bytes_written: int
    seconds: float
    verified: bool

    @property
    def ratio(self) -> float:
        """Decoded bytes of level 0 for each byte on the disk, all levels counted."""
        return self.bytes_decoded / max(1, self.bytes_written)

    def __str__(self) -> str:
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.levels)
        count = f"{len(self.levels)} level{'s' if len(self.levels) > 1 else ''}"
        rate = f" ({human_bytes(self.bytes_decoded / self.seconds)}/s)" if self.seconds >= 1 else ""
        return (
            f"{self.target}\n"
            f"  {count}, {'/'.join(self.dims)}: {shapes}; made by {self.method}\n"
            f"  {human_bytes(self.bytes_written)} on disk as {self.codec}, {self.ratio:.1f} times less than in memory; "
            f"{self.seconds:.1f} s{rate}" + ("; every voxel verified" if self.verified else "")
        )


class _UpperShards:
    """Shards of levels 1 and up that still wait for some of their parts."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._parts: dict[tuple[int, Index], tuple[np.ndarray[Any, Any], int]] = {}

    def add(self, level: int, shard: Index, block: np.ndarray[Any, Any]) -> tuple[Index, np.ndarray[Any, Any]] | None:
        """Put what a shard of `level` gives to the next level in its place; returns that shard once it is whole."""
        upper_index = self._plan.parent(level, shard)
        if upper_index is None:
            return None
        upper, lower = self._plan.levels[level + 1], self._plan.levels[level]
        part = downsample(block, upper.factors, self._plan.method)
        region = upper.region(upper_index)
        start = [r.start // f for r, f in zip(lower.region(shard), upper.factors, strict=True)]
        place = tuple(slice(s - r.start, s - r.start + n) for s, r, n in zip(start, region, part.shape, strict=True))
        key = (level + 1, upper_index)
        with self._lock:
            if key not in self._parts:
                shape = [r.stop - r.start for r in region]
                self._parts[key] = np.empty(shape, self._plan.dtype), self._plan.children(level + 1, upper_index)
            whole, missing = self._parts[key]
            whole[place] = part
            if missing > 1:
                self._parts[key] = whole, missing - 1
                return None
            del self._parts[key]
        return upper_index, whole


def write_levels(plan: Plan, source: ArraySource, target: LocalTarget, progress: Progress | None) -> int:
    """Write the shards of all levels, and return their bytes."""
    upper = _UpperShards(plan)

    def convert(shard: Index) -> tuple[int, int]:
        region = plan.levels[0].region(shard)
        values = source.read(plan.source_region(region)).transpose(plan.permutation)
        block = np.ascontiguousarray(values, plan.dtype)
        decoded = block.nbytes
        written = target.write_shard(plan.levels[0], shard, block)
        level, here = 0, shard
        while (whole := upper.add(level, here, block)) is not None:
            level += 1
            here, block = whole
            written += target.write_shard(plan.levels[level], here, block)
        return decoded, written

    total = plan.spec.nbytes
    done = written = 0
    if progress is not None:
        progress(0, total)
    # Closed at once when a shard fails, or `progress` raises: no thread outlives this call.
    with contextlib.closing(in_order(convert, plan.shards(), plan.workers)) as results:
        for _, (decoded, size) in results:
            done += decoded
            written += size
            if progress is not None:
                progress(done, total)
    return written
