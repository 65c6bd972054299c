"""The pages of a TIFF, counted without tifffile, which notes a damaged chain in its log and goes on.

A page is an image file directory: a count, entries of 12 bytes (20 in a BigTIFF), and where the next one lies.
https://www.loc.gov/preservation/digital/formats/fdd/fdd000022.shtml, https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np

from ilastik_lazy.errors import CorruptFileError, LimitExceededError
from ilastik_lazy.storage.files import opened, read_up_to

__all__ = ["has_signature", "page_layouts"]

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# tifffile takes 20 us for each.
_MOST_PAGES = 1_000_000
_MOST_ENTRIES = 4096

# What decides how the bytes of a page are decoded: width, length, bits, compression, fill order, samples,
# rows a strip, planar configuration, predictor, tile width and length, sample format.
_LAYOUT_TAGS = (256, 257, 258, 259, 266, 277, 278, 284, 317, 322, 323, 339)
_SUB_IFDS = 330
# tifffile compares the levels of a pyramid each with each: 200,000 in 1 MB took it minutes.
_MOST_LEVELS = 100
_TABLE_TAGS = (273, 279, 324, 325)
# And what says where the pixels lie and what they mean: description, strips, tiles, resolution.
_NEEDED_TAGS = (*_LAYOUT_TAGS, 270, 273, 279, 282, 283, 324, 325, 330)
# A table for each, since `np.isin` takes 15 us for a page.
_IS_LAYOUT, _IS_NEEDED, _IS_TABLE = (np.zeros(2**16, bool) for _ in range(3))
_IS_LAYOUT[list(_LAYOUT_TAGS)] = _IS_NEEDED[list(_NEEDED_TAGS)] = _IS_TABLE[list(_TABLE_TAGS)] = True
_BYTES_OF_TYPE = np.zeros(2**16, np.uint64)
_BYTES_OF_TYPE[1:19] = (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)


def has_signature(path: str) -> bool:
    """Whether the file starts as a TIFF does."""
    with opened(path) as fd:
        return read_up_to(fd, 4, 0, path) in _SIGNATURES


def page_layouts(path: str) -> dict[int, bytes]:
    """For each page of the main chain, by its offset: those of its entries that decide how it is decoded.

    Two pages with the same bytes here are decoded in the same way.

    Raises
    ------
    CorruptFileError
        A page lies outside the file, or the chain runs in a circle.
    """
    found: dict[int, bytes] = {}
    with opened(path) as fd:
        head = read_up_to(fd, 16, 0, path)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\0", b"\0+")
        if head[:4] not in _SIGNATURES or len(head) < (16 if big else 8):
            what = "is empty" if not head else "is not a TIFF (its first bytes say so)"
            raise CorruptFileError(f"{path} {what}: was it copied or exported completely?")
        count_format, pointer_format = (f"{order}Q", f"{order}Q") if big else (f"{order}H", f"{order}I")
        count_size, pointer_size = struct.calcsize(count_format), struct.calcsize(pointer_format)
        value = f"V{pointer_size}"
        entry = np.dtype([("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", f"{order}u{pointer_size}"),
                          ("value", value)])  # fmt: skip
        (offset,) = struct.unpack(pointer_format, head[8:16] if big else head[4:8])
        file_size, tables = os.fstat(fd).st_size, 0
        while offset:
            if offset in found:
                raise CorruptFileError(f"{path}: its pages run in a circle (at byte {offset})")
            if len(found) >= _MOST_PAGES:
                raise LimitExceededError(f"{path} has more than {_MOST_PAGES} pages")
            # Beyond 2**63 the system takes no offset.
            block = read_up_to(fd, count_size, offset, path) if offset < file_size else b""
            (count,) = struct.unpack(count_format, block) if len(block) == count_size else (0,)
            size = count * entry.itemsize
            rest = b""
            if 0 < count <= _MOST_ENTRIES:
                rest = read_up_to(fd, size + pointer_size, offset + count_size, path)
            if not rest or len(rest) < size + pointer_size:
                raise CorruptFileError(
                    f"{path}: page {len(found)} at byte {offset} is not there: was it copied or exported completely?"
                )
            entries = np.frombuffer(rest, entry, count)
            entries = entries[_IS_NEEDED[entries["tag"]]]
            tables += _check_values(entries, f"{order}u{pointer_size}", file_size, path, len(found))
            # Each strip has pixels, which take more bytes than its entry: pages that share one table would take
            # tifffile a gigabyte for each megabyte of the file.
            if tables > file_size:
                raise CorruptFileError(f"{path}: the tables of its pages, up to page {len(found)}, overlap: damaged")
            # What does not fit into an entry lies elsewhere, for each page at another place.
            entries = entries[_IS_LAYOUT[entries["tag"]]]
            entries["value"][entries["count"] * 2 > pointer_size] = b""
            found[offset] = entries.tobytes()
            (offset,) = struct.unpack(pointer_format, rest[size:])
    return found


def _check_values(entries: np.ndarray[Any, Any], pointer: str, file_size: int, path: str, page: int) -> int:
    """Refuse values that lie outside the file: tifffile would leave them out.  Bytes of the tables of strips."""
    sizes = entries["count"].astype(np.uint64) * _BYTES_OF_TYPE[entries["type"]]
    starts = np.ascontiguousarray(entries["value"]).view(pointer).astype(np.uint64)
    outside = np.uint64(file_size) - np.minimum(starts, np.uint64(file_size)) < sizes
    if (entries["count"][entries["tag"] == _SUB_IFDS] > _MOST_LEVELS).any():
        raise LimitExceededError(f"{path}: page {page} has a pyramid of more than {_MOST_LEVELS} levels")
    # A product beyond 2**64 begins again at 0.
    outside |= (entries["count"] > file_size) & (_BYTES_OF_TYPE[entries["type"]] > 0)
    sizes = np.where(entries["count"] > file_size, np.uint64(2**63), sizes)
    if (outside & (sizes > np.dtype(pointer).itemsize)).any():
        raise CorruptFileError(
            f"{path}: a part of page {page} lies outside the file: was it copied or exported completely?"
        )
    return int(sizes[_IS_TABLE[entries["tag"]] & (sizes > np.dtype(pointer).itemsize)].sum())
