"""What a resumed conversion keeps: shards that lie on the disk as they were written, of the same computation.

Which earlier conversion counts as the same is decided elsewhere: `_settings` in `convert` collects what must not
differ, and `commit.states` compares it with the plan at the target.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Mapping

from ilastik_lazy.core.parallel import in_order
from ilastik_lazy.errors import ResumeMismatchError, option
from ilastik_lazy.storage.object_store.store import RemoteStore
from ilastik_lazy.storage.stores import Store
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit
from ilastik_lazy.writers.ome_zarr.conversion.compare import differing
from ilastik_lazy.writers.ome_zarr.conversion.shards import ShardReader, damage, has_length, read_back
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard

__all__ = ["require_same_voxels", "sound_units"]

_LEAST_AGAIN = 8


def sound_units(plan: Plan, store: Store, units: Mapping[str, Unit]) -> dict[Shard, Unit]:
    """Those of `units` whose files are exactly as they were written; the others are written again."""

    def check(shard: Shard) -> bool:
        unit = units[shard.name]
        # A bucket accepts only whole objects with a checksum.
        return has_length(store, shard, unit) if isinstance(store, RemoteStore) else not damage(store, shard, unit)

    noted = [shard for shard in plan.all_shards() if shard.name in units]
    return {shard: units[shard.name] for shard, is_sound in in_order(check, noted, plan.workers) if is_sound}


def require_same_voxels(reader: ShardReader, store: Store, written: Container[Shard]) -> None:
    """Compute some of the shards again that an earlier run has written, and compare all their voxels.

    The name of a computation does not show whether a function in it was edited since.

    Raises
    ------
    ResumeMismatchError
        They differ.
    """
    plan = reader.plan
    shards = [shard for shard in plan.remaining(()) if shard in written]
    # The first and the last one, and some between: an edit may change only a part of the image.
    some = max(_LEAST_AGAIN, 2 * plan.workers)
    again = shards if len(shards) <= some else [shards[i * (len(shards) - 1) // (some - 1)] for i in range(some)]

    def is_same(shard: Shard) -> bool:
        return not differing(reader.read(shard).block, read_back(store, shard, plan.dtype)).any()

    with contextlib.closing(in_order(is_same, again, plan.workers)) as results:
        for shard, same in results:
            if not same:
                raise ResumeMismatchError(
                    f"{store.place} was begun with another computation: {shard.name} has other voxels now, "
                    "so a function or its data were changed since, or it gives other numbers each time: compute as "
                    f"before, or start again with {option('overwrite', True)}"
                )
