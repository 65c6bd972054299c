"""Options of the commands that write a file for each of many images, and of those that a cluster can compute."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import click

from ilastik_lazy.cli.options import given, options_of, remembered, stack_options
from ilastik_lazy.errors import ArgumentError

__all__ = ["BatchOptions", "batch_given", "batch_options", "pyramid_options", "report_options", "scheduler_option"]

_Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """The options of a command that writes a file for each of many images."""

    out_dir: str | None = None
    jobs: int = 1
    report: str | None = None
    log_file: str | None = None


def batch_given() -> BatchOptions:
    """Return the options of many files from the command line."""
    names = ("out_dir", "report", "log_file")
    if (report := given("report")) is not None and not _may_be_replaced(report):
        raise click.UsageError(f"--report {report}: there is a file that is no report: choose another name")
    if (log := given("log_file")) is not None and not _may_be_continued(log):
        raise click.UsageError(f"--log-file {log}: there is a file that is no log: choose another name")
    return BatchOptions(jobs=given("jobs") or 1, **{name: given(name) for name in names})


def _may_be_replaced(path: str) -> bool:
    """Whether a report may be written to `path`: nothing is there, or a report of an earlier run."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"command", "files", "version"} <= found.keys()


def _may_be_continued(path: str) -> bool:
    """Whether a log may be appended to `path`: nothing is there, an empty file, a log, or a terminal."""
    if os.path.exists(path) and not os.path.isfile(path):
        return not os.path.isdir(path)
    try:
        with open(path, "rb") as file:
            start = file.read(20)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not start or re.match(rb"\d{4}-\d\d-\d\d \d\d:\d\d", start) is not None


def batch_options(made: str) -> Callable[[_Command], _Command]:
    """Return the options of a command that writes a file for each image, which `batch_given` reads."""
    return options_of(
        report_options,
        remembered(
            "--jobs",
            type=click.IntRange(1),
            metavar="N",
            help="Files to work on at the same time; they share --memory and the cores [default: 1].",
        ),
        remembered("--out-dir", metavar="FOLDER", help=f"Write {made} for each FILE into FOLDER."),
        stack_options,
    )


def pyramid_options(prefix: str = "") -> Callable[[_Command], _Command]:
    """Return the options ``--levels`` and ``--downsample``; their help texts begin with `prefix`."""
    return options_of(
        click.option(
            "--downsample",
            type=click.Choice(["auto", "mean", "mode", "nearest"]),
            default="auto",
            show_default=True,
            help=f"{prefix}How lower resolutions are made: mean for images, mode or nearest for labels; the report "
            "says which, and why.",
        ),
        click.option(
            "--levels",
            type=int,
            metavar="N",
            help=f"{prefix}Number of resolutions, with the full one [default: until no axis is longer than 256].",
        ),
    )


report_options = options_of(
    remembered("--log-file", metavar="FILE", help="Append a log to FILE, each line with date and time."),
    remembered("--report", metavar="FILE.json", help="Write a JSON report of the outcome of each FILE."),
)
"""The options that keep what became of each file."""


def _work_on_cluster(context: click.Context, option: click.Parameter, address: str | None) -> None:
    """Make the cluster at `address` the one that works (`lazy.clusters`), until the command ends."""
    if address is None:
        return
    from ilastik_lazy.core.library_errors import require_package

    require_package("distributed", "distributed", "--scheduler needs dask.distributed")
    from distributed import Client

    try:
        client = Client(address, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"--scheduler {address}: no dask scheduler answers there ({' '.join(str(error).split())})"
        ) from error
    context.call_on_close(client.close)


scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    expose_value=False,
    callback=_work_on_cluster,
    help="Address of a running dask cluster that does the work, such as tcp://host:8786.",
)
