"""Show progress: a bar on a terminal, plain lines in a log.

Both show the rate and the time left.  Both leave out what an earlier run has done.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator

from ilastik_lazy.core.size_text import human_bytes, human_seconds

__all__ = ["progress_bar"]

Callback = Callable[[int, int], None]

# A line for each tenth, at least 2 s after the last one; in any case one after 30 s.
_TENTHS = 10
_SECONDS_AT_LEAST, _SECONDS_AT_MOST = 2.0, 30.0

# A rate measured over less time says more about the clock than about the disk.
_SECONDS_OF_A_RATE = 1.0


@contextlib.contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callback | None]:
    """Yield a callback for bytes done and total bytes: a bar on a terminal, lines elsewhere, None if `quiet`."""
    if quiet:
        yield None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and importlib.util.find_spec("rich"):
        with _bar(what) as callback:
            yield callback
    else:
        yield _lines(what)


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callback]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column

    def plain() -> Column:
        return Column(no_wrap=True)

    columns = (
        TextColumn("{task.description}", table_column=plain()),
        # The bar shrinks so that the figures fit on one line of a narrow terminal.
        BarColumn(None, table_column=Column(ratio=1)),
        TaskProgressColumn(table_column=plain()),
        DownloadColumn(table_column=plain()),
        TransferSpeedColumn(table_column=plain()),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=plain()),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(what, total=None, visible=False)
        begun = False

        def update(done: int, total: int) -> None:
            nonlocal begun
            if begun:
                bar.update(task, completed=done, total=total)
            elif total:
                # What was done before must not count for the rate.
                bar.reset(task, completed=done, total=total, visible=True)
                begun = True

        yield update


def _lines(what: str) -> Callback:
    """Print a line from time to time, with rate and time left, for logs."""
    began = start = last = time.monotonic()
    first: int | None = None
    is_over = False
    tenth = 0

    def update(done: int, total: int) -> None:
        nonlocal start, last, first, tenth, is_over
        now = time.monotonic()
        if first is None:
            first, start, last = done, now, now
        here = _TENTHS * done // max(1, total)
        waited = now - last
        is_due = waited >= _SECONDS_AT_MOST or (here > tenth and waited >= _SECONDS_AT_LEAST)
        if is_over or (not is_due and done < total):
            return
        last, tenth, is_over = now, here, done >= total
        seconds = now - start
        rate = (done - first) / seconds if seconds >= _SECONDS_OF_A_RATE else 0
        pace = f", {human_bytes(rate)}/s" if rate else ""
        left = f", {human_seconds((total - done) / rate)} left" if done < total and rate else ""
        # Much or all may be done before the first call, so time is counted from the start.
        took = f" in {human_seconds(now - began)}" if is_over else ""
        share = 100 * done // total if total else 100
        # The time of day helps readers of the log later on.
        print(
            f"{time.strftime('%H:%M:%S')} {what}: {share} % of {human_bytes(total)}{took}{pace}{left}",
            file=sys.stderr,
            flush=True,
        )

    return update
