"""The promise on objects: prints each ratio to the ways of others, exits with 1 where one falls short.

    python benchmarks/objects_bars.py [--folder DIR] [--rounds 3] [--size 700] [--slow-once]

Labels and measures (size, box, centroid, mean of the raw image) cells in `--size` MB of probabilities, float32 and gzip
as ilastik writes them, beside a raw image in uint16 (not compressed, as gzip cannot pack its noise; `--gzip-raw`
compresses it all the same): once where cells fill 5 %, and once where they fill 60 %.  Then measures label images of
such cells, which touch where they fill 60 %, in memory and from files; beside scikit-image with inertia, too.

Peers (`pip install '.[bench]'`) take turns with ours (A B A B ...); one that is not installed has no rows.  The minimum
of the rounds counts, medians stand beside.  All tables are compared with scikit-image's before time counts.
"""

from __future__ import annotations

import os
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
from benchmarks.bars import Row, Timing, finish, folder_of, interleaved, parser_of, ratio, show
from benchmarks.cells import write_labels, write_probabilities
from benchmarks.exports import write_export
from benchmarks.objects_peers import CC3D, DASK_IMAGE, SKIMAGE, TILEWISE

OURS, FLOOR, BOTH = "ours, label and measure", "decode and threshold", "decode and threshold, and decode raw"
OUR_LABELS, TABLE = "ours, labels", f"{TILEWISE}, sizes and boxes"
PLAIN, PROPERTIES = peers.PROPERTIES[:-1], peers.PROPERTIES
WITH_INERTIA = (*PROPERTIES, "inertia_tensor_eigvals")


def whole_job(probabilities: str, raw: str) -> pd.DataFrame:
    labels = il.label_objects(il.open_dataarray(probabilities).isel(c=0))
    return il.measure_objects(labels, il.open_dataarray(raw), properties=PROPERTIES)


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


def finding(folder: Path, rounds: int, side: int, fill: float, once: tuple[str, ...], raw: str) -> list[Row]:
    """The whole job."""
    probabilities = write_probabilities(str(folder / "probabilities.h5"), (side,) * 3, fill)
    table = whole_job(probabilities, raw)
    filled = table["num_pixels"].sum() / side**3
    on_disk = Path(probabilities).stat().st_size / 1e6
    print(f"\n  {side**3 * 4e-6:.0f} MB of float32, {on_disk:.0f} MB as gzip in HDF5", end="; ")
    print(f"{len(table)} objects fill {filled:.0%}", flush=True)
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


def measuring(folder: Path, rounds: int, side: int, fill: float, once: tuple[str, ...], raw_path: str) -> list[Row]:
    """A label image that is there, and its raw image."""
    path = write_labels(str(folder / "labels.h5"), (side,) * 3, fill)
    labels, raw = peers.loaded(path), peers.loaded(raw_path)
    held = tuple(xr.DataArray(each, dims=("z", "y", "x")) for each in (labels, raw))

    def ours(properties: tuple[str, ...], *images: Any) -> pd.DataFrame:
        opened = [il.open_dataarray(image) if isinstance(image, str) else image for image in images]
        return il.measure_objects(*opened, properties=properties)

    table = ours(PROPERTIES, path, raw_path)
    filled = (labels > 0).mean()
    print(f"\n  {labels.nbytes / 1e6:.0f} MB of uint32, {len(table)} labels fill {filled:.0%}", flush=True)
    if peers.installed(SKIMAGE):
        theirs = peers.regionprops(labels, raw)
        same(table, theirs)
        same(ours(PROPERTIES, *held), theirs)
    functions: dict[str, Callable[[], object]] = {
        "ours, files": lambda: ours(PROPERTIES, path, raw_path),
        "ours, files, with inertia": lambda: ours(WITH_INERTIA, path, raw_path),
        "ours, memory": lambda: ours(PROPERTIES, *held),
        "ours, memory, with inertia": lambda: ours(WITH_INERTIA, *held),
        "ours, memory, no intensity": lambda: ours(PLAIN, held[0]),
        f"{CC3D}, files": lambda: peers.cc3d_statistics(peers.loaded(path)),
        f"{CC3D}, memory": lambda: peers.cc3d_statistics(labels),
        f"{SKIMAGE}, memory": lambda: peers.regionprops(labels, raw),
        f"{SKIMAGE}, files, with inertia": lambda: peers.regionprops(
            peers.loaded(path), peers.loaded(raw_path), WITH_INERTIA
        ),
        f"{SKIMAGE}, memory, with inertia": lambda: peers.regionprops(labels, raw, WITH_INERTIA),
    }
    functions = {name: f for name, f in functions.items() if _present(name)}
    found = interleaved(functions, rounds, once=[name for name in functions if name.startswith(once)])
    show(found)
    bars = [(f"ours, {how}", f"{SKIMAGE}, {how}", 15.0) for how in ("files, with inertia", "memory, with inertia")]
    bars += [("ours, memory", f"{SKIMAGE}, memory", 1.0)]
    bars += [(f"ours, {how}", f"{CC3D}, {how}", 1.5) for how in ("files", "memory")]
    bars += [("ours, memory, no intensity", f"{CC3D}, memory", 1.5)]
    return _rows(found, bars, f"{filled:.0%} labels: ")


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
    parser.add_argument("--fill", type=float, nargs="+", default=[0.05, 0.6], help="share that cells fill")
    parser.add_argument("--only", choices=["maps", "labels"], help="one half of the rows")
    parser.add_argument("--gzip-raw", action="store_true", help="the raw image is compressed, too")
    options = parser.parse_args(arguments)
    folder = folder_of(options)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    side = max(16, round((options.size * 1e6 / 4) ** (1 / 3)))
    once = (SKIMAGE, DASK_IMAGE) if options.slow_once else ()
    rows: list[Row] = []
    raw = write_export(
        str(folder / "raw.h5"), (side,) * 3, "zyx", kind="raw", compression="gzip" if options.gzip_raw else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for fill in options.fill:
            if options.only != "labels":
                rows += finding(folder, options.rounds, side, fill, once, raw)
            if options.only != "maps":
                rows += measuring(folder, options.rounds, side, fill, once, raw)
    return finish(rows, options, folder)


if __name__ == "__main__":
    sys.exit(main())
