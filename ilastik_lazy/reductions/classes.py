"""How much of an image each class takes: `measure_classes`, in one pass over a segmentation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.kinds import with_classes_of_name
from ilastik_lazy.core.parallel import MEMORY, Progress, over_blocks, threads_for
from ilastik_lazy.core.size_text import human_bytes, parse_size
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError, option, remedy
from ilastik_lazy.lazy.frames import Frames, frames_of
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.reductions.histogram import counted
from ilastik_lazy.reductions.objects.columns import units_of
from ilastik_lazy.reductions.objects.object_axes import Space
from ilastik_lazy.showing.progress import shows_progress

__all__ = ["measure_classes"]

Array = np.ndarray[Any, Any]

_MOST_CLASSES = 2**16
# As in the tables of ilastik, and of `measure_objects`.
_COLUMNS = {"t": "timestep", "c": "channel"}
_LONG_ROW = 2**14
_ROW_BYTES = 64
"""Eight numbers, or references to names."""


@shows_progress("counting", 3)
def measure_classes(
    segmentation: AnySource,
    by: Iterable[str] = (),
    *,
    workers: int | None = None,
    memory: str | int = MEMORY,
    progress: Progress | bool | None = None,
) -> pd.DataFrame:
    """Count the voxels of each class, and state the area or volume and the share that they take.

    Parameters
    ----------
    segmentation
        Image of classes: a path, what `open_dataarray` or `classify` returned, or an `ArraySource`.
    by
        Dims whose positions are measured separately: ``"z"`` for slices, ``"t"`` for frames, ``"tz"`` or
        ``("t", "z")`` for the slices of each frame.  Along the others all voxels are counted together.
    workers, memory, progress
        See `reduce`.

    Returns
    -------
    pandas.DataFrame
        A row for each position along `by` and each class, also where the class has no voxels there.  The columns are
        ``timestep`` (the number of the frame, from 0, in the image as it was opened) and ``channel`` (a number from 0)
        for ``t`` and ``c`` in `by`, and ``z``, ``y``, ``x`` (positions of the image, or numbers from 0 where it has
        none); ``class``; ``name``, which is the number where the class has none; ``num_pixels``; ``area``, the area or
        volume of these voxels; and ``share``, their part of all voxels at this position, 0 to 1.  Class 0, voxels
        without a class, has rows if there are such voxels.  ``area`` is in the unit that ``attrs["units"]`` names, or
        in voxels where the size of a voxel is not known.

    Raises
    ------
    AxesError
        `by` names a dim that is not there.
    ArgumentError
        The values are fractions, ids of objects, below 0 or above 65,535.  Other whole numbers are counted as classes.
    MemoryLimitError
        The counts do not fit into `memory`.
    CorruptChunkError, SourceError
        A block cannot be read; nothing is returned.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> classes = il.open_dataarray(sample("segmentation"), project=sample("project"))
    >>> table = il.measure_classes(classes)
    >>> table.round(3)
       class        name  num_pixels      area  share
    0      1     nucleus       46473   2323.65  0.057
    1      2  background      772727  38636.35  0.943
    >>> table.attrs["units"]
    {'area': 'micrometer^3'}
    >>> slices = il.measure_classes(classes, by="z")
    >>> float(slices[slices["name"] == "nucleus"]["share"].max().round(3))
    0.102
    """
    assert not isinstance(progress, bool)
    source, most_bytes = with_classes_of_name(as_source(segmentation)), parse_size(memory, "memory")
    spec = source.spec
    axes, threads = _axes_of(spec, by), threads_for(workers)
    _require_classes(spec)
    is_by_frame = "t" in [spec.dims[axis] for axis in axes]
    frames = frames_of(segmentation if isinstance(segmentation, xr.DataArray) else source)[0] if is_by_frame else None
    _require_memory(spec, axes, 1, most_bytes)
    counts = np.zeros((*(spec.shape[axis] for axis in axes), 0), np.int64)

    def work(_: Region, block: Array) -> Array:
        return _counts_of(spec, block, axes)

    for region, found in over_blocks(with_shared_parts(source, threads), work, threads, progress, 0, 1):
        if (more := found.shape[-1] - counts.shape[-1]) > 0:
            _require_memory(spec, axes, found.shape[-1], most_bytes)
            counts = np.pad(counts, [(0, 0)] * len(axes) + [(0, more)])
        counts[(*(region[axis] for axis in axes), slice(found.shape[-1]))] += found
    return _table(spec, axes, counts, frames)


def _axes_of(spec: ArraySpec, by: Iterable[str]) -> tuple[int, ...]:
    names = tuple(name.lower() for name in by)
    if unknown := [name for name in names if name not in spec.dims]:
        raise AxesError(f"no dim {unknown[0]!r} to measure by: {spec.storage.location} has {', '.join(spec.dims)}")
    if len(set(names)) < len(names):
        raise AxesError(f"{option('by', by)} names a dim twice")
    return tuple(spec.dims.index(name) for name in names)


def _require_classes(spec: ArraySpec) -> None:
    where = spec.storage.location
    if spec.dtype.kind not in "biu":
        what = remedy(
            "pass classify(probabilities), or convert whole numbers with .astype('uint8')",
            "pass --kind probabilities, or --kind segmentation if its values are the numbers of classes",
        )
        raise ArgumentError(
            f"{where} holds {spec.kind or 'values of unknown kind'} ({spec.dtype}), not classes: {what}"
        )
    if spec.is_label_image and not spec.holds_classes:
        raise ArgumentError(f"{where} holds {spec.kind}, not classes: pass it to measure_objects")


def _require_memory(spec: ArraySpec, axes: tuple[int, ...], classes: int, memory: int) -> None:
    needed = _ROW_BYTES * math.prod(spec.shape[axis] for axis in axes) * classes
    if needed > memory:
        raise MemoryLimitError(
            f"a table of the classes of {spec.storage.location} takes {human_bytes(needed)}, more than "
            f"{option('memory', human_bytes(memory))}: measure by fewer dims, or allow more memory"
        )


def _counts_of(spec: ArraySpec, block: Array, axes: tuple[int, ...]) -> Array:
    """Voxels of each class in a block: an array with the dims `axes`, and a last one for classes."""
    moved = np.moveaxis(block, axes, range(len(axes)))
    lengths = moved.shape[: len(axes)]
    rows = moved.reshape(math.prod(lengths), -1)
    if rows.dtype.kind == "b":
        rows = rows.view(np.uint8)
    low, high = (int(rows.min()), int(rows.max())) if rows.size else (0, 0)
    if low < 0 or high >= _MOST_CLASSES:
        raise ArgumentError(
            f"{spec.storage.location} holds numbers from {low} to {high}, and classes are 0 to {_MOST_CLASSES - 1}: "
            "if these are ids of objects, pass it to measure_objects"
        )
    return _counts_of_rows(rows, high + 1).reshape(*lengths, high + 1)


def _counts_of_rows(rows: Array, classes: int) -> Array:
    if rows.shape[1] >= _LONG_ROW:
        # numpy counts no unsigned numbers of 64 bits; here they are small.
        rows = rows.view(rows.dtype.str.replace("u8", "i8"))
        return np.array([counted(row, classes) for row in rows]).reshape(-1, classes)
    counts, step = np.zeros((len(rows), classes), np.int64), max(1, _LONG_ROW // max(1, rows.shape[1]))
    for first in range(0, len(rows), step):
        some = rows[first : first + step].astype(np.intp)
        # One count for many short rows: each has its own range of numbers.
        some += classes * np.arange(len(some))[:, np.newaxis]
        counts[first : first + step] = np.bincount(some.ravel(), minlength=len(some) * classes).reshape(-1, classes)
    return counts


def _table(spec: ArraySpec, axes: tuple[int, ...], counts: Array, frames: Frames | None) -> pd.DataFrame:
    names = spec.channel_names if spec.holds_classes else ()
    found = np.flatnonzero(counts.any(axis=tuple(range(len(axes)))))
    classes = sorted({*range(1, len(names) + 1), *found.tolist()})
    width = max(counts.shape[-1], len(names) + 1)
    counts = np.pad(counts, [(0, 0)] * len(axes) + [(0, width - counts.shape[-1])])[..., classes]
    voxels = math.prod(length for axis, length in enumerate(spec.shape) if axis not in axes)
    measured = [i for i, axis in enumerate(spec.axes) if i not in axes and axis.name in "zyx"]
    space = Space.of([spec.axes[i] for i in measured], [spec.shape[i] for i in measured])
    columns: dict[str, Any] = {}
    for place, axis in enumerate(axes):
        name, positions = spec.dims[axis], spec.axes[axis].positions(spec.shape[axis])
        at = np.arange(spec.shape[axis]) if name in _COLUMNS or positions is None else positions
        at = frames if name == "t" and frames is not None else at
        shape = [-1 if i == place else 1 for i in range(counts.ndim)]
        columns[_COLUMNS.get(name, name)] = np.broadcast_to(at.reshape(shape), counts.shape).ravel()
    named = [names[number - 1] if 1 <= number <= len(names) else str(number) for number in classes]
    columns["class"] = np.broadcast_to(np.array(classes, np.int64), counts.shape).ravel()
    columns["name"] = np.broadcast_to(np.array(named, object), counts.shape).ravel()
    columns["num_pixels"] = counts.ravel()
    columns["area"] = counts.ravel() * space.voxel
    columns["share"] = counts.ravel() / max(1, voxels)
    table = pd.DataFrame(columns)
    if units := units_of({"area": counts}, -1, space):
        table.attrs["units"] = units
    return table
