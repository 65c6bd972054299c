"""Read from its object header how the chunks of an HDF5 dataset are laid out, which h5py does not expose.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t4.html (IV.A.1, IV.A.2.i, IV.A.2.q)
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import h5py

from ilastik_lazy.errors import SourceChangedError
from ilastik_lazy.storage.files import opened, read_exactly

__all__ = ["BTREE_1", "EXTENSIBLE_ARRAY", "ChunkLayout", "chunk_layout", "header_of", "layout_at"]

BTREE_1, EXTENSIBLE_ARRAY = 0, 4
"""Kinds of chunk indexes that other modules distinguish."""

_LAYOUT, _CONTINUATION = 0x08, 0x10
_CHUNKED = 2
_MOST_BLOCKS, _MOST_BYTES = 4096, 2**24


@dataclass(frozen=True, slots=True)
class ChunkLayout:
    """The layout message of a chunked dataset."""

    index: int
    """Kind of the chunk index."""

    plain_edges: bool
    """Whether chunks that reach beyond the shape went through no filter (`H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS`)."""

    message: bytes


def chunk_layout(dataset: h5py.Dataset, path: str) -> ChunkLayout | None:
    """Return the layout of an open dataset of the file at `path`; None where it is of a kind unknown here."""
    with opened(path) as fd:
        return layout_at(path, fd, header_of(dataset), dataset.file.userblock_size)


def header_of(dataset: h5py.Dataset) -> int:
    """Return the byte of its file where the object header of a dataset lies.

    `h5py.h5o.get_info` has it, too, and the size of all metadata, for which libhdf5 reads the whole index: with 60,000
    chunks this takes 14 ms and 12 MB, which stay in use.
    """
    # Two halves, where a C long has 32 bits.
    low, high = h5py.h5g.get_objinfo(dataset.id, b".").objno
    return int(low | high << 32) + int(dataset.file.userblock_size)


def layout_at(path: str, fd: int, header: int, base: int = 0) -> ChunkLayout | None:
    """Return the layout of the dataset whose object header lies at byte `header` of the open file.

    Parameters
    ----------
    base
        Bytes of the user block, where offsets begin.
    """
    try:
        messages = _messages(path, fd, header, base)
        return next((_parsed(body) for kind, body in messages if kind == _LAYOUT), None)
    # It leads beyond the end of the file, or of a block.
    except (SourceChangedError, OverflowError, struct.error, IndexError):
        return None


def _parsed(body: bytes) -> ChunkLayout | None:
    version = body[0]
    if (version in (1, 2) and body[2] == _CHUNKED) or (version == 3 and body[1] == _CHUNKED):
        return ChunkLayout(BTREE_1, False, body)
    # Version 5 differs from 4 in the width of sizes behind the index type.
    if version not in (4, 5) or body[1] != _CHUNKED:
        return None
    flags, ndim, width = body[2:5]
    return ChunkLayout(body[5 + ndim * width], bool(flags & 1), body)


def _messages(path: str, fd: int, header: int, base: int) -> Iterator[tuple[int, bytes]]:
    """Return the type and body of each message, in versions 1 and 2 of the header."""
    head = read_exactly(fd, 16, header, path)
    if head[:4] == b"OHDR":
        flags = head[5]
        start = header + 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
        width = 1 << (flags & 3)
        size = int.from_bytes(read_exactly(fd, width, start, path), "little")
        # Version 2 puts a signature before the messages of a block, and a checksum behind them.
        entry, skipped, before, around = "<BH", 4 + 2 * (flags >> 2 & 1), 4, 8
        blocks = deque([(start + width, size)])
    elif head[0] == 1:
        entry, skipped, before, around = "<HH", 8, 0, 0
        blocks = deque([(header + 16, int.from_bytes(head[8:12], "little"))])
    else:
        return
    done = 0
    while blocks and done < _MOST_BLOCKS:
        start, size = blocks.popleft()
        done += 1
        if not 0 <= size <= _MOST_BYTES:
            return
        data, at = read_exactly(fd, size, start, path), 0
        while at + skipped <= size:
            kind, length = struct.unpack_from(entry, data, at)
            body = data[at + skipped : at + skipped + length]
            at += skipped + length
            if kind == _CONTINUATION:
                half = len(body) // 2
                address, extent = (int.from_bytes(part, "little") for part in (body[:half], body[half:]))
                blocks.append((address + base + before, extent - around))
            yield kind, body
