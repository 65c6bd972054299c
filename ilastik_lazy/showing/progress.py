"""Show progress: a bar on a terminal, one line that is rewritten in a notebook, plain lines in a log.

All show the rate and the time left, and leave out what an earlier run has done.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal, ParamSpec, TypeVar

from ilastik_lazy.core.parallel import check_progress
from ilastik_lazy.core.size_text import counted, human_bytes, human_seconds
from ilastik_lazy.core.spec import ArraySpec

__all__ = ["Callback", "progress_bar", "shows_progress"]

Unit = Literal["byte", "block"]
Callback = Callable[[int, int], None]
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

# In a log: a line for each tenth, at least 2 s after the last one; in any case one after 30 s.
_TENTHS = 10
_SECONDS_AT_LEAST, _SECONDS_AT_MOST = 2.0, 30.0
_SECONDS_IN_A_NOTEBOOK = 0.2

# A rate measured over less time says more about the clock than about the disk.
_SECONDS_OF_A_RATE = 1.0


def shows_progress(
    what: str, arguments: Literal[2, 3]
) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Make a function show its progress with ``progress=True``, and check a function that is passed instead.

    When it begins and when it is done is logged, with the level INFO and the name of its module.

    Parameters
    ----------
    what
        What the function does, such as ``"converting"``.
    arguments
        2 if it calls `progress` with bytes and all bytes; 3 with blocks, all blocks and bytes.
    """

    def decorate(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
        log = logging.getLogger(function.__module__)

        @functools.wraps(function)
        def shown(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
            start, place = time.monotonic(), " to ".join(filter(None, map(_place_of, args[:2])))
            given = kwargs.get("progress")
            log.info("%s %s: begun", what, place)
            with contextlib.ExitStack() as shows:
                if isinstance(given, bool):
                    unit: Unit = "byte" if arguments == 2 else "block"
                    bar = shows.enter_context(progress_bar(what, quiet=not given, unit=unit))
                    kwargs["progress"] = bar if bar is None or arguments == 2 else lambda done, all_, _: bar(done, all_)
                else:
                    check_progress(given, arguments)  # type: ignore[arg-type]
                result = function(*args, **kwargs)
            log.info("%s %s: done in %.1f s", what, place, time.monotonic() - start)
            return result

        return shown

    return decorate


def _place_of(given: object) -> str:
    """Return the name of a file, of an image of it, or of a URL without secrets; "" for other arguments."""
    if isinstance(spec := getattr(given, "spec", None), ArraySpec):
        return spec.storage.location
    if isinstance(encoding := getattr(given, "encoding", None), dict):
        return str(encoding.get("source", ""))
    if not isinstance(given, str | os.PathLike):
        return ""
    text = os.fsdecode(given)
    # Keys may be before an "@", and signatures behind a "?".
    return re.sub(r"(?<=://)[^/@]*@|\?.*", "", text) if "://" in text else text


@contextlib.contextmanager
def progress_bar(
    what: str, *, quiet: bool = False, unit: Unit = "byte", is_listed: bool = False
) -> Iterator[Callback | None]:
    """Yield a callback for what is done and all there is to do, None if `quiet`.

    In a log there is no line for the end of the work if it `is_listed` elsewhere.
    """
    figures = _Figures(unit)
    if quiet:
        yield None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and importlib.util.find_spec("rich"):
        with _bar(what, figures) as callback:
            yield callback
    elif "ipykernel" in sys.modules:
        yield _one_line(what, figures)
    else:
        yield _lines(what, figures, is_listed=is_listed)


class _Figures:
    """The figures beside a bar: how much is done, how fast, and how long the rest will take."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.began = self.start = time.monotonic()
        self.first: int | None = None
        self.done = 0

    def text(self, done: int, total: int) -> str:
        """Write the figures; what is done at the first call was done before, and does not count for the rate."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.start = done, now
        if done < self.done:  # the next image of a file
            self.first, self.start, self.began = done, now, now
        self.done = done
        seconds = now - self.start
        rate = (done - self.first) / seconds if seconds >= _SECONDS_OF_A_RATE else 0
        pace = f", {human_bytes(rate)}/s" if self.unit == "byte" and rate >= 1 else ""
        left = f", {human_seconds((total - done) / rate)} left" if done < total and rate else ""
        # Much or all may be done before the first call, so time is counted from the start.
        took = f" in {human_seconds(now - self.began)}" if done >= total else ""
        share = 100 * done // total if total else 100
        everything = human_bytes(total) if self.unit == "byte" else counted(total, self.unit)
        return f"{share} % of {everything}{took}{pace}{left}"


@contextlib.contextmanager
def _bar(what: str, figures: _Figures) -> Iterator[Callback]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        # The bar shrinks so that the figures fit on one line of a narrow terminal.
        BarColumn(None, table_column=Column(ratio=1)),
        TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(what, total=None, visible=False, figures="")

        def update(done: int, total: int) -> None:
            shown = bool(total)
            bar.update(task, completed=done, total=total, visible=shown, figures=figures.text(done, total))

        yield update


def _one_line(what: str, figures: _Figures) -> Callback:
    """Print one line, which each later one replaces."""
    last, longest = -_SECONDS_IN_A_NOTEBOOK, 0

    def update(done: int, total: int) -> None:
        nonlocal last, longest
        text = f"{what}: {figures.text(done, total)}"
        now = time.monotonic()
        if now - last < _SECONDS_IN_A_NOTEBOOK and done < total:
            return
        last, longest = now, max(longest, len(text))
        end = "\n" if done >= total else ""
        print(f"\r{text:{longest}}", end=end, file=sys.stderr, flush=True)

    return update


def _lines(what: str, figures: _Figures, *, is_listed: bool = False) -> Callback:
    """Print a line from time to time, for logs."""
    last: float | None = None
    is_over = False
    tenth = 0

    def update(done: int, total: int) -> None:
        nonlocal last, tenth, is_over
        text = figures.text(done, total)
        now = time.monotonic()
        last = now if last is None else last
        here = _TENTHS * done // max(1, total)
        waited = now - last
        is_due = waited >= _SECONDS_AT_MOST or (here > tenth and waited >= _SECONDS_AT_LEAST)
        is_over = is_over and done >= total
        if is_over or (not is_due and done < total):
            return
        last, tenth, is_over = now, here, done >= total
        if is_over and is_listed:
            return
        # Date and time help readers of the log later on.
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}: {text}", file=sys.stderr, flush=True)

    return update
