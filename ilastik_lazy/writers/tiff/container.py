"""The frame of a TIFF: tifffile makes its pages without pixels, and where each tile lies is noted when it is written.

So tiles may be written in any order, those of one chunk of the source together; tifffile itself writes page by page.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.grid import grid_shape
from ilastik_lazy.errors import MissingExtraError
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Plan
from ilastik_lazy.writers.tiff.ome import pixels_per_centimeter

try:
    import tifffile
except ImportError as missing:
    raise MissingExtraError("TIFF files are written with tifffile: pip install 'ilastik_lazy[tiff]'") from missing

__all__ = ["frame_of", "note_places", "tile_shape"]

_COMPRESSION, _OFFSETS, _SIZES, _SUB_IFDS = 259, 324, 325, 330
_BIG_TIFF = 43
# Limit of a file with offsets of 32 bits; the rest is for streams that are longer than what they encode.
_MOST_BYTES = 2**32 - 2**25
# Numbers of a table, by the type of its tag: SHORT, LONG, IFD, LONG8, IFD8.
_NUMBERS = {3: "<u2", 4: "<u4", 13: "<u4", 16: "<u8", 18: "<u8"}


def tile_shape(level: Level) -> tuple[int, ...]:
    """Return the shape of a stored tile: a chunk, with sides that are multiples of 16, as TIFF demands."""
    return tuple(
        -(-length // 16) * 16 if axis.name in "yx" else length
        for length, axis in zip(level.chunks, level.axes, strict=True)
    )


def frame_of(plan: Plan, metadata: dict[str, Any]) -> bytearray:
    """Return the pages of all levels, the lower resolutions as SubIFDs, with tables of tiles that are empty."""
    frame = io.BytesIO()
    with tifffile.TiffWriter(frame, bigtiff=_needs_64_bits(plan), byteorder="<", ome=True) as tiff:
        for level in plan.levels:
            is_rgb = metadata["axes"].endswith("S")
            resolution = pixels_per_centimeter(level.axes)
            tiff.write(
                itertools.repeat(b"", math.prod(grid_shape(level.shape, level.chunks))),
                shape=level.shape,
                dtype=plan.dtype,
                tile=[n for n, axis in zip(tile_shape(level), level.axes, strict=True) if axis.name in "yx"],
                # With a compression, no tile has a place beforehand; `note_places` corrects it.
                compression="adobe_deflate",
                photometric="rgb" if is_rgb else "minisblack",
                planarconfig="contig" if is_rgb else None,
                resolution=resolution,
                resolutionunit="centimeter" if resolution else "none",
                subfiletype=1 if level.number else 0,
                subifds=0 if level.number else len(plan.levels) - 1,
                metadata=None if level.number else metadata,
                software=None if level.number else metadata["Creator"],
            )
    return bytearray(frame.getbuffer())


def note_places(frame: bytearray, places: Sequence[np.ndarray[Any, Any]], *, is_compressed: bool) -> None:
    """Write the offset and size of each tile into the tables of the pages.

    Parameters
    ----------
    places
        For each level an array of the shape (pages, tiles, 2).
    """
    # tifffile takes 1 ms to read a page.
    fields = _BIG if frame[2] == _BIG_TIFF else _CLASSIC
    offset = int(np.frombuffer(frame, fields.pointer, 1, fields.first)[0])
    for number in range(len(places[0])):
        page, offset = _page(frame, offset, fields)
        lower = page[_SUB_IFDS].tolist() if _SUB_IFDS in page else []
        for level, tags in enumerate([page, *(_page(frame, each, fields)[0] for each in lower)]):
            tags[_OFFSETS][:], tags[_SIZES][:] = places[level][number].T
            if not is_compressed:
                tags[_COMPRESSION][:] = 1


class _Fields(NamedTuple):
    """Where the numbers of a TIFF lie: https://www.awaresystems.be/imaging/tiff/bigtiff.html."""

    pointer: str
    number: str
    first: int
    """Place of the offset of the first page."""


_CLASSIC, _BIG = _Fields("<u4", "<u2", 4), _Fields("<u8", "<u8", 8)


def _page(frame: bytearray, offset: int, fields: _Fields) -> tuple[dict[int, np.ndarray[Any, Any]], int]:
    """Return the values of those tags that are changed, as views, and the offset of the next page."""
    count = int(np.frombuffer(frame, fields.number, 1, offset)[0])
    start = offset + np.dtype(fields.number).itemsize
    entry = np.dtype([("tag", "<u2"), ("type", "<u2"), ("count", fields.pointer), ("value", fields.pointer)])
    found: dict[int, np.ndarray[Any, Any]] = {}
    for i, (tag, kind, length, value) in enumerate(np.frombuffer(frame, entry, count, start).tolist()):
        if tag in (_COMPRESSION, _OFFSETS, _SIZES, _SUB_IFDS):
            numbers = np.dtype(_NUMBERS[kind])
            is_here = length * numbers.itemsize <= entry["value"].itemsize
            here = start + (i + 1) * entry.itemsize - entry["value"].itemsize
            found[tag] = np.frombuffer(frame, numbers, length, here if is_here else value)
    return found, int(np.frombuffer(frame, fields.pointer, 1, start + count * entry.itemsize)[0])


def _needs_64_bits(plan: Plan) -> bool:
    """Whether the file might exceed 4 GiB: compressed or not is not known beforehand."""
    tiles = sum(
        math.prod(grid_shape(level.shape, level.chunks)) * math.prod(tile_shape(level)) for level in plan.levels
    )
    pages = sum(math.prod(level.shape) // math.prod(level.shape[-3:]) + 1 for level in plan.levels)
    return tiles * plan.dtype.itemsize + pages * 1024 > _MOST_BYTES
