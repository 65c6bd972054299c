"""The promise on every format: prints each ratio to the readers of others, exits with 1 where one falls short.

    python benchmarks/formats_bars.py [--folder DIR] [--rounds 5] [--only WORD] [--files 200]

Sums a whole image in each layout of `benchmarks/formats.py`, 302 MB of float32 in most, through the front door, and
beside it through tensorstore, zarr-python, xarray's zarr engine, tifffile, h5py, and dask's own readers.  No peer may
be faster by more than 5 %; ours is twice as fast as zarr-python and dask's readers.  A sum that differs from that of
the first peer stops the run.  The same sums out of a bucket: S3 by moto, which hears each request 30 ms late.
Then `--files` exports of 8 MB are opened, reduced, and converted, in ms for each, and each command is started.
Needs imagecodecs, tensorstore, moto and scikit-image (`pip install '.[test]'`).  All take turns (A B A B ...), files
are warm in the page cache; the minimum of the rounds counts, medians stand beside.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import dask.array as da
import h5py
import numpy as np
import xarray as xr
import zarr

import ilastik_lazy as il
from benchmarks import formats
from benchmarks.bars import Row, Timing, finish, folder_of, interleaved, parser_of, ratio, show
from benchmarks.exports import write_export
from benchmarks.formats import LAYOUTS, OURS, Layout

TWICE = ("zarr-python", "dask", "xarray, zarr", "tifffile, zarr, dask", "h5py, dask", "dask.array.image")
SECONDS_LATE = 0.03
# Two processes: requests wait in one, and moto answers them in the other.
MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
LATE = """
import asyncio, sys
async def copied(reader, writer, seconds):
    while data := await reader.read(2**20):
        await asyncio.sleep(seconds)
        writer.write(data)
        await writer.drain()
    writer.close()
async def passed_on(reader, writer):
    back, forth = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(copied(reader, forth, float(sys.argv[2])), copied(back, writer, 0), return_exceptions=True)
async def main():
    server = await asyncio.start_server(passed_on, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""


def compared(name: str, layout: Layout, path: str, rounds: int) -> list[Row]:
    """One row for each peer."""
    answers: dict[str, float] = {}

    def asked(reader: str, function: Callable[[str], object]) -> Callable[[], object]:
        return lambda: answers.update({reader: float(function(path))})  # type: ignore[arg-type]

    readers = layout.readers()
    found = interleaved({reader: asked(reader, function) for reader, function in readers.items()}, rounds)
    expected = answers[next(iter(layout.peers))]
    if not all(np.isclose(answer, expected, rtol=1e-5) for answer in answers.values()):
        raise SystemExit(f"{name}: the sums differ, so no time counts: {answers}")
    print(f"  sum, {name}")
    show(found)
    return [
        (f"{name}: {peer}, wall", "x", ratio(found, peer, OURS, "wall"), 2.0 if peer in TWICE else 0.95)
        for peer in layout.peers
    ]


def reading(folder: Path, rounds: int, only: str) -> list[Row]:
    rows: list[Row] = []
    for name, layout in LAYOUTS.items():
        if only not in name:
            continue
        path = str(folder / layout.name)
        if not glob.glob(path):
            layout.write(path)
        rows += compared(name, layout, path, rounds)
    return rows


@contextlib.contextmanager
def port_of(code: str, *arguments: str) -> Iterator[str]:
    """The port that a server of a process of its own prints."""
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def bucket_layout(endpoint: str) -> Layout:
    """An image in a bucket, and who else reads it."""
    import obstore.store
    import tensorstore as ts

    keys = {"access_key_id": "me", "secret_access_key": "secret", "region": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"}  # the only place tensorstore looks at
    store = obstore.store.S3Store("images", endpoint=endpoint, client_options={"allow_http": True}, **keys)  # type: ignore[arg-type]

    def written(path: str) -> None:
        for file in filter(Path.is_file, Path(path).rglob("*")):
            store.put(f"a.zarr/{file.relative_to(path)}", file)

    def in_store(path: str) -> object:
        return zarr.open_array(zarr.storage.ObjectStore(store, read_only=True), path="a.zarr/0", mode="r")

    place = {"driver": "s3", "bucket": "images", "path": "a.zarr/0/", "endpoint": endpoint, "aws_region": "us-east-1",
             "aws_credentials": {"type": "environment"}}  # fmt: skip
    peers: dict[str, formats.Reader] = {
        "tensorstore": lambda path: formats.sum_of_slabs(ts.open({"driver": "zarr3", "kvstore": place}).result()),
        "zarr-python": lambda path: in_store(path)[...].sum(),  # type: ignore[index]
        "dask": lambda path: da.from_zarr(in_store(path)).sum().compute(),
        "xarray, zarr": lambda path: xr.open_zarr(
            zarr.storage.ObjectStore(store, read_only=True), group="a.zarr", consolidated=False
        )["0"].sum().compute(),
    }  # fmt: skip
    return Layout("s3://images/a.zarr", written, peers, {"storage_options": {"endpoint_url": endpoint, **keys}})


def in_bucket(folder: Path, rounds: int, only: str) -> list[Row]:
    rows: list[Row] = []
    for name in filter(lambda name: only in f"S3, {name}", ("OME-Zarr 0.5, zstd", "OME-Zarr 0.5, zstd, sharded")):
        path = str(folder / LAYOUTS[name].name)
        if not os.path.exists(path):
            LAYOUTS[name].write(path)
        with port_of(MOTO) as moto, port_of(LATE, moto, str(SECONDS_LATE)) as late:
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{moto}/images", method="PUT")).close()
            bucket_layout(f"http://127.0.0.1:{moto}").write(path)
            layout = bucket_layout(f"http://127.0.0.1:{late}")
            rows += compared(f"S3, {name}", layout, layout.name, rounds)
    return rows


def small(folder: Path, rounds: int, files: int) -> list[Row]:
    """Many exports of 8 MB, where the work around the voxels counts."""
    paths = [str(folder / f"small_{number:03}.h5") for number in range(files)]
    for number, path in enumerate(paths):
        if number < 4:
            write_export(path, (16, 256, 256, 2), seed=number)
        else:
            shutil.copy(paths[number % 4], path)

    def with_h5py(path: str) -> object:
        with h5py.File(path) as file:
            return file["exported_data"][...].mean(0)

    def of_all(function: Callable[[str], object]) -> Callable[[], object]:
        return lambda: [function(path) for path in paths]

    def reduced(path: str) -> xr.DataArray:
        return il.open_dataarray(path).mean("z").compute()

    np.testing.assert_allclose(reduced(paths[1]), with_h5py(paths[1]), rtol=1e-5)
    target = folder / "small"
    found = interleaved(
        {
            "open": of_all(il.open_dataarray),
            "reduce": of_all(reduced),
            "reduce, h5py": of_all(with_h5py),
            "convert": of_all(lambda path: il.to_ome_zarr(path, target / f"{Path(path).stem}.zarr")),
        },
        rounds,
        prepare=lambda name: shutil.rmtree(target, ignore_errors=True) if name == "convert" else None,
    )
    print(f"  {files} exports of 8 MB")
    show(found)
    each = {name: min(timing["wall"]) * 1e3 / files for name, timing in found.items()}
    print(f"    ms for each file: {', '.join(f'{name} {value:.1f}' for name, value in each.items())}")
    return [
        ("small export opened, ms below 5", "x", 5 / each["open"], 1),
        ("small export reduced: h5py, wall", "x", each["reduce, h5py"] / each["reduce"], 0.95),
        ("small export converted, ms below 60", "x", 60 / each["convert"], 1),
    ]


def starting(folder: Path, rounds: int) -> list[Row]:
    from ilastik_lazy.cli import cli

    path = write_export(str(folder / "start.h5"), (8, 64, 64, 2))

    def run(*arguments: str) -> Callable[[], object]:
        command = [sys.executable, "-m", "ilastik_lazy", *arguments]
        return lambda: subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])

    functions = {f"{name} --help": run(name, "--help") for name in sorted(cli.commands)}
    functions |= {"info": run("info", path), "reduce": run("reduce", path, "mean")}
    found: dict[str, Timing] = interleaved(functions, rounds)
    print("  start of each command")
    show(found)
    return [
        (f"{name}, 0.4 s over it", "x", 0.4 / min(timing["wall"]), 1)
        for name, timing in found.items()
        if name.endswith("--help")
    ]


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", help="part of the name of a layout, or small, or starting")
    parser.add_argument("--files", type=int, default=200, help="small exports")
    arguments = parser.parse_args()
    folder = folder_of(arguments)
    rows = reading(folder, arguments.rounds, arguments.only)
    rows += in_bucket(folder, arguments.rounds, arguments.only)
    if arguments.only in "small":
        rows += small(folder, arguments.rounds, arguments.files)
    if arguments.only in "starting":
        rows += starting(folder, arguments.rounds)
    return finish(rows, arguments, folder)


if __name__ == "__main__":
    sys.exit(main())
