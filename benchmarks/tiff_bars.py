"""The promise on writing TIFF: prints each ratio to tifffile's own writing, exits with 1 where one falls short.

    python benchmarks/tiff_bars.py [--folder DIR] [--rounds 5]

Writes probabilities as float32 and labels as uint8 out of memory into the page cache, in tiles of 512 x 512,
deflated at level 1 (tifffile's default is level 6) or not at all, with both cores.  The pyramid is every other
voxel: tifffile makes none itself.  Ours ends with an fsync, so that a file which has its name is whole after a power
failure, too; tifffile's ends in the page cache.  Voxels that are not deflated are written as fast as the disk takes
them: that row compares with tifffile and an fsync.  All take turns; the minimum of the rounds counts, medians stand
beside.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import tifffile
import xarray as xr

from benchmarks.bars import Row, finish, folder_of, interleaved, parser_of, ratio, show
from benchmarks.exports import field
from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.writers.tiff import to_tiff

SHAPE = (60, 1500, 1500)
LEVELS = 4


def volume(kind: str) -> np.ndarray[Any, Any]:
    """An image of `SHAPE`, the same every 20 planes: no encoder looks back that far."""
    part = field((0, 0, 0), (min(20, SHAPE[0]), *SHAPE[1:]), 0, kind)
    return np.tile(part, (-(-SHAPE[0] // part.shape[0]), 1, 1))[: SHAPE[0]]


def with_tifffile(path: Path, data: np.ndarray[Any, Any], levels: int, compression: str | None) -> None:
    options: dict[str, Any] = {"tile": (512, 512), "photometric": "minisblack"}
    if compression:
        options |= {"compression": "zlib", "compressionargs": {"level": 1}, "maxworkers": threads_for(None)}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(data, subifds=levels - 1, metadata={"axes": "ZYX"}, **options)
        for level in range(1, levels):
            file.write(data[:, :: 2**level, :: 2**level], subfiletype=1, metadata=None, **options)


def synced(path: Path, data: np.ndarray[Any, Any], levels: int, compression: str | None) -> None:
    with_tifffile(path, data, levels, compression)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def writing(folder: Path, rounds: int) -> list[Row]:
    rows: list[Row] = []
    for kind, compression, levels in (
        ("probabilities", "gzip", 1), ("probabilities", "gzip", LEVELS), ("segmentation", "gzip", LEVELS),
        ("probabilities", None, 1),
    ):  # fmt: skip
        data = volume(kind)
        array = xr.DataArray(data, dims=tuple("zyx"), attrs={"ilastik_kind": kind})
        ours, theirs = folder / "ours.ome.tif", folder / "tifffile.ome.tif"
        found = interleaved(
            {
                "ours": functools.partial(
                    to_tiff, array, ours, levels=levels, compression=compression, downsample="nearest", overwrite=True
                ),
                "tifffile": functools.partial(with_tifffile, theirs, data, levels, compression),
                "tifffile, synced": functools.partial(synced, theirs, data, levels, compression),
            },
            rounds,
        )
        assert np.array_equal(tifffile.imread(ours, key=SHAPE[0] - 1), tifffile.imread(theirs, key=SHAPE[0] - 1))
        name = f"{data.dtype}, {compression or 'plain'}, {levels} level{'s' if levels > 1 else ''}"
        print(f"  writing {data.nbytes / 1e6:.0f} MB {name}")
        show(found)
        print(f"    {ours.stat().st_size / 1e6:.0f} MB, tifffile's {theirs.stat().st_size / 1e6:.0f} MB")
        peer = "tifffile" if compression else "tifffile, synced"
        rows.append((f"write TIFF {name}: {peer}, wall", "x", ratio(found, peer, "ours", "wall"), 1.0))
        rows.append((f"size of {name}: tifffile's", "x", theirs.stat().st_size / ours.stat().st_size, 0.9))
    return rows


def main() -> int:
    arguments = parser_of(__doc__).parse_args()
    folder = folder_of(arguments)
    return finish(writing(folder, arguments.rounds), arguments, folder)


if __name__ == "__main__":
    sys.exit(main())
