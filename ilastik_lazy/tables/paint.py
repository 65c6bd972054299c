"""`paint` a column of a table into the pixels of its label image, lazily; find `mismatches` between the two.

Ids restart at 1 in every frame, so frame and id together identify an object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

from ilastik_lazy.core.axes import AXIS_NAMES
from ilastik_lazy.errors import ArgumentError, AxesError
from ilastik_lazy.lazy.frames import Frames, frames_of
from ilastik_lazy.tables.rows import Rows, key_columns, rows_of, values_of

__all__ = ["as_ids", "mismatches", "paint"]


def paint(
    labels: xr.DataArray,
    table: pd.DataFrame,
    column: str,
    *,
    label: str | None = None,
    time: str | None = None,
    background: float | None = None,
) -> xr.DataArray:
    """Put a column of a table into the pixels of its objects, lazily.

    Parameters
    ----------
    labels
        The *Object Identities* image, or a part of it.  Frames of an opened image keep their numbers when it is
        cropped along ``t``; the first frame of any other array is frame 0 of the table.
    table
        What `open_table` or `measure_objects` returned, or some of its rows; all rows must belong to one image.
    column
        Numbers keep their type.  Text becomes the numbers of its categories from 1 on: classes in ilastik's order,
        so that ``"Predicted Class"`` gives the export *Object Predictions*.  ``"trackId"`` gives an object one id in
        all frames, and -1 to objects without a track, as the table does.
    label, time
        Columns of ids and of frames, if not ``labelimage_oid``, ``labelimageId`` or ``label``, and ``timestep`` or
        ``frame``.
        Rows with ids below 1 stand for no object.
    background
        Value of pixels without a row: NaN for floats, else 0.  An integer column that cannot hold it gets a wider
        type, or float.

    Returns
    -------
    xarray.DataArray
        Dims, coordinates and blocks of `labels`; for text, ``attrs["flag_values"]`` and ``["flag_meanings"]``
        name the categories.  Where the table has units, ``attrs["units"]`` is that of the column.

    Raises
    ------
    ArgumentError
        A column is missing, an id occurs twice in a frame, the table has frames that the image lacks, or nothing
        shows which frames `labels` are.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> nuclei = il.open_dataarray(sample("probabilities"), project=sample("project")).sel(c="nucleus")
    >>> labels = il.label_objects(nuclei, min_size=20)
    >>> volumes = il.paint(labels, il.measure_objects(labels), "area")
    >>> round(float(volumes.max()), 1), volumes.attrs["units"]
    (124.6, 'micrometer^3')

    With a table and an image that ilastik exported:

    >>> cells = il.open_table("cells_table.h5")                                                # doctest: +SKIP
    >>> labels = il.open_dataarray("cells_Object Identities.h5")                               # doctest: +SKIP
    >>> sizes = il.paint(labels, cells, "Size in pixels")                                      # doctest: +SKIP
    """
    _check_labels(labels)
    name, when = key_columns(table, label, time)
    values, attributes = values_of(table, column)
    units = table.attrs.get("units")
    if isinstance(units, Mapping) and column in units:
        attributes["units"] = units[column]
    frames, length = frames_of(labels)
    rows = rows_of(table, values, name, when, frames, length, background)
    painted = _by_frame(labels, _paint_block, rows, frames, rows.values.dtype, "paint")
    return xr.DataArray(painted, labels.coords, labels.dims, column, {"long_name": column} | attributes)


def mismatches(
    labels: xr.DataArray, table: pd.DataFrame, *, label: str | None = None, time: str | None = None
) -> pd.DataFrame:
    """Find ids that only the label image or only the table has; reads the whole image, block by block.

    Parameters
    ----------
    labels, table, label, time
        As in `paint`.

    Returns
    -------
    pandas.DataFrame
        A row for each: its frame and id, in columns with the names of the table, and ``missing_from``, which is
        ``"image"`` or ``"table"``.  Empty if the two match.  Tables of tracking lack the objects that it left out.
    """
    _check_labels(labels)
    name, when = key_columns(table, label, time)
    frames, length = frames_of(labels)
    rows = rows_of(table, np.zeros(len(table), np.uint8), name, when, frames, length, None)
    blocks = _by_frame(labels, _ids_of_block, rows, frames, np.dtype(object), "ids")
    found: set[tuple[int, int]] = set()
    for block in compute(*blocks.to_delayed().ravel()):  # type: ignore[no-untyped-call]
        found.update(*block.flat)
    known = set(zip(rows.frames.tolist(), rows.ids.tolist(), strict=True))
    missing = [(*key, "table") for key in found - known] + [(*key, "image") for key in known - found]
    found_rows = pd.DataFrame(sorted(missing), columns=[when or "timestep", name, "missing_from"])
    return found_rows if missing else found_rows.astype(dict(zip(found_rows, (np.int64, np.int64, str), strict=True)))


def _check_labels(labels: xr.DataArray) -> None:
    if not isinstance(labels, xr.DataArray):
        raise ArgumentError(f"expected the label image as a DataArray, not {type(labels).__name__}: open it first")
    if unknown := [dim for dim in labels.dims if dim not in AXIS_NAMES]:
        raise AxesError(f"the dimension {unknown[0]!r} is not one of t, z, y, x, c: rename it with .rename()")
    # ilastik can export labels as any type, also float32; whether they are whole numbers is checked when they are read.
    if labels.dtype.kind not in "buif":
        raise ArgumentError(f"an array of {labels.dtype} is not a label image: expected whole numbers")


def _by_frame(
    labels: xr.DataArray, work: Callable[..., Any], rows: Rows, frames: Frames | None, dtype: np.dtype[Any], what: str
) -> da.Array:
    """Call `work` with each block and the numbers of its frames along ``t``."""
    lazy = labels if labels.chunks is not None else labels.chunk("auto")
    data, dims = lazy.data, lazy.dims
    # One key in the graph, which each task names: as an argument the rows would be in every task.
    # dask names it, and the result, after their contents.
    shared = delayed(rows, pure=True, traverse=False)
    arguments: list[Any] = [data, dims]
    if "t" in dims:
        along = da.from_array(frames, chunks=(data.chunks[dims.index("t")],))  # type: ignore[no-untyped-call]
        arguments += [along, ("t",)]
    made: da.Array = da.blockwise(  # type: ignore[no-untyped-call]
        work,
        dims,
        *arguments,
        rows=shared,
        axis=dims.index("t") if "t" in dims else None,
        dtype=dtype,
        meta=np.empty((0,) * data.ndim, dtype),
        token=what,
    )
    return made


def _frames_of(
    block: np.ndarray[Any, Any], frames: np.ndarray[Any, Any] | None, axis: int | None
) -> list[tuple[int, tuple[slice | int, ...]]]:
    """List the frames of a block, and their positions in it."""
    if frames is None or axis is None:
        return [(0, (slice(None),) * block.ndim)]
    before = (slice(None),) * axis
    return [(int(frame), (*before, i)) for i, frame in enumerate(frames)]


def _paint_block(
    block: np.ndarray[Any, Any], frames: np.ndarray[Any, Any] | None = None, *, rows: Rows, axis: int | None
) -> np.ndarray[Any, Any]:
    painted = np.empty(block.shape, rows.values.dtype)
    for frame, where in _frames_of(block, frames, axis):
        painted[where] = rows.painted(as_ids(block[where]), frame)
    return painted


def _ids_of_block(
    block: np.ndarray[Any, Any], frames: np.ndarray[Any, Any] | None = None, *, rows: Rows, axis: int | None
) -> np.ndarray[Any, Any]:
    """Return the frame and id of all objects in the block, as one element."""
    found = {
        (frame, int(value))
        for frame, where in _frames_of(block, frames, axis)
        for value in np.unique(as_ids(block[where]))
        if value > 0
    }
    element = np.empty((1,) * block.ndim, object)
    element[(0,) * block.ndim] = found
    return element


def as_ids(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert labels to unsigned integers; those below 1 become 0, the background."""
    if labels.dtype.kind == "f":
        # float64 holds all whole numbers up to 2**53; NaN fails the comparison.
        if not ((labels == np.floor(labels)) & (np.abs(labels) <= np.float64(2**53))).all():
            raise ArgumentError("the label image holds fractions: is it a probability map, or was it averaged?")
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind == "i":
        unsigned: np.ndarray[Any, Any] = np.maximum(labels, 0).astype(labels.dtype.str.replace("i", "u"))
        return unsigned
    return labels
