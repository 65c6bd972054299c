"""What a view shows: images in a form that Neuroglancer's client reads, with their contrast and their segments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from ilastik_lazy.core.display import shows_labels
from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.frame_ids import FrameIds
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.lazy.frames import frames_of
from ilastik_lazy.lazy.from_xarray import as_labels, as_source
from ilastik_lazy.serving.contrast import measured_contrast
from ilastik_lazy.tables import open_table
from ilastik_lazy.viewing.neuroglancer.images import in_one_place, readable, without_single_axes
from ilastik_lazy.viewing.neuroglancer.layers import Shown
from ilastik_lazy.viewing.neuroglancer.segments import (
    Segments,
    class_segments,
    ids_restart,
    object_rows,
    object_segments,
)
from ilastik_lazy.warning import warn

__all__ = ["AnyTable", "contents_of"]

AnyTable = str | os.PathLike[str] | pd.DataFrame
Content = tuple[ArraySource, Shown]
_Role = Literal["raw", "image", "labels"]


def contents_of(
    images: Sequence[object], raw: object | None, labels: Sequence[object], table: AnyTable | None
) -> list[Content]:
    """Return each image as it is served, and what is known of how it is to be shown.

    Parameters
    ----------
    images, raw, labels, table
        As in `view`.

    Raises
    ------
    ArgumentError
        There is no image, `labels` are no integers, or the table has no label image, or does not match it.
    """
    given: list[tuple[object, _Role]] = [] if raw is None else [(raw, "raw")]
    given += [(image, "image") for image in images] + [(image, "labels") for image in labels]
    if not given:
        raise ArgumentError("there is no image to show: pass at least one")
    roles = [role for _, role in given]
    sources = [_with_ids(as_labels(image)) if role == "labels" else as_source(image) for image, role in given]
    owner = None if table is None else _owner_of(sources, roles)
    placed, remarks = in_one_place(sources)
    for remark in remarks:
        warn(remark)
    contents = []
    for number, ((image, role), source) in enumerate(zip(given, placed, strict=True)):
        is_labels = shows_labels(source.spec) and role != "raw"
        served = without_single_axes(readable(source, is_labels=is_labels))
        segments = class_segments(source.spec) if is_labels else None
        if number == owner and table is not None:
            frames = frames_of(image if isinstance(image, xr.DataArray) else source)
            served, segments = _with_table(served, table, *frames)
        measured = None if is_labels else measured_contrast(served)
        contents.append((served, Shown("", served.spec, "", is_labels, role == "raw", measured, segments)))
    return contents


def _with_ids(source: ArraySource) -> ArraySource:
    """Return an image as one of ids, unless it states itself which labels it holds."""
    if shows_labels(source.spec):
        return source
    return with_kind(readable(source, is_labels=True), "object identities")


def _owner_of(sources: Sequence[ArraySource], roles: Sequence[_Role]) -> int:
    """Return the number of the image whose objects a table describes: of `labels` before others, of ids only."""
    candidates = [
        number
        for number, (source, role) in enumerate(zip(sources, roles, strict=True))
        if shows_labels(source.spec) and not source.spec.holds_classes and role != "raw"
    ]
    if not candidates:
        raise ArgumentError(
            f"{option('table')} describes objects, and no image holds their ids: pass {option('labels')}"
        )
    return min(candidates, key=lambda number: (roles[number] != "labels", number))


def _with_table(
    source: ArraySource, table: AnyTable, shown: np.ndarray[Any, Any] | None, length: int | None
) -> tuple[ArraySource, Segments | None]:
    """Return a label image and the columns of its table, joined by ids that are unique."""
    frame = table if isinstance(table, pd.DataFrame) else open_table(table)
    rows, keys = object_rows(frame, shown, length)
    unique = None
    if ids_restart(rows) and shown is not None and length is not None:
        source = unique = FrameIds.of(source, shown.tolist(), length, largest=int(rows.ids.max()))
    segments = object_segments(frame, rows, keys, unique)
    if segments is not None and segments.left_out:
        warn(f"the table has too many values to be shown: without {', '.join(segments.left_out)}")
    return source, segments
