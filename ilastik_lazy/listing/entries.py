"""What is in a file, as text for people and as values for programs."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ilastik_lazy.core.size_text import counted, human_bytes
from ilastik_lazy.errors import printable, remedy
from ilastik_lazy.listing.contents import Contents, Fields, Images, Project, Table, inside
from ilastik_lazy.listing.describe import CLASSES, class_names, describe, describe_project, spec_as_json
from ilastik_lazy.showing.html import Row, html_table, swatches

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["columns_in_short", "html_of", "lines_of", "values_of"]

_WIDTH = 100
_MOST_COLUMNS = 24
_HEAD_ROWS, _HEAD_COLUMNS = 3, 6
_MOST_WELL_ROWS, _MOST_FIELDS = 16, 10


@dataclass(frozen=True, slots=True)
class _Entry:
    """A heading and what is beneath it."""

    title: str
    rows: tuple[Row, ...] = ()
    note: str = ""
    depth: int = 0
    names: tuple[str, ...] = ()
    """Those of the classes, which are in a row, too."""
    colors: tuple[tuple[int, int, int], ...] = ()


def _images(found: Images) -> Iterator[_Entry]:
    size = f"{human_bytes(os.path.getsize(found.path))} on disk" if os.path.isfile(found.path) else ""
    yield _Entry(found.path, note=size)
    for source in found.sources:
        spec = source.spec
        name = inside(source, found.path).lstrip("/") or spec.name
        called = spec.name if spec.name not in name else ""
        rows = tuple(describe(spec))
        yield _Entry(name, rows, called, depth=1, names=class_names(spec), colors=spec.channel_colors)


def _fields(found: Fields) -> Iterator[_Entry]:
    plate, name = found.plate, inside(found.first, found.path).lstrip("/")
    rows = [("well" if "" in plate.wells else "plate", f"{plate.name and f'{plate.name}, '}{plate.what}")]
    if "" not in plate.wells:
        rows.append(("wells", _in_rows(plate.wells)))
    counts = {fields: len(fields) for fields in plate.wells.values()}
    longest = max(counts, key=lambda fields: counts[fields])
    each = "" if len(counts) == 1 else f" in the fullest well, {min(counts.values())} in the emptiest"
    rows.append(("fields", _in_short(longest) + each))
    if plate.missing:
        rows.append(("missing", f"{counted(len(plate.missing), 'well')} of those listed: {_in_rows(plate.missing)}"))
    first = f"{found.internal_path}/{plate.fields[0]}".lstrip("/")
    opened = remedy(f'open_dataarray(..., "{first}") opens a field', f"pass --dataset {first} for one field")
    yield _Entry(f"{found.path}/{found.internal_path}".rstrip("/"), (*rows, ("", opened)))
    yield _Entry(f"{name}, the first field", tuple(describe(found.first.spec)), depth=1)


def _in_rows(wells: Iterable[str]) -> str:
    """List the wells of a plate, a row at a time.

    >>> _in_rows(["A/1", "A/2", "A/3", "B/2"])
    'A/1 to A/3 (3); B/2'
    """
    rows: dict[str, list[str]] = {}
    for well in wells:
        rows.setdefault(well.partition("/")[0], []).append(well)
    shown = [f"{row[0]} to {row[-1]} ({len(row)})" if len(row) > 2 else ", ".join(row) for row in rows.values()]
    return "; ".join(shown[:_MOST_WELL_ROWS]) + ("; ..." if len(shown) > _MOST_WELL_ROWS else "")


def _in_short(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < _MOST_FIELDS else f"{names[0]} to {names[-1]} ({len(names)})"


def _fields_as_json(found: Fields) -> dict[str, Any]:
    return {
        "location": f"{found.path}/{found.internal_path}".rstrip("/"),
        "plate": found.plate.name,
        "wells": {well: list(fields) for well, fields in found.plate.wells.items()},
        "missing": list(found.plate.missing),
        "first_field": spec_as_json(found.first.spec),
    }


def columns_in_short(names: Iterable[object], types: Iterable[object]) -> list[tuple[str, str]]:
    """Return columns with their types, and as one those that are numbered one after the other.

    >>> columns_in_short(["label", "Histogram_0", "Histogram_1", "Histogram_2"], ["int64", "f", "f", "f"])
    [('label', 'int64'), ('Histogram_0 to 2', 'f')]
    """
    short: list[tuple[str, str]] = []
    first, last = 0, ("", 0)
    for name, dtype in zip(map(str, names), map(str, types), strict=True):
        numbered = re.fullmatch(r"(.*\D)(\d{1,9})", name)
        stem, number = (numbered[1], int(numbered[2])) if numbered else ("", 0)
        if stem and last == (stem, number - 1) and short[-1][1] == dtype:
            short[-1] = (f"{stem}{first} to {number}", dtype)
        else:
            short.append((name, dtype))
            first = number
        last = (stem, number)
    return short


def _table(found: Table) -> Iterator[_Entry]:
    table = found.table
    short = [name for name, _ in columns_in_short(table.columns, table.dtypes)]
    more = f", and {len(short) - _MOST_COLUMNS} more" if len(short) > _MOST_COLUMNS + 1 else ""
    shown = short[:_MOST_COLUMNS] if more else short
    size = f"{counted(len(table), 'row')}, {counted(len(table.columns), 'column')}"
    rows = [("table", f"{table.attrs['kind']}, {size}"), ("columns", f"{', '.join(shown)}{more}")]
    if len(table):
        rows.append(("begins", _head(table)))
    if found.cut_outs:
        rows.append(("images", f"{counted(found.cut_outs, 'image')} of single objects"))
    more_of_it = remedy("open_table() returns all of it", "ilastik-lazy table prints more of it")
    yield _Entry(found.location, (*rows, *([("", more_of_it)] if more else [])))


def _head(table: pd.DataFrame) -> str:
    """Write the first rows of as many of the first columns as a line can hold."""
    for count in range(_HEAD_COLUMNS, 0, -1):
        head = table.iloc[:_HEAD_ROWS, :count]
        text: str = head.to_string(index=False, float_format=lambda value: f"{value:.6g}", max_colwidth=40)
        if text.index("\n") <= _WIDTH - 11:
            break
    return text


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


def _project(found: Project) -> Iterator[_Entry]:
    yield _Entry(found.path, tuple(describe_project(found.tree, partial(_drawn, found))))


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


def _entries(found: Contents) -> Iterator[_Entry]:
    match found:
        case Images():
            return _images(found)
        case Table():
            return _table(found)
        case Project():
            return _project(found)
        case Fields():
            return _fields(found)


def lines_of(found: Contents, bold: Callable[[str], str] = str) -> Iterator[str]:
    """Describe the contents of a file for people, line by line; `bold` marks headings."""
    for entry in _entries(found):
        indent = "  " * entry.depth
        yield f"{indent}{bold(printable(entry.title))}{entry.note and f'  ({entry.note})'}"
        width = max([8, *(len(label) for label, _ in entry.rows)])
        for label, text in entry.rows:
            for number, line in enumerate(_wrapped(text, label, width + 3)):
                yield f"{indent}  {'' if number else label:{width}} {line}".rstrip()


def _wrapped(text: str, label: str, used: int) -> list[str]:
    """Break a list of columns into lines; nothing else, since it may be copied."""
    lines = list(map(printable, text.split("\n")))
    if label != "columns":
        return lines
    # Between names, not within them.
    whole = lines[0].replace(" ", "\xa0").replace(",\xa0", ", ")
    found = textwrap.wrap(whole, _WIDTH - used, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in found] or [""]


def html_of(found: Contents) -> str:
    """Describe the contents of a file for notebooks."""
    return "".join(_entry_as_html(entry) for entry in _entries(found))


def _entry_as_html(entry: _Entry) -> str:
    if not (entry.names and entry.colors):
        return html_table(entry.title, entry.rows, note=entry.note)
    rows = [(label, text) for label, text in entry.rows if label not in CLASSES]
    label = next((label for label, _ in entry.rows if label in CLASSES), CLASSES[0])
    return html_table(entry.title, rows, note=entry.note, drawn=[(label, swatches(entry.names, entry.colors))])


def values_of(found: Contents) -> list[dict[str, Any]]:
    """Describe the contents of a file for programs."""
    match found:
        case Images():
            return [spec_as_json(source.spec) for source in found.sources]
        case Table():
            return [_table_as_json(found)]
        case Project():
            return [_project_as_json(found)]
        case Fields():
            return [_fields_as_json(found)]
