"""Which voxels belong to objects: a threshold, or classes, after a Gaussian where one is wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.classes import place_of_class
from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.library_errors import require_package
from ilastik_lazy.core.spec import COMPUTED, ArraySource, ArraySpec
from ilastik_lazy.core.views.view import View
from ilastik_lazy.errors import ArgumentError, option, remedy

__all__ = ["ByClass", "ByThreshold", "SmoothedSource", "smoothed"]

Array = np.ndarray[Any, Any]

_WINDOW = 2.0
"""Radius of the kernel in sigmas: `window_size` of ilastik's thresholding."""


@dataclass(frozen=True, slots=True)
class ByThreshold:
    """Voxels whose value reaches a threshold.

    Examples
    --------
    >>> ByThreshold.of(np.dtype("uint8"), (0.0, 255.0), 0.5)
    ByThreshold(least=128)
    """

    least: float

    @classmethod
    def of(cls, dtype: np.dtype[Any], drange: tuple[float, float] | None, threshold: float) -> ByThreshold:
        """Make the rule for values of a dtype; `drange` is the range that stands for 0 to 1, if it is known."""
        low, high = (0.0, 1.0) if drange is None else drange
        least = low + threshold * (high - low)
        # Whole numbers are compared as such: 128 reaches 127.5 as it reaches 128.
        return cls(math.ceil(least) if dtype.kind in "iub" else least)

    def of_values(self, values: Array) -> Array:
        """Return whether each value belongs to an object; NaN does not."""
        if values.dtype.kind == "b":
            return values if 0 < self.least <= 1 else np.full(values.shape, self.least <= 0)
        if values.dtype.kind in "iu":
            limits = np.iinfo(values.dtype)
            if not limits.min < self.least <= limits.max:
                return np.full(values.shape, self.least <= limits.min)
        return np.asarray(values >= self.least)


@dataclass(frozen=True, slots=True)
class ByClass:
    """Voxels of some classes."""

    numbers: tuple[int, ...]

    @classmethod
    def of(cls, spec: ArraySpec, classes: object) -> ByClass:
        """Make the rule for one class or several, by number or name.

        Raises
        ------
        ArgumentError
            The image holds no classes, or none of that name.
        """
        where = spec.storage.location
        if spec.dtype.kind not in "iu":
            raise ArgumentError(
                f"{option('classes', classes)}: {where} holds {spec.dtype}, and a class image holds whole numbers: "
                f"pass {option('threshold')} in place of it"
            )
        wanted = classes if isinstance(classes, list | tuple | set | frozenset | np.ndarray) else [classes]
        numbers = []
        for each in wanted:
            if isinstance(each, str):
                if each not in spec.channel_names:
                    raise ArgumentError(f"{option('classes', each)}: {where} has {_known_classes(spec)}")
                numbers.append(place_of_class(each, spec.channel_names, where) + 1)
            elif isinstance(each, int | np.integer) and not isinstance(each, bool):
                if spec.channel_names and not 0 <= each <= len(spec.channel_names):
                    raise ArgumentError(f"{option('classes', each)}: {where} has {_known_classes(spec)}")
                numbers.append(int(each))
            else:
                raise ArgumentError(f"{option('classes', each)}: expected names or numbers of classes")
        limits = np.iinfo(spec.dtype)
        if not numbers or not all(limits.min <= number <= limits.max for number in numbers):
            raise ArgumentError(f"{option('classes', classes)}: expected classes that {spec.dtype} can hold")
        return cls(tuple(sorted(set(numbers))))

    def of_values(self, values: Array) -> Array:
        """Return whether each value belongs to an object."""
        found: Array = values == self.numbers[0]
        for number in self.numbers[1:]:
            found |= values == number
        return found


def _known_classes(spec: ArraySpec) -> str:
    """The names of classes by their numbers, or how to get them."""
    if spec.channel_names:
        return ", ".join(f"{name} ({number})" for number, name in enumerate(spec.channel_names, 1))
    return "none by name: " + remedy("open it with project=, or pass numbers", "--project FILE.ilp names them")


@dataclass(frozen=True, slots=True)
class SmoothedSource(View):
    """Another source after a Gaussian, as ilastik's thresholding applies it."""

    spec: ArraySpec
    source: ArraySource
    sigmas: tuple[float, ...]
    """For each axis, in voxels; 0 leaves it as it is."""

    @property
    def how(self) -> Mapping[str, Any]:
        return {"gaussian": list(self.sigmas)}

    def read(self, region: Region) -> Array:
        """Read `region` (see `ArraySource.read`), with as many voxels around it as the Gaussian reaches."""
        from scipy.ndimage import correlate1d

        kernels = [_kernel(sigma) for sigma in self.sigmas]
        wide, inside = [], []
        for part, kernel, length in zip(region, kernels, self.spec.shape, strict=True):
            reach = len(kernel) // 2
            start, stop = max(0, part.start - reach), min(length, part.stop + reach)
            wide.append(slice(start, stop))
            inside.append(slice(part.start - start, part.stop - start))
        values = self.source.read(tuple(wide)).astype(np.float32)
        for axis in (axis for axis, kernel in enumerate(kernels) if len(kernel) > 1 and values.size):
            # Mirrored at the borders of the image; what is mirrored elsewhere reaches none of the voxels inside.
            values = correlate1d(values, kernels[axis], axis, mode="mirror")
        return np.ascontiguousarray(values[tuple(inside)])


def _kernel(sigma: float) -> Array:
    """Compute the weights as vigra does: 2 sigma to each side, at least one voxel, summing to 1."""
    if not sigma:
        return np.ones(1)
    radius = max(1, int(_WINDOW * sigma + 0.5))
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def smoothed(source: ArraySource, smooth: float | Mapping[str, float] | None) -> ArraySource:
    """Apply a Gaussian to `source`; return `source` itself without one.

    Parameters
    ----------
    smooth
        Sigma in voxels along all axes of space, or by the name of an axis.

    Raises
    ------
    ArgumentError
        A sigma is not a number from 0 on, or is for an axis that is not one of space.
    MissingExtraError
        scipy is missing.
    """
    spec = source.spec
    if smooth is None:
        return source
    wanted = dict(smooth) if isinstance(smooth, Mapping) else {name: smooth for name in spec.dims if name in "zyx"}
    for name, sigma in wanted.items():
        if name not in ("z", "y", "x") or not isinstance(sigma, int | float | np.number) or not 0 <= sigma < math.inf:
            raise ArgumentError(
                f"{option('smooth', smooth)}: expected sigmas in voxels along z, y and x, from 0 on: "
                + remedy(
                    'a number, or one by axis such as {"y": 1, "x": 1}', "a number, or one by axis such as y=1,x=1"
                )
            )
    sigmas = tuple(
        float(wanted.get(name, 0)) if length > 1 else 0.0 for name, length in zip(spec.dims, spec.shape, strict=True)
    )
    if not any(sigmas):
        return source
    require_package("scipy", "objects", "a Gaussian needs scipy")
    storage = replace(spec.storage, compression="computed", access=COMPUTED, order=(), buffers=8)
    return SmoothedSource(replace(spec, dtype=np.dtype(np.float32), packing=None, storage=storage), source, sigmas)
