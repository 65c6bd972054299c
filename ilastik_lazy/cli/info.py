"""The command ``info``: what is in a file, for people and, with ``--json``, for programs."""

from __future__ import annotations

import json
import warnings
from functools import partial
from typing import Any

import click

from ilastik_lazy.cli.options import (
    image_options,
    location_of,
    memory_given,
    options_given,
    sized,
    source_roots_option,
    table_memory_option,
    with_selection,
)
from ilastik_lazy.cli.running import Command, exit_code, say
from ilastik_lazy.errors import IlastikLazyError, MetadataWarning

__all__ = ["info"]


@click.command(cls=Command, short_help="Describe a file.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@image_options("untrusted")
@table_memory_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with one object per image, for programs.")
@source_roots_option
def info(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    as_json: bool,
    source_roots: tuple[str, ...],
) -> None:
    """Describe FILE: size, axes, voxel size, classes, and how it is stored and read.

    For a project: its lanes, their images, and what was labelled.  For a table: its columns.  A pattern in quotes
    stands for many files, or for many images inside a file.

    \b
    ilastik-lazy info brain_Probabilities.h5 --project brain.ilp
    ilastik-lazy info 'exports/*.h5' 'brain.h5/t*'
    """
    from ilastik_lazy.cli.batch.names import expanded
    from ilastik_lazy.listing.contents import Images, contents_of
    from ilastik_lazy.listing.entries import lines_of, values_of

    bold = partial(click.style, bold=True)
    options = options_given(axes)
    values: list[Any] = []
    failed: list[IlastikLazyError] = []
    names = expanded(files, options)
    for file in names:
        try:
            with warnings.catch_warnings():
                # The description already says that the axes are guessed.
                warnings.filterwarnings("ignore", ".* names no axes", MetadataWarning)
                found = contents_of(
                    location_of(file, dataset), options,
                    project=project, source_roots=source_roots, memory=memory_given("4GB"),
                )  # fmt: skip
            if isinstance(found, Images):
                found.sources[:] = [with_selection(sized(source)) for source in found.sources]
        except IlastikLazyError as error:
            if len(names) == 1:
                raise
            say("error", str(error))
            failed.append(error)
            continue
        if as_json:
            values += values_of(found)
        else:
            for line in lines_of(found, bold):
                click.echo(line)
    if as_json:
        click.echo(json.dumps(values, indent=2))
    if failed:
        raise SystemExit(max(exit_code(error) for error in failed))
