"""The frame of a TIFF: tifffile writes its pages without pixels, and where each tile lies is noted when it is written.

So tiles may be written in any order, those of one chunk of the source together; tifffile itself writes page by page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ilastik_lazy.core.grid import grid_shape
from ilastik_lazy.errors import MissingExtraError
from ilastik_lazy.storage.new_file import NewFile
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Plan
from ilastik_lazy.writers.tiff.ome import pixels_per_centimeter

try:
    import tifffile
except ImportError as missing:
    raise MissingExtraError("TIFF files are written with tifffile: pip install 'ilastik_lazy[tiff]'") from missing

__all__ = ["note_places", "tile_shape", "write_frame"]

_COMPRESSION, _OFFSETS, _SIZES = 259, 324, 325
# Of a file with offsets of 32 bits; the rest is for streams that are longer than what they encode.
_MOST_BYTES = 2**32 - 2**25
# Numbers of a table, by the type of its tag: SHORT, LONG, LONG8.
_NUMBERS = {3: "<u2", 4: "<u4", 16: "<u8"}


def tile_shape(level: Level) -> tuple[int, ...]:
    """Return the shape of a stored tile: a chunk, with sides that are multiples of 16, as TIFF demands."""
    return tuple(
        -(-length // 16) * 16 if axis.name in "yx" else length
        for length, axis in zip(level.chunks, level.axes, strict=True)
    )


def write_frame(file: NewFile, plan: Plan, metadata: dict[str, Any]) -> None:
    """Write the pages of all levels, the lower resolutions as SubIFDs, with tables of tiles that are empty."""
    with tifffile.TiffWriter(cast("Any", file), bigtiff=_needs_64_bits(plan), byteorder="<", ome=True) as tiff:
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
    file.check()


def note_places(file: NewFile, places: Sequence[np.ndarray[Any, Any]], *, is_compressed: bool) -> None:
    """Write the offset and size of each tile into the tables of the pages.

    Parameters
    ----------
    places
        For each level an array of the shape (pages, tiles, 2).
    """
    file.seek(0)
    # The indices of other programs are not looked for.
    with tifffile.TiffFile(cast("Any", file), is_mmstack=False, is_ndtiff=False) as tiff:
        for number, page in enumerate(tiff.pages):
            for level, each in enumerate([page, *(page.pages or ())]):
                for column, code in enumerate((_OFFSETS, _SIZES)):
                    _overwrite(file, each.tags[code], places[level][number, :, column])
                if not is_compressed:
                    _overwrite(file, each.tags[_COMPRESSION], np.ones(1))
    file.check()


def _overwrite(file: NewFile, tag: Any, values: np.ndarray[Any, Any]) -> None:
    file.seek(tag.valueoffset)
    file.write(values.astype(_NUMBERS[int(tag.dtype)]).tobytes())


def _needs_64_bits(plan: Plan) -> bool:
    """Whether the file might exceed 4 GiB: compressed or not is not known beforehand."""
    tiles = sum(
        math.prod(grid_shape(level.shape, level.chunks)) * math.prod(tile_shape(level)) for level in plan.levels
    )
    pages = sum(math.prod(level.shape) // math.prod(level.shape[-3:]) + 1 for level in plan.levels)
    return tiles * plan.dtype.itemsize + pages * 1024 > _MOST_BYTES
