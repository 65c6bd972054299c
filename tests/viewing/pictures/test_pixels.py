"""Planes are read chunk by chunk, no more than is shown of them, and reduced on the way."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.core.grid import region_shape
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.viewing.pictures.pixels import read_plane
from ilastik_lazy.viewing.pictures.planes import Plane
from tests.support.in_memory import ArrayInMemory, arrays


def plane_in(data, names, plane):
    """The plane as numpy cuts it: (channel, down, across)."""
    cut = data[tuple(plane.at.get(name, slice(None)) for name in names)]
    left = [name for name in names if name not in plane.at]
    if "c" not in left:
        cut, left = cut[np.newaxis], ["c", *left]
    return cut.transpose([left.index(name) for name in ("c", plane.down, plane.across)])


@st.composite
def planes(draw):
    data, names, chunks = draw(arrays().filter(lambda made: len(set(made[1]) & set("zyx")) > 1))
    across, down = draw(st.permutations([name for name in names if name in "zyx"]))[:2]
    others = [name for name in names if name not in (across, down) and (name != "c" or draw(st.booleans()))]
    at = {name: draw(st.integers(0, data.shape[names.index(name)] - 1)) for name in others}
    return ArrayInMemory(data, names, chunks), plane_in(data, names, Plane(across, down, at)), Plane(across, down, at)


steps = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(planes(), steps)
def test_the_nearest_voxel_is_the_one_in_the_middle(made, steps):
    source, expected, plane = made
    rows, columns = (
        np.minimum(np.arange(0, n, step) + step // 2, n - 1) for n, step in zip(expected.shape[1:], steps, strict=True)
    )
    found = read_plane(source, plane, steps, "nearest")
    np.testing.assert_array_equal(found, expected[:, rows][:, :, columns], strict=True)


@given(planes(), steps)
def test_means_are_those_of_numpy(made, steps):
    source, expected, plane = made
    found = read_plane(source, plane, steps, "mean")
    if max(steps) == 1:
        np.testing.assert_array_equal(found, expected, strict=True)
        return
    for k, row, column in np.ndindex(found.shape):
        part = expected[k, row * steps[0] : (row + 1) * steps[0], column * steps[1] : (column + 1) * steps[1]].astype(
            float
        )
        assert found[k, row, column] == pytest.approx(part.mean(), nan_ok=True)


def test_nan_is_left_out_of_means_unless_there_is_nothing_else():
    data = np.array([[1, np.nan, np.nan, np.nan], [3, 5, np.nan, np.nan]], "f4")
    found = read_plane(ArrayInMemory(data, "yx", (1, 3)), Plane("x", "y", {}), (2, 2), "mean")
    np.testing.assert_array_equal(found, [[[3, np.nan]]])


@pytest.fixture
def counted():
    """A source, and the regions that are read of it."""
    regions = []
    data = np.arange(30 * 40 * 50 * 2, dtype="u4").reshape(30, 40, 50, 2)
    return ArrayInMemory(data, "zyxc", (10, 8, 8, 1), regions.append), regions


@pytest.mark.parametrize(
    ("plane", "voxels"),
    [
        (Plane("x", "y", {"z": 17, "c": 0}), 40 * 50),
        (Plane("z", "y", {"x": 3}), 30 * 40 * 2),
        (Plane("x", "z", {"y": 39, "c": 1}), 30 * 50),
    ],
)
@pytest.mark.parametrize("method", ["mean", "nearest"])
def test_only_the_plane_is_read(counted, plane, voxels, method):
    source, regions = counted
    read_plane(source, plane, (3, 2), method)
    assert sum(np.prod(region_shape(region)) for region in regions) == voxels
    for dim, index in plane.at.items():
        assert all(region["zyxc".index(dim)] == slice(index, index + 1) for region in regions)


def test_blocks_without_a_voxel_that_is_shown_are_not_read():
    regions = []
    # Blocks of one chunk: larger ones would be grouped.
    source = ArrayInMemory(np.zeros((8 * 2**21, 3), "u1"), "yx", (2**21, 3), regions.append)
    assert read_plane(source, Plane("x", "y", {}), (2**23, 1), "nearest").shape == (1, 2, 3)
    assert len(regions) == 2


def test_a_chunk_that_cannot_be_read_is_an_error():
    def fail(region):
        raise CorruptChunkError("chunk (0, 0) is damaged")

    source = ArrayInMemory(np.zeros((4, 5)), "yx", (2, 2), fail)
    for method in ("mean", "nearest"):
        with pytest.raises(CorruptChunkError):
            read_plane(source, Plane("x", "y", {}), (2, 2), method)


def test_only_the_blocks_of_the_plane_are_computed():
    computed = []

    def block(block_id):
        computed.append(block_id)
        return np.full((5, 4, 4), block_id[0], "u1")

    made = da.map_blocks(block, chunks=((5,) * 6, (4,) * 3, (4,) * 3), dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    source = as_source(xr.DataArray(made, dims=("z", "y", "x")))
    found = read_plane(source, Plane("x", "y", {"z": 13}), (1, 1), "mean")
    assert np.unique(found).tolist() == [2]
    assert sorted(computed) == [(2, j, k) for j in range(3) for k in range(3)]


def test_what_all_blocks_need_is_computed_once_a_plane():
    calls = []

    def block(block_id):
        calls.append(block_id)
        return np.full((2, 2), block_id[0], "f8")

    made = da.map_blocks(block, chunks=((2,) * 8, (2,) * 8), dtype="f8", meta=np.empty((0, 0)))
    array = xr.DataArray(made - made.mean(), dims=("y", "x"))
    found = read_plane(as_source(array), Plane("x", "y", {}), (2, 2), "mean")
    assert found[0, :, 0].tolist() == [k - 3.5 for k in range(8)]
    assert len(calls) <= 2 * 64
