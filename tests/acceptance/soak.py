"""Random regions in many threads of many processes: every value right, nothing left open, memory flat.

    python -m tests.acceptance.soak --seconds 60

One source each of a gzip, a raw and an N5 file goes to 4 processes (2 forked, 2 spawned); 32 threads in each
read regions and compare them, while one opens the files anew, throws sources away and collects garbage.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks.index import _indexes
from ilastik_lazy.formats.location import Location
from tests.support.makers import some_data, write_hdf5_export
from tests.support.n5_makers import write_n5
from tests.support.open_files import open_files_below

SHAPE, CHUNKS = (40, 90, 70, 2), (16, 32, 32, 1)


def write_files(folder: Path) -> dict[str, Path]:
    data = some_data(SHAPE)
    write_hdf5_export(folder / "gzip.h5", data, chunks=CHUNKS, filters="gzip")
    write_hdf5_export(folder / "raw.h5", data, chunks=CHUNKS)
    write_n5(folder / "blocks.n5", data, chunks=CHUNKS)
    return {"gzip": folder / "gzip.h5", "raw": folder / "raw.h5", "N5": folder / "blocks.n5"}


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Work:
    """What the threads of one process share."""

    def __init__(self, sources: dict[str, Any], paths: dict[str, Path], seed: int, end: float) -> None:
        self.sources, self.paths, self.seed, self.end = sources, paths, seed, end
        self.data, self.reads, self.troubles = some_data(SHAPE), 0, list[str]()
        self.lock = threading.Lock()

    def run(self, action: Any, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        try:
            while time.monotonic() < self.end and not self.troubles:
                action(chance)
        except Exception:
            self.troubles.append(traceback.format_exc())

    def read(self, chance: random.Random) -> None:
        name = chance.choice(list(self.sources))
        bounds = [sorted((chance.randrange(n + 1), chance.randrange(n + 1))) for n in SHAPE]
        region = tuple(slice(*pair) for pair in bounds)
        found = self.sources[name].read(region)
        if not np.array_equal(found, self.data[region], equal_nan=True):
            self.troubles.append(f"{name}: other values in {region}")
        with self.lock:
            self.reads += 1

    def disturb(self, chance: random.Random) -> None:
        """Open a file anew, read a voxel, forget the source and all indexes."""
        name = chance.choice(list(self.paths))
        source = open_source(Location.parse(self.paths[name]))
        source.read(tuple(slice(n - 1, n) for n in SHAPE))
        del source
        _indexes.clear()
        gc.collect()


def work(sources: dict[str, Any], paths: dict[str, Path], seed: int, seconds: float, threads: int, out: Any) -> None:
    """What one process does; sends the number of reads, growth of memory in bytes, open files, troubles."""
    shared = _Work(sources, paths, seed, time.monotonic() + seconds)
    actions = [shared.read] * threads + [shared.disturb]
    team = [threading.Thread(target=shared.run, args=(action, i)) for i, action in enumerate(actions)]
    for thread in team:
        thread.start()
    # After a fifth every buffer of every thread has its size.
    time.sleep(seconds / 5)
    early = resident_bytes()
    for thread in team:
        thread.join(seconds + 60)
    stuck = sum(thread.is_alive() for thread in team)
    growth, left = resident_bytes() - early, open_files_below(next(iter(paths.values())).parent)
    if stuck:
        shared.troubles.append(f"{stuck} threads are stuck")
    out.send((shared.reads, growth, left, shared.troubles))
    out.close()
    if stuck:
        os._exit(1)


def soak(folder: Path, seconds: float, threads: int, processes: int) -> list[tuple[int, int, list[str], list[str]]]:
    """Results of all processes, half of them forked and half spawned."""
    paths = write_files(folder)
    sources = {name: open_source(Location.parse(path)) for name, path in paths.items()}
    running = []
    for number in range(processes):
        context: Any = multiprocessing.get_context(("fork", "spawn")[number % 2])
        reading, writing = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(sources, paths, number, seconds, threads, writing))
        child.start()
        writing.close()
        running.append((child, reading))
    found = []
    for child, reading in running:
        try:
            found.append(reading.recv() if reading.poll(seconds + 120) else (0, 0, [], ["no answer"]))
        except EOFError:
            found.append((0, 0, [], ["died"]))
        reading.close()
        child.join(10)
        if child.is_alive():
            child.kill()
            child.join()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    if "MALLOC_ARENA_MAX" not in os.environ:
        # glibc gives 16 arenas to 32 threads, which fill for half a minute: 134 MB instead of 84, and the same speed.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"MALLOC_ARENA_MAX": "2"})
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), options.seconds, options.threads, options.processes)
    for number, (reads, growth, left, troubles) in enumerate(found):
        kind = ("forked", "spawned")[number % 2]
        print(
            f"process {number} ({kind}): {reads} regions read, memory {growth / 2**20:+.1f} MiB, {len(left)} files open"
        )
        for trouble in troubles:
            print(f"  {trouble}")
    regions, troubles = sum(each[0] for each in found), sum(len(each[3]) for each in found)
    print(f"{regions} regions in {options.seconds:g} s, {troubles} troubles")
    return 1 if troubles or any(left for _, _, left, _ in found) else 0


if __name__ == "__main__":
    sys.exit(main())
