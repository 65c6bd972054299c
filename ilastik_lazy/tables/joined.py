"""Several tables as one, with a column that names the file of each row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pandas as pd

from ilastik_lazy.core.size_text import counted, human_bytes
from ilastik_lazy.errors import ArgumentError, LimitExceededError, MetadataError, option
from ilastik_lazy.formats.patterns import is_pattern, matching
from ilastik_lazy.warning import warn

__all__ = ["joined", "require_size", "table_files"]

_SOURCE, _TABLE = "source", "table"


def table_files(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str] | None:
    """Return the files of a list or of a pattern, in the order of the numbers in their names; None for one file.

    Raises
    ------
    ArgumentError
        The list is empty, or names a file twice.
    """
    if isinstance(path, str | os.PathLike) and not is_pattern(os.fsdecode(path)):
        return None
    found: list[str] = []
    for each in path if isinstance(path, Sequence) and not isinstance(path, str) else [path]:
        if not isinstance(each, str | os.PathLike):
            raise ArgumentError(f"expected paths of tables, not {type(each).__name__}: pass their names")
        name = os.fsdecode(each)
        found += ["/".join(filter(None, image)) for image in matching(name)] if is_pattern(name) else [name]
    if not found:
        raise ArgumentError("expected at least one table: the list is empty")
    if twice := next((name for k, name in enumerate(found) if name in found[:k]), None):
        raise ArgumentError(f"{twice} is named twice: name each file once")
    return found


def require_size(nbytes: int, most_bytes: int) -> None:
    """Raise if the tables together are larger than the limit."""
    if nbytes > most_bytes:
        raise LimitExceededError(
            f"the tables have more than {human_bytes(most_bytes)} together: raise {option('memory')} to read them"
        )


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all tables, one table after the other; see `open_table`.

    Raises
    ------
    MetadataError
        The tables are of different kinds, or a column holds text in one and numbers in another.
    """
    (first, start), *_ = tables.items()
    kind = start.attrs["kind"]
    for name, table in tables.items():
        if table.attrs["kind"] != kind:
            raise MetadataError(
                f"{first} is a table of {kind}, and {name} of {table.attrs['kind']}: open them separately"
            )
        for column in table.columns:
            if column in start and _is_text(table, column) != _is_text(start, column) and len(table) and len(start):
                held = "text" if _is_text(table, column) else "numbers"
                raise MetadataError(
                    f"column {column!a} holds {held} in {name}, and not in {first}: open them separately"
                )
    columns = list(dict.fromkeys(column for table in tables.values() for column in table.columns))
    lacking = {name: [column for column in columns if column not in table] for name, table in tables.items()}
    if short := [name for name, missing in lacking.items() if missing]:
        warn(
            f"{len(short)} of {counted(len(tables), 'table')} lack columns that others have, such as {short[0]} "
            f"{lacking[short[0]][0]!a}: their values are missing (NaN)"
        )
    # Tables of `ilastik-lazy objects` state the image of each row already.
    added = _TABLE if _SOURCE in columns else _SOURCE
    if added in columns:
        raise MetadataError(f"the tables have columns {_SOURCE!r} and {_TABLE!r} already: rename one")
    # Without attrs, which pandas would compare; a table without rows must not decide the type of a column.
    parts = [_named(table, name, added) for name, table in tables.items() if len(table)] or [
        _named(start, first, added)
    ]
    return pd.concat(parts, ignore_index=True).reindex(columns=[added, *columns])


def _is_text(table: pd.DataFrame, column: str) -> bool:
    return not pd.api.types.is_numeric_dtype(table[column].dtype)


def _named(table: pd.DataFrame, name: str, column: str) -> pd.DataFrame:
    """Return a copy of `table` with its file in the first column."""
    copy = table.copy(deep=False)
    copy.attrs = {}
    copy.insert(0, column, pd.Series([name] * len(table), index=table.index, dtype=str))
    return copy
