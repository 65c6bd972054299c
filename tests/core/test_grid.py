"""Arithmetic of chunk grids, against numpy's own slicing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.core.grid import (
    BLOCK_BYTES_MOST,
    block_lengths,
    block_shape,
    check_region,
    grid_shape,
    overlaps,
    region_shape,
    regions_of_blocks,
)
from ilastik_lazy.errors import ArgumentError


@st.composite
def grids(draw):
    """A shape, chunks that may be longer than it, and a region inside."""
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)))
    chunks = tuple(draw(st.integers(1, 11)) for _ in shape)
    bounds = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return shape, chunks, tuple(slice(*pair) for pair in bounds)


@given(grids())
def test_overlaps_bring_every_element_to_its_place_once(grid):
    shape, chunks, region = grid
    full = np.arange(math.prod(shape)).reshape(shape)
    found = np.full(region_shape(region), -1)
    for overlap in overlaps(region, chunks):
        chunk = np.full(chunks, -2)
        start = np.multiply(overlap.chunk, chunks)
        part = full[tuple(map(slice, start, start + chunks))]
        chunk[tuple(map(slice, part.shape))] = part
        assert (found[overlap.target] == -1).all()
        found[overlap.target] = chunk[overlap.inside]
        assert overlap.whole == (chunk[overlap.inside].shape == chunks)
    np.testing.assert_array_equal(found, full[region])


@given(grids())
def test_no_overlap_is_empty_or_outside_the_grid(grid):
    shape, chunks, region = grid
    seen = [overlap.chunk for overlap in overlaps(region, chunks)]
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)
    assert all(place < count for chunk in seen for place, count in zip(chunk, grid_shape(shape, chunks), strict=True))
    assert all(math.prod(region_shape(overlap.inside)) > 0 for overlap in overlaps(region, chunks))


@given(grids())
def test_blocks_cover_the_array_once(grid):
    shape, chunks, _ = grid
    seen = np.zeros(shape, int)
    for region in regions_of_blocks(shape, chunks):
        seen[region] += 1
    assert (seen == 1).all()
    lengths = block_lengths(shape, chunks)
    assert tuple(map(sum, lengths)) == shape
    if math.prod(shape):
        assert math.prod(map(len, lengths)) == len(list(regions_of_blocks(shape, chunks)))


@given(grids())
def test_a_region_inside_is_accepted(grid):
    check_region(grid[2], grid[0])


@pytest.mark.parametrize(
    "region",
    [(), (slice(0, 1),), (slice(0, 1),) * 3, (slice(0, 6), slice(0, 1)), (slice(-1, 1), slice(0, 1)),
     (slice(2, 1), slice(0, 1)), (slice(0, 1, 2), slice(0, 1)), (slice(None), slice(0, 1)), (0, slice(0, 1)),
     (slice(0, None), slice(0, 1)), ("a", slice(0, 1))],
)  # fmt: skip
def test_what_does_not_fit_is_refused(region):
    with pytest.raises(ArgumentError, match=r"does not fit an array of shape \(5, 4\)"):
        check_region(region, (5, 4))


@given(
    st.permutations("tzyxc").flatmap(lambda order: st.integers(2, 5).map(lambda n: order[:n])),
    st.data(),
    st.sampled_from([1, 2, 4, 8]),
)
def test_a_block_is_whole_chunks_of_bounded_size(order, data, itemsize):
    shape = [data.draw(st.integers(1, 3000)) for _ in order]
    chunks = [data.draw(st.integers(1, min(n, 60))) for n in shape]
    block = block_shape(shape, chunks, itemsize, order)
    for length, chunk, n in zip(block, chunks, shape, strict=True):
        assert chunk <= length <= n
        assert length == n or length % chunk == 0
    chunk_bytes = math.prod(chunks) * itemsize
    assert math.prod(block) * itemsize <= max(BLOCK_BYTES_MOST, chunk_bytes)


def test_a_block_of_an_export_is_a_few_megabytes_with_one_t_and_one_c():
    for order, shape, chunks in [
        ("zyxc", (1000, 2000, 2000, 3), (50, 50, 50, 1)),
        ("tzyxc", (100, 50, 1024, 1024, 2), (1, 50, 50, 50, 1)),
        ("tyxc", (500, 2048, 2048, 2), (1, 357, 357, 1)),
    ]:
        block = dict(zip(order, block_shape(shape, chunks, 4, order), strict=True))
        assert block["c"] == 1
        assert block.get("t", 1) == 1
        assert 2**21 <= 4 * math.prod(block.values()) <= BLOCK_BYTES_MOST


def test_a_time_lapse_of_small_images_gathers_frames():
    block = block_shape((5000, 64, 64, 1), (1, 64, 64, 1), 1, "tyxc")
    assert math.prod(block) >= 0.9 * 2**22


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_an_empty_array_has_empty_blocks(shape):
    assert math.prod(block_shape(shape, (2, 2), 4, "yx")) == 0
    assert tuple(map(sum, block_lengths(shape, block_shape(shape, (2, 2), 4, "yx")))) == shape
