"""Look up the rows of a table by frame and id, and the numbers in one of its columns."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ilastik_lazy.core.classes import flag_attributes
from ilastik_lazy.errors import ArgumentError, remedy

__all__ = ["Rows", "key_columns", "rows_of", "values_of"]

_LABELS = ("labelimage_oid", "labelimageId", "label")
_TIMES = ("timestep", "frame")
_CLASS, _USER_LABEL = "Predicted Class", "User Label"
_PROBABILITY = "Probability of "
_TRACKS = re.compile(r"(track|lineage|parentTrack|mergerLabel)Id|track_id\d+|lineage_id|track_id")
_IDS = ("object_id", "original_oid", *_LABELS)
# Up to this id, a frame has an array of values by id (8 MB of float64 in each thread); larger ids use a search.
_DENSE = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Values by frame and id."""

    frames: np.ndarray[Any, Any]
    """Frame of each row; sorted."""
    ids: np.ndarray[Any, Any]
    """Id of each row, uint64; sorted and unique within a frame."""
    values: np.ndarray[Any, Any]
    background: Any

    def painted(self, labels: np.ndarray[Any, Any], frame: int) -> np.ndarray[Any, Any]:
        """Replace the ids of one frame by values; `labels` are unsigned."""
        first, last = np.searchsorted(self.frames, [frame, frame + 1])
        ids, values = self.ids[first:last], self.values[first:last]
        if len(ids) == 0:
            return np.full(labels.shape, self.background, self.values.dtype)
        if int(ids[-1]) <= _DENSE:
            by_id = np.full(int(ids[-1]) + 2, self.background, self.values.dtype)
            by_id[ids] = values
            # All larger ids share one element of background; uint8 cannot be compared with 256.
            most = min(len(by_id) - 1, np.iinfo(labels.dtype).max)
            dense: np.ndarray[Any, Any] = by_id[np.minimum(labels, most)]
            return dense
        # uint64 on both sides: numpy would convert int64 and uint64 to floats.
        wanted = labels.astype(np.uint64, copy=False)
        at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
        result: np.ndarray[Any, Any] = np.where(ids[at] == wanted, values[at], self.values.dtype.type(self.background))
        return result


def key_columns(table: pd.DataFrame, label: str | None, time: str | None) -> tuple[str, str | None]:
    """Return the names of the columns of ids and frames; None if the table has no frames and none were requested."""
    if not isinstance(table, pd.DataFrame):
        raise ArgumentError(
            f"expected the table as a DataFrame, not {type(table).__name__}" + remedy(": open it with open_table()")
        )
    name = label or next((known for known in _LABELS if known in table), None)
    when = time or next((known for known in _TIMES if known in table), None)
    for wanted, what in ((name, "label"), (when, "time")):
        if wanted is not None and wanted not in table:
            raise ArgumentError(f"the table has no column {wanted!r}: pass {what}= with the name of one")
    if name is None:
        raise ArgumentError(
            "the table has none of labelimage_oid, labelimageId and label: rename the column of ids"
            + remedy(", or name it with label=")
        )
    return name, when


def _similar(table: pd.DataFrame, column: str) -> str:
    names = [str(name) for name in table.columns]
    return ", ".join(map(repr, difflib.get_close_matches(column, names, 4, 0.3) or names[:4]))


def values_of(table: pd.DataFrame, column: str) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Return the numbers of a column, and attributes that describe them."""
    if column not in table:
        raise ArgumentError(f"the table has no column {column!r}; similar are {_similar(table, column)}")
    values = table[column]
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
        attributes = {}
        if values.dtype.kind in "iu" and _TRACKS.fullmatch(column):
            attributes["ilastik_kind"] = "tracking"
        elif values.dtype.kind in "iu" and column in _IDS:
            attributes["ilastik_kind"] = "object identities"
        return values.to_numpy(), attributes
    if pd.api.types.infer_dtype(values.dropna().astype(object)) not in ("string", "empty"):
        raise ArgumentError(f"column {column!r} holds {values.dtype}: expected numbers or text")
    categories = _categories(table, column)
    codes = pd.Index(categories).get_indexer(pd.Index(values)) + 1  # -1 stands for no category
    kind = "object predictions" if column == _CLASS else "labels"
    return codes.astype(np.min_scalar_type(len(categories))), {"ilastik_kind": kind} | flag_attributes(categories)


def _categories(table: pd.DataFrame, column: str) -> list[str]:
    """List classes in ilastik's order, which is that of their probability columns; else sorted."""
    classes = [str(name).removeprefix(_PROBABILITY) for name in table.columns if str(name).startswith(_PROBABILITY)]
    present = {str(value) for value in table[column].dropna().unique()}
    if column == _USER_LABEL and "0" not in classes:
        present -= {"0"}  # the object was not labelled
    if column in (_CLASS, _USER_LABEL) and present <= set(classes):
        return classes
    return sorted(present)


def rows_of(
    table: pd.DataFrame,
    values: np.ndarray[Any, Any],
    name: str,
    when: str | None,
    shown: np.ndarray[Any, Any] | None,
    length: int | None,
    background: float | None,
) -> Rows:
    """Sort the rows of the frames that are `shown` by frame and id (see `frames_of` for `shown` and `length`)."""
    ids = _whole(table[name], name)
    if when is not None:
        frames = _whole(table[when], when)
    else:
        frames = np.full(len(table), 0 if shown is None or not shown.size else shown.min())
    _check_frames(frames, when, shown, length)
    there = ids > 0
    if shown is not None and (shown.ndim or len(np.unique(frames)) > 1):
        there &= np.isin(frames, shown)
    if shown is None or not shown.ndim:
        frames = np.zeros_like(frames)
    ids, frames, values = ids[there], frames[there], values[there]
    order = np.lexsort((ids, frames))
    ids, frames, values = ids[order].astype(np.uint64), frames[order], values[order]
    twice = np.flatnonzero((ids[1:] == ids[:-1]) & (frames[1:] == frames[:-1]))
    if len(twice) and "source" in table and table["source"].nunique() > 1:
        raise ArgumentError(
            f"the table is of {table['source'].nunique()} images: take the rows of one"
            + remedy(f", table[table['source'] == {str(table['source'].iloc[0])!r}]")
        )
    if len(twice):
        raise ArgumentError(
            f"the table has id {ids[twice[0]]} twice in frame {frames[twice[0]]} (column {name!r}): "
            f"is {remedy('label=', 'its label')} a column of ids, and the table of one image?"
        )
    if background is None:
        background = {"f": np.nan, "b": False}.get(values.dtype.kind, 0)
    dtype = _dtype_for(values.dtype, background)
    _check_exact(values, dtype, background)
    return Rows(frames, ids, values.astype(dtype, copy=False), dtype.type(background))


def _check_frames(
    frames: np.ndarray[Any, Any], when: str | None, shown: np.ndarray[Any, Any] | None, length: int | None
) -> None:
    if when is None and shown is not None and shown.size > 1:
        raise ArgumentError(
            f"the label image has {shown.size} frames, but the table has no frames" + remedy(": name them with time=")
        )
    if length is None:
        if len(frames) and frames.min() != frames.max():
            raise ArgumentError(
                f"the label image has no dimension t, but the table has frames {frames.min()} to {frames.max()}: "
                f"choose one, table[table[{when!r}] == {frames.min()}]"
            )
    elif len(frames) and (frames.min() < 0 or frames.max() >= length):
        raise ArgumentError(
            f"the table has frames {frames.min()} to {frames.max()}, the label image 0 to {length - 1}: "
            "pass the whole image, and slice the result"
        )


def _whole(column: pd.Series[Any], name: str) -> np.ndarray[Any, Any]:
    values = column.to_numpy()
    if values.size == 0:
        # Without rows, pandas does not know the type.
        return np.empty(0, np.int64)
    if values.dtype.kind in "iu":
        return values if values.dtype.itemsize == 8 else values.astype(np.int64)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all():
        return values.astype(np.int64)
    raise ArgumentError(f"column {name!r} does not hold whole numbers, as ids and frames do")


def _dtype_for(dtype: np.dtype[Any], background: float) -> np.dtype[Any]:
    """Return the type of the column, or the smallest that also holds the background."""
    if np.isnan(background):
        return dtype if dtype.kind == "f" else np.result_type(dtype, np.float32)
    if dtype.kind in "iu" and float(background).is_integer() and _fits(int(background), np.iinfo(dtype)):
        return dtype
    return np.result_type(dtype, np.min_scalar_type(background))


def _check_exact(values: np.ndarray[Any, Any], dtype: np.dtype[Any], background: float) -> None:
    """Raise if ids would be rounded: float64 holds whole numbers up to 2**53."""
    if values.dtype.kind in "iu" and dtype.kind == "f" and len(values):
        most = max(abs(int(values.min())), abs(int(values.max())))
        if most > 2 ** (np.finfo(dtype).nmant + 1):
            raise ArgumentError(
                f"the column holds whole numbers up to {most}, and with background={background} they would be "
                f"rounded to {dtype}: omit background=, or choose one that fits the type of the column"
            )


def _fits(value: int, limits: np.iinfo[Any]) -> bool:
    return int(limits.min) <= value <= int(limits.max)
