"""The promise on conversion: prints each ratio to the ways of others, exits with 1 where one falls short.

    python benchmarks/converting_bars.py [--folder DIR] [--rounds 5] [--size 500] [--slow-once]

Converts `--size` MB of probabilities, float32 and gzip as ilastik writes them, to OME-Zarr 0.5 with three levels
made by mean; sharded where the writer can.  Needs tensorstore, ngff-zarr and ome-zarr (`pip install '.[test]'`).
Peers take turns with ours (A B A B ...), out of and into the page cache; the minimum of the rounds counts,
medians stand beside.  Level 0 of each is compared with the source once all is timed.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import h5py
import numpy as np
import zarr
from zarr.codecs import ZstdCodec

import ilastik_lazy as il
from benchmarks.bars import Row, Timing, finish, folder_of, interleaved, parser_of, ratio, show
from benchmarks.converting import ISOTROPIC, with_dask
from benchmarks.exports import write_export
from benchmarks.peers import opened

VERBATIM, ZSTD = "ours", 'ours, codec="zstd"'
DASK, TENSORSTORE = "dask + h5py, zarr-python", "h5py, tensorstore + downsample"
NGFF_ZARR, OME_ZARR_PY = "ngff-zarr", "ome-zarr-py"
SLOW = (NGFF_ZARR, OME_ZARR_PY)
FACTORS = ({"z": 2, "y": 2, "x": 2}, {"z": 4, "y": 4, "x": 4})

LEVEL0 = {
    VERBATIM: "scale0/image", ZSTD: "scale0/image", DASK: "0", TENSORSTORE: "0", NGFF_ZARR: "scale0/image",
    OME_ZARR_PY: "s0",
}  # fmt: skip


def grid(shape: tuple[int, ...], blocks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Every block of an array."""
    for place in np.ndindex(*(-(-n // b) for n, b in zip(shape, blocks, strict=True))):
        yield tuple(slice(i * b, min((i + 1) * b, n)) for i, b, n in zip(place, blocks, shape, strict=True))


def with_tensorstore(path: str, target: str) -> None:
    """A loop over shards with h5py, and each level out of the one before by tensorstore's own driver."""
    import tensorstore as ts

    def created(number: int, shape: tuple[int, ...]) -> Any:
        chunks = tuple(min(c, n) for c, n in zip(inner, shape, strict=True))
        shards = tuple(c * -(-min(s, n) // c) for c, s, n in zip(chunks, outer, shape, strict=True))
        codec = {"name": "zstd", "configuration": {"level": 3}}
        sharding = {"chunk_shape": chunks, "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, codec]}
        metadata = {
            "shape": shape,
            "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shards}},
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        }
        place = {"driver": "file", "path": f"{target}/{number}"}
        return ts.open({"driver": "zarr3", "kvstore": place, "metadata": metadata}, create=True).result()

    with h5py.File(path, "r") as file:
        dataset = file["exported_data"]
        inner = tuple(dataset.chunks[i] for i in (3, 0, 1, 2))
        outer = (1, *(4 * c for c in inner[1:]))
        level = created(0, tuple(dataset.shape[i] for i in (3, 0, 1, 2)))
        for region in grid(level.shape, level.chunk_layout.write_chunk.shape):
            level[region] = dataset[(*region[1:], region[0])].transpose(3, 0, 1, 2)
    for number in (1, 2):
        halved = ts.downsample(level, [1, 2, 2, 2], "mean")
        shape = (level.shape[0], *(n // 2 for n in level.shape[1:]))
        level = created(number, shape)
        for region in grid(shape, level.chunk_layout.write_chunk.shape):
            level[region] = halved[region]


def with_ngff_zarr(path: str, target: str) -> None:
    import ngff_zarr

    with opened(path, "h5py") as array:
        data = array.data.transpose(3, 0, 1, 2)
        chunks = dict(zip("czyx", (max(lengths) for lengths in data.chunks), strict=True))
        image = ngff_zarr.to_ngff_image(data, dims=("c", "z", "y", "x"))
        method = ngff_zarr.Methods.ITKWASM_BIN_SHRINK
        levels = ngff_zarr.to_multiscales(image, list(FACTORS), method, chunks=chunks)
        ngff_zarr.to_ngff_zarr(target, levels, version="0.5")


def with_ome_zarr_py(path: str, target: str) -> None:
    import ome_zarr.writer
    from ome_zarr.scale import Methods

    with opened(path, "h5py") as array:
        options = {"compressors": ZstdCodec(level=3)}
        data = array.data.transpose(3, 0, 1, 2)
        ome_zarr.writer.write_image(
            data, target, list(FACTORS), axes="czyx", method=Methods.LOCAL_MEAN, storage_options=options
        )


def converted(path: str, folder: Path, rounds: int, once: tuple[str, ...]) -> tuple[dict[str, Timing], dict[str, Path]]:
    targets = {name: folder / f"{number}.zarr" for number, name in enumerate(LEVEL0)}
    writers: dict[str, Callable[[str, str], object]] = {
        VERBATIM: lambda path, target: il.to_ome_zarr(path, target, levels=3),
        ZSTD: lambda path, target: il.to_ome_zarr(path, target, levels=3, codec="zstd"),
        DASK: with_dask,
        TENSORSTORE: with_tensorstore,
        NGFF_ZARR: with_ngff_zarr,
        OME_ZARR_PY: with_ome_zarr_py,
    }
    functions = {name: lambda name=name: writers[name](path, str(targets[name])) for name in LEVEL0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = interleaved(
            functions, rounds, prepare=lambda name: shutil.rmtree(targets[name], ignore_errors=True), once=once
        )
    return found, targets


def check(path: str, target: Path, level0: str) -> None:
    """Compare level 0 with the source, a slab at a time."""
    stored = zarr.open_array(target / level0, mode="r")
    with h5py.File(path, "r") as file:
        dataset = file["exported_data"]
        for start in range(0, dataset.shape[0], 64):
            expected = dataset[start : start + 64].transpose(3, 0, 1, 2)
            if not np.array_equal(stored[:, start : start + 64], expected):
                raise SystemExit(f"{target} differs from its source: no time counts")


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def converting(folder: Path, rounds: int, megabytes: float, once: tuple[str, ...]) -> list[Row]:
    side = max(16, round((megabytes * 1e6 / 8) ** (1 / 3)))
    path = write_export(str(folder / "export.h5"), (side, side, side, 2), scales=ISOTROPIC)
    found, targets = converted(path, folder, rounds, once)
    source = Path(path).stat().st_size / 1e6
    print(f"  {side**3 * 8 / 1e6:.0f} MB of float32, {source:.0f} MB as gzip in HDF5; three levels")
    show(found)
    for name, target in targets.items():
        check(path, target, LEVEL0[name])
        rounds_of = f"{len(found[name]['wall'])} round{'s' if len(found[name]['wall']) > 1 else ''}"
        print(f"    {name:34} {size_of(target) / 1e6:8.1f} MB on disk, {rounds_of}")
    bars = ((VERBATIM, DASK, 4.0), (VERBATIM, TENSORSTORE, 3.5), (ZSTD, DASK, 2.0), (ZSTD, TENSORSTORE, 1.2))
    rows = [(f"{ours}: {peer}, wall", "x", ratio(found, peer, ours, "wall"), least) for ours, peer, least in bars]
    return [*rows, *((f"{VERBATIM}: {peer}, wall", "x", ratio(found, peer, VERBATIM, "wall"), 1.0) for peer in SLOW)]


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--size", type=float, default=500, help="of the source, in MB")
    parser.add_argument("--slow-once", action="store_true", help=f"one round only of {' and '.join(SLOW)}")
    options = parser.parse_args(arguments)
    folder = folder_of(options)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    print(f"on {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores")
    return finish(converting(folder, options.rounds, options.size, SLOW if options.slow_once else ()), options, folder)


if __name__ == "__main__":
    sys.exit(main())
