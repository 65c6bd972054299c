"""The command ``info``: what is in a file, for people and, with ``--json``, for programs."""

from __future__ import annotations

import json
import os
import textwrap
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from ilastik_lazy.cli.options import image_options, location_of, memory_given, memory_option, options_given
from ilastik_lazy.cli.running import Command, exit_code, say
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.doctor.contents import Contents, Images, Project, Table, contents_of, inside
from ilastik_lazy.errors import IlastikLazyError, MetadataWarning, printable

__all__ = ["info"]


def _image_lines(found: Images) -> Iterator[str]:
    from ilastik_lazy.cli.describe import describe
    from ilastik_lazy.core.size_text import human_bytes

    size = f"  ({human_bytes(os.path.getsize(found.path))} on disk)" if os.path.isfile(found.path) else ""
    yield f"{click.style(printable(found.path), bold=True)}{size}"
    for source in found.sources:
        name = inside(source, found.path).lstrip("/")
        yield f"  {click.style(printable(name or source.spec.name), bold=True)}"
        for label, text in describe(source.spec):
            yield f"    {label:8} {printable(text)}"


def _table_lines(found: Table) -> Iterator[str]:
    table = found.table
    yield click.style(printable(found.location), bold=True)
    size = f"{counted(len(table), 'row')}, {counted(len(table.columns), 'column')}"
    yield f"  table    {table.attrs['kind']}, {size}"
    names = ", ".join(printable(str(name)) for name in table.columns)
    yield from textwrap.wrap(names, 100, initial_indent="  columns  ", subsequent_indent="           ")
    if found.cut_outs:
        yield f"  images   {counted(found.cut_outs, 'image')} of single objects"


def _table_as_json(found: Table) -> dict[str, Any]:
    return {
        "location": found.location,
        "table": found.table.attrs["kind"],
        "rows": len(found.table),
        "columns": {str(name): str(dtype) for name, dtype in found.table.dtypes.items()},
        "cut_outs": found.cut_outs,
    }


def _drawn(found: Project, lane: str, role: str) -> dict[str, int]:
    """Count the labelled voxels of each class, by its name."""
    number = list(found.tree.children).index(lane)
    names = dict(enumerate(found.tree.attrs.get("label_names", ()), 1))
    return {
        names.get(value, str(value)): count
        for n, name, drawn in found.counts
        if (n, name) == (number, role)
        for value, count in drawn
    }


def _project_lines(found: Project) -> Iterator[str]:
    from ilastik_lazy.cli.describe import describe_project

    yield click.style(printable(found.path), bold=True)
    for label, text in describe_project(found.tree, partial(_drawn, found)):
        yield f"  {label:10} {printable(text)}"


def _role_as_json(found: Project, lane: str, role: str) -> dict[str, Any]:
    node = found.tree.children[lane].children[role]
    made = {str(key): value for key, value in node.attrs.items()}
    for array in list(node.data_vars.values())[:1]:
        made |= {"dims": list(map(str, array.dims)), "shape": list(array.shape), "dtype": array.dtype.name}
        made["labelled_voxels"] = _drawn(found, lane, role)
    return made


def _project_as_json(found: Project) -> dict[str, Any]:
    lanes = {
        str(name): {str(role): _role_as_json(found, str(name), str(role)) for role in lane.children}
        for name, lane in found.tree.children.items()
    }
    attributes = {str(name): value for name, value in found.tree.attrs.items()}
    return {"project": found.path, **attributes, "lanes": lanes}


def _lines(found: Contents) -> Iterator[str]:
    """Describe the contents of a file for people."""
    match found:
        case Images():
            return _image_lines(found)
        case Table():
            return _table_lines(found)
        case Project():
            return _project_lines(found)


def _as_json(found: Contents) -> list[dict[str, Any]]:
    """Describe the contents of a file for programs."""
    from ilastik_lazy.cli.describe import spec_as_json

    match found:
        case Images():
            return [spec_as_json(source.spec) for source in found.sources]
        case Table():
            return [_table_as_json(found)]
        case Project():
            return [_project_as_json(found)]


@click.command(cls=Command, short_help="Describe a file.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@image_options("untrusted")
@memory_option
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON list, one object per image.")
@click.option(
    "--source-root",
    "source_roots",
    metavar="FOLDER",
    multiple=True,
    help="For a project: folder that may hold its images, besides its own; may be given several times.",
)
def info(
    files: tuple[str, ...],
    dataset: str | None,
    axes: str | None,
    project: str | None,
    as_json: bool,
    source_roots: tuple[str, ...],
) -> None:
    """Describe FILE: size, axes, voxel size, classes, how it is stored and read.

    For a project: its lanes, their images, and what was labelled.  For a table: its columns.

    \b
    ilastik-lazy info brain_Probabilities.h5 --project brain.ilp
    """
    options = options_given(axes)
    values: list[Any] = []
    failed: list[IlastikLazyError] = []
    for file in files:
        try:
            with warnings.catch_warnings():
                # The description already says that the axes are guessed.
                warnings.filterwarnings("ignore", ".* names no axes", MetadataWarning)
                found = contents_of(
                    location_of(file, dataset), options,
                    project=project, source_roots=source_roots, memory=memory_given("4GB"),
                )  # fmt: skip
        except IlastikLazyError as error:
            if len(files) == 1:
                raise
            say("error", str(error))
            failed.append(error)
            continue
        if as_json:
            values += _as_json(found)
        else:
            for line in _lines(found):
                click.echo(line)
    if as_json:
        click.echo(json.dumps(values, indent=2))
    if failed:
        raise SystemExit(max(exit_code(error) for error in failed))
