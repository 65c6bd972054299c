"""The table of many files, which is whole on the disk after each of them, and the record by which it is continued.

A kill between the two writes leaves rows of one file that the record lacks: they are dropped, and that file is
measured again.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from ilastik_lazy.core.library_errors import require_package
from ilastik_lazy.errors import (
    ArgumentError,
    DestinationBusyError,
    DestinationExistsError,
    ResumeMismatchError,
    SourceNotFoundError,
)
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import opened, read_exactly, stamp_of, writing
from ilastik_lazy.storage.folders import hold_lock, release_lock
from ilastik_lazy.storage.new_file import new_file
from ilastik_lazy.tables.measured import read_parquet_table, with_unit_columns

__all__ = ["ObjectTable", "locked", "record_of"]

_MOST_BYTES = 2**34


def record_of(path: str) -> str:
    """Return the file that says which sources a table has, and by which settings."""
    return f"{path}.resume.json"


@contextlib.contextmanager
def locked(path: str | None) -> Iterator[None]:
    """Keep other processes from writing a table: each would replace the rows of the other.

    Raises
    ------
    DestinationBusyError
        Another process is writing it.
    """
    lock = f"{path}.lock"
    held: int | None = None
    # Without locks in the file system, such as some on networks, nothing is kept out.
    with contextlib.suppress(NotImplementedError), writing(lock):
        if path is not None and (held := hold_lock(lock)) is None:
            raise DestinationBusyError(f"another process is writing {path}: wait for it, or write to another file")
    try:
        yield
    finally:
        if held is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock)
            release_lock(held)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one source."""

    version: str
    count: int
    part: Any
    """As the format keeps them."""
    digest: str = ""


class _Format(Protocol):
    """How a table lies in a file: `part` makes the rows of one source, `write` the file of all, `read` parts again."""

    def part(self, frame: pd.DataFrame) -> tuple[Any, str]: ...
    def written(self, columns: Sequence[str], parts: Iterable[Any]) -> list[bytes]: ...
    def read(self, path: str, columns: Sequence[str], known: Mapping[str, Any]) -> dict[str, _Rows]: ...


class _Csv:
    """Rows as their text, so that a file of many sources is copied, not formatted again."""

    def part(self, frame: pd.DataFrame) -> tuple[bytes, str]:
        text = frame.to_csv(index=False, header=False, lineterminator="\n").encode()
        return text, hashlib.sha256(text).hexdigest()

    def written(self, columns: Sequence[str], parts: Iterable[bytes]) -> list[bytes]:
        return [_header(columns), *parts]

    def read(self, path: str, columns: Sequence[str], known: Mapping[str, Any]) -> dict[str, _Rows]:
        data, at, found = _content(path), len(_header(columns)), {}
        for source, entry in known.items():
            text = data[at : at + entry["nbytes"]]
            if hashlib.sha256(text).hexdigest() == entry["sha256"]:
                found[source] = _Rows(entry["version"], entry["rows"], text, entry["sha256"])
                at += len(text)
        return found


class _Parquet:
    """Rows as frames."""

    def part(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        return frame, ""

    def written(self, columns: Sequence[str], parts: Iterable[pd.DataFrame]) -> list[bytes]:
        buffer = io.BytesIO()
        pd.concat(list(parts), ignore_index=True).to_parquet(buffer, index=False)
        return [buffer.getvalue()]

    def read(self, path: str, columns: Sequence[str], known: Mapping[str, Any]) -> dict[str, _Rows]:
        whole = read_parquet_table(Location.parse(path), _MOST_BYTES)
        groups = dict(list(whole.groupby("source", sort=False)))
        found = {}
        for source, entry in known.items():
            rows = groups.get(source, whole[:0])
            if len(rows) == entry["rows"]:
                found[source] = _Rows(entry["version"], len(rows), rows)
        return found


def _header(columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(columns)
    return text.getvalue().encode()


class ObjectTable:
    """A table to which the objects of one source after the other are added.

    Parameters
    ----------
    path
        Name that ends in ``.csv`` or ``.parquet``; None for a table that is not kept.
    order
        The sources in the order of their rows.
    settings
        All that the rows depend on beside the source, by option; compared with those of an earlier run.
    resume
        Continue the table at `path`, if there is one.

    Raises
    ------
    DestinationExistsError
        There is something at `path`, and it is not to be continued.
    ResumeMismatchError
        The table there was made with other settings, or has no record.
    MissingExtraError
        `path` is Parquet, and pyarrow is missing.
    """

    def __init__(self, path: str | None, order: Sequence[str], settings: Mapping[str, Any], resume: bool) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.order = {source: number for number, source in enumerate(order)}
        self.columns: list[str] = []
        self.rows: dict[str, _Rows] = {}
        self.format: _Format = _Csv()
        if path is not None and path.lower().endswith(".parquet"):
            require_package("pyarrow", "parquet", f"{path} needs pyarrow")
            self.format = _Parquet()
        if path is not None and os.path.lexists(path):
            if not resume:
                raise DestinationExistsError(f"{path} already exists: remove it first, or continue it with --resume")
            self._continue(path)

    @property
    def count(self) -> int:
        """Number of objects."""
        return sum(rows.count for rows in self.rows.values())

    def has(self, source: str, version: str) -> bool:
        """Whether the table has the objects of this version of a source; an unknown version is never the same."""
        return bool(version) and source in self.rows and self.rows[source].version == version

    def add(self, source: str, version: str, frame: pd.DataFrame) -> None:
        """Add the objects of a source, in place of those of another version, and write the table.

        Raises
        ------
        ArgumentError
            The columns are others than those of the sources before.
        DestinationError
            The table cannot be written.
        """
        frame = with_unit_columns(frame)
        frame.insert(0, "source", pd.Series([source] * len(frame), index=frame.index, dtype=str))
        columns = [str(name) for name in frame.columns]
        others = [name for name in self.rows if name != source]
        if others and columns != self.columns:
            differing = sorted(set(columns) ^ set(self.columns)) or columns
            raise ArgumentError(
                f"{source} has other columns than {others[0]} ({', '.join(differing[:4])}), as its axes or channels "
                "differ: measure it into a table of its own"
            )
        part, digest = self.format.part(frame)
        rows = self.rows | {source: _Rows(version, len(frame), part, digest)}
        # Those of earlier runs that are not asked for now come first.
        rows = dict(sorted(rows.items(), key=lambda item: self.order.get(item[0], -1)))
        if self.path is not None:
            if not self.rows:
                # If the process is killed now, the new table already has its own record, not that of a deleted one.
                self._write_record(self.path, columns, {})
            _write_whole(self.path, self.format.written(columns, [each.part for each in rows.values()]))
            self._write_record(self.path, columns, rows)
        self.columns, self.rows = columns, rows

    def _write_record(self, path: str, columns: Sequence[str], written: Mapping[str, _Rows]) -> None:
        sources = {
            source: {"version": rows.version, "rows": rows.count}
            | ({"nbytes": len(rows.part), "sha256": rows.digest} if rows.digest else {})
            for source, rows in written.items()
        }
        record = {"settings": self.settings, "columns": columns, "sources": sources}
        _write_whole(record_of(path), [json.dumps(record, indent=1).encode()])

    def _continue(self, path: str) -> None:
        try:
            record = json.loads(_content(record_of(path)))
            settings, columns, sources = (record[name] for name in ("settings", "columns", "sources"))
        except (SourceNotFoundError, ValueError, KeyError, TypeError) as error:
            raise ResumeMismatchError(
                f"{path} cannot be continued, as its record {record_of(path)} is missing or damaged: "
                "write to another file, or remove this one"
            ) from error
        names = sorted(settings.keys() | self.settings.keys())
        if differing := [name for name in names if settings.get(name) != self.settings.get(name)]:
            first = differing[0]
            raise ResumeMismatchError(
                f"{path} was made {_shown(first, settings.get(first))}, and this command is "
                f"{_shown(first, self.settings.get(first))}: pass the same options, or write to another file"
            )
        self.rows, self.columns = self.format.read(path, columns, sources), columns


def _shown(option: str, value: Any) -> str:
    if value is None or value == []:
        return f"without {option}"
    return f"with {option} {','.join(map(str, value)) if isinstance(value, list) else value}"


def _content(path: str) -> bytes:
    stamp = stamp_of(path)
    with opened(path, stamp) as fd:
        return read_exactly(fd, stamp.size, 0, path)


def _write_whole(path: str, parts: Iterable[bytes]) -> None:
    """Replace a file; a process that is killed leaves the old one, and a hidden file that the next one removes."""
    with new_file(os.path.abspath(path), overwrite=True) as file:
        for part in parts:
            file.write(part)
        file.check()
