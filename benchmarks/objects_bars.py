"""The promise on objects: prints each ratio to the ways of others, exits with 1 where one falls short.

    python benchmarks/objects_bars.py [--folder DIR] [--rounds 3] [--size 700] [--slow-once]

Labels and measures (size, box, centroid, mean of the raw image) cells in `--size` MB of probabilities, float32 and gzip
as ilastik writes them, beside a raw image in uint16: once where cells fill 5 %, and once where they fill 60 %.
Then measures a label image of cells that touch and fill 60 %, in memory and from files.  Peers (`pip install '.[bench]'`)
take turns with ours (A B A B ...); one that is not installed has no rows.  The minimum of the rounds counts, medians stand
beside.  All tables are compared with scikit-image's before time counts.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import xarray as xr

import ilastik_lazy as il
from benchmarks import objects_peers as peers
from benchmarks.bars import Row, Timing, folder_of, interleaved, parser_of, print_table, ratio, show
from benchmarks.cells import write_labels, write_probabilities
from benchmarks.exports import write_export
from benchmarks.objects_peers import CC3D, DASK_IMAGE, SKIMAGE, TILEWISE

OURS, FLOOR, BOTH = "ours, label and measure", "decode and threshold", "decode and threshold, and decode raw"
OUR_LABELS, MEASURE = "ours, labels", "ours, measure labels"
TABLE = f"{TILEWISE}, sizes and boxes"
TWICE, IN_MEMORY, IN_MEMORY_PLAIN = "from files", "in memory", "in memory, no intensity"


def whole_job(probabilities: str, raw: str) -> pd.DataFrame:
    labels = il.label_objects(il.open_dataarray(probabilities).isel(c=0))
    return il.measure_objects(labels, il.open_dataarray(raw), properties=peers.PROPERTIES)


def threshold(probabilities: str) -> int:
    return int((il.open_dataarray(probabilities).isel(c=0) >= 0.5).sum().compute())


def labels_alone(probabilities: str) -> int:
    return int(il.label_objects(il.open_dataarray(probabilities).isel(c=0)).max().compute())


def same(ours: pd.DataFrame, theirs: dict[str, Any]) -> None:
    """Compare a table with scikit-image's; centroids in voxels."""
    names = {"label": "label", "num_pixels": "num_pixels", "intensity_mean": "intensity_mean"}
    names |= {f"bbox_{axis}_min": f"bbox-{i}" for i, axis in enumerate("zyx")}
    names |= {f"bbox_{axis}_max": f"bbox-{i + 3}" for i, axis in enumerate("zyx")}
    for our_name, name in names.items():
        if not np.allclose(ours[our_name], theirs[name], rtol=1e-6, atol=0):
            raise SystemExit(f"{our_name} differs from scikit-image's: no time counts")


def finding(folder: Path, rounds: int, side: int, fill: float, once: tuple[str, ...]) -> list[Row]:
    """The whole job."""
    probabilities = write_probabilities(str(folder / "probabilities.h5"), (side,) * 3, fill)
    raw = write_export(str(folder / "raw.h5"), (side,) * 3, "zyx", kind="raw")
    table = whole_job(probabilities, raw)
    filled = table["num_pixels"].sum() / side**3
    print(f"\n  {side**3 * 4 / 1e6:.0f} MB of float32, {Path(probabilities).stat().st_size / 1e6:.0f} MB as gzip in HDF5; ",
          f"{len(table)} objects fill {filled:.0%}", sep="", flush=True)  # fmt: skip
    if peers.installed(SKIMAGE):
        same(table, peers.with_skimage(probabilities, raw))
    functions: dict[str, Callable[[], object]] = {
        OURS: lambda: whole_job(probabilities, raw),
        FLOOR: lambda: threshold(probabilities),
        BOTH: lambda: (threshold(probabilities), il.open_dataarray(raw).max().compute()),
        OUR_LABELS: lambda: labels_alone(probabilities),
        SKIMAGE: lambda: peers.with_skimage(probabilities, raw),
        CC3D: lambda: peers.cc3d_labels(probabilities),
        TILEWISE: lambda: peers.with_tilewise(probabilities),
        TABLE: lambda: peers.tilewise_table(probabilities),
        DASK_IMAGE: lambda: peers.with_dask_image(probabilities),
    }
    functions = {name: f for name, f in functions.items() if _present(name)}
    found = interleaved(functions, rounds, once=once)
    show(found)
    bars = [(OURS, SKIMAGE, 3.0), (OURS, TILEWISE, 4.0), (OURS, TABLE, 1.0), (OURS, DASK_IMAGE, 50.0),
            (OUR_LABELS, TILEWISE, 1.0)]  # fmt: skip
    rows = _rows(found, bars, f"{filled:.0%}: ")
    for floor in (FLOOR, BOTH):
        for what in ("wall", "cpu"):
            value = 3 * ratio(found, floor, OURS, what)
            rows.append((f"{filled:.0%}: 3 x ({floor}), {what}", "x", value, 1.0))
    return rows


def measuring(folder: Path, rounds: int, side: int) -> list[Row]:
    """A label image that is there, and its raw image."""
    path = write_labels(str(folder / "labels.h5"), (side,) * 3, 0.6)
    raw_path = write_export(str(folder / "raw.h5"), (side,) * 3, "zyx", kind="raw")
    labels, raw = peers.loaded(path), peers.loaded(raw_path)
    as_arrays = xr.DataArray(labels, dims=("z", "y", "x")), xr.DataArray(raw, dims=("z", "y", "x"))

    def from_files() -> pd.DataFrame:
        return il.measure_objects(il.open_dataarray(path), il.open_dataarray(raw_path), properties=peers.PROPERTIES)

    table, held = from_files(), il.measure_objects(*as_arrays, properties=peers.PROPERTIES)
    print(f"\n  {labels.nbytes / 1e6:.0f} MB of uint32, {len(table)} labels fill {(labels > 0).mean():.0%}", flush=True)
    if peers.installed(SKIMAGE):
        theirs = peers.regionprops(labels, raw)
        same(table, theirs)
        same(held, theirs)
    functions: dict[str, Callable[[], object]] = {
        f"{MEASURE}, {TWICE}": from_files,
        f"{MEASURE}, {IN_MEMORY}": lambda: il.measure_objects(*as_arrays, properties=peers.PROPERTIES),
        f"{MEASURE}, {IN_MEMORY_PLAIN}": lambda: il.measure_objects(as_arrays[0], properties=peers.PROPERTIES[:-1]),
        f"{SKIMAGE}, {TWICE}": lambda: peers.regionprops(peers.loaded(path), peers.loaded(raw_path)),
        f"{SKIMAGE}, {IN_MEMORY}": lambda: peers.regionprops(labels, raw),
        f"{CC3D}, {TWICE}": lambda: peers.cc3d_statistics(peers.loaded(path)),
        f"{CC3D}, {IN_MEMORY}": lambda: peers.cc3d_statistics(labels),
    }
    functions = {name: f for name, f in functions.items() if _present(name)}
    found = interleaved(functions, rounds)
    show(found)
    bars = [(f"{MEASURE}, {where}", f"{peer}, {where}", least)
            for peer, least in ((SKIMAGE, 15.0), (CC3D, 1.5)) for where in (TWICE, IN_MEMORY)]  # fmt: skip
    return _rows(found, [*bars, (f"{MEASURE}, {IN_MEMORY_PLAIN}", f"{CC3D}, {IN_MEMORY}", 1.5)], "labels: ")


def _present(name: str) -> bool:
    return all(peers.installed(peer) for peer in peers.MODULES if name.startswith(peer))


def _rows(found: dict[str, Timing], bars: list[tuple[str, str, float]], prefix: str) -> list[Row]:
    return [
        (f"{prefix}{ours}: {peer}", "x", ratio(found, peer, ours, "wall"), least)
        for ours, peer, least in bars
        if peer in found
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--size", type=float, default=700, help="of the probabilities, in MB")
    parser.add_argument("--slow-once", action="store_true", help=f"one round only of {SKIMAGE} and {DASK_IMAGE}")
    parser.add_argument("--only", choices=["sparse", "dense", "labels"], nargs="+", default=["sparse", "dense", "labels"])
    options = parser.parse_args(arguments)
    folder = folder_of(options)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    side = max(16, round((options.size * 1e6 / 4) ** (1 / 3)))
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, fill in (("sparse", 0.05), ("dense", 0.6)):
            if name in options.only:
                once = (SKIMAGE, DASK_IMAGE) if options.slow_once else ()
                rows += finding(folder, options.rounds, side, fill, once)
        if "labels" in options.only:
            rows += measuring(folder, options.rounds, side)
    short = print_table(rows)
    if not options.folder:
        shutil.rmtree(folder)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
