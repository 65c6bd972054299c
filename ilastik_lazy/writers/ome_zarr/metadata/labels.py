"""``image-label``: what the values of a label image mean, for viewers.

https://ngff.openmicroscopy.org/0.5/#labels-md: each value may have a colour and properties.

Classes have both.  Ids of objects have properties from a table, but no colours: viewers have colours
for any number of ids, and napari shows an id that is not in a list of colours as transparent.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ilastik_lazy.core.display import class_color
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, option, remedy
from ilastik_lazy.tables import open_table
from ilastik_lazy.tables.rows import key_columns
from ilastik_lazy.warning import warn

__all__ = ["Table", "image_label", "object_properties"]

Table = str | os.PathLike[str] | pd.DataFrame
"""A table of objects, or the file to open it from."""

# A larger measured value is not the number of a class.
_MOST_CLASSES = 255
# For all objects together, about 1 MB of JSON: every reader loads it when it opens the image.
_MOST_VALUES = 20_000


def image_label(
    spec: ArraySpec, measured: Sequence[tuple[float, float]] | None, properties: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """Colours and names of classes, or properties of objects.

    Parameters
    ----------
    measured
        Least and largest value of each channel, if known: they bound the number of classes.
    properties
        The result of `object_properties`.
    """
    if properties is not None:
        return {"properties": properties} if properties else {}
    count = _count_of_classes(spec, measured)
    if not count:
        return {}
    colors = [{"label-value": k + 1, "rgba": [*class_color(spec, k), 255]} for k in range(count)]
    made: dict[str, Any] = {"colors": colors}
    if spec.channel_names:
        # There must be as many as colours, or ome-zarr-models refuses the image.
        made["properties"] = [
            {"label-value": k + 1} | ({"class": spec.channel_names[k]} if k < len(spec.channel_names) else {})
            for k in range(count)
        ]
    return made


def _count_of_classes(spec: ArraySpec, measured: Sequence[tuple[float, float]] | None) -> int:
    if not spec.holds_classes:
        return 0
    # NaN where nothing was measured.
    largest = max((high for _, high in measured or () if not math.isnan(high)), default=0)
    if largest > _MOST_CLASSES:
        return 0
    return max(len(spec.channel_names), int(largest))


def object_properties(spec: ArraySpec, table: Table) -> list[dict[str, Any]]:
    """Turn the rows of a table of objects into properties of their ids, in the order of ids.

    Raises
    ------
    ArgumentError
        The image holds no ids of objects, or several rows have the same id.
    """
    if spec.dtype.kind not in "iu" or spec.kind not in (None, "object identities"):
        raise ArgumentError(
            f"{option('table')} describes objects by their ids, and {spec.storage.location} holds "
            f"{spec.kind or 'no integers'} ({spec.dtype.name}): pass it with the image of object identities"
        )
    if not isinstance(table, pd.DataFrame):
        table = open_table(table)
    name, _ = key_columns(table, None, None)
    table = table[table[name] > 0].sort_values(name)
    ids = table[name]
    if not ids.is_unique:
        if "source" in table.columns and table["source"].nunique() > 1:
            raise ArgumentError(
                f"the table has the objects of {table['source'].nunique()} images (column source), and the label image "
                f"is one: {remedy('pass the rows of its source', 'pass a table of this image alone')}"
            )
        raise ArgumentError(
            f"the table has id {ids[ids.duplicated()].iloc[0]} in several rows, as ids restart in every frame, and "
            "the metadata of a label image have one entry per id: write ids that differ between frames with "
            f"{option('unique_ids', True)}, or pass the rows of one frame"
        )
    columns = [column for column in table.columns if column != name]
    most = max(1, _MOST_VALUES // max(1, len(columns)))
    if len(table) > most:
        warn(
            f"{spec.storage.location}: its table has {len(table):,} objects: "
            "the metadata of the image hold the properties of the first "
            f"{most:,} ids, and the table those of all"
        )
        table = table.iloc[:most]
    made: list[dict[str, Any]] = [{"label-value": int(number)} for number in table[name]]
    for column in columns:
        for entry, value in zip(made, table[column].tolist(), strict=True):
            if _is_json(value):
                entry[str(column)] = value
    return made


def _is_json(value: object) -> bool:
    """Whether JSON can hold the value: NaN it cannot."""
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
