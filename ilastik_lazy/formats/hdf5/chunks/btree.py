"""The chunk index of the HDF5 files that ilastik writes, read with numpy.

ilastik's files have an old layout of HDF5: a version 3 layout message, which points to a version 1
B-tree of chunks.  Its nodes are arrays of records, so a level of the tree
is one table; libhdf5's `chunk_iter` calls Python once for each chunk instead, and takes 10 times longer.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html (III.A.1, IV.A.1.a, IV.A.2.i)

Everything read here is checked; what does not fit gives None, and the caller uses libhdf5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.errors import CorruptFileError, SourceError
from ilastik_lazy.formats.hdf5.chunks.header import layout_at
from ilastik_lazy.storage.files import read_exactly, read_into

__all__ = ["ChunkRows", "chunk_rows"]

_DEEPEST = 16
# 2 * 32 entries: h5py and vigra leave the B-tree's K at libhdf5's default.
_ENTRIES = 64
_BATCH = 4096

Array = np.ndarray[Any, Any]


class ChunkRows(NamedTuple):
    """Chunks in any order: first element along each axis, place in the file, filter mask."""

    origins: Array
    """(chunks, axes)"""
    offsets: Array
    sizes: Array
    masks: Array


class _OtherLayoutError(Exception):
    """The file is laid out in another way; not an error, since libhdf5 knows all of them."""


def chunk_rows(path: str, fd: int, header: int, ndim: int, most: int, end: int) -> list[ChunkRows] | None:
    """Return all chunks of the dataset whose object header lies at `header`; None if only libhdf5 can find them.

    Parameters
    ----------
    fd
        Open file at `path`, without a user block.
    most
        Number of chunks that the shape allows.
    end
        Size of the file.
    """
    try:
        root = _btree_address(path, fd, header, ndim)
        if root is None:
            return []
        return list(_leaves(path, fd, root, ndim, most, end))
    except (_OtherLayoutError, SourceError, struct.error):
        return None


def _btree_address(path: str, fd: int, header: int, ndim: int) -> int | None:
    """Return the address of the root node, as the layout message has it; None where no chunk was written yet."""
    layout = layout_at(path, fd, header)
    # Version 3, class 2 (chunked); the element size counts as one dimension more.
    if layout is None or layout.message[:3] != bytes((3, 2, ndim + 1)):
        raise _OtherLayoutError
    (address,) = struct.unpack("<Q", layout.message[3:11])
    return None if address == 2**64 - 1 else address


def _leaves(path: str, fd: int, root: int, ndim: int, most: int, end: int) -> Iterator[ChunkRows]:
    record = np.dtype([("size", "<u4"), ("mask", "<u4"), ("origin", "<u8", (ndim + 1,)), ("child", "<u8")])
    level = read_exactly(fd, 6, root, path)[5]
    if level > _DEEPEST:
        raise _OtherLayoutError
    addresses, total, last = np.array([root], np.uint64), 0, None
    for depth in range(level, -1, -1):
        below = []
        for start in range(0, len(addresses), _BATCH):
            found = _records(path, fd, addresses[start : start + _BATCH], depth, record, end)
            total += len(found)
            # A tree that repeats itself would otherwise go on.
            if total > 2 * most + 2 * _ENTRIES:
                raise _OtherLayoutError
            if depth:
                below.append(found["child"])
            else:
                # The last axis is that of the bytes of an element, along which nothing is divided: 0.
                origins = found["origin"]
                _require_order(path, origins if last is None else np.concatenate([last, origins]))
                last = origins[-1:]
                yield ChunkRows(origins[:, :ndim], found["child"], found["size"], found["mask"])
        addresses = np.concatenate(below) if below else addresses[:0]


def _require_order(path: str, origins: Array) -> None:
    """Raise if keys are out of order: libhdf5 would miss chunks in its search, and read fill values instead."""
    before, after = origins[:-1], origins[1:]
    is_less, is_equal = np.zeros(len(before), bool), np.ones(len(before), bool)
    for one, other in zip(before.T, after.T, strict=True):
        is_less |= is_equal & (one < other)
        is_equal &= one == other
    if not is_less.all() or origins[:, -1].any():
        raise CorruptFileError(f"{path}: the index of its chunks is out of order: damaged, or not written to its end")


def _records(path: str, fd: int, addresses: Array, level: int, record: np.dtype[Any], end: int) -> Array:
    """Return the records of the nodes at `addresses`, all of one level."""
    length = 24 + _ENTRIES * record.itemsize
    if len(addresses) and int(addresses.max()) + 24 > end:
        raise _OtherLayoutError
    nodes = np.zeros((len(addresses), length), np.uint8)
    for node, address in zip(nodes, addresses.tolist(), strict=True):
        read_into(fd, node[: end - address].data, address, path)
    signature, levels = nodes[:, :5], nodes[:, 5]
    used = nodes[:, 6:8].copy().view("<u2")[:, 0]
    if not ((signature == np.frombuffer(b"TREE\x01", np.uint8)).all() and (levels == level).all()):
        raise _OtherLayoutError
    if len(used) and used.max() > _ENTRIES:
        raise _OtherLayoutError
    table = nodes[:, 24:].copy().view(record)
    return table[np.arange(_ENTRIES) < used[:, None]]
