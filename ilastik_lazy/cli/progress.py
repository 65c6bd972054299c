"""Show progress: a bar on a terminal, plain lines in a log.

Both tell the rate and the time left, and count neither by what was done before they began, as of
a conversion that goes on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ilastik_lazy.core.sizes import human_bytes, human_seconds

__all__ = ["progress_bar"]

Callback = Callable[[int, int], None]

# A line for each tenth, but not many at once for what is done in seconds; one in half a minute in any case.
_TENTHS = 10
_SECONDS_AT_LEAST, _SECONDS_AT_MOST = 2.0, 30.0

# A rate measured over less time says more about the clock than about the disk.
_SECONDS_OF_A_RATE = 1.0


@contextlib.contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callback | None]:
    """Yield a callback for bytes done and total bytes: a bar on a terminal, lines elsewhere, None if `quiet`."""
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
def _rich_bar(progress: Any, what: str) -> Iterator[Callback]:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    began, took = time.monotonic(), 0.0

    class Pace(ProgressColumn):
        """Show amount, rate of the last half minute, and time left."""

        max_refresh = 0.5  # figures that change ten times a second cannot be read

        def render(self, task: Any) -> Text:
            if task.total is None:
                return Text("starting")
            amount = f"{human_bytes(task.completed)} of {human_bytes(task.total)}"
            seconds = (task.finished_time if task.finished else task.elapsed) or 0
            rate = (task.finished_speed or task.speed) if seconds >= _SECONDS_OF_A_RATE else None
            parts = [amount, f"{human_bytes(rate)}/s" if rate else ""]
            if task.finished:
                parts.append(human_seconds(took))
            elif rate:
                parts.append(f"{human_seconds((task.total - task.completed) / rate)} left")
            return Text(", ".join(part for part in parts if part))

    # The bar shrinks so that the figures fit on one line of a narrow terminal.
    columns = (
        TextColumn("{task.description}"),
        BarColumn(None, table_column=Column(ratio=1)),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        Pace(table_column=Column(no_wrap=True)),
    )
    with progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(what, total=None)
        begun = False

        def update(done: int, total: int) -> None:
            nonlocal begun, took
            took = time.monotonic() - began
            if total == 0:
                bar.update(task, visible=False)
            elif begun:
                bar.update(task, completed=done, total=total)
            else:
                bar.reset(task, completed=done, total=total)
                begun = True

        try:
            yield update
        finally:
            if not begun:
                bar.update(task, visible=False)


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
