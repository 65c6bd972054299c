"""What is in a file, as lines for people and as values for programs."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from ilastik_lazy.core.size_text import counted, human_bytes
from ilastik_lazy.errors import printable
from ilastik_lazy.listing.contents import Contents, Images, Project, Table, inside
from ilastik_lazy.listing.describe import describe, describe_project, spec_as_json

__all__ = ["lines_of", "values_of"]


def _image_lines(found: Images) -> Iterator[str]:
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


def lines_of(found: Contents) -> Iterator[str]:
    """Describe the contents of a file for people."""
    match found:
        case Images():
            return _image_lines(found)
        case Table():
            return _table_lines(found)
        case Project():
            return _project_lines(found)


def values_of(found: Contents) -> list[dict[str, Any]]:
    """Describe the contents of a file for programs."""
    match found:
        case Images():
            return [spec_as_json(source.spec) for source in found.sources]
        case Table():
            return [_table_as_json(found)]
        case Project():
            return [_project_as_json(found)]
