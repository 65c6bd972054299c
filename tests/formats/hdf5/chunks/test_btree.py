"""ilastik's chunk index, read with numpy: as libhdf5 tells it, or not at all."""

from __future__ import annotations

import os
import struct

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.errors import CorruptFileError
from ilastik_lazy.formats.hdf5.chunks.btree import chunk_rows
from tests.support.makers import some_data, write_hdf5_export


def rows_of(path, internal_path="exported_data", most=None):
    """What is read with numpy, sorted; None where libhdf5 must be asked."""
    with h5py.File(path) as file:
        dataset = file[internal_path]
        header, ndim = h5py.h5o.get_info(dataset.id).addr, dataset.ndim
        if most is None:
            most = int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]))
    fd = os.open(path, os.O_RDONLY)
    try:
        found = chunk_rows(str(path), fd, header, ndim, most, os.fstat(fd).st_size)
    finally:
        os.close(fd)
    if found is None:
        return None
    return sorted((*o, p, s, m) for part in found for o, p, s, m in zip(*(a.tolist() for a in part), strict=True))


def rows_by_h5py(path, internal_path="exported_data"):
    with h5py.File(path) as file:
        dataset = file[internal_path].id
        stored = [dataset.get_chunk_info(i) for i in range(dataset.get_num_chunks())]
    return sorted((*i.chunk_offset, i.byte_offset, i.size, i.filter_mask) for i in stored)


@pytest.mark.parametrize("chunks", [(3, 3, 3), (2, 1, 2), (1, 1, 1)], ids=["one node", "two levels", "three levels"])
@pytest.mark.parametrize("filters", ["none", "gzip"])
def test_agrees_with_h5py_whatever_the_depth(tmp_path, chunks, filters):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data((18, 17, 16)), axes="zyx", chunks=chunks, filters=filters)
    if chunks == (3, 3, 3):  # 6 * 6 * 6 chunks are too many for one node
        write_hdf5_export(path, some_data((9, 8, 7)), axes="zyx", chunks=chunks, filters=filters)
    assert rows_of(path) == rows_by_h5py(path)


def test_agrees_with_h5py_where_chunks_came_in_any_order(tmp_path):
    path, rng = tmp_path / "a.h5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("exported_data", (40, 50), "u1", chunks=(1, 2), maxshape=(None, None))
        firsts = [(row, 2 * column) for row in range(40) for column in range(25)]
        for row, column in rng.permutation(firsts)[:700].tolist():
            dataset[row, column : column + 2] = 1
        dataset.resize((60, 60))
        dataset[59, 59] = 1
        dataset.resize((33, 41))
        for number in range(30):  # so that the object header goes on elsewhere
            dataset.attrs[f"attribute {number}"] = "x" * 100
    assert len(rows_by_h5py(path)) > 400
    assert rows_of(path) == rows_by_h5py(path)


def test_agrees_with_h5py_on_masks(tmp_path):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data((6, 4)), axes="yx", chunks=(3, 4), filters="shuffle+gzip", masks={(3, 0): 0b11})
    assert rows_of(path) == rows_by_h5py(path)
    assert [row[-1] for row in rows_of(path)] == [0, 3]


def test_a_dataset_without_chunks_written_has_no_rows(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exported_data", (6, 4), "f4", chunks=(3, 4))
    assert rows_of(tmp_path / "a.h5") == rows_by_h5py(tmp_path / "a.h5") == []


@pytest.mark.parametrize("libver", ["v108", "v110", "latest"])
def test_a_newer_layout_is_left_to_libhdf5(tmp_path, libver):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data((6, 4)), axes="yx", chunks=(3, 4), libver=libver)
    assert rows_of(path) in (None, rows_by_h5py(path))


def test_more_chunks_than_the_shape_allows_are_left_to_libhdf5(tmp_path):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data((40, 40)), axes="yx", chunks=(1, 2))
    assert rows_of(path, most=10) is None


def node_addresses(content):
    """Where the nodes of trees of chunks lie: the signature, then the type 1."""
    found, start = [], content.find(b"TREE\x01")
    while start >= 0:
        found.append(start)
        start = content.find(b"TREE\x01", start + 1)
    return found


@pytest.fixture(scope="module")
def two_levels(tmp_path_factory):
    """A file of 100 chunks: a root and its leaves."""
    path = tmp_path_factory.mktemp("tree") / "a.h5"
    write_hdf5_export(path, some_data((10, 10), "|u1"), axes="yx", chunks=(1, 1))
    return path


def test_a_tree_that_holds_itself_comes_to_an_end(two_levels, tmp_path):
    content = bytearray(two_levels.read_bytes())
    root = next(address for address in node_addresses(content) if content[address + 5] == 1)
    used = struct.unpack_from("<H", content, root + 6)[0]
    record = 4 + 4 + 3 * 8 + 8
    for level in (1, 15, 200):
        content[root + 5] = level
        for number in range(used):
            struct.pack_into("<Q", content, root + 24 + (number + 1) * record - 8, root)
        damaged = tmp_path / "a.h5"
        damaged.write_bytes(content)
        assert rows_of_header(damaged, two_levels) is None


def rows_of_header(damaged, sound):
    """Rows of a damaged file, whose object header lies where it lies in the sound one."""
    with h5py.File(sound) as file:
        header = h5py.h5o.get_info(file["exported_data"].id).addr
    fd = os.open(damaged, os.O_RDONLY)
    try:
        return chunk_rows(str(damaged), fd, header, 2, 100, os.fstat(fd).st_size)
    finally:
        os.close(fd)


@given(st.data())
def test_damaged_bytes_give_rows_or_none_or_an_error_and_nothing_else(two_levels, tmp_path_factory, data):
    content = bytearray(two_levels.read_bytes())
    with h5py.File(two_levels) as file:
        header = h5py.h5o.get_info(file["exported_data"].id).addr
    places = [header, *node_addresses(content)]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(places)) + data.draw(st.integers(0, 600))
        content[min(at, len(content) - 1)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    damaged = tmp_path_factory.getbasetemp() / f"damaged-{os.getpid()}.h5"
    damaged.write_bytes(content)
    try:
        found = rows_of_header(damaged, two_levels)
    except CorruptFileError:
        return
    assert found is None or sum(len(part.offsets) for part in found) <= 2 * 100 + 128
