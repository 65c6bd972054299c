"""The table of issue-sized promises on reading: prints each ratio, exits with 1 where one falls short.

    python benchmarks/reading_bars.py [--folder DIR] [--rounds 5] [--only WORD]

Needs imagecodecs and pyfive (`pip install '.[bench,fast]'`) and 3 GB of disk.  Peers take turns with
ours (A B A B ...), files are warm in the page cache; the minimum of the rounds counts, medians stand beside.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import dask.array as da
import h5py
import numpy as np

import ilastik_lazy as il
from benchmarks.bars import Row, finish, folder_of, interleaved, parser_of, ratio, show
from benchmarks.exports import write_export
from benchmarks.peers import Decoder
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks import index as hdf5_index
from ilastik_lazy.formats.location import Location


def with_h5py(path: str, operation: Callable[[Any], Any]) -> Callable[[], object]:
    def run() -> object:
        with h5py.File(path, "r") as file:
            return operation(da.from_array(file["exported_data"])).compute()

    return run


def with_pyfive(path: str, operation: Callable[[Any], Any]) -> Callable[[], object]:
    import pyfive

    def run() -> object:
        with pyfive.File(path) as file:
            return operation(da.from_array(file["exported_data"], lock=False)).compute()

    return run


def reductions(folder: Path, rounds: int) -> list[Row]:
    rows: list[Row] = []
    path = write_export(str(folder / "prob_gz.h5"), (448, 448, 448, 2))
    decoder = Decoder(path)
    for name, ours, theirs in (
        ("sum", lambda a: a.sum(), lambda a: a.sum()),
        ('mean("z")', lambda a: a.mean("z"), lambda a: a.mean(0)),
    ):
        found = interleaved(
            {
                "ours": lambda ours=ours: ours(il.open_dataarray(path)).compute(),
                "h5py + dask": with_h5py(path, theirs),
                "pyfive + dask": with_pyfive(path, theirs),
                "decoding alone": decoder.run,
            },
            rounds,
        )
        print(f"  {name} of {448**3 * 8 / 1e6:.0f} MB float32, gzip")
        show(found)
        rows += [
            (f"{name}, gzip: h5py + dask, CPU", "x", ratio(found, "h5py + dask", "ours", "cpu"), 3.1),
            (f"{name}, gzip: h5py + dask, wall", "x", ratio(found, "h5py + dask", "ours", "wall"), 4.5),
            (f"{name}, gzip: pyfive + dask, CPU", "x", ratio(found, "pyfive + dask", "ours", "cpu"), 2.3),
            (f"{name}, gzip: share of decoding alone, wall", "", ratio(found, "decoding alone", "ours", "wall"), 0.72),
            (f"{name}, gzip: share of decoding alone, CPU", "", ratio(found, "decoding alone", "ours", "cpu"), 0.72),
        ]
    return rows


def uncompressed(folder: Path, rounds: int) -> list[Row]:
    path = write_export(str(folder / "prob_raw.h5"), (448, 448, 448, 2), compression=None)
    flat = folder / "flat.bin"
    with h5py.File(path, "r") as file:
        file["exported_data"][...].tofile(flat)
    found = interleaved(
        {
            "ours": lambda: il.open_dataarray(path).sum().compute(),
            "h5py + dask": with_h5py(path, lambda a: a.sum()),
            "np.memmap, contiguous": lambda: np.memmap(flat, "f4", "r").sum(dtype="f8"),
        },
        rounds,
    )
    print("  sum of 719 MB float32, uncompressed")
    show(found)
    seg = write_export(str(folder / "seg_gz.h5"), (448, 448, 448, 1), kind="segmentation")
    labels = interleaved(
        {"ours": lambda: il.open_dataarray(seg).sum().compute(), "h5py + dask": with_h5py(seg, lambda a: a.sum())},
        rounds,
    )
    print("  sum of 90 MB uint8, gzip")
    show(labels)
    return [
        ("sum, uncompressed: h5py + dask, CPU", "x", ratio(found, "h5py + dask", "ours", "cpu"), 3.5),
        (
            "sum, uncompressed: share of np.memmap, wall",
            "",
            ratio(found, "np.memmap, contiguous", "ours", "wall"),
            0.25,
        ),
        ("sum, uint8 gzip: h5py + dask, CPU", "x", ratio(labels, "h5py + dask", "ours", "cpu"), 2.5),
    ]


def _of_planes(path: str, axis: int, name: str, places: list[int]) -> dict[str, Callable[[], object]]:
    array = il.open_dataarray(path)
    dataset = h5py.File(path, "r")["exported_data"]
    return {
        "ours": lambda: [array.isel({name: i}).compute() for i in places],
        "h5py": lambda: [dataset[(slice(None),) * axis + (i,)] for i in places],
    }


def planes(folder: Path, rounds: int) -> list[Row]:
    rows: list[Row] = []
    places = [37 + 41 * i for i in range(9)]
    for file, least in (("prob_gz.h5", 2.0), ("prob_raw.h5", 2.5)):
        for axis, name in enumerate("zyx"):
            found = interleaved(_of_planes(str(folder / file), axis, name, places), rounds)
            print(f"  9 planes along {name}, {file}")
            show(found)
            rows.append((f"plane along {name}, {file}: h5py, wall", "x", ratio(found, "h5py", "ours", "wall"), least))
    path = str(folder / "prob_gz.h5")

    def scroll() -> None:
        array = il.open_dataarray(path, cache="256MB")
        for i in range(10):
            array.isel(z=100 + i).compute()

    def scroll_h5py() -> None:
        with h5py.File(path, "r") as file:
            for i in range(10):
                file["exported_data"][100 + i]

    found = interleaved({"ours, cache 256 MB": scroll, "h5py": scroll_h5py}, rounds)
    print("  10 successive planes along z, gzip")
    show(found)
    rows.append(("10 planes with the cache: h5py, wall", "x", ratio(found, "h5py", "ours, cache 256 MB", "wall"), 12))
    return rows


def opening(folder: Path, rounds: int) -> list[Row]:
    path = write_export(str(folder / "million.h5"), (200, 200, 200, 1), kind="segmentation", chunks=(2, 2, 2, 1))
    source: Any = open_source(Location.parse(path))
    arguments = (source.location, source.spec.shape, source.spec.chunks, source.stamp)

    def by_library() -> None:
        with h5py.File(path, "r") as file:
            rows: list[Any] = []
            file["exported_data"].id.chunk_iter(rows.append)

    found = interleaved(
        {
            "ours: index": lambda: hdf5_index.read_index(*arguments),
            "chunk_iter": by_library,
            "open_dataarray": lambda: il.open_dataarray(path),
        },
        rounds,
    )
    print("  10^6 chunks")
    show(found)
    opened = min(found["open_dataarray"]["wall"]) * 1e3
    return [
        ("index of 10^6 chunks: chunk_iter, wall", "x", ratio(found, "chunk_iter", "ours: index", "wall"), 4),
        ("open_dataarray of that file, ms below 30", "x", 30 / opened, 1),
    ]


# Not ru_maxrss: a child begins with its parent's.
RSS = """
import re, sys, dask.array, ilastik_lazy as il
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
array = il.open_dataarray(sys.argv[1])
base = peak()
array.sum().compute()
print(peak() - base)
"""


def memory(folder: Path, rounds: int) -> list[Row]:
    peaks = []
    for side in (397, 1000):
        path = write_export(str(folder / "rss.h5"), (side, side, side, 2))
        runs = [
            subprocess.run([sys.executable, "-c", RSS, path], capture_output=True, text=True, check=True)
            for _ in range(3)
        ]
        peaks.append(statistics.median(float(run.stdout) for run in runs))
        os.unlink(path)
    print(f"  peak RSS above the import baseline: {peaks[0]:.0f} MB for 0.5 GB, {peaks[1]:.0f} MB for 8 GB")
    return [
        ("peak RSS of 8 GB, 200 MB over it", "x", 200 / peaks[1], 1),
        ("peak RSS of 8 GB within 20 % of that of 0.5 GB", "x", 1.2 * peaks[0] / peaks[1], 1),
    ]


def starting(folder: Path, rounds: int) -> list[Row]:
    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True)

    code = "import time, numpy, h5py; s = time.process_time(); import ilastik_lazy; print(time.process_time() - s)"
    above = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(rounds)
    ]
    script = shutil.which("ilastik-lazy", path=os.path.dirname(sys.executable))
    help_command = [script, "--help"] if script else ["-m", "ilastik_lazy.cli", "--help"]
    if script:
        found = interleaved({"--help": lambda: subprocess.run(help_command, check=True, capture_output=True)}, rounds)
    else:
        found = interleaved({"--help": run(*help_command)}, rounds)
    print(f"  import above numpy and h5py: {min(above) * 1e3:.0f} ms CPU")
    show(found)
    return [
        ("import, 60 ms CPU over it", "x", 0.06 / max(min(above), 1e-4), 1),
        ("ilastik-lazy --help, 0.4 s over it", "x", 0.4 / min(found["--help"]["wall"]), 1),
    ]


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    folder = folder_of(arguments)
    rows: list[Row] = []
    for part in (reductions, uncompressed, planes, opening, memory, starting):
        if arguments.only in part.__name__:
            rows += part(folder, arguments.rounds)
    return finish(rows, arguments, folder)


if __name__ == "__main__":
    sys.exit(main())
