"""The promise on writing for ilastik: prints each ratio to h5py's own gzip, exits with 1 where one falls short.

    python benchmarks/writing_bars.py [--folder DIR] [--rounds 5]

Writes 500 MB of probabilities as float32, and 125 MB of labels as uint8, out of memory into the page cache; with
`pip install isal` the faster encoder is taken.  Ours ends with an fsync, h5py's does not.  The two take
turns; the minimum of the rounds counts, medians stand beside.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import h5py
import numpy as np
import xarray as xr

from benchmarks.bars import Row, finish, folder_of, interleaved, parser_of, ratio, show
from benchmarks.exports import field
from ilastik_lazy.storage.compression.deflating import deflater_name
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ilastik.hdf5 import ilastik_chunks

SHAPE = (2000, 250, 250)


def volume(kind: str) -> np.ndarray[Any, Any]:
    """An image of `SHAPE`, the same every 200 planes: no encoder looks back that far."""
    part = field((0, 0, 0), (min(200, SHAPE[0]), *SHAPE[1:]), 0, kind)
    return np.tile(part, (-(-SHAPE[0] // part.shape[0]), 1, 1))[: SHAPE[0]]


def with_h5py(path: Path, data: np.ndarray[Any, Any]) -> None:
    with h5py.File(path, "w") as file:
        chunks = ilastik_chunks(data.shape, "zyx", data.itemsize)
        file.create_dataset("exported_data", data=data, chunks=chunks, compression="gzip", compression_opts=1)


def writing(folder: Path, rounds: int) -> list[Row]:
    rows: list[Row] = []
    # libdeflate is no faster than zlib where almost nothing is left of the data.
    labels = (2.0, 1.8) if deflater_name() == "isal" else (0.7, 0.7)
    for kind, (least_wall, least_cpu) in (("probabilities", (3.0, 1.8)), ("segmentation", labels)):
        data = volume(kind)
        array = xr.DataArray(data, dims=tuple("zyx"))
        ours, theirs = folder / "ours.h5", folder / "h5py.h5"
        found = interleaved(
            {
                "ours": lambda array=array, ours=ours: to_ilastik(array, ours, overwrite=True),
                "h5py, gzip 1": lambda data=data, theirs=theirs: with_h5py(theirs, data),
            },
            rounds,
        )
        with h5py.File(ours) as a, h5py.File(theirs) as b:
            assert np.array_equal(a["exported_data"][-50:], b["exported_data"][-50:])
        print(f"  writing {data.nbytes / 1e6:.0f} MB {data.dtype}, {deflater_name()}")
        show(found)
        print(f"    {ours.stat().st_size / 1e6:.0f} MB, h5py's {theirs.stat().st_size / 1e6:.0f} MB")
        rows += [
            (f"write {data.dtype}: h5py gzip 1, wall", "x", ratio(found, "h5py, gzip 1", "ours", "wall"), least_wall),
            (f"write {data.dtype}: h5py gzip 1, CPU", "x", ratio(found, "h5py, gzip 1", "ours", "cpu"), least_cpu),
            (f"size of the file {data.dtype}: h5py's", "x", theirs.stat().st_size / ours.stat().st_size, 0.9),
        ]
    return rows


def main() -> int:
    arguments = parser_of(__doc__).parse_args()
    folder = folder_of(arguments)
    return finish(writing(folder, arguments.rounds), arguments, folder)


if __name__ == "__main__":
    sys.exit(main())
