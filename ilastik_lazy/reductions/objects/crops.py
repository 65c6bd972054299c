"""Properties that need a whole object at once: a second pass reads each one, and scikit-image measures it."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.library_errors import require_package
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.lazy.clusters import anywhere_in_order
from ilastik_lazy.reductions.objects.measuring_pass import Image
from ilastik_lazy.reductions.objects.object_axes import ObjectAxes, Space, large_block
from ilastik_lazy.reductions.objects.sums import Sums

__all__ = ["OF_WHOLE_OBJECTS", "check_whole_objects", "whole_object_columns"]

Array = np.ndarray[Any, Any]

OF_WHOLE_OBJECTS: dict[str, int | None] = {
    "perimeter": 1,
    "euler_number": None,
    "intensity_median": None,
    "area_convex": -1,
    "solidity": None,
    "feret_diameter_max": 1,
}
"""Names in scikit-image, and the power of the unit of length in the values; -1 for an area or a volume."""

_OF_HULLS = ("area_convex", "solidity", "feret_diameter_max")


class _Batch(NamedTuple):
    """Objects that begin in one block of one frame."""

    rows: Array
    ids: Array
    low: Array
    """For each axis of space and each object."""
    high: Array
    frame: int


@dataclass(frozen=True, slots=True)
class _MeasureWhole:
    """The work on a batch."""

    source: ArraySource
    axes: ObjectAxes
    image: Image | None
    spacing: tuple[float, ...]
    names: tuple[str, ...]

    def __call__(self, batch: _Batch) -> list[Array]:
        """Return the values of each property, a row for each channel."""
        from skimage.measure import regionprops

        measured: Any = regionprops  # not typed
        region = self._region(batch)
        labels = self.axes.canonical(self.source.read(region))[0]
        images = [] if self.image is None else list(self.image.read(region, self.source.spec.dims))
        values = [self.axes.canonical(each)[0] for each in images]
        origin, ndim = self.axes.origin(region), len(self.spacing)
        found: list[list[Any]] = [[] for _ in self.names]
        for number, low, high in zip(batch.ids.tolist(), batch.low.T, batch.high.T, strict=True):
            box = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
            mask = (labels[box] == number).astype(np.uint8)
            mask = mask.reshape(mask.shape[3 - ndim :])
            inside = np.stack([each[box].reshape(mask.shape) for each in values], -1) if values else None
            (whole,) = measured(mask, inside, spacing=self.spacing)
            has_hull = ndim < 3 or not self._needs_hulls or not _is_flat(mask)
            for name, column in zip(self.names, found, strict=True):
                value = getattr(whole, name) if has_hull or name not in _OF_HULLS else math.nan
                column.append(np.atleast_1d(value))
        return [np.stack(column, axis=-1) for column in found]

    @property
    def _needs_hulls(self) -> bool:
        return not set(_OF_HULLS).isdisjoint(self.names)

    def _region(self, batch: _Batch) -> Region:
        """Return the part of the image that holds all objects of a batch."""
        axes = self.axes
        low, high = batch.low.min(axis=1)[-len(axes.space) :], batch.high.max(axis=1)[-len(axes.space) :]
        parts = dict(zip(axes.space, map(slice, low.tolist(), high.tolist()), strict=True))
        lengths = [axes.shape[axis] for axis in axes.frames]
        at = np.unravel_index(batch.frame, lengths) if lengths else ()
        parts |= {axis: slice(int(i), int(i) + 1) for axis, i in zip(axes.frames, at, strict=True)}
        return tuple(parts[axis] for axis in range(len(axes.shape)))


def _is_flat(mask: Array) -> bool:
    """Whether all voxels of an object lie in one plane: scikit-image finds no hull of it, and gives 0, inf or fails."""
    places = np.argwhere(mask)
    return bool(np.linalg.matrix_rank(places - places[0]) < mask.ndim)


def check_whole_objects(names: Sequence[str], space: Space, has_intensity: bool) -> None:
    """Raise unless these of `OF_WHOLE_OBJECTS` can be measured.

    Raises
    ------
    ArgumentError
        One of them is not defined for such an image.
    MissingExtraError
        scikit-image is missing.
    """
    for name in names:
        if name == "intensity_median" and not has_intensity:
            raise ArgumentError(f"{option('properties', name)} needs an image: pass {option('intensity')}")
        if space.ndim == 1 or (name == "perimeter" and space.ndim != 2):
            raise ArgumentError(f"{option('properties', name)}: it is not defined in {space.ndim} dimensions")
        if name == "perimeter" and len(set(space.spacing)) > 1:
            raise ArgumentError(
                f"{option('properties', name)}: it is not defined for pixels that are not square ({space.spacing})"
            )
    if names:
        require_package("skimage", "shapes", f"{', '.join(names)}: these need scikit-image")


def whole_object_columns(
    source: ArraySource,
    axes: ObjectAxes,
    image: Image | None,
    space: Space,
    names: Sequence[str],
    objects: tuple[Array, Array, Sums],
    workers: int,
) -> dict[str, Array]:
    """Measure objects one by one: for each property its values, with a row for each channel if it is of intensities.

    Parameters
    ----------
    objects
        Frame, id and sums of each.
    """
    frames, ids, sums = objects
    work = _MeasureWhole(source, axes, image, space.spacing, tuple(names))
    tables: dict[str, Array] = {}
    with contextlib.closing(anywhere_in_order(work, _batches(source, axes, frames, ids, sums), workers)) as results:
        for batch, found in results:
            for name, values in zip(names, found, strict=True):
                table = tables.setdefault(name, np.zeros((len(values), len(ids)), values.dtype))
                table[:, batch.rows] = values
    channels = 1 if image is None else max(1, image.channels)
    return {name: tables.get(name, np.zeros((channels if name == "intensity_median" else 1, 0))) for name in names}


def _batches(source: ArraySource, axes: ObjectAxes, frames: Array, ids: Array, sums: Sums) -> Iterator[_Batch]:
    block = [large_block(source.spec)[axis] for axis in axes.space]
    lengths = np.array([1, 1, 1, *block][-3:])
    places = sums.low // lengths[:, None]
    order = np.lexsort((*places[::-1], frames))
    keys = np.stack([frames, *places])[:, order]
    borders = np.flatnonzero((np.diff(keys, axis=1) != 0).any(axis=0)) + 1
    for first, last in itertools.pairwise([0, *borders.tolist(), len(order)]):
        rows = order[first:last]
        if len(rows):
            yield _Batch(rows, ids[rows], sums.low[:, rows], sums.high[:, rows], int(frames[rows[0]]))
