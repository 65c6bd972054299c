"""What the scripts that check promises share: functions taken in turns, and a table of ratios."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import h5py

Row = tuple[str, str, float, float]
Timing = dict[str, list[float]]


def interleaved(
    functions: dict[str, Callable[[], object]],
    rounds: int,
    *,
    prepare: Callable[[str], object] = lambda name: None,
    once: Collection[str] = (),
) -> dict[str, Timing]:
    """Wall and CPU seconds of each function, with processes that it waits for, in turns, after a round to warm up.

    Parameters
    ----------
    prepare
        Called with the name before each call, and not timed.
    once
        Names of slow functions, which are called in one round only, the first that counts.
    """
    found: dict[str, Timing] = {name: {"wall": [], "cpu": []} for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            if name in once and number != 1:
                continue
            prepare(name)
            before, start = sum(os.times()[:4]), time.perf_counter()
            function()
            wall, after = time.perf_counter() - start, sum(os.times()[:4])
            if number:
                found[name]["wall"].append(wall)
                found[name]["cpu"].append(after - before)
    return found


def ratio(found: dict[str, Timing], peer: str, ours: str, what: str) -> float:
    return min(found[peer][what]) / max(min(found[ours][what]), 1e-9)


def show(found: dict[str, Timing]) -> None:
    for name, timing in found.items():
        cells = [f"{what} {min(t) * 1e3:8.1f} / {statistics.median(t) * 1e3:8.1f} ms" for what, t in timing.items()]
        print(f"    {name:34} {'   '.join(cells)}   (min / median)", flush=True)


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where files go, and stay; else a temporary folder")
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def folder_of(arguments: argparse.Namespace) -> Path:
    """The folder for files; prints on what machine this is."""
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="ilastik_lazy_bars_"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, h5py {h5py.__version__}")
    return folder


def print_table(rows: Sequence[Row]) -> int:
    """Print each row and its bar, and return how many fall short."""
    short = 0
    print(f"\n{'row':56} {'found':>8} {'at least':>9}")
    for name, unit, value, least in rows:
        short += value < least
        print(f"{name:56} {value:7.2f}{unit or ' '} {least:8g}{unit or ' '} {'' if value >= least else '  SHORT'}")
    return short


def finish(rows: Sequence[Row], arguments: argparse.Namespace, folder: Path) -> int:
    """Print the table, remove files that nobody asked to keep, and return the exit code: 1 if a row falls short."""
    short = print_table(rows)
    if not arguments.folder:
        shutil.rmtree(folder)
    return 1 if short else 0
