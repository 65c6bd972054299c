"""The memory that a conversion plans for: enough, and within the budget."""

from __future__ import annotations

import math
import re
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ilastik_lazy.errors import MemoryLimitError
from ilastik_lazy.writers.ome_zarr.metadata.statistics import statistics_of
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from tests.support.ome_zarr.fakes import small_plans, spec_of
from tests.support.ome_zarr.planning import MiB, a_plan, plans, specs


def open_bytes_at_most(plan: Plan) -> int:
    """Bytes of unfinished upper shards at the worst moment of a conversion with one thread."""
    missing: dict[Shard, int] = {}
    worst = 0
    for first in plan.remaining(()):
        shard = first
        while (parent := plan.parent(shard)) is not None:
            missing[parent] = missing.get(parent, len(plan.children(parent))) - 1
            worst = max(worst, sum(waiting.voxels for waiting in missing) * plan.dtype.itemsize)
            if missing[parent]:
                break
            del missing[parent]
            shard = parent
    assert not missing, "shards that never become whole"
    return worst


class TestMemory:
    @given(plans())
    def test_unfinished_shards_become_whole_and_fit_into_what_is_planned_for_them(self, plan: Plan) -> None:
        shard = math.prod(plan.levels[0].shards) * plan.dtype.itemsize
        assert open_bytes_at_most(plan) <= (len(plan.levels) - 1) * 2 * shard

    # 8 k + 2: level 0 has whole shards, and the last voxel of level 1 has a shard to itself.
    @pytest.mark.parametrize("length", [16, 33, 34, 130, 258, 1026])
    @pytest.mark.parametrize("odd", [33, 34])
    def test_unfinished_shards_do_not_grow_with_the_image(self, length: int, odd: int) -> None:
        with small_plans(shard=64, smallest=2):
            plan = a_plan((8, length, odd), chunks=(4, 4, 4))
        assert open_bytes_at_most(plan) <= (len(plan.levels) - 1) * 2 * math.prod(plan.levels[0].shards)

    @given(specs(longest=5000), st.integers(1, 64), st.integers(1, 4000))
    def test_the_need_never_exceeds_the_budget(self, spec: Any, workers: int, mebibytes: int) -> None:
        spec = replace(spec, chunks=tuple(c * 7 for c in spec.chunks))
        try:
            plan = plan_pyramid(spec, workers=workers, memory=mebibytes * MiB)
        except MemoryLimitError:
            return
        assert plan.memory <= mebibytes * MiB
        assert 1 <= plan.workers <= workers

    @given(specs(longest=5000), st.integers(1, 64), st.integers(0, 40 * MiB))
    def test_the_number_in_the_message_works(self, spec: Any, workers: int, memory: int) -> None:
        spec = replace(spec, chunks=tuple(c * 7 for c in spec.chunks))
        try:
            plan_pyramid(spec, workers=workers, memory=memory)
        except MemoryLimitError as error:
            enough = 10**6 * int(re.search(r"(\d+) MB would do", str(error))[1])  # type: ignore[index]
            assert memory < enough
            assert plan_pyramid(spec, workers=workers, memory=enough).memory <= enough
        else:
            assume(False)

    def test_less_memory_gives_fewer_threads_or_smaller_shards(self) -> None:
        spec = spec_of((2000, 2000, 2000), "float32", "zyx", (50, 50, 50))
        roomy = plan_pyramid(spec, workers=16)
        tight = plan_pyramid(spec, workers=16, memory=roomy.memory // 4)
        assert tight.memory <= roomy.memory // 4
        assert (tight.workers, math.prod(tight.levels[0].shards)) < (16, math.prod(roomy.levels[0].shards) + 1)

    def test_does_not_grow_with_the_image(self) -> None:
        small = a_plan((1000, 1000, 1000), chunks=(64, 64, 64), levels=4, workers=4)
        large = a_plan((100_000, 10_000, 10_000), chunks=(64, 64, 64), levels=4, workers=4)
        assert large.memory == small.memory


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
@pytest.mark.parametrize("most", [0, 1, 15, 16, 255])
def test_classes_are_counted_whatever_their_number(dtype: str, most: int) -> None:
    block = np.random.default_rng(0).integers(0, most + 1, (7, 230, 231)).astype(dtype)
    block[0] = 0
    spec = spec_of(block.shape, dtype, "zyx", kind="segmentation")
    counts = statistics_of(spec, plan_pyramid(spec).levels[0].shard((0, 0, 0)), block).counts
    assert counts == dict(zip(*np.unique(block, return_counts=True), strict=True))


def test_classes_are_counted_in_less_memory_than_they_take() -> None:
    block = np.random.default_rng(0).integers(0, 5, (128, 256, 256), np.uint8)
    spec = spec_of(block.shape, "uint8", "zyx", kind="segmentation")
    tracemalloc.start()
    try:
        counts = statistics_of(spec, plan_pyramid(spec).levels[0].shard((0, 0, 0)), block).counts
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts == {value: int((block == value).sum()) for value in range(5)}
    assert peak < block.nbytes
