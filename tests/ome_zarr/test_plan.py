"""Levels, shards and memory, worked out before anything is touched."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import small_plans, spec_of
from hypothesis import assume, given
from hypothesis import strategies as st

from ilastik_lazy.axes import Axis
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError
from ilastik_lazy.ome_zarr.plan import OME_ORDER, Plan, plan_pyramid

MiB = 2**20


@st.composite
def specs(draw: Any, longest: int = 60) -> Any:
    """Any axes with y and x, in any order, of any length; chunks that fit nowhere."""
    others = draw(st.lists(st.sampled_from("tzc"), unique=True))
    axes = draw(st.permutations(["y", "x", *others]))
    shape = [draw(st.integers(1, 5 if axis in "tc" else longest)) for axis in axes]
    chunks = [draw(st.integers(1, 2 if axis in "tc" else 20)) for axis in axes]
    scales = {axis: draw(st.sampled_from([None, 0.25, 0.3, 0.5, 1.0, 7.0])) for axis in axes}
    dtype = draw(st.sampled_from(["uint8", "float32", "uint64"]))
    return spec_of(shape, dtype, "".join(axes), chunks, {k: v for k, v in scales.items() if v})


@st.composite
def plans(draw: Any, **options: Any) -> Plan:
    """A plan with many small shards."""
    spec = draw(specs())
    with small_plans(draw(st.sampled_from([64, 500, 4000])), draw(st.sampled_from([2, 8, 30]))):
        return plan_pyramid(spec, levels=draw(st.sampled_from([None, None, 1, 2, 5])), **options)


def a_plan(shape: tuple[int, ...], axes: str = "zyx", dtype: str = "uint8", **more: Any) -> Plan:
    keys = ("levels", "method", "workers", "memory")
    options = {key: more.pop(key) for key in keys if key in more}
    return plan_pyramid(spec_of(shape, dtype, axes, **more), **options)


def coordinates(plan: Plan, level: int) -> list[np.ndarray[Any, Any]]:
    """Positions along each axis by the level's own metadata, also of axes whose scale is not known."""
    made = plan.levels[level]
    return [
        axis.translation + (axis.scale or 1.0) * np.arange(n) for axis, n in zip(made.axes, made.shape, strict=True)
    ]


class TestShards:
    @given(plans())
    def test_of_each_level_tile_it_exactly(self, plan: Plan) -> None:
        for level in plan.levels:
            times = np.zeros(level.shape, int)
            for shard in np.ndindex(level.grid):
                times[level.region(shard)] += 1
            assert (times == 1).all()

    @given(plans())
    def test_of_level_0_are_yielded_once_each(self, plan: Plan) -> None:
        counted = Counter(plan.shards())
        assert set(counted.values()) == {1}
        assert set(counted) == set(np.ndindex(plan.levels[0].grid))

    @given(plans())
    def test_are_whole_chunks(self, plan: Plan) -> None:
        for level in plan.levels:
            for n, chunk, shard in zip(level.shape, level.chunks, level.shards, strict=True):
                assert 1 <= chunk <= n
                assert shard % chunk == 0
                assert shard - n < chunk, "a chunk that lies outside of the array"

    @given(plans())
    def test_no_pair_of_voxels_straddles_two_shards(self, plan: Plan) -> None:
        for lower, upper in zip(plan.levels, plan.levels[1:], strict=False):
            for n, new, shard, factor in zip(lower.shape, upper.shape, lower.shards, upper.factors, strict=True):
                first = np.arange(new) * factor
                assert new >= 1
                assert (first + factor <= n).all()
                assert (first // shard == (first + factor - 1) // shard).all()

    @given(plans())
    def test_each_goes_to_the_one_shard_that_holds_its_voxels_downsampled(self, plan: Plan) -> None:
        for number in range(len(plan.levels) - 1):
            lower, upper = plan.levels[number], plan.levels[number + 1]
            for shard in np.ndindex(lower.grid):
                # Where each voxel that has a partner goes, by arithmetic on the voxels alone.
                places = []
                for part, n, factor, size in zip(
                    lower.region(shard), upper.shape, upper.factors, upper.shards, strict=True
                ):
                    new = {i // factor for i in range(part.start, part.stop) if i // factor < n}
                    places.append({i // size for i in new})
                if not all(places):
                    assert plan.parent(number, shard) is None
                else:
                    assert all(len(along) == 1 for along in places)
                    assert plan.parent(number, shard) == tuple(along.pop() for along in places)

    @given(plans())
    def test_children_are_as_many_as_name_it_as_their_parent(self, plan: Plan) -> None:
        for number in range(1, len(plan.levels)):
            parents = Counter(plan.parent(number - 1, shard) for shard in np.ndindex(plan.levels[number - 1].grid))
            for shard in np.ndindex(plan.levels[number].grid):
                assert plan.children(number, shard) == parents[shard] > 0

    def test_of_the_top_level_have_no_parent(self) -> None:
        plan = a_plan((600, 600), "yx")
        assert plan.parent(len(plan.levels) - 1, (0, 0)) is None

    @given(plans())
    def test_a_region_of_the_target_is_the_same_voxels_in_the_source(self, plan: Plan) -> None:
        numbered = np.arange(math.prod(plan.spec.shape)).reshape(plan.spec.shape)
        moved = numbered.transpose([plan.spec.dims.index(name) for name in OME_ORDER if name in plan.spec.dims])
        for shard in list(plan.shards())[:10]:
            region = plan.levels[0].region(shard)
            found = numbered[plan.source_region(region)].transpose(plan.permutation)
            np.testing.assert_array_equal(found, moved[region])

    @pytest.mark.parametrize(
        ("shape", "chunks"),
        [
            ((3000, 3000, 3000), (64, 64, 64)),
            ((1001, 999, 777), (80, 80, 80)),
            ((500, 501, 502), (1, 256, 256)),
            ((513, 700, 400), (51, 51, 51)),
        ],
    )
    def test_are_multiples_of_the_chunks_that_the_source_stores(
        self, shape: tuple[int, ...], chunks: tuple[int, ...]
    ) -> None:
        dtype = "float32" if math.prod(chunks) < 2**17 else "uint8"
        level = a_plan(shape, dtype=dtype, chunks=chunks).levels[0]
        nbytes = math.prod(chunks) * np.dtype(dtype).itemsize
        if 128 * 2**10 <= nbytes <= 4 * MiB:
            assert level.chunks == chunks
        assert all(shard % chunk == 0 for shard, chunk in zip(level.shards, level.chunks, strict=True))
        assert math.prod(level.shards) * np.dtype(dtype).itemsize <= 16 * MiB

    @pytest.mark.parametrize(
        ("axes", "shape", "chunks", "dtype"),
        [
            ("zyxc", (512, 512, 512, 2), (50, 50, 50, 1), "float32"),  # ilastik's
            ("tyxc", (40, 1200, 1200, 3), (1, 413, 413, 1), "uint8"),  # ilastik's
            ("zyx", (300, 700, 600), (1, 700, 600), "uint8"),  # planes
            ("zyxc", (512, 512, 512, 3), (64, 64, 64, 3), "uint8"),  # all channels in one chunk
            ("yxc", (2000, 2000, 3), (256, 256, 3), "uint8"),  # the same in two dimensions
            ("zyx", (512, 512, 512), (32, 32, 32), "uint8"),  # below the least size of a chunk of the target
            ("zyx", (512, 512, 512), (512, 50, 50), "float32"),  # a block of dask's
        ],
    )
    def test_need_each_chunk_of_the_source_once(
        self, axes: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
    ) -> None:
        plan = a_plan(shape, axes, dtype, chunks=chunks)
        times = np.zeros(plan.spec.grid, int)
        for shard in plan.shards():
            region = plan.source_region(plan.levels[0].region(shard))
            parts = zip(region, chunks, strict=True)
            times[tuple(slice(part.start // chunk, -(-part.stop // chunk)) for part, chunk in parts)] += 1
        assert times.max() == 1, f"chunks are decoded {times.mean():.1f} times"

    def test_hold_one_time_point_and_channel_a_chunk(self) -> None:
        plan = a_plan((30, 400, 500, 300, 3), "tzyxc", chunks=(2, 50, 50, 50, 3))
        assert plan.levels[0].chunks[:2] == (1, 1)


def open_bytes_at_most(plan: Plan) -> int:
    """Bytes of unfinished upper shards at the worst moment of a conversion with one thread."""
    missing: dict[tuple[int, tuple[int, ...]], int] = {}
    worst = 0

    def size(level: int, shard: tuple[int, ...]) -> int:
        region = plan.levels[level].region(shard)
        return math.prod(part.stop - part.start for part in region) * plan.dtype.itemsize

    for first in plan.shards():
        level, shard = 0, first
        while (parent := plan.parent(level, shard)) is not None:
            key = (level + 1, parent)
            missing[key] = missing.get(key, plan.children(*key)) - 1
            worst = max(worst, sum(size(*waiting) for waiting in missing))
            if missing[key]:
                break
            del missing[key]
            level, shard = key
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
            enough = int(re.search(r"(\d+) bytes would do", str(error))[1])  # type: ignore[index]
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


class TestLevels:
    def test_go_on_until_no_axis_of_space_is_longer_than_256(self) -> None:
        assert [level.shape for level in a_plan((512, 1025, 300)).levels] == [
            (512, 1025, 300),
            (256, 512, 150),
            (128, 256, 75),
        ]

    def test_of_a_small_image_are_one(self) -> None:
        assert len(a_plan((256, 256, 256)).levels) == 1

    def test_are_as_many_as_asked_for(self) -> None:
        assert len(a_plan((64, 64, 64), levels=4).levels) == 4
        assert len(a_plan((5000, 5000), "yx", levels=1).levels) == 1

    @pytest.mark.parametrize("levels", [0, -1, 17])
    def test_in_an_impossible_number_are_refused(self, levels: int) -> None:
        with pytest.raises(ArgumentError, match="levels"):
            a_plan((64, 64, 64), levels=levels)

    @given(plans())
    def test_never_halve_time_channels_or_a_single_voxel(self, plan: Plan) -> None:
        for lower, upper in zip(plan.levels, plan.levels[1:], strict=False):
            for axis, n, factor in zip(lower.axes, lower.shape, upper.factors, strict=True):
                assert factor in (1, 2)
                assert factor == 1 or (axis.name in "zyx" and n > 1)

    @given(plans())
    def test_each_is_coarser_than_the_one_before(self, plan: Plan) -> None:
        shapes = [math.prod(level.shape) for level in plan.levels]
        assert shapes == sorted(set(shapes), reverse=True)

    def test_of_flat_voxels_become_isotropic(self) -> None:
        plan = a_plan((200, 2000, 2000), scales={"z": 2.0, "y": 0.25, "x": 0.25})
        assert [level.factors for level in plan.levels] == [(1, 1, 1), *[(1, 2, 2)] * 3]
        assert {axis.scale for axis in plan.levels[-1].axes} == {2.0}

    def test_of_isotropic_voxels_halve_all_axes(self) -> None:
        plan = a_plan((600, 600, 600), scales={"z": 1.2, "y": 1.0, "x": 1.0})
        assert plan.levels[1].factors == (2, 2, 2)

    def test_compare_steps_in_the_same_unit(self) -> None:
        steps = {"z": 500.0, "y": 0.5, "x": 0.5}
        units = {"z": "nanometer", "y": "micrometer", "x": "micrometer"}
        assert a_plan((600, 600, 600), scales=steps, units=units).levels[1].factors == (2, 2, 2)

    @given(plans())
    def test_positions_of_each_are_the_means_of_the_positions_before(self, plan: Plan) -> None:
        for number in range(1, len(plan.levels)):
            before, here = coordinates(plan, number - 1), coordinates(plan, number)
            for old, new, factor in zip(before, here, plan.levels[number].factors, strict=True):
                means = old[: len(new) * factor].reshape(-1, factor).mean(1)
                np.testing.assert_allclose(new, means, rtol=1e-12, atol=1e-12)

    @given(plans())
    def test_positions_are_the_means_of_those_of_level_0(self, plan: Plan) -> None:
        first = coordinates(plan, 0)
        for number, level in enumerate(plan.levels):
            for i, (old, new) in enumerate(zip(first, coordinates(plan, number), strict=True)):
                times = math.prod(upper.factors[i] for upper in plan.levels[1 : number + 1])
                means = old[: level.shape[i] * times].reshape(-1, times).mean(1)
                np.testing.assert_allclose(new, means, rtol=1e-12, atol=1e-9)

    def test_begin_where_the_source_begins(self) -> None:
        axes = (Axis("y", 0.5, 100.0, "micrometer"), Axis("x", 0.5, -3.0, "micrometer"))
        plan = plan_pyramid(spec_of((600, 600), "uint8", axes))
        assert plan.levels[0].axes == axes
        assert [axis.translation for axis in plan.levels[1].axes] == [100.25, -2.75]

    def test_have_the_axes_in_the_order_of_ome_zarr(self) -> None:
        plan = a_plan((2, 30, 4, 50, 60), "xtcyz")
        assert [axis.name for axis in plan.levels[0].axes] == list("tczyx")
        assert plan.levels[0].shape == (30, 4, 60, 50, 2)


class TestRefusals:
    @pytest.mark.parametrize(("axes", "missing"), [("zy", "x"), ("tx", "y"), ("zxc", "y")])
    def test_an_array_without_y_or_x_is_refused(self, axes: str, missing: str) -> None:
        with pytest.raises(AxesError, match=f"no axis '{missing}'"):
            a_plan((4,) * len(axes), axes)

    @pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4, 0)])
    def test_an_empty_array_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ArgumentError, match="empty"):
            a_plan(shape)


def test_bytes_are_those_of_all_levels() -> None:
    plan = a_plan((512, 512), "yx", "float32")
    assert plan.nbytes == 4 * (512 * 512 + 256 * 256)


def test_values_are_little_endian() -> None:
    assert a_plan((4, 4), "yx", ">u2").dtype == np.dtype("<u2")
