"""How far long work is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ilastik_lazy.sizes import human_bytes

__all__ = ["progress_bar"]

_SECONDS_BETWEEN_LINES = 10


@contextlib.contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """A callback for bytes done and all bytes: a bar on a terminal, plain lines elsewhere, None if quiet."""
    if quiet:
        yield None
        return
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        try:
            from rich.progress import Progress
        except ImportError:
            yield _lines(what)
            return
        with _rich_bar(Progress, what) as callback:
            yield callback
        return
    yield _lines(what)


@contextlib.contextmanager
def _rich_bar(progress: Any, what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


def _lines(what: str) -> Callable[[int, int], None]:
    """A line now and then, with rate and time left, for logs."""
    start = last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = done / max(now - start, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if 0 < done < total else ""
        share = 100 * done / max(1, total)
        print(
            f"{what}: {share:.0f} % of {human_bytes(total)}, {human_bytes(rate)}/s{left}",
            file=sys.stderr,
            flush=True,
        )

    return update
