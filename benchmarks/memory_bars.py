"""The promise on memory, of conversions and of what passes twice: prints each peak, exits with 1 where one is too high.

    python benchmarks/memory_bars.py [--folder DIR] [--rounds 3] [--sizes 0.5 4 8] [--objects 0.7 30] [--second-pass]

Converts sources of so many GB to OME-Zarr, each in a process of its own on two cores: once with `memory="300MB"`
asked for, once with the default budget.  The peak is VmHWM above what it was after the imports; the largest
of the rounds counts.  The sources are masks whose chunks repeat, 0.2 GB on disk for 8 GB; what is encoded of them
is small, too, by some 4 MB a worker smaller than of probabilities.  A source of each size is also scaled by its
percentiles, and by mean and deviation, and then reduced: 100 MB.

Then cells in probability maps of `--objects` GB, float32, are labelled and measured in masks of the same size: as
many cells in all sizes, so that all must need the same within 30 %, and less than 700 MB, with all imports; then more
of them in the largest, 10^6 in 30 GB, for 1500 MB.  `--second-pass` computes the label images, too.  Linux only.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bars import Row, finish, folder_of, parser_of
from benchmarks.cells import write_probabilities
from benchmarks.exports import write_export

BUDGET, TWO_PASSES = 300e6, 100e6
OBJECTS, MANY_OBJECTS = 700e6, 1500e6

# Not ru_maxrss: a child begins with its parent's.
START = """
import contextlib, os, re, sys
with contextlib.suppress(ImportError):
    import distributed  # dask imports it at the first compute, where it is installed: 45 MB
import dask.array, numpy, xarray, zarr, ilastik_lazy as il
import ilastik_lazy.writers.ome_zarr.convert
from ilastik_lazy.reductions import normalise, standardise, percentile
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
dask.config.set(num_workers=2)
path, target, memory = sys.argv[1:]
base = peak()
"""
CONVERT = "il.to_ome_zarr(path, target, memory=memory or None)"
PASSES = {
    "percentile": "percentile(path, [1, 50, 99.8], by='c')",
    "normalise": "normalise(path, (1, 99.8), by='c').mean('z').compute()",
    "standardise": "standardise(path).max('z').compute()",
}
MEASURE = """
import time
start = time.perf_counter()
labels = il.label_objects(il.open_dataarray(path).isel(c=0))
table = il.measure_objects(labels, il.open_dataarray(target))
assert not memory or int(labels.max().compute()) == len(table)
print(len(table), f"{time.perf_counter() - start:.0f}", peak(), end=" ")
"""


def peak_of(code: str, path: str, target: Path, memory: str = "") -> float:
    """Bytes above the imports that one conversion, or what else `code` is, needed."""
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-c", f"{START}{code}\nprint(peak() - base)", path, str(target), memory]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(target, ignore_errors=True)
    if run.returncode:
        raise SystemExit(f"{code} failed:\n{run.stderr}")
    return float(run.stdout)


def measuring(folder: Path, rounds: int, sizes: list[float]) -> list[Row]:
    rows: list[Row] = []
    for size in sizes:
        side = max(16, round((size * 1e9 / 8) ** (1 / 3)))
        path = write_export(str(folder / "source.h5"), (side, side, side, 2), kind="masks")
        on_disk = Path(path).stat().st_size / 1e6
        jobs = [("convert, 300MB", CONVERT, "300MB", BUDGET), ("convert, default budget", CONVERT, "", BUDGET)]
        jobs += [(name, code, "", TWO_PASSES) for name, code in PASSES.items()]
        for name, code, memory, budget in jobs:
            peaks = [peak_of(code, path, folder / "target.zarr", memory) for _ in range(rounds)]
            shown = ", ".join(f"{peak / 1e6:.0f}" for peak in peaks)
            print(f"  {size:g} GB ({on_disk:.0f} MB on disk), {name}: peaks of {shown} MB", flush=True)
            rows.append(
                (f"{size:g} GB, {name}: {budget / 1e6:.0f} MB over the peak", "x", budget / max(1, *peaks), 1.0)
            )
        Path(path).unlink()
    return rows


def measured(folder: Path, size: float, every: int, second_pass: bool) -> tuple[int, float]:
    """Number of objects in a map of so many GB, and peak of the process with all imports."""
    side = max(16, round((size * 1e9 / 4) ** (1 / 3)))
    path = write_probabilities(str(folder / "cells.h5"), (side,) * 3, 0.05, every=every)
    raw = write_export(str(folder / "raw.h5"), (side,) * 3, "zyx", kind="masks")
    command = [sys.executable, "-c", f"{START}{MEASURE}print(peak() - base)", path, raw, "twice" if second_pass else ""]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{command[2]} failed:\n{run.stderr}")
    count, seconds, peak, grown = map(float, run.stdout.split())
    on_disk = (Path(path).stat().st_size + Path(raw).stat().st_size) / 1e6
    print(f"  {size:g} GB twice ({on_disk:.0f} MB on disk), {count:.0f} objects, {seconds:.0f} s: ",
          f"peak of {peak / 1e6:.0f} MB, {grown / 1e6:.0f} MB above the imports", sep="", flush=True)  # fmt: skip
    Path(path).unlink()
    Path(raw).unlink()
    return int(count), peak


def measuring_objects(folder: Path, sizes: list[float], second_pass: bool) -> list[Row]:
    rows: list[Row] = []
    found = []
    for size in sizes:
        # So few of the periods have cells that there are as many as in the smallest.
        count, peak = measured(folder, size, max(1, round(size / sizes[0])), second_pass)
        found.append(peak)
        rows.append((f"{size:g} GB, {count} objects: {OBJECTS / 1e6:.0f} MB over the peak", "x", OBJECTS / peak, 1.0))
    rows.append(
        ("objects: memory of the smallest x 1.3 over that of the largest", "x", 1.3 * found[0] / found[-1], 1.0)
    )
    # 2.2 million would be there without gaps between them.
    count, peak = measured(folder, sizes[-1], 2, second_pass)
    rows.append(
        (f"{sizes[-1]:g} GB, {count} objects: {MANY_OBJECTS / 1e6:.0f} MB over the peak", "x", MANY_OBJECTS / peak, 1.0)
    )
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--sizes", type=float, nargs="*", default=[0.5, 4, 8], metavar="GB")
    parser.add_argument("--objects", type=float, nargs="*", default=[0.7, 30], metavar="GB")
    parser.add_argument("--second-pass", action="store_true", help="compute the label images, too")
    options = parser.parse_args(arguments)
    folder = folder_of(options)
    rows = measuring(folder, options.rounds, options.sizes) if options.sizes else []
    rows += measuring_objects(folder, options.objects, options.second_pass) if options.objects else []
    return finish(rows, options, folder)


if __name__ == "__main__":
    sys.exit(main())
