"""Options of the commands that write a file for each of many images, and of those that a cluster can compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click

from ilastik_lazy.cli.options import given, remembered, stack_options
from ilastik_lazy.errors import ArgumentError

__all__ = ["BatchOptions", "batch_given", "batch_options", "report_options", "scheduler_option"]

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
    from ilastik_lazy.formats.suffixes import IMAGE_SUFFIXES

    names = ("out_dir", "report", "log_file")
    if (report := given("report")) is not None and not report.endswith(".json"):
        raise click.UsageError(f"--report {report}: name a file that ends in .json, since it is replaced")
    if (log := given("log_file")) is not None and log.lower().endswith((*IMAGE_SUFFIXES, ".csv", ".json")):
        raise click.UsageError(f"--log-file {log}: name a file of text, such as done.log")
    return BatchOptions(jobs=given("jobs") or 1, **{name: given(name) for name in names})


def batch_options(made: str) -> Callable[[_Command], _Command]:
    """Return the options of a command that writes a file for each image, which `batch_given` reads."""

    def decorate(command: _Command) -> _Command:
        command = report_options(command)
        for option in (
            remembered(
                "--jobs",
                type=click.IntRange(1),
                metavar="N",
                help="Files to work on at the same time; they share --memory and the cores [default: 1].",
            ),
            remembered("--out-dir", metavar="FOLDER", help=f"Write {made} for each FILE into FOLDER."),
        ):
            command = option(command)
        return stack_options(command)

    return decorate


def report_options(command: _Command) -> _Command:
    """Add the options that keep what became of each file."""
    for option in (
        remembered("--log-file", metavar="FILE", help="Append what is done to FILE, with date and time."),
        remembered("--report", metavar="FILE.json", help="Write a JSON report of the outcome of each FILE."),
    ):
        command = option(command)
    return command


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
    help="Let a running dask cluster do the work, such as tcp://host:8786.",
)
