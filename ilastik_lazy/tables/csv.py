"""Read tables from CSV files as ilastik writes them: without quotes or escapes.

A class called ``a,b`` therefore shifts all columns after it.  Every line is checked, so that such a file raises an
error instead of returning wrong numbers.  Tables of measured objects are quoted: see `measured`.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ilastik_lazy.errors import CorruptFileError, IncompleteSourceWarning, LimitExceededError, MetadataError
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import opened, read_exactly, read_up_to, stamp_of
from ilastik_lazy.tables.measured import parse_measured, require_file_size
from ilastik_lazy.warning import warn

__all__ = ["read_csv_table"]

# The only columns of ilastik that hold text: class names, which may look like numbers.
_TEXT = ("User Label", "Predicted Class")
# ilastik's widest tables have hundreds; pandas takes a minute for a million.
_MOST_COLUMNS = 20_000
_HEAD_BYTES = 2**20
_PROBABILITY = "Probability of "
# Columns of whole numbers; in an empty table only the name shows it.
_WHOLE = re.compile(r"(object|parent|child\d*_object|track|lineage|labelimage)_(id|oid)\d*|original_oid|timestep|frame"
                    r"|(labelimage|track|lineage|parentTrack|mergerLabel)Id")  # fmt: skip
_WHOLE_IN_TRACKS = re.compile(r"Center_of.*")
# What a column that somebody added may hold, such as a condition: "wild type", "10 nM", "A1", "2024-05-01".
_WORDS = re.compile(r"[\d.]*\s?[^\W\d_][^;\"]*|\d{4}-\d\d-\d\d.*")
# Spellings of "not a number" by `str` and printf.
_NAN = ["nan", "-nan", "NaN"]
# Before pandas 3.1 the default is inexact in the last digit; since then it is exact, and this option causes a warning.
_EXACT = {"float_precision": "round_trip"} if [int(n) for n in pd.__version__.split(".")[:2]] < [3, 1] else {}
_ADVICE = "does a class name contain a comma? ilastik does not quote: export the table as HDF5, or rename the class"


def read_csv_table(location: Location, most_bytes: int, check_names: Callable[[Sequence[str]], object]) -> pd.DataFrame:
    """Read the whole table: whole numbers as int64, others as float64, class names and columns of words as text.

    A column with a number from 2**63 on is uint64.  Without rows, ids and frames are int64, and measurements float64.

    Parameters
    ----------
    most_bytes
        Refuse a file that is larger.
    check_names
        Called with the names of the columns before the rows are read; raises to refuse them.

    Raises
    ------
    MetadataError
        A row does not match the header; the message names its line.
    LimitExceededError, CorruptFileError
        The file is too large, empty, or not text.
    """
    path = location.path
    text = _utf8(_content(path, most_bytes), path)
    if (measured := parse_measured(text, path)) is not None:
        return measured
    separator = "\t" if b"\t" in text[: text.find(b"\n")] and b"," not in text[: text.find(b"\n")] else ","
    names = _column_names(text, separator, path)
    check_names(names)
    _check_lines(text, separator.encode(), len(names), path)
    options: dict[str, Any] = {
        "names": range(len(names)),
        "quoting": csv.QUOTE_NONE,
        "na_values": {i: _NAN for i, name in enumerate(names) if name not in _TEXT},
        "dtype": {i: str for i, name in enumerate(names) if name in _TEXT},
        "low_memory": False,
    } | _EXACT
    table: pd.DataFrame = pd.read_csv(
        io.BytesIO(text), sep=separator, header=None, skiprows=1, index_col=False, keep_default_na=False, **options
    )
    table.columns = pd.Index(names)
    if len(table):
        _check_numbers(table, path)
        _check_probabilities(table, path)
        return table
    return table.astype({name: _dtype_without_rows(name, names) for name in names})


def _dtype_without_rows(name: str, names: Sequence[str]) -> type:
    """Return the type that a column has in tables with rows."""
    if name in _TEXT:
        return str
    is_cut = "labelimageId" in names and _WHOLE_IN_TRACKS.fullmatch(name)
    return np.int64 if is_cut or _WHOLE.fullmatch(name) else np.float64


def _content(path: str, most_bytes: int) -> bytes:
    stamp = stamp_of(path)
    require_file_size(path, stamp.size, most_bytes)
    with opened(path, stamp) as fd:
        # The first bytes show whether the file can be a table.
        data = read_up_to(fd, min(stamp.size, _HEAD_BYTES), 0, path)
        if b"\0" not in data:
            data = read_exactly(fd, stamp.size, 0, path)
    if b"\0" in data:
        raise CorruptFileError(f"{path} is not a CSV file, or it is damaged: it contains zero bytes")
    if not data.strip():
        raise CorruptFileError(f"{path} is empty: export it again")
    if not data.endswith(b"\n"):
        what = "number" if b"\n" in data else "name of a column"
        warn(
            f"{path} does not end with a newline, as ilastik's tables do: its last {what} may be cut off",
            IncompleteSourceWarning,
        )
    return data


def _utf8(data: bytes, path: str) -> bytes:
    """Convert `data` to UTF-8 without a byte order mark."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        # On Windows, Python before 3.15 writes text in the code page of the system.
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise MetadataError(f"{path} is neither UTF-8 nor Windows-1252 at byte {error.start}") from error
        warn(f"{path} is not UTF-8: its names are read as Windows-1252")
        return text.encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def _column_names(text: bytes, separator: str, path: str) -> list[str]:
    names = text.partition(b"\n")[0].decode().rstrip("\r").split(separator)
    if len(names) > _MOST_COLUMNS:
        raise LimitExceededError(f"{path} has {len(names)} columns, more than {_MOST_COLUMNS}")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise MetadataError(f"{path} has two columns {twice[0]!a}: {_ADVICE}")
    return names


def _check_lines(text: bytes, separator: bytes, columns: int, path: str) -> None:
    """Count the values of each line, since pandas fills short rows and cuts some long ones."""
    lines = io.BytesIO(text)
    for number, line in enumerate(lines, 1):
        found = line.count(separator) + 1
        # pandas would split a row at a lone carriage return.
        if found != columns or line.strip() == b"" or b"\r" in line.rstrip(b"\r\n"):
            raise MetadataError(f"{path}: line {number} has {found} values for {columns} columns; {_ADVICE}")


def _check_numbers(table: pd.DataFrame, path: str) -> None:
    for name in table.columns:
        column = table[name]
        if name in _TEXT or column.dtype.kind in "iuf":
            continue
        if _is_added(name, table):
            table[name] = column.astype(str)
            continue
        wrong = pd.to_numeric(column, errors="coerce").isna().to_numpy() & ~column.isin(_NAN).to_numpy()
        row = int(np.argmax(wrong))
        found = str(column.iloc[row])[:40]
        raise MetadataError(f"{path}: line {row + 2} has {found!a} in column {name!a}, not a number; {_ADVICE}")


def _is_added(name: str, table: pd.DataFrame) -> bool:
    """Whether a column that is not of numbers is one of words, which ilastik does not write, and nothing is damaged."""
    if name.startswith(_PROBABILITY) or _WHOLE.fullmatch(name):
        return False
    names = list(table.columns)
    before = names[: names.index(name)]
    while before and before[-1] not in _TEXT and table[before[-1]].dtype.kind not in "iuf":
        before.pop()
    # Part of a class name with a comma is shifted into the next column; the header then has one in its probabilities.
    if before and before[-1] in _TEXT and any(each.startswith(_PROBABILITY) for each in names):
        return False
    if table[name].isna().any():  # NaN, which is a number; cells without text are not NaN
        return False
    distinct = {str(value) for value in table[name].unique()} - {""}
    # "inf" is a word, too: beside numbers, a word is damage.
    is_number = pd.to_numeric(pd.Series(sorted(distinct), dtype=object), errors="coerce").notna()
    return bool(distinct) and not is_number.any() and all(map(_WORDS.fullmatch, distinct))


def _check_probabilities(table: pd.DataFrame, path: str) -> None:
    """Check that probabilities add up to 1: a class called ``1,2`` turns its "2" into one, with all counts correct."""
    names: Sequence[str] = [name for name in table.columns if name.startswith(_PROBABILITY)]
    total = table[list(names)].sum(axis=1).to_numpy()
    if names and (wrong := total > 1.01).any():
        row = int(np.argmax(wrong))
        raise MetadataError(f"{path}: line {row + 2} has probabilities that add up to {total[row]:.3g}; {_ADVICE}")
