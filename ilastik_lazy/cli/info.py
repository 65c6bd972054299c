"""The command ``info``: what is in a file, for people and, with ``--json``, for programs.

xarray is imported for projects only, pandas for tables; of an image, ``info`` starts in 0.2 s.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from ilastik_lazy.cli.options import image_options, location_of, memory_given, memory_option, options_given
from ilastik_lazy.cli.running import Command, exit_code, say
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import DatasetNotFoundError, FormatError, IlastikLazyError, MetadataWarning, printable

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ilastik_lazy.core.options import OpenOptions
    from ilastik_lazy.core.spec import ArraySource
    from ilastik_lazy.formats.location import Location
    from ilastik_lazy.project.label_counts import LabelCount

__all__ = ["info"]

_TABLES = (".csv", ".tsv")
# Group where ilastik stores images of single objects next to its tables.
_CUT_OUTS = "/images/"


class _Found(Protocol):
    """Contents of one file."""

    def lines(self) -> Iterator[str]:
        """Describe them for people."""

    def as_json(self) -> list[dict[str, Any]]:
        """Describe them for programs."""


@dataclass(frozen=True, slots=True)
class _Images:
    path: str
    sources: list[ArraySource]

    def lines(self) -> Iterator[str]:
        from ilastik_lazy.cli.describe import describe
        from ilastik_lazy.core.size_text import human_bytes

        size = f"  ({human_bytes(os.path.getsize(self.path))} on disk)" if os.path.isfile(self.path) else ""
        yield f"{click.style(printable(self.path), bold=True)}{size}"
        for source in self.sources:
            inside = _inside(source, self.path).lstrip("/")
            yield f"  {click.style(printable(inside or source.spec.name), bold=True)}"
            for label, text in describe(source.spec):
                yield f"    {label:8} {printable(text)}"

    def as_json(self) -> list[dict[str, Any]]:
        from ilastik_lazy.cli.describe import spec_as_json

        return [spec_as_json(source.spec) for source in self.sources]


@dataclass(frozen=True, slots=True)
class _Table:
    location: str
    table: pd.DataFrame
    cut_outs: int
    """Number of images of single objects next to it."""

    def lines(self) -> Iterator[str]:
        yield click.style(printable(self.location), bold=True)
        size = f"{counted(len(self.table), 'row')}, {counted(len(self.table.columns), 'column')}"
        yield f"  table    {self.table.attrs['kind']}, {size}"
        names = ", ".join(printable(str(name)) for name in self.table.columns)
        yield from textwrap.wrap(names, 100, initial_indent="  columns  ", subsequent_indent="           ")
        if self.cut_outs:
            yield f"  images   {counted(self.cut_outs, 'image')} of single objects"

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "location": self.location,
                "table": self.table.attrs["kind"],
                "rows": len(self.table),
                "columns": {str(name): str(dtype) for name, dtype in self.table.dtypes.items()},
                "cut_outs": self.cut_outs,
            }
        ]


@dataclass(frozen=True, slots=True)
class _Project:
    path: str
    tree: xr.DataTree
    counts: tuple[LabelCount, ...]

    def _drawn(self, lane: str, role: str) -> dict[str, int]:
        """Count the labelled voxels of each class, by its name."""
        number = list(self.tree.children).index(lane)
        names = dict(enumerate(self.tree.attrs.get("label_names", ()), 1))
        return {
            names.get(value, str(value)): count
            for n, name, drawn in self.counts
            if (n, name) == (number, role)
            for value, count in drawn
        }

    def lines(self) -> Iterator[str]:
        from ilastik_lazy.cli.describe import describe_project

        yield click.style(printable(self.path), bold=True)
        for label, text in describe_project(self.tree, self._drawn):
            yield f"  {label:10} {printable(text)}"

    def _role_as_json(self, lane: str, role: str) -> dict[str, Any]:
        node = self.tree.children[lane].children[role]
        made = {str(key): value for key, value in node.attrs.items()}
        for array in list(node.data_vars.values())[:1]:
            made |= {"dims": list(map(str, array.dims)), "shape": list(array.shape), "dtype": array.dtype.name}
            made["labelled_voxels"] = self._drawn(lane, role)
        return made

    def as_json(self) -> list[dict[str, Any]]:
        lanes = {
            str(name): {str(role): self._role_as_json(str(name), str(role)) for role in lane.children}
            for name, lane in self.tree.children.items()
        }
        return [{"project": self.path, **{str(name): value for name, value in self.tree.attrs.items()}, "lanes": lanes}]


def _inside(source: ArraySource, path: str) -> str:
    return source.spec.storage.location.removeprefix(path)


def _project_at(path: str, source_roots: tuple[str, ...], options: OpenOptions) -> _Project:
    from ilastik_lazy.errors import MissingSourceWarning
    from ilastik_lazy.formats.location import Location
    from ilastik_lazy.project.label_counts import label_counts
    from ilastik_lazy.project.tree import open_project

    with warnings.catch_warnings():
        # What is missing stands in the table, lane by lane.
        warnings.simplefilter("ignore", MissingSourceWarning)
        tree = open_project(path, source_roots=source_roots, chunks=None, options=options)
    return _Project(path, tree, label_counts(Location(path), options))


def _table_at(location: Location, cut_outs: int, options: OpenOptions) -> _Table:
    from ilastik_lazy.tables import open_table

    table = open_table(str(location), memory=memory_given("4GB"), trust=options.trust)
    return _Table(str(table.attrs["source"]), table, cut_outs)


def _look(
    file: str, dataset: str | None, project: str | None, source_roots: tuple[str, ...], options: OpenOptions
) -> _Found:
    """Open `file` as images, a table or a project."""
    location = location_of(file, dataset)
    if location.suffix == ".ilp" and location.internal_path is None:
        return _project_at(location.path, source_roots, options)
    if location.suffix in _TABLES:
        return _table_at(location, 0, options)
    from ilastik_lazy.formats import open_sources

    paths = [location.internal_path] if location.internal_path else None
    try:
        sources = open_sources(location, paths, options)
    except FormatError as error:
        if location.is_remote or not (_is_table(location) or isinstance(error, DatasetNotFoundError)):
            raise
        # It may be a table of objects without images, which the error does not mention.
        try:
            return _table_at(location, 0, options)
        except FormatError:
            raise error from None
    if paths is None and all(_inside(source, location.path).startswith(_CUT_OUTS) for source in sources):
        return _table_at(location, len(sources), options)
    if project is not None:
        from ilastik_lazy.project.classes import with_classes

        sources = [with_classes(source, project, options) for source in sources]
    return _Images(location.path, sources)


def _is_table(location: Location) -> bool:
    """Whether the file or dataset has a name that ilastik gives to tables."""
    return re.search(r"table|division", os.path.basename(str(location)), re.IGNORECASE) is not None


@click.command(cls=Command, short_help="Describe a file.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@image_options("untrusted")
@memory_option
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON list, one object an image.")
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
                found = _look(file, dataset, project, source_roots, options)
        except IlastikLazyError as error:
            if len(files) == 1:
                raise
            say("error", str(error))
            failed.append(error)
            continue
        if as_json:
            values += found.as_json()
        else:
            for line in found.lines():
                click.echo(line)
    if as_json:
        click.echo(json.dumps(values, indent=2))
    if failed:
        raise SystemExit(max(exit_code(error) for error in failed))
