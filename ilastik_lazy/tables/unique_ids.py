"""`unique_ids`: one id for each object of a time series, in its label image and in its table."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import pandas as pd
import xarray as xr

from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.frame_ids import FrameIds
from ilastik_lazy.errors import ArgumentError, remedy
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.frames import frames_of
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.tables.rows import key_columns, rows_of

__all__ = ["unique_ids", "with_unique_ids"]


@overload
def unique_ids(
    labels: AnySource, table: None = None, *, label: str | None = None, time: str | None = None, step: int | None = None
) -> xr.DataArray: ...
@overload
def unique_ids(
    labels: AnySource,
    table: pd.DataFrame,
    *,
    label: str | None = None,
    time: str | None = None,
    step: int | None = None,
) -> tuple[xr.DataArray, pd.DataFrame]: ...
def unique_ids(
    labels: AnySource,
    table: pd.DataFrame | None = None,
    *,
    label: str | None = None,
    time: str | None = None,
    step: int | None = None,
) -> xr.DataArray | tuple[xr.DataArray, pd.DataFrame]:
    """Give the objects of a time series ids that differ between frames, lazily.

    ilastik, `label_objects` and most other programs number the objects of each frame from 1 on, while viewers and
    tables commonly have one row for an id.  Id 17 of frame 3 becomes ``3 * step + 17``.  No other frame has to be
    read, and a part of a time series has the ids of the whole.

    Where the same object should have one id in all frames, `paint` the tracks of its table:
    ``paint(labels, table, "trackId")``.

    Parameters
    ----------
    labels
        Image of ids, such as *Object Identities*, or what `label_objects` returned.  Frames of an opened image keep
        their numbers when it is cropped along ``t``; in another order, only where they have positions along ``t``.  An
        image without ``t`` has unique ids already.
    table
        Its table, as `open_table` or `measure_objects` returned it.
    label, time
        Columns of ids and of frames in `table`; see `paint`.
    step
        A number above all ids of a frame.  By default the power of ten above all ids that 8 or 16 bits can hold, and
        for 32 bits 10**6, so that id 17 of frame 3 is 3017, 300017 or 3000017; but 10**10 for 64 bits, for more frames
        than fit into uint32, and for larger ids in `table`.

    Returns
    -------
    labels : xarray.DataArray
        uint32 where that can hold the ids of all frames, else uint64, in the dims of `labels`; values below 1 are
        background.
    table : pandas.DataFrame
        Only with `table`: a copy with the new ids in the same column, and the rows of the frames that `labels` show.
        Rows with ids below 1, which stand for no object, are left out.

    Raises
    ------
    ArgumentError
        The image holds no ids of objects, 64 bits cannot hold them, the table does not match it (see `paint`), or it
        is not known which frames `labels` are.  While voxels are computed: an id is not below `step`.

    Examples
    --------
    >>> import numpy as np, xarray as xr, ilastik_lazy as il
    >>> labels = xr.DataArray(np.array([[0, 1, 2], [1, 1, 0]], "u1"), dims=("t", "x"))
    >>> il.unique_ids(labels).values.tolist()
    [[0, 1, 2], [1001, 1001, 0]]

    With their table:

    >>> cells, table = il.unique_ids(labels, il.measure_objects(labels))
    >>> table[["timestep", "label", "num_pixels"]].values.tolist()
    [[0, 1, 1], [0, 2, 1], [1, 1001, 2]]
    """
    keys: dict[str, Any] = {"label": label, "time": time, "step": step}
    if not isinstance(labels, xr.DataArray):
        source = as_source(labels)
        made, rows = with_unique_ids(source, source, table, **keys)
        unique = to_dataarray(made, "auto").rename(made.spec.name)
    else:
        array = labels.rename({dim: str(dim).lower() for dim in labels.dims})
        # Positions along t need not be even, and stay what they are.
        made, rows = with_unique_ids(as_source(array.drop_vars(list(array.coords))), array, table, **keys)
        unique = to_dataarray(made, "auto").rename(array.name).assign_coords(array.coords)
    return unique if rows is None else (unique, rows)


def with_unique_ids(
    source: ArraySource,
    labels: xr.DataArray | ArraySource,
    table: pd.DataFrame | None,
    *,
    label: str | None = None,
    time: str | None = None,
    step: int | None = None,
) -> tuple[ArraySource, pd.DataFrame | None]:
    """Return a source and its table with ids that differ between frames; as they are, if there are no frames.

    Parameters
    ----------
    labels
        What the source was made of, which shows its frames (see `frames_of`).
    table, label, time, step
        See `unique_ids`.
    """
    _require_ids(source.spec)
    frames, length = frames_of(labels)
    if frames is None or length is None:
        return source, table
    numbers = frames.reshape(-1).tolist()
    if table is None:
        return FrameIds.of(source, numbers, length, step), None
    name, when = key_columns(table, label, time)
    rows = rows_of(table, np.arange(len(table)), name, when, frames, length, None)
    unique = FrameIds.of(source, numbers, length, step, int(table[name].max()) if len(table) else 0)
    ids = unique.numbered(rows.frames if frames.ndim else np.full(len(rows.ids), frames), rows.ids)
    order = np.argsort(rows.values)
    made = table.iloc[rows.values[order]].copy()
    made[name] = ids[order].astype(np.int64) if not len(ids) or ids.max() < 2**63 else ids[order]
    return unique, made


def _require_ids(spec: ArraySpec) -> None:
    if spec.kind not in (None, "object identities") or spec.dtype.kind not in "iuf":
        known = " (which have one id for an object over time already)" if spec.kind == "tracking" else ""
        raise ArgumentError(
            f"{spec.storage.location} holds {spec.kind or spec.dtype}{known}, and only ids of objects become unique: "
            "pass the image of object identities" + remedy(", or number a mask with label_objects()")
        )
