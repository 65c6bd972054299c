"""The promises on serving: prints each of them, exits with 1 where one is broken.

    python benchmarks/serving_bars.py [--folder DIR] [--rounds 3] [--size 0.5] [--large 20]

Level 0 of an export of `--size` GB, float32 with gzip, is fetched over six connections, as a browser would, from
`ilastik_lazy` and from the file server of Python's standard library, which has each chunk in a file: bytes a second
relative to it, the minimum of the rounds counts.  Then all levels of that export and of one of `--large` GB are fetched
from a server in a process of its own, whose peak (VmHWM, with all imports) is bounded for both; and the time from the
command to the last chunk of the middle plane in z is measured, at the finest level where it is at most 1024 pixels
wide.  All of it is in the page cache.  The chunks of the images repeat; 20 GB are 6 GB on disk.  Linux only.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

import h5py

from benchmarks.bars import Row, finish, folder_of, interleaved, parser_of, ratio, show
from benchmarks.exports import write_export

CONNECTIONS = 6
PLAIN = """
import functools, http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
OURS = [sys.executable, "-m", "ilastik_lazy", "serve"]


@contextlib.contextmanager
def running(*command: str) -> Iterator[tuple[str, int]]:
    """Address and process of a server that prints the first."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        try:
            yield url, process.pid
        finally:
            process.terminate()


def fetched(url: str, keys: Iterable[str]) -> int:
    """Fetch everything over a few connections, as it is sent; returns the bytes."""
    address, keys = urlsplit(url), list(keys)

    def some(number: int) -> int:
        connection, total = http.client.HTTPConnection(address.netloc), 0
        for key in keys[number::CONNECTIONS]:
            connection.request("GET", f"{address.path}/{key}", headers={"Accept-Encoding": "gzip, deflate"})
            answer = connection.getresponse()
            assert answer.status == 200, (key, answer.status)
            total += len(answer.read())
        connection.close()
        return total

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(some, range(CONNECTIONS)))


def levels_of(url: str) -> list[dict[str, Any]]:
    """Metadata of the arrays."""
    address = urlsplit(url)

    def document(key: str) -> Any:
        connection = http.client.HTTPConnection(address.netloc)
        connection.request("GET", f"{address.path}/{key}")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    paths = [each["path"] for each in document("zarr.json")["attributes"]["ome"]["multiscales"][0]["datasets"]]
    return [document(f"{path}/zarr.json") | {"path": path} for path in paths]


def keys_of(level: dict[str, Any], plane: bool = False) -> Iterator[str]:
    """Keys of all chunks of a level, or of those of the first channel that the middle plane in z touches."""
    shape, chunks = level["shape"], level["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [range(-(-n // c)) for n, c in zip(shape, chunks, strict=True)]
    if plane:
        middle = shape[1] // 2 // chunks[1]
        grid[:2] = [range(1), range(middle, middle + 1)]
    for index in itertools.product(*grid):
        yield "/".join([level["path"], "c", *map(str, index)])


def peak_of(process: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) * 1024  # type: ignore[index]


def passing_through(export: Path, folder: Path, rounds: int) -> list[Row]:
    files = folder / "files"
    with h5py.File(export) as file:
        dataset = file["exported_data"]
        for chunk in map(dataset.id.get_chunk_info, range(dataset.id.get_num_chunks())):
            z, y, x, c = (i // n for i, n in zip(chunk.chunk_offset, dataset.chunks, strict=True))
            path = files / f"scale0/image/c/{c}/{z}/{y}/{x}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(dataset.id.read_direct_chunk(chunk.chunk_offset)[1])
    with running(*OURS, str(export)) as (ours, _), running(sys.executable, "-c", PLAIN, str(files)) as (plain, _):
        keys = list(keys_of(levels_of(ours)[0]))
        nbytes = fetched(plain, keys)
        assert fetched(ours, keys) == nbytes
        found = interleaved({"ours": lambda: fetched(ours, keys), "files": lambda: fetched(plain, keys)}, rounds)
    print(f"  {len(keys)} chunks as they are stored, {nbytes / 1e6:.0f} MB")
    show(found)
    return [("chunks as stored: plain file server", "x", ratio(found, "files", "ours", "wall"), 0.5)]


def peaks(exports: list[Path]) -> list[Row]:
    found = []
    for export in exports:
        with running(*OURS, str(export)) as (url, process):
            before = peak_of(process)
            for level in reversed(levels_of(url)):
                fetched(url, keys_of(level))
            found.append(peak_of(process))
            print(f"  {export.name}: peak {found[-1] / 1e6:.0f} MB, {before / 1e6:.0f} before the first request")
    return [
        (f"800 MB: peak of serving {export.stem}", "x", 800e6 / peak, 1)
        for export, peak in zip(exports, found, strict=True)
    ]


def first_picture(export: Path, rounds: int) -> list[Row]:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        with running(*OURS, str(export)) as (url, _):
            printed = time.perf_counter() - start
            level = next(level for level in levels_of(url) if level["shape"][-1] <= 1024)
            fetched(url, keys_of(level, plane=True))
            seconds.append(time.perf_counter() - start)
        print(f"  {export.name}: address after {printed:.2f} s, plane of {level['shape']} after {seconds[-1]:.2f} s")
    return [("3 s: from the command to a whole plane", "x", 3 / min(seconds), 1)]


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--size", type=float, default=0.5, help="GB of the smaller export")
    parser.add_argument("--large", type=float, default=20, help="GB of the larger export")
    arguments = parser.parse_args()
    folder = folder_of(arguments)
    exports = []
    for size in (arguments.size, arguments.large):
        side = round((size * 1e9 / 8) ** (1 / 3))
        exports.append(folder / f"{size:g}GB_Probabilities.h5")
        if not exports[-1].exists():
            write_export(os.fspath(exports[-1]), (side, side, side, 2))
    rows = passing_through(exports[0], folder, arguments.rounds)
    rows += first_picture(exports[1], arguments.rounds)
    rows += peaks(exports)
    return finish(rows, arguments, folder)


if __name__ == "__main__":
    sys.exit(main())
