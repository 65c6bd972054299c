"""Work on many images: a line for each, several at a time, those that fail at the end, and a clean stop."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click
from click.globals import push_context

from ilastik_lazy import __version__
from ilastik_lazy.cli.batch.options import BatchOptions
from ilastik_lazy.cli.running import Failure, end_with_failed, interrupted, logged_to
from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.core.size_text import counted, human_seconds, parse_size
from ilastik_lazy.errors import (
    DestinationBusyError,
    DestinationError,
    DestinationExistsError,
    IlastikLazyError,
    MissingExtraError,
    ResumeMismatchError,
    VerificationError,
    printable,
)
from ilastik_lazy.showing.progress import Callback, progress_bar
from ilastik_lazy.storage.new_file import new_file

__all__ = ["Made", "Work", "memory_of_each", "run_batch", "threads_of_each", "write_report"]

_log = logging.getLogger("ilastik_lazy.cli")

Work = Callable[[str, "Callback | None"], "Made"]
"""Makes a file of the image of this name, and calls the callback from time to time, which may stop it."""

_OF_ONE_FILE = (DestinationExistsError, DestinationBusyError, ResumeMismatchError, VerificationError)
"""Errors of a target that other files need not have."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of an image."""

    target: str
    text: str
    """All lines about it, for a command with one image."""

    summary: str = ""
    """The same in a few words, for a command with many."""

    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs."""

    is_old: bool = False
    """Whether an earlier run has made it."""


@dataclass(slots=True)
class _Progress:
    outcomes: dict[str, Made | Failure] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> dict[str, Failure]:
        return {name: outcome for name, outcome in self.outcomes.items() if not isinstance(outcome, Made)}

    @property
    def made(self) -> dict[str, Made]:
        return {name: outcome for name, outcome in self.outcomes.items() if isinstance(outcome, Made)}


def threads_of_each(workers: int | None, jobs: int) -> int | None:
    """Return the threads for each of `jobs` files at the same time."""
    return workers if jobs == 1 else max(1, threads_for(workers) // jobs)


def memory_of_each(memory: str | None, jobs: int) -> int | str | None:
    """Return the share of the memory for each of `jobs` files at the same time."""
    return memory if memory is None or jobs == 1 else parse_size(memory, "memory") // jobs


def run_batch(
    names: Sequence[str],
    work: Work,
    options: BatchOptions,
    *,
    doing: str,
    done: str,
    quiet: bool,
    again: str = "",
    is_begun: Callable[[], bool] = lambda: False,
    prints: bool = False,
) -> None:
    """Do `work` on each image, print what came of it, and exit with 1 if any failed.

    A single image has a progress bar and all its lines, and its error is raised.

    Parameters
    ----------
    doing, done
        What the command does, such as "converting", and has done, such as "converted".
    again
        How those that are missing can be made, such as "run the same command with --resume".
    is_begun
        Whether anything was written, asked if no image is complete.
    prints
        Whether results are printed, not written: also when `quiet`.

    Raises
    ------
    DestinationError
        Nothing can be written: no other file is tried.
    """
    progress, start = _Progress(), time.perf_counter()
    with logged_to(options.log_file):
        try:
            for name in _finished(names, partial(_try, work, progress), options.jobs, doing, quiet):
                _say(name, progress, alone=len(names) == 1, quiet=quiet and not prints)
        except KeyboardInterrupt:
            count = f"{len(progress.made)} of {counted(len(names), 'file')} {done}" if len(names) > 1 else ""
            what_now = again if again and (progress.made or is_begun()) else "nothing was written"
            interrupted("; ".join(filter(None, (count, what_now))))
        finally:
            if options.report is not None:
                total = time.perf_counter() - start
                write_report(options.report, names, progress.outcomes, progress.seconds, total)
        failed = progress.failed
        if len(names) == 1:
            for error in failed.values():
                raise error
        elif not quiet and not prints:
            old = sum(made.is_old for made in progress.made.values())
            before = f", {old:,} of them by an earlier run" if old else ""
            took = human_seconds(time.perf_counter() - start)
            click.echo(f"{len(progress.made):,} of {counted(len(names), 'file')} {done}{before}; {took}")
        if failed:
            again = f"; to try again, {again.removesuffix(' to continue')}" if again else ""
            end_with_failed(failed, len(names), again, done=done)


def _finished(
    names: Sequence[str], make: Callable[[str, Callback | None], None], jobs: int, doing: str, quiet: bool
) -> Iterator[str]:
    """Call `make` with each name, and yield those that are finished; in their order unless several are at a time."""
    alone = len(names) == 1
    if jobs == 1 or alone:
        for number, name in enumerate(names, 1):
            what = doing if alone else f"{number}/{len(names)} {printable(name)}"
            with progress_bar(what, quiet=quiet, is_listed=not alone) as callback:
                make(name, callback)
            yield name
        return
    stop = threading.Event()

    def go_on(done: int, total: int) -> None:
        # Raised in the thread that makes a file, it ends this as Ctrl-C does.
        if stop.is_set():
            raise KeyboardInterrupt

    pool = ThreadPoolExecutor(jobs, initializer=push_context, initargs=(click.get_current_context(),))
    try:
        futures = {pool.submit(make, name, go_on): name for name in names}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _try(work: Work, progress: _Progress, name: str, callback: Callback | None) -> None:
    """Do `work` on an image, and note what came of it."""
    start = time.perf_counter()
    outcome: Made | Failure
    _log.info("%s: begun", name)
    try:
        outcome = work(name, callback)
    except (DestinationError, MissingExtraError) as error:
        if not isinstance(error, _OF_ONE_FILE):
            raise
        outcome = error
    except BrokenPipeError:
        raise
    except (IlastikLazyError, MemoryError, OSError) as error:
        outcome = error
    progress.seconds[name] = time.perf_counter() - start
    progress.outcomes[name] = outcome


def _say(name: str, progress: _Progress, *, alone: bool, quiet: bool) -> None:
    """Print, and log, what came of an image."""
    outcome, seconds = progress.outcomes[name], progress.seconds[name]
    if isinstance(outcome, Made):
        took = f"{seconds:.2f} s" if seconds < 1 else human_seconds(seconds)
        what = (
            f"{outcome.target}, made by an earlier run"
            if outcome.is_old
            else ", ".join(filter(None, (outcome.target, outcome.summary, took if outcome.target else "")))
        )
        line = f"{printable(name)}: {what}"
        _log.info("%s", line)
        if not quiet:
            click.echo(outcome.text if alone else line)
        return
    _log.error("%s: %s: %s", name, type(outcome).__name__, outcome)
    if not alone and not quiet:
        click.echo(f"{printable(name)}: failed")


def write_report(
    path: str,
    names: Sequence[str],
    outcomes: Mapping[str, Made | Failure],
    seconds: Mapping[str, float],
    total: float,
) -> None:
    """Write for programs what came of each image, and how long each (`seconds`) and all together (`total`) took."""
    files = []
    for name in names:
        entry: dict[str, Any] = {"source": name}
        outcome = outcomes.get(name)
        if outcome is None:
            entry["status"] = "not finished"
        elif isinstance(outcome, Made):
            entry |= {"status": "done before" if outcome.is_old else "done", "target": outcome.target}
            entry |= outcome.facts
        else:
            entry |= {"status": "failed", "error": type(outcome).__name__, "message": str(outcome)}
        entry["seconds"] = round(seconds.get(name, 0.0), 3)
        files.append(entry)
    document = {
        "version": __version__,
        "command": click.get_current_context().command_path,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(total, 3),
        "done": sum(isinstance(outcome, Made) for outcome in outcomes.values()),
        "failed": sum(not isinstance(outcome, Made) for outcome in outcomes.values()),
        "files": files,
    }
    with new_file(os.path.abspath(path), overwrite=True) as file:
        file.write(json.dumps(document, indent=1, default=str).encode())
        file.check()
