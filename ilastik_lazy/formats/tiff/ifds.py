"""The pages of a TIFF, checked before tifffile reads them.

tifffile follows a circle of pages for ever, reads a table that many pages share once for each of them, and decodes all
pages as it decodes the first one.  It reports other damage in its log, which a program may have silenced, and goes on.

A page is an image file directory: a count, entries of 12 bytes (20 in a BigTIFF), and the offset of the next one.
https://www.loc.gov/preservation/digital/formats/fdd/fdd000022.shtml, https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

import os
from struct import Struct
from typing import NamedTuple

from ilastik_lazy.errors import CorruptFileError, LimitExceededError
from ilastik_lazy.storage.files import opened, read_up_to

__all__ = ["has_signature", "page_layouts"]

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# tifffile takes 60 us for each.
_MOST_PAGES = 1_000_000
_MOST_ENTRIES = 4096

# What decides how the bytes of a page are decoded: width, length, bits, compression, fill order, samples,
# rows a strip, planar configuration, predictor, tile width and length, sample format.
_LAYOUT_TAGS = frozenset({256, 257, 258, 259, 266, 277, 278, 284, 317, 322, 323, 339})
_SUB_IFDS = 330
# tifffile compares the levels of a pyramid each with each: 200,000 in 1 MB took it minutes.
_MOST_LEVELS = 100
# Offsets and sizes of strips and tiles.
_TABLE_TAGS = frozenset({273, 279, 324, 325})
# Beside these, the description and the resolution.
_NEEDED_TAGS = _LAYOUT_TAGS | _TABLE_TAGS | {270, 282, 283, _SUB_IFDS}
_BYTES_OF_TYPE = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), start=1))


def has_signature(path: str) -> bool:
    """Return whether the file starts with a signature of TIFF."""
    with opened(path) as fd:
        return read_up_to(fd, 4, 0, path) in _SIGNATURES


def page_layouts(path: str) -> dict[int, int]:
    """Number the layouts of the pages in the main chain, by the offset of the page.

    Two pages with the same number are decoded in the same way.

    Raises
    ------
    CorruptFileError
        A page or a value lies outside the file, tables overlap, or the chain runs in a circle.
    LimitExceededError
        There are too many pages, or levels of a pyramid.
    """
    found: dict[int, int] = {}
    numbers: dict[bytes, int] = {}
    with opened(path) as fd:
        file_size, tables = os.fstat(fd).st_size, 0
        fields, offset = _fields(read_up_to(fd, 16, 0, path), path)
        while offset:
            if offset in found:
                raise CorruptFileError(f"{path}: its pages run in a circle (at byte {offset})")
            if len(found) >= _MOST_PAGES:
                raise LimitExceededError(f"{path} has more than {_MOST_PAGES} pages")
            page = f"page {len(found)}"
            # The system takes no offset beyond 2**63.
            entries = _entries_at(fd, offset, fields, path) if offset < file_size else b""
            if not entries:
                raise CorruptFileError(
                    f"{path}: {page} at byte {offset} is not there: was it copied or exported completely?"
                )
            layout, nbytes = _checked(entries, fields, file_size, path, page)
            tables += nbytes
            # Each strip has pixels, which take more bytes than its entry.  300 pages that share one table in a
            # file of 4 MB take tifffile 10 GB.
            if tables > file_size:
                raise CorruptFileError(f"{path}: the tables of its pages, up to {page}, overlap: damaged")
            found[offset] = numbers.setdefault(layout, len(numbers))
            (offset,) = fields.pointer.unpack_from(entries, len(entries) - fields.pointer.size)
    return found


class _Fields(NamedTuple):
    """How numbers are stored: in 32 bits or, in a BigTIFF, in 64, and in either byte order."""

    pointer: Struct
    number: Struct
    entry: Struct


def _fields(head: bytes, path: str) -> tuple[_Fields, int]:
    """Fields of a file that starts with `head`, and the offset of its first page."""
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    if head[:4] not in _SIGNATURES or len(head) < (16 if is_big else 8):
        what = "is empty" if not head else "is not a TIFF (its first bytes say so)"
        raise CorruptFileError(f"{path} {what}: was it copied or exported completely?")
    formats = ("Q", "Q", "HHQ8s") if is_big else ("I", "H", "HHI4s")
    fields = _Fields(*(Struct(order + each) for each in formats))
    return fields, fields.pointer.unpack_from(head, 8 if is_big else 4)[0]


def _entries_at(fd: int, offset: int, fields: _Fields, path: str) -> bytes:
    """Entries of the page at `offset`, and the pointer behind them; empty where they are not all there."""
    head = read_up_to(fd, fields.number.size, offset, path)
    count = fields.number.unpack(head)[0] if len(head) == fields.number.size else 0
    if not 0 < count <= _MOST_ENTRIES:
        return b""
    size = count * fields.entry.size + fields.pointer.size
    entries = read_up_to(fd, size, offset + fields.number.size, path)
    return entries if len(entries) == size else b""


def _checked(entries: bytes, fields: _Fields, file_size: int, path: str, page: str) -> tuple[bytes, int]:
    """Return what decides how a page is decoded, and the size of its tables in bytes."""
    layout, tables = b"", 0
    step, room = fields.entry.size, fields.pointer.size
    for at in range(0, len(entries) - room, step):
        tag, kind, length, value = fields.entry.unpack_from(entries, at)
        if tag not in _NEEDED_TAGS:
            continue
        nbytes = length * _BYTES_OF_TYPE.get(kind, 0)
        is_elsewhere = nbytes > room
        if is_elsewhere and fields.pointer.unpack(value)[0] + nbytes > file_size:
            raise CorruptFileError(
                f"{path}: a part of {page} lies outside the file: was it copied or exported completely?"
            )
        if tag == _SUB_IFDS and length > _MOST_LEVELS:
            raise LimitExceededError(f"{path}: the pyramid of {page} has more than {_MOST_LEVELS} levels")
        if tag in _LAYOUT_TAGS:
            # A value elsewhere lies at another place for each page.
            layout += entries[at : at + step - (room if is_elsewhere else 0)]
        elif tag in _TABLE_TAGS and is_elsewhere:
            tables += nbytes
    return layout, tables
