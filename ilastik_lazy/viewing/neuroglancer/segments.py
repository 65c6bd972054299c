"""What is known of segments: names of classes, and the columns of a table, as Neuroglancer's segment properties.

https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/segment_properties.md: one JSON document
with a list of ids, and for each property a list of values in the same order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.views.frame_ids import FrameIds
from ilastik_lazy.tables.rows import Rows, key_columns, rows_of

__all__ = ["Segments", "class_segments", "ids_restart", "object_rows", "object_segments"]

_Property = dict[str, Any]

# These come first, and the list of segments shows those that there are.
_FIRST = ("Predicted Class", "User Label", "Size in pixels", "num_pixels", "area", "intensity_mean", "trackId")
_COLUMNS_IN_LIST = 2
_MOST_TAGS = 64
# All are in one document: about 50 MB, which the client holds in memory.
_MOST_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class Segments:
    """Properties of the segments of a layer."""

    document: bytes
    """JSON that the client reads."""
    query: str = ""
    """What the list of segments shows at first: names of columns."""
    left_out: tuple[str, ...] = ()
    """Columns that are too many values for the client."""


def class_segments(spec: ArraySpec) -> Segments | None:
    """Return the names of classes; None where they are not known."""
    if not (spec.holds_classes and spec.channel_names):
        return None
    names: _Property = {"id": "class", "type": "label", "values": list(spec.channel_names)}
    return Segments(_document(range(1, len(spec.channel_names) + 1), [names]))


def object_rows(
    table: pd.DataFrame, shown: np.ndarray[Any, Any] | None, length: int | None
) -> tuple[Rows, tuple[str, ...]]:
    """Return the numbers of the rows of a table by frame and id, and the names of its columns of ids and frames.

    Parameters
    ----------
    shown, length
        Numbers of the frames of the label image, and how many there were before it was cropped; see `frames_of`.

    Raises
    ------
    ArgumentError
        The table has no ids, an id twice in a frame, or frames that the image has not.
    """
    name, when = key_columns(table, None, None)
    rows = rows_of(table, np.arange(len(table)), name, when, shown, length, None)
    return rows, (name,) if when is None else (name, when)


def ids_restart(rows: Rows) -> bool:
    """Whether an id stands for several objects, one in each frame."""
    return len(np.unique(rows.ids)) < len(rows.ids)


def object_segments(table: pd.DataFrame, rows: Rows, keys: Sequence[str], unique: FrameIds | None) -> Segments | None:
    """Return the columns of a table; None if it has no row for the image.

    Parameters
    ----------
    rows, keys
        See `object_rows`.
    unique
        The label image, if its ids were made to differ between frames.
    """
    if not len(rows.ids):
        return None
    ids, properties = rows.ids, []
    if unique is not None:
        ids = unique.numbered(rows.frames, ids)
        texts = [f"{number} in frame {frame}" for number, frame in zip(rows.ids, rows.frames, strict=True)]
        properties.append({"id": "object", "type": "label", "values": texts})
    names = [name for name in dict.fromkeys(table.columns) if name not in keys]
    names.sort(key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    count = max(1, _MOST_VALUES // len(ids))
    taken, words = table.loc[:, ~table.columns.duplicated()].iloc[rows.values], {"id", "label", "object"}
    for name in names[:count]:
        word = _word_for(str(name), words)
        found = _property(taken[name], may_be_tags=not any(each["type"] == "tags" for each in properties))
        if found is not None:
            words.add(word.lower())
            described = {} if found["type"] == "tags" else {"description": str(name)}
            properties.append({"id": word, **described, **found})
    # Texts have no column there.
    listed = [each["id"] for each in properties if each["type"] == "number"]
    known = {_word_for(name, set()) for name in _FIRST}
    listed = [word for word in listed if word in known] or listed[:_COLUMNS_IN_LIST]
    # In a time series by id, so frame by frame; else the client would sort by the text of the label.
    query = " ".join([f"|{word}" for word in listed] + (["<id"] if unique is not None else []))
    return Segments(_document(ids.tolist(), properties), query, tuple(map(str, names[count:])))


def _property(column: pd.Series[Any], *, may_be_tags: bool) -> _Property | None:
    """Return type and values of a column; None if it holds nothing."""
    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else "O"
    if kind in "bui":
        values = column.to_numpy()
        low, high = int(values.min()), int(values.max())
        for dtype in ("int32", "uint32"):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return {"type": "number", "data_type": dtype, "values": values.astype(dtype).tolist()}
        return {"type": "string", "values": [str(value) for value in values.tolist()]}
    if kind == "f":
        numbers = column.to_numpy()
        if not np.isfinite(numbers).any():
            return None
        # JSON has no NaN, and null would become 0; the client makes NaN of this text.  Infinity would be the end of the
        # range by which it filters.
        return {
            "type": "number",
            "data_type": "float32",
            "values": [value if np.isfinite(value) else "NaN" for value in numbers.tolist()],
        }
    texts = ["" if pd.isna(value) else str(value) for value in column]
    tags = sorted(set(texts) - {""})
    if not tags:
        return None
    # What all objects have in common, such as their file, is nothing to choose them by.
    if not may_be_tags or len(tags) > _MOST_TAGS or (len(tags) == 1 and column.name not in _FIRST):
        return {"type": "string", "values": texts}
    words: list[str] = []
    for tag in tags:
        words.append(_unused(re.sub(r"\s+", "_", tag).lstrip("#") or "_", {word.lower() for word in words}))
    place = {tag: [number] for number, tag in enumerate(tags)}
    return {"type": "tags", "tags": words, "tag_descriptions": tags, "values": [place.get(text, []) for text in texts]}


def _word_for(name: str, taken: set[str]) -> str:
    """Spell the name of a column as queries need it: letters, digits and underscores, with a letter first."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "column"
    return _unused(word if word[0].isalpha() else f"c_{word}", taken)


def _unused(word: str, taken: set[str]) -> str:
    tries = (word, *(f"{word}_{number}" for number in range(2, len(taken) + 3)))
    return next(each for each in tries if each.lower() not in taken)


def _document(ids: Sequence[int], properties: Sequence[_Property]) -> bytes:
    inline = {"ids": [str(number) for number in ids], "properties": list(properties)}
    return json.dumps({"@type": "neuroglancer_segment_properties", "inline": inline}, allow_nan=False).encode()
