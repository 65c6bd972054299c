"""Shards, and what is refused, worked out before anything is touched."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given

from ilastik_lazy.errors import ArgumentError, AxesError
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan
from ilastik_lazy.writers.ome_zarr.plan.pyramid import OME_ORDER
from tests.support.ome_zarr.planning import MiB, a_plan, plans


class TestShards:
    @given(plans())
    def test_of_each_level_tile_it_exactly(self, plan: Plan) -> None:
        for level in plan.levels:
            times = np.zeros(level.shape, int)
            for shard in level.all_shards():
                times[shard.region] += 1
            assert (times == 1).all()

    @given(plans())
    def test_of_level_0_are_yielded_once_each(self, plan: Plan) -> None:
        counted = Counter(plan.remaining(()))
        assert set(counted.values()) == {1}
        assert set(counted) == set(plan.levels[0].all_shards())

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
            for shard in lower.all_shards():
                # Where each voxel that has a partner goes, by arithmetic on the voxels alone.
                places = []
                for part, n, factor, size in zip(shard.region, upper.shape, upper.factors, upper.shards, strict=True):
                    new = {i // factor for i in range(part.start, part.stop) if i // factor < n}
                    places.append({i // size for i in new})
                if not all(places):
                    assert plan.parent(shard) is None
                else:
                    assert all(len(along) == 1 for along in places)
                    assert plan.parent(shard) == upper.shard(tuple(along.pop() for along in places))

    @given(plans())
    def test_children_are_as_many_as_name_it_as_their_parent(self, plan: Plan) -> None:
        for number in range(1, len(plan.levels)):
            parents = Counter(map(plan.parent, plan.levels[number - 1].all_shards()))
            for shard in plan.levels[number].all_shards():
                assert len(plan.children(shard)) == parents[shard] > 0

    def test_of_the_top_level_have_no_parent(self) -> None:
        plan = a_plan((600, 600), "yx")
        assert plan.parent(plan.levels[-1].shard((0, 0))) is None

    @given(plans())
    def test_a_region_of_the_target_is_the_same_voxels_in_the_source(self, plan: Plan) -> None:
        numbered = np.arange(math.prod(plan.spec.shape)).reshape(plan.spec.shape)
        moved = numbered.transpose([plan.spec.dims.index(name) for name in OME_ORDER if name in plan.spec.dims])
        for shard in list(plan.remaining(()))[:10]:
            region = shard.region
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
        for shard in plan.levels[0].all_shards():
            region = plan.source_region(shard.region)
            parts = zip(region, chunks, strict=True)
            times[tuple(slice(part.start // chunk, -(-part.stop // chunk)) for part, chunk in parts)] += 1
        assert times.max() == 1, f"chunks are decoded {times.mean():.1f} times"

    def test_hold_one_time_point_and_channel_a_chunk(self) -> None:
        plan = a_plan((30, 400, 500, 300, 3), "tzyxc", chunks=(2, 50, 50, 50, 3))
        assert plan.levels[0].chunks[:2] == (1, 1)


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
