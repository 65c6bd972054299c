"""The command ``doctor``: what will cause trouble in files, and what to do about it."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ilastik_lazy.cli.options import (
    image_options,
    memory_given,
    options_given,
    source_roots_option,
    storage_options,
    table_memory_option,
)
from ilastik_lazy.cli.running import Command
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import SourceNotFoundError, printable

if TYPE_CHECKING:
    from ilastik_lazy.doctor.finding import Finding, Place, Report

__all__ = ["doctor"]

_COLOURS = {"error": "red", "warning": "yellow"}
_MOST_PLACES = 10
_INDENT = " " * 11


@click.command(cls=Command, short_help="Find what will cause trouble in files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@image_options("untrusted", selects=False)
@table_memory_option
@click.option("--full", is_flag=True, help="Read every chunk, and all ids of a table's label image.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
@source_roots_option
@click.option("--workers", type=int, metavar="N", help="Number of threads [default: one for each core].")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def doctor(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    full: bool,
    as_json: bool,
    source_roots: tuple[str, ...],
    workers: int | None,
    quiet: bool,
) -> None:
    """Find what will cause trouble in FILE, why it matters, and what to do; FILE is not changed.

    It checks axes, voxel size, units, chunks, compression, locks, stopped exports and conversions, classes, ids,
    labels, tables and projects, and says why a file does not open.  Without --full, only a few chunks are read, so
    that even a large file takes seconds.  The exit code is 0 if nothing is found, 1 for warnings, 2 if something
    cannot be opened or read.

    \b
    ilastik-lazy doctor 'exports/*.h5' --project brain.ilp
    ilastik-lazy doctor brain_Probabilities.h5 --full
    """
    from ilastik_lazy.doctor.examination import examine
    from ilastik_lazy.showing.progress import progress_bar
    from ilastik_lazy.storage.object_store import is_url

    options = options_given(axes)
    reports = []
    for file in _named(files):
        with progress_bar(f"reading {printable(file)}", quiet=quiet or not full) as progress:
            report = examine(
                file,
                dataset,
                full=full,
                axes=options.axes or dict(options.axes_by_name) or None,
                project=project,
                source_roots=source_roots,
                storage_options=storage_options() if is_url(file) else None,
                memory=memory_given("4GB"),
                workers=workers,
                progress=progress,
                trust=options.trust,
                allow_external=options.external_roots,
            )
        reports.append(report)
        if not as_json:
            for line in _lines(report):
                click.echo(line)
    code = max(report.exit_code for report in reports)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "files": [report.as_json() for report in reports]}, indent=2))
    if code:
        raise SystemExit(code)


def _named(names: Sequence[str]) -> list[str]:
    """List the files that names and patterns stand for; one that fits no file stays, and is reported as missing."""
    from ilastik_lazy.cli.batch.names import expanded

    found: list[str] = []
    for name in names:
        try:
            found += expanded([name])
        except SourceNotFoundError:
            found.append(name)
    return list(dict.fromkeys(found))


def _lines(report: Report) -> Iterator[str]:
    """Write a report for people."""
    yield click.style(printable(report.file), bold=True)
    # The same advice for several findings stands once.
    for (why, remedy), findings in itertools.groupby(report.findings, lambda finding: (finding.why, finding.remedy)):
        for finding in findings:
            yield from _finding_lines(finding)
        for line in _wrapped(f"Why: {why}"):
            yield f"{_INDENT}{line}"
        # Not wrapped: it is to be copied.
        yield f"{_INDENT}{printable(f'Do: {remedy}')}"
    read, count = report.chunks_read, report.chunks
    is_partial = report.holds == "images" and read < count
    tried = f"{read:,} of {counted(count, 'chunk')}"
    rest = f"; the other {count - read:,} were not read: --full reads all"
    if not report.findings:
        yield f"  nothing found in {tried}{rest}" if is_partial else "  nothing found"
    elif is_partial:
        yield f"  {tried} {'was' if read == 1 else 'were'} read{rest}"


def _finding_lines(finding: Finding) -> Iterator[str]:
    where = f"{', '.join(finding.where[:5])}{', ...' if len(finding.where) > 5 else ''}: " if finding.where else ""
    head = click.style(f"{finding.severity:8}", fg=_COLOURS[finding.severity])
    first, *others = _wrapped(f"{where}{finding.what}") or [""]
    yield f"  {head} {first}"
    for line in others:
        yield f"{_INDENT}{line}"
    for place in finding.places[:_MOST_PLACES]:
        yield f"{_INDENT}- {_place(place)}"
    if len(finding.places) > _MOST_PLACES:
        yield f"{_INDENT}- and {len(finding.places) - _MOST_PLACES} more: --json lists them"


def _place(place: Place) -> str:
    return ", ".join(f"{start}:{stop}" for start, stop in zip(place.start, place.stop, strict=True))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(printable(text), 100, break_long_words=False, break_on_hyphens=False)
