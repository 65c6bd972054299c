"""Compare what was written with what was read: all units with their checksums, all voxels with the source."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zarr

from ilastik_lazy.blockwise import in_order
from ilastik_lazy.chunks import Region
from ilastik_lazy.errors import VerificationError
from ilastik_lazy.ome_zarr.downsample import downsample
from ilastik_lazy.ome_zarr.intake import read_shard
from ilastik_lazy.ome_zarr.journal import Unit
from ilastik_lazy.ome_zarr.plan import Level, Plan
from ilastik_lazy.ome_zarr.remote_store import RemoteStore
from ilastik_lazy.ome_zarr.stores import Store
from ilastik_lazy.ome_zarr.tasks import Task, shards_of, unit_name
from ilastik_lazy.ome_zarr.units import matches
from ilastik_lazy.spec import ArraySource

__all__ = ["all_tasks", "compare_levels", "require_units", "sound_units"]

Array = np.ndarray[Any, Any]


def all_tasks(plan: Plan) -> list[Task]:
    """Every shard of every level."""
    return [(level.number, shard) for level in plan.levels for shard in np.ndindex(level.grid)]


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


def compare_levels(
    plan: Plan, source: ArraySource, store: Store, *, mask: bool = False, progress: Callable[[int], None] | None = None
) -> None:
    """Compare level 0 with the source, and each other level with the one before it, as zarr-python reads them.

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

    def compare_with_source(shard: tuple[int, ...]) -> int:
        region = plan.levels[0].region(shard)
        expected = read_shard(plan, source, shard, mask=mask).block
        _require_equal(expected, arrays[0], region, plan.levels[0], store, plan.spec.storage.location)
        return expected.nbytes

    def compare_with_finer(task: Task) -> None:
        number, shard = task
        level, finer = plan.levels[number], plan.levels[number - 1]
        region = level.region(shard)
        below = tuple(slice(part.start * f, part.stop * f) for part, f in zip(region, level.factors, strict=True))
        expected = downsample(np.asarray(arrays[number - 1][below]), level.factors, plan.method)
        _require_equal(expected, arrays[number], region, level, store, finer.path)

    with contextlib.closing(in_order(compare_with_source, shards_of(plan), plan.workers)) as results:
        for _, compared in results:
            if progress is not None:
                progress(compared)
    upper = (task for task in all_tasks(plan) if task[0] > 0)
    with contextlib.closing(in_order(compare_with_finer, upper, plan.workers)) as others:
        for _ in others:
            pass


def _opened(store: Store, level: Level) -> zarr.Array[Any]:
    if isinstance(store, RemoteStore):
        bucket, path = store.folder.child(level.path).zarr_store()
        return zarr.open_array(bucket, path=path, mode="r")
    return zarr.open_array(os.path.join(store.place, level.path), mode="r")


def _require_equal(
    expected: Array, array: zarr.Array[Any], region: Region, level: Level, store: Store, other: str
) -> None:
    try:
        found = np.asarray(array[region])
    except (OSError, ValueError, RuntimeError) as error:
        raise VerificationError(f"{store.place}: {level.path} cannot be read ({error})"[:400]) from error
    # NaN is what it was, too: compare bits.
    if expected.astype(found.dtype, copy=False).tobytes() == found.tobytes():
        return
    wrong = np.argwhere(~((expected == found) | ((expected != expected) & (found != found))))
    where = [int(i) + part.start for i, part in zip(wrong[0], region, strict=True)] if len(wrong) else "?"
    raise VerificationError(f"{store.place}: voxel {where} of {level.path} differs from {other}")
