"""Tables of `measure_objects` in CSV and Parquet, with units in columns, since CSV has no attributes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ilastik_lazy.core.library_errors import require_package, translated
from ilastik_lazy.core.size_text import human_bytes
from ilastik_lazy.errors import CorruptFileError, IlastikLazyError, LimitExceededError, MetadataError, option
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import opened, read_exactly, stamp_of

__all__ = [
    "AREA_UNIT",
    "LENGTH_UNIT",
    "is_measured",
    "parse_measured",
    "read_parquet_table",
    "require_file_size",
    "units_in",
    "with_unit_columns",
]

LENGTH_UNIT, AREA_UNIT = "length_unit", "area_unit"
_VOXEL = "voxel"
"""The unit in these columns where the size of a voxel is not known."""

_TEXT = ("source", LENGTH_UNIT, AREA_UNIT)
_NAN = ["", "nan", "NaN"]
_AREAS = re.compile(r"area(_bbox|_convex)?")
_LENGTHS = re.compile(
    r"centroid(_weighted)?_[zyx](_.*)?|equivalent_diameter_area|axis_(major|minor)_length|perimeter|feret_diameter_max"
)
_SQUARES = re.compile(r"inertia_tensor_eigvals_\d")
# Before pandas 3.1 the default is inexact in the last digit; since then it is exact, and this option causes a warning.
_EXACT: dict[str, Any] = (
    {"float_precision": "round_trip"} if [int(n) for n in pd.__version__.split(".")[:2]] < [3, 1] else {}
)


def with_unit_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `measure_objects` with its units in the last columns.

    Examples
    --------
    >>> table = pd.DataFrame({"label": [1], "area": [2.5], "centroid_y": [4.0]})
    >>> table.attrs["units"] = {"area": "micrometer^2", "centroid_y": "micrometer"}
    >>> with_unit_columns(table)
       label  area  centroid_y length_unit     area_unit
    0      1   2.5         4.0  micrometer  micrometer^2
    """
    units: dict[str, str] = table.attrs.get("units", {})
    length = next((unit.partition("^")[0] for unit in units.values()), _VOXEL)
    area = next((unit for name, unit in units.items() if _AREAS.fullmatch(name)), "" if units else _VOXEL)
    made = table.copy(deep=False)
    made[LENGTH_UNIT] = pd.Series([length] * len(table), index=table.index, dtype=str)
    if any(_AREAS.fullmatch(str(name)) for name in table.columns):
        made[AREA_UNIT] = pd.Series([area] * len(table), index=table.index, dtype=str)
    return made


def units_in(table: pd.DataFrame) -> dict[str, str]:
    """Return the unit of each column that has one, where all rows have the same."""
    units = {name: _only(table, name) for name in (LENGTH_UNIT, AREA_UNIT)}
    length, area = units[LENGTH_UNIT], units[AREA_UNIT]
    of_kind = ((_LENGTHS, length), (_AREAS, area), (_SQUARES, length and f"{length}^2"))
    return {
        str(name): unit for name in table.columns for kind, unit in of_kind if unit and kind.fullmatch(str(name))
    }  # fmt: skip


def _only(table: pd.DataFrame, name: str) -> str:
    found = table[name].unique().tolist() if name in table else []
    return found[0] if len(found) == 1 and isinstance(found[0], str) and found[0] != _VOXEL else ""


def is_measured(names: Iterable[object]) -> bool:
    """Whether a table with these columns is one of `measure_objects` or scikit-image, and not ilastik's own.

    >>> is_measured(["source", "label", "area"]), is_measured(["object_id", "timestep", "labelimage_oid"])
    (True, False)
    """
    return "label" in names


def parse_measured(text: bytes, path: str) -> pd.DataFrame | None:
    """Parse CSV as pandas writes it; None if it is not a table of measured objects.

    Raises
    ------
    MetadataError
        A row does not match the header.
    """
    if b"label" not in text.partition(b"\n")[0]:
        return None
    rows = csv.reader(io.StringIO(text.decode(), newline=""))
    try:
        names = next(rows)
        if not is_measured(names):
            return None
        if len(set(names)) < len(names):
            raise MetadataError(f"{path} has two columns of one name: rename one")
        for row in rows:
            if len(row) != len(names):
                raise MetadataError(f"{path}: line {rows.line_num} has {len(row)} values for {len(names)} columns")
    except csv.Error as error:
        raise MetadataError(f"{path}: line {rows.line_num} is not CSV ({error})") from error
    table: pd.DataFrame = pd.read_csv(
        io.BytesIO(text),
        keep_default_na=False,
        index_col=False,
        na_values={name: _NAN for name in names if name not in _TEXT},
        dtype={name: str for name in _TEXT if name in names},
        low_memory=False,
        **_EXACT,
    )
    return table


def read_parquet_table(location: Location, most_bytes: int) -> pd.DataFrame:
    """Read a Parquet table.

    Raises
    ------
    MissingExtraError
        pyarrow is missing: it comes with the extra ``parquet``.
    LimitExceededError
        The decoded columns are larger than `most_bytes`.
    CorruptFileError
        It is not Parquet, or it is damaged.
    """
    require_package("pyarrow", "parquet", "Parquet needs pyarrow")
    import pyarrow
    import pyarrow.parquet

    path, stamp = location.path, stamp_of(location.path)
    require_file_size(path, stamp.size, most_bytes)
    with opened(path, stamp) as fd:
        data = read_exactly(fd, stamp.size, 0, path)

    def damaged(error: BaseException) -> IlastikLazyError:
        return CorruptFileError(f"{path} is not a Parquet file, or it is damaged ({ascii(str(error))[1:100]})")

    with translated((pyarrow.ArrowException, OSError, ValueError), damaged, path):
        stored = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        groups = stored.metadata.num_row_groups
        require_file_size(path, sum(stored.metadata.row_group(i).total_byte_size for i in range(groups)), most_bytes)
        table: pd.DataFrame = stored.read().to_pandas()
        return table


def require_file_size(path: str, nbytes: int, most_bytes: int) -> None:
    """Raise `LimitExceededError` if a table is larger than the limit."""
    if nbytes > most_bytes:
        raise LimitExceededError(
            f"{path} has {human_bytes(nbytes)}, more than the limit of {human_bytes(most_bytes)}: "
            f"raise {option('memory')} to read it"
        )
