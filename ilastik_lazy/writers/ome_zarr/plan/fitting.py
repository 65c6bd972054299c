"""Make a label image lie on its image: integers without a channel, on the axes of the image.

Most segmentations state no voxel size, and viewers would show them beside their image: they take that of the image.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.display import shows_labels
from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import converted
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.whole_numbers import whole_numbers
from ilastik_lazy.core.views.window import windowed
from ilastik_lazy.errors import ArgumentError, remedy
from ilastik_lazy.lazy.from_xarray import as_labels
from ilastik_lazy.warning import warn

__all__ = ["fitted"]


def fitted(labels: ArraySource, image: ArraySpec, name: str) -> ArraySource:
    """Return a label image as it is written below `image`.

    Raises
    ------
    ArgumentError
        Its numbers, axes, lengths or positions do not fit.
    """
    source = _integers(as_labels(labels))
    spec, lengths = source.spec, dict(zip(image.dims, image.shape, strict=True))
    kept = [n > 1 or (dim != "c" and dim in lengths) for dim, n in zip(spec.dims, spec.shape, strict=True)]
    source = windowed(source, tuple(slice(0, n) if keep else 0 for keep, n in zip(kept, spec.shape, strict=True)))
    spec = source.spec
    what = f"the label image {name!r} ({spec.storage.location})"
    if "c" in spec.dims:
        raise ArgumentError(
            f"{what} has {spec.channels} channels, and a label image has one" + remedy(": take .isel(c=0)")
        )
    if unknown := [dim for dim in spec.dims if dim not in lengths]:
        raise ArgumentError(f"{what} has an axis {unknown[0]!r}, which the image {image.storage.location} has not")
    if missing := [dim for dim, n in lengths.items() if dim not in ("c", *spec.dims) and n > 1]:
        raise ArgumentError(
            f"{what} has no axis {missing[0]!r}, along which {image.storage.location} has {lengths[missing[0]]} "
            "voxels: write it as an image of its own"
        )
    axes = tuple(_placed(axis, n, image, what) for axis, n in zip(spec.axes, spec.shape, strict=True))
    return source if axes == spec.axes else DescribedSource(replace(spec, axes=axes), source)


def _integers(source: ArraySource) -> ArraySource:
    """Return labels in a type that all viewers read: Neuroglancer reads neither bool nor int64."""
    dtype = source.spec.dtype
    if dtype.kind == "b":
        return whole_numbers(source, "segmentation")
    if not shows_labels(source.spec):
        source = with_kind(source, "object identities")
    return whole_numbers(source, source.spec.kind or "object identities") if dtype.str[1:] == "i8" else source


def _placed(axis: Axis, length: int, image: ArraySpec, what: str) -> Axis:
    """Return an axis of a label image as it lies on the image."""
    at = image.dims.index(axis.name)
    other, whole = image.axes[at], image.shape[at]
    where = f"along {axis.name!r}"
    mine = _in_unit(axis, other.unit)
    if length != whole:
        if mine is None or other.scale is None:
            raise ArgumentError(
                f"{what} has {length} voxels {where}, and {image.storage.location} has {whole}: the labels of a part, "
                "or of another resolution, need positions, and so does the image"
            )
        if not _lies_in(mine, length, other, whole):
            raise ArgumentError(f"{what} extends {where} beyond {image.storage.location}: check the positions of both")
        return mine
    if axis.scale is None:
        return other
    if other.scale is None:
        warn(
            f"{what} states a voxel size {where}, and {image.storage.location} does not: it is written without, so "
            "that it lies on its image"
        )
        return other
    if mine is None or not _is_same(mine, other):
        raise ArgumentError(
            f"{what} has {_shown(axis)} {where}, and {image.storage.location} {_shown(other)}: correct what is wrong"
        )
    return other


def _in_unit(axis: Axis, unit: str) -> Axis | None:
    """Return an axis in another unit; None if it has no step, or that is not possible."""
    if axis.scale is None or not (axis.unit and unit):
        return None if axis.scale is None else replace(axis, unit=axis.unit or unit)
    scale, translation = (converted(value, axis.unit, unit) for value in (axis.scale, axis.translation))
    if scale is None or translation is None:
        return None
    return replace(axis, scale=scale, translation=translation, unit=unit)


def _shown(axis: Axis) -> str:
    return f"a step of {axis.scale:g} {axis.unit or 'without unit'} from {axis.translation:g} on"


def _is_same(mine: Axis, other: Axis) -> bool:
    """Whether steps are equal but for rounding, and the first voxels less than one apart."""
    assert mine.scale is not None
    assert other.scale is not None
    near = abs(mine.translation - other.translation) <= 0.51 * other.scale
    return math.isclose(mine.scale, other.scale, rel_tol=1e-3) and near


def _lies_in(mine: Axis, length: int, other: Axis, whole: int) -> bool:
    """Whether the voxels of one axis lie in those of another, give or take a voxel: halving leaves out an odd one."""
    assert mine.scale is not None
    assert other.scale is not None
    low, high = mine.translation - mine.scale / 2, mine.translation + (length - 0.5) * mine.scale
    least, most = other.translation - other.scale / 2, other.translation + (whole - 0.5) * other.scale
    return low >= least - mine.scale and high <= most + mine.scale
