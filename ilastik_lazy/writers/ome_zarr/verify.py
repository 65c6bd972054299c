"""Compare what was written with what was read: all units with their checksums, all voxels with the source."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import numpy as np
import zarr
import zarr.storage

from ilastik_lazy.core.foreign_errors import require_room
from ilastik_lazy.core.grid import Region, block_shape, region_shape, regions_of_blocks
from ilastik_lazy.core.parallel import in_order
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import CorruptChunkError, ResumeMismatchError, VerificationError, option
from ilastik_lazy.storage.bucket import RemoteStore
from ilastik_lazy.storage.stores import Store
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit
from ilastik_lazy.writers.ome_zarr.conversion.intake import read_shard
from ilastik_lazy.writers.ome_zarr.conversion.units import matches, read_unit
from ilastik_lazy.writers.ome_zarr.downsample import downsample
from ilastik_lazy.writers.ome_zarr.plan.pyramid import Level, Plan
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index
from ilastik_lazy.writers.ome_zarr.plan.tasks import Task, all_tasks, shards_of, unit_name

__all__ = ["compare_levels", "require_unchanged", "require_units", "sound_units"]

Array = np.ndarray[Any, Any]

_AT_ONCE = 4 * 2**20
_LEAST_AGAIN = 8


def require_units(plan: Plan, store: Store, units: Mapping[str, Unit]) -> None:
    """Raise `VerificationError` unless all units are noted, and their files are there and of the right length."""
    for task in all_tasks(plan):
        unit = units.get(unit_name(task))
        if unit is None or not matches(plan, store, task, unit, deep=False):
            raise VerificationError(f"{store.place}: {unit_name(task)} is missing or cut off: convert again")


def sound_units(plan: Plan, store: Store, units: Mapping[str, Unit], workers: int) -> dict[Task, Unit]:
    """Those of `units` whose files are as they were written, to the bit; the others are written again."""
    noted = [task for task in all_tasks(plan) if unit_name(task) in units]
    # What a bucket has taken, it has taken whole and with a checksum of its own.
    deep = not isinstance(store, RemoteStore)

    def check(task: Task) -> bool:
        return matches(plan, store, task, units[unit_name(task)], deep=deep)

    return {task: units[unit_name(task)] for task, is_sound in in_order(check, noted, workers) if is_sound}


def require_unchanged(plan: Plan, source: ArraySource, store: Store, written: Container[Task], *, mask: bool) -> None:
    """Compute some of the shards that an earlier run has written again, and compare all their voxels.

    The name of a computation does not tell whether a function in it was edited since.

    Raises
    ------
    ResumeMismatchError
        They differ.
    """
    shards = [shard for shard in shards_of(plan) if (0, shard) in written]
    # The first and the last one, and some between: what was edited may change a part of the image only.
    some = max(_LEAST_AGAIN, 2 * plan.workers)
    again = shards if len(shards) <= some else [shards[i * (len(shards) - 1) // (some - 1)] for i in range(some)]

    def is_same(shard: Index) -> bool:
        block = read_shard(plan, source, shard, mask=mask).block
        return not _differing(block, read_unit(plan, store, (0, shard))).any()

    with contextlib.closing(in_order(is_same, again, plan.workers)) as results:
        for shard, same in results:
            if not same:
                raise ResumeMismatchError(
                    f"{store.place} was begun with another computation: {unit_name((0, shard))} has other voxels now, "
                    "so a function or its data were changed since, or it gives other numbers each time: compute as "
                    f"before, or start anew with {option('overwrite', True)}"
                )


def compare_levels(
    plan: Plan, source: ArraySource, store: Store, *, mask: bool = False, progress: Callable[[int], None] | None = None
) -> None:
    """Compare level 0 with the source, and each other level with the one before it.

    zarr-python reads all levels, but of level 0 only the first shard, where it takes three times as long
    as what inflates here; from there on metadata and codecs are known to agree.

    Parameters
    ----------
    progress
        Called with the bytes of level 0 that were compared.

    Raises
    ------
    VerificationError
        With the position of the first voxel that differs.
    """
    arrays = [_opened(store, level) for level in plan.levels]
    where = plan.spec.storage.location

    def compare_with_source(shard: Index) -> int:
        block = read_shard(plan, source, shard, mask=mask).block
        level = plan.levels[0]
        if any(shard):
            _require_same(block, _unit(plan, store, (0, shard)), level.region(shard), level, store, where)
        else:
            _require_equal(block, arrays[0], level.region(shard), level, store, where)
        compare_with_coarser((0, shard), block)
        return block.nbytes

    def compare_with_coarser(task: Task, block: Array | None = None) -> None:
        # Not coarse shard by coarse shard: each is made of eight fine ones, too many to hold at a time.
        number, shard = task
        if plan.parent(number, shard) is None:
            return
        level, coarser = plan.levels[number], plan.levels[number + 1]
        region = level.region(shard)
        values = _read_shard(arrays[number], region, level, store) if block is None else block
        part = downsample(values, coarser.factors, plan.method)
        start = [r.start // f for r, f in zip(region, coarser.factors, strict=True)]
        place = tuple(slice(s, s + n) for s, n in zip(start, part.shape, strict=True))
        _require_equal(part, arrays[number + 1], place, coarser, store, level.path)

    with contextlib.closing(in_order(compare_with_source, shards_of(plan), plan.workers)) as results:
        for _, compared in results:
            if progress is not None:
                progress(compared)
    upper = (task for task in all_tasks(plan) if task[0] > 0)
    with contextlib.closing(in_order(compare_with_coarser, upper, plan.workers)) as others:
        for _ in others:
            pass


def _unit(plan: Plan, store: Store, task: Task) -> Array:
    try:
        return read_unit(plan, store, task)
    except CorruptChunkError as error:
        raise VerificationError(f"{store.place}: {unit_name(task)} cannot be read ({error})") from error


def _opened(store: Store, level: Level) -> zarr.Array[Any]:
    if isinstance(store, RemoteStore):
        bucket, path = store.folder.child(level.path).zarr_store()
        return zarr.open_array(bucket, path=path, mode="r")
    # To zarr-python a text with "::" in it is a chain of URLs.
    return zarr.open_array(zarr.storage.LocalStore(os.path.join(store.place, level.path), read_only=True), mode="r")


def _pieces(region: Region, level: Level, itemsize: int) -> Iterator[tuple[Region, Region]]:
    """Parts of a region, and where each is in the level: zarr-python takes three times the memory of what it reads."""
    shape, names = region_shape(region), [axis.name for axis in level.axes]
    size = block_shape(shape, level.chunks, itemsize, names, least=_AT_ONCE // 2, most=_AT_ONCE)
    for piece in regions_of_blocks(shape, size):
        yield piece, tuple(slice(r.start + p.start, r.start + p.stop) for r, p in zip(region, piece, strict=True))


def _read(array: zarr.Array[Any], region: Region, level: Level, store: Store) -> Array:
    try:
        return np.asarray(array[region])
    except (OSError, ValueError, RuntimeError) as error:
        require_room(math.prod(level.shards) * array.dtype.itemsize)
        raise VerificationError(f"{store.place}: {level.path} cannot be read ({error})"[:400]) from error


def _read_shard(array: zarr.Array[Any], region: Region, level: Level, store: Store) -> Array:
    block = np.empty(region_shape(region), array.dtype)
    for piece, place in _pieces(region, level, array.dtype.itemsize):
        block[piece] = _read(array, place, level, store)
    return block


def _require_equal(
    expected: Array, array: zarr.Array[Any], region: Region, level: Level, store: Store, other: str
) -> None:
    for piece, place in _pieces(region, level, array.dtype.itemsize):
        _require_same(expected[piece], _read(array, place, level, store), place, level, store, other)


def _require_same(expected: Array, found: Array, region: Region, level: Level, store: Store, other: str) -> None:
    if (differing := _differing(expected, found)).any():
        where = [int(i) + part.start for i, part in zip(np.argwhere(differing)[0], region, strict=True)]
        raise VerificationError(f"{store.place}: voxel {where} of {level.path} differs from {other}")


def _differing(expected: Array, found: Array) -> Array:
    """Where two arrays differ, bit by bit: NaN is what it was, too."""
    bits = f"u{found.dtype.itemsize}"
    return np.asarray(np.ascontiguousarray(expected, found.dtype).view(bits) != np.ascontiguousarray(found).view(bits))
