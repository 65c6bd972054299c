"""A part of an array as an array of its own, such as the sub-volume that a project works on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.chunks import Region, check_region
from ilastik_lazy.errors import MetadataError
from ilastik_lazy.spec import ArraySource, ArraySpec, Derivation

__all__ = ["WindowSource", "window_of"]


@dataclass(frozen=True, slots=True)
class WindowSource:
    """A part of another source; positions stay those of the whole image."""

    spec: ArraySpec
    source: ArraySource
    start: tuple[int, ...]

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`)."""
        check_region(region, self.spec.shape)
        moved = tuple(
            slice(part.start + first, part.stop + first) for part, first in zip(region, self.start, strict=True)
        )
        return self.source.read(moved)

    @property
    def derivation(self) -> Derivation:
        """See `DerivedSource`."""
        return Derivation((self.source,), {"window": [list(self.start), list(self.spec.shape)]})


def window_of(source: ArraySource, start: tuple[int, ...], stop: tuple[int, ...]) -> WindowSource:
    """The part of `source` from voxel `start` up to `stop`, which is not in it.

    Raises
    ------
    MetadataError
        It lies outside the image.
    """
    spec = source.spec
    bounds = list(zip(start, stop, spec.shape, strict=False))
    if not len(start) == len(stop) == spec.ndim or any(not 0 <= a < b <= length for a, b, length in bounds):
        raise MetadataError(
            f"{spec.storage.location}: the sub-volume from {start} to {stop} lies outside the image, shape {spec.shape}"
        )
    shape = tuple(b - a for a, b, _ in bounds)
    axes = tuple(
        axis if axis.scale is None else replace(axis, translation=axis.translation + first * axis.scale)
        for axis, first in zip(spec.axes, start, strict=True)
    )
    chunks = tuple(min(chunk, length) for chunk, length in zip(spec.chunks, shape, strict=True))
    return WindowSource(replace(spec, shape=shape, axes=axes, chunks=chunks), source, start)
