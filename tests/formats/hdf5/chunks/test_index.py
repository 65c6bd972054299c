"""Where the chunks of an HDF5 dataset lie, and which of them cannot be believed."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.errors import IncompleteSourceWarning, SourceChangedError
from ilastik_lazy.formats.hdf5.chunks import index as hdf5_index
from ilastik_lazy.formats.hdf5.chunks.absent import COUNTED_AT_OPENING
from ilastik_lazy.formats.hdf5.chunks.btree import ChunkRows
from ilastik_lazy.formats.hdf5.chunks.index import ABSENT, CROSSED, OUTSIDE, _index_from_rows, chunk_index
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import Stamp, stamp_of
from tests.support.makers import DIRECT_LAYOUTS, SHAPE, write_layout


def index_of(rows, shape=(4, 6), chunks=(2, 2), file_size=10_000):
    """Index of chunks given as (first row, first column, offset, size, mask), in two parts as a file may have them."""
    table = np.array(rows, np.uint64).reshape(-1, 5)
    parts = [ChunkRows(part[:, :2], *part[:, 2:].T) for part in (table[::2], table[1::2])]
    return _index_from_rows(parts, shape, chunks, file_size)


@pytest.mark.parametrize("layout", DIRECT_LAYOUTS)
def test_agrees_with_h5py_chunk_by_chunk(tmp_path, layout):
    path = tmp_path / "a.h5"
    write_layout(path, DIRECT_LAYOUTS[layout])
    with h5py.File(path) as file:
        dataset = file["exported_data"]
        chunks = dataset.chunks
        stored = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
    index = chunk_index(Location.parse(path, "exported_data"), SHAPE, chunks, stamp_of(str(path)))
    assert index.absent == 0
    assert index.offsets.size == len(stored)
    for info in stored:
        place = tuple(first // length for first, length in zip(info.chunk_offset, chunks, strict=True))
        mask = 0 if index.masks is None else index.masks[place]
        assert (index.offsets[place], index.sizes[place], mask) == (info.byte_offset, info.size, info.filter_mask)


def test_has_no_masks_where_every_filter_was_used(tmp_path):
    for layout, wanted in {"gzip": True, "filters left out": False}.items():
        path = tmp_path / f"{layout}.h5"
        write_layout(path, DIRECT_LAYOUTS[layout])
        with h5py.File(path) as file:
            chunks = file["exported_data"].chunks
        index = chunk_index(Location.parse(path, "exported_data"), SHAPE, chunks, stamp_of(str(path)))
        assert (index.masks is None) == wanted


def test_a_chunk_that_is_not_there_is_absent(tmp_path, monkeypatch):
    index = index_of([[0, 0, 100, 8, 0], [2, 4, 200, 8, 0]])
    assert index.absent == 4
    assert index.offsets.tolist() == [[100, ABSENT, ABSENT], [ABSENT, ABSENT, 200]]
    assert index.sizes.tolist() == [[8, 0, 0], [0, 0, 8]]
    path = tmp_path / "stopped.h5"
    write_layout(path, DIRECT_LAYOUTS["gzip"] | {"missing": [(0, 0, 0, 0)]})
    monkeypatch.setattr(hdf5_index, "COUNTED_AT_OPENING", 10)
    with pytest.warns(IncompleteSourceWarning, match=r"1 of 54"):
        chunk_index(Location.parse(path, "exported_data"), SHAPE, (3, 4, 4, 1), stamp_of(str(path)))


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, 8),
        (47, 8),
        (9_993, 8),
        (10_001, 0),
        (2**40, 8),
        (2**63 - 4, 8),
        (2**63, 8),
        (2**64 - 4, 8),
        (100, 2**32 - 1),
    ],
)
def test_a_chunk_that_cannot_lie_in_the_file_is_outside(offset, size):
    index = index_of([[0, 0, offset, size, 0], [0, 2, 500, 8, 0]])
    assert index.offsets[0, 0] == OUTSIDE
    assert index.offsets[0, 1] == 500


@pytest.mark.parametrize(("offset", "size"), [(48, 8), (9_992, 8), (10_000, 0)])
def test_a_chunk_at_the_edge_of_the_file_is_believed(offset, size):
    assert index_of([[0, 0, offset, size, 0]]).offsets[0, 0] == offset


def test_chunks_that_share_bytes_are_crossed_and_neighbours_are_not():
    index = index_of([[0, 0, 100, 50, 0], [0, 2, 149, 50, 0], [0, 4, 199, 50, 0], [2, 0, 300, 8, 0], [2, 2, 308, 8, 0]])
    assert index.offsets.tolist() == [[CROSSED, CROSSED, 199], [300, 308, ABSENT]]


def test_a_chunk_inside_a_long_one_is_crossed_also_behind_another():
    # 100..600 holds 200..210 and 300..310: the last two do not touch each other.
    index = index_of([[0, 0, 100, 500, 0], [0, 2, 200, 10, 0], [0, 4, 300, 10, 0]])
    assert index.offsets[0].tolist() == [CROSSED] * 3


@given(st.lists(st.tuples(st.integers(48, 400), st.integers(1, 60)), min_size=1, max_size=9))
def test_crossed_is_what_comparing_every_pair_finds(extents):
    shape, rows = (len(extents), 1), [[i, 0, start, size, 0] for i, (start, size) in enumerate(extents)]
    found = index_of(rows, shape, (1, 1)).offsets[:, 0]
    for i, (start, size) in enumerate(extents):
        others = extents[:i] + extents[i + 1 :]
        shared = any(start < other + length and other < start + size for other, length in others)
        assert (found[i] == CROSSED) == shared


def test_rows_beyond_the_grid_are_left_out():
    index = index_of([[0, 0, 100, 8, 0], [4, 0, 200, 8, 0], [0, 6, 300, 8, 0], [2**40, 2**40, 400, 8, 0]])
    assert np.count_nonzero(index.offsets != ABSENT) == 1


def test_an_index_of_nothing_is_empty():
    index = index_of([], (0, 6))
    assert index.offsets.shape == (0, 3)
    assert index.absent == 0


def test_another_version_of_the_file_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_layout(path, DIRECT_LAYOUTS["gzip"])
    now = stamp_of(str(path))
    before = Stamp(now.device, now.inode, now.size, now.mtime_ns - 1)
    with pytest.raises(SourceChangedError):
        chunk_index(Location.parse(path, "exported_data"), SHAPE, (3, 4, 4, 1), before)


def test_opening_a_file_of_many_chunks_does_not_read_their_index(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("exported_data", (COUNTED_AT_OPENING + 1, 1), "u1", chunks=(1, 1))
        for number in range(dataset.shape[0]):
            dataset.id.write_direct_chunk((number, 0), b"\x01")
    assert il.open_dataarray(tmp_path / "a.h5", axes="yx")[-1].values == [1]
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(content.replace(b"TREE\x01\x00", b"\0\0\0\0\0\0"))  # all nodes that hold chunks
    opened = il.open_dataarray(tmp_path / "b.h5", axes="yx")
    with pytest.raises(il.errors.IlastikLazyError):
        opened[-1].compute()
