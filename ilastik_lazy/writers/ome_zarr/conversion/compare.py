"""Compare what was written: files with their lengths and checksums, voxels with the source."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import zarr
import zarr.storage

from ilastik_lazy.core.grid import Region, block_shape, region_shape, regions_of_blocks
from ilastik_lazy.core.library_errors import require_room
from ilastik_lazy.core.parallel import in_order
from ilastik_lazy.errors import CorruptChunkError, VerificationError
from ilastik_lazy.storage.object_store.store import RemoteStore
from ilastik_lazy.storage.stores import Store
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit
from ilastik_lazy.writers.ome_zarr.conversion.shards import ShardReader, has_length, read_back
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Plan, Shard

__all__ = ["compare_levels", "differing", "require_units"]

Array = np.ndarray[Any, Any]

_AT_ONCE = 4 * 2**20


def require_units(plan: Plan, store: Store, units: Mapping[str, Unit]) -> None:
    """Raise `VerificationError` unless all shards are noted, and their files have the right length."""
    for shard in plan.all_shards():
        unit = units.get(shard.name)
        if unit is None or not has_length(store, shard, unit):
            raise VerificationError(f"{store.place}: {shard.name} is missing or cut off: convert again")


def compare_levels(reader: ShardReader, store: Store, progress: Callable[[int], None]) -> None:
    """Compare level 0 with the source, and each other level with the one before it.

    zarr-python reads all levels, but only the first shard of level 0, where it takes three times as long
    as our own decoder; after that shard metadata and codecs are known to agree.

    Parameters
    ----------
    progress
        Called with the bytes of level 0 that were compared.

    Raises
    ------
    VerificationError
        The message gives the position of the first voxel that differs.
    """
    plan = reader.plan
    arrays = [_Written(store, level) for level in plan.levels]
    where = plan.spec.storage.location

    def compare_with_source(shard: Shard) -> int:
        block = reader.read(shard).block
        if any(shard.index):
            arrays[0].require_same(block, _read_back(store, shard, plan.dtype), shard.region, where)
        else:
            arrays[0].require_equal(block, shard.region, where)
        compare_with_coarser(shard, block)
        return block.nbytes

    def compare_with_coarser(shard: Shard, block: Array | None = None) -> None:
        # Not by coarse shards: each is made from eight fine ones, too many to hold at a time.
        if plan.parent(shard) is None:
            return
        region, part = plan.downsampled(shard, arrays[shard.number].read(shard.region) if block is None else block)
        arrays[shard.number + 1].require_equal(part, region, shard.level.path)

    with contextlib.closing(in_order(compare_with_source, plan.remaining(()), plan.workers)) as results:
        for _, compared in results:
            progress(compared)
    upper = (shard for shard in plan.all_shards() if shard.number > 0)
    with contextlib.closing(in_order(compare_with_coarser, upper, plan.workers)) as others:
        for _ in others:
            pass


def _read_back(store: Store, shard: Shard, dtype: np.dtype[Any]) -> Array:
    try:
        return read_back(store, shard, dtype)
    except CorruptChunkError as error:
        raise VerificationError(f"{store.place}: {shard.name} cannot be read ({error})") from error


class _Written:
    """A level as zarr-python reads it."""

    def __init__(self, store: Store, level: Level) -> None:
        self._store, self._level, self._array = store, level, _opened(store, level)

    def _pieces(self, region: Region) -> Iterator[tuple[Region, Region]]:
        """Parts of a region, and where each is in the level: zarr-python takes three times the memory of a read."""
        shape, names = region_shape(region), [axis.name for axis in self._level.axes]
        itemsize = self._array.dtype.itemsize
        size = block_shape(shape, self._level.chunks, itemsize, names, least=_AT_ONCE // 2, most=_AT_ONCE)
        for piece in regions_of_blocks(shape, size):
            yield piece, tuple(slice(r.start + p.start, r.start + p.stop) for r, p in zip(region, piece, strict=True))

    def _read(self, region: Region) -> Array:
        try:
            return np.asarray(self._array[region])
        except (OSError, ValueError, RuntimeError) as error:
            require_room(math.prod(self._level.shards) * self._array.dtype.itemsize)
            raise VerificationError(
                f"{self._store.place}: {self._level.path} cannot be read ({error})"[:400]
            ) from error

    def read(self, region: Region) -> Array:
        block = np.empty(region_shape(region), self._array.dtype)
        for piece, place in self._pieces(region):
            block[piece] = self._read(place)
        return block

    def require_equal(self, expected: Array, region: Region, other: str) -> None:
        """Raise `VerificationError` unless the level holds `expected` in `region`; `other` is where that is from."""
        for piece, place in self._pieces(region):
            self.require_same(expected[piece], self._read(place), place, other)

    def require_same(self, expected: Array, found: Array, region: Region, other: str) -> None:
        if (wrong := differing(expected, found)).any():
            where = [int(i) + part.start for i, part in zip(np.argwhere(wrong)[0], region, strict=True)]
            raise VerificationError(f"{self._store.place}: voxel {where} of {self._level.path} differs from {other}")


def _opened(store: Store, level: Level) -> zarr.Array[Any]:
    if isinstance(store, RemoteStore):
        bucket, path = store.folder.child(level.path).zarr_store()
        return zarr.open_array(bucket, path=path, mode="r")
    # zarr-python treats a path with "::" as a chain of URLs.
    return zarr.open_array(zarr.storage.LocalStore(os.path.join(store.place, level.path), read_only=True), mode="r")


def differing(expected: Array, found: Array) -> Array:
    """Where two arrays differ, bit by bit, NaN too."""
    bits = f"u{found.dtype.itemsize}"
    return np.asarray(np.ascontiguousarray(expected, found.dtype).view(bits) != np.ascontiguousarray(found).view(bits))
