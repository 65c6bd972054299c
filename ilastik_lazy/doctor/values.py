"""Checks of the values that were read: what no probability and no class can be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.doctor.finding import Finding
from ilastik_lazy.errors import option, remedy

__all__ = ["Seen", "suspicious_values"]

# Probabilities of float32 that were scaled or averaged miss 0 and 1 by a rounding.
_ROUNDING = 1e-3
# More classes than anyone draws; a few that are numbered higher were scaled to the range of the dtype.
_FEW, _HIGH = 16, 32


@dataclass(slots=True)
class Seen:
    """Range of the values that were read."""

    least: float = math.inf
    most: float = -math.inf
    undefined: int = 0
    """NaN and infinite values."""
    count: int = 0
    classes: frozenset[int] | None = frozenset()
    """Values of an image of classes; None if there are many."""

    @classmethod
    def of(cls, values: np.ndarray[Any, Any], spec: ArraySpec) -> Seen:
        """Look at the values of a region; only where the kind of `spec` says what they may be."""
        if not values.size or not (spec.kind == "probabilities" or spec.holds_classes):
            return cls(count=values.size)
        if values.dtype.kind != "f":
            classes = np.unique(values).tolist() if spec.holds_classes else []
            return cls(float(values.min()), float(values.max()), 0, values.size, _few({*classes}))
        finite = np.isfinite(values)
        undefined = int(values.size - np.count_nonzero(finite))
        values = values[finite] if undefined else values
        if not values.size:
            return cls(undefined=undefined, count=undefined)
        return cls(float(values.min()), float(values.max()), undefined, values.size + undefined)

    def add(self, other: Seen) -> None:
        """Take in the values of another region."""
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.undefined += other.undefined
        self.count += other.count
        none = self.classes is None or other.classes is None
        self.classes = None if none else _few({*(self.classes or ()), *(other.classes or ())})


def _few(classes: set[int]) -> frozenset[int] | None:
    return frozenset(classes) if len(classes) <= _FEW else None


def suspicious_values(spec: ArraySpec, seen: Seen, *, is_masked: bool = False) -> Iterator[Finding]:
    """Find probabilities outside 0..1, values that are no number, and classes that have no name.

    Parameters
    ----------
    is_masked
        Chunks of the image were filled with NaN by a conversion, which is reported already.
    """
    if seen.undefined and not is_masked and spec.kind == "probabilities":
        yield Finding(
            "values",
            "warning",
            f"{seen.undefined:,} of {counted(seen.count, 'value')} that were read are NaN or infinite",
            "a probability is a number from 0 to 1; comparisons with NaN are false, so that thresholds leave these "
            "voxels out",
            "export the image again from ilastik, or have NaN left out: " + remedy("skipna=True", "--skipna"),
        )
    if seen.most < seen.least:
        return
    if spec.kind == "probabilities" and spec.dtype.kind == "f":
        if seen.least < -_ROUNDING or seen.most > 1 + _ROUNDING:
            yield Finding(
                "values",
                "warning",
                f"probabilities from {seen.least:g} to {seen.most:g} were read, and they lie within 0 and 1",
                "thresholds are fractions, and viewers show 0 to 1: were the values scaled at the export?",
                f"divide them, or state what they are: {option('kind', 'features')}",
            )
    elif spec.kind == "probabilities" and seen.most <= 1 and (spec.drange is None or spec.drange[1] <= 1):
        yield Finding(
            "values",
            "warning",
            f"probabilities were read as {spec.dtype}, and none of them lies between 0 and 1",
            "whatever was below 1 became 0: they were exported as whole numbers without being scaled",
            "export them again as float32, or as uint8 renormalized from 0..1 to 0..255",
        )
    elif spec.holds_classes and not spec.channel_names and seen.most > _HIGH and seen.classes is not None:
        yield Finding(
            "values",
            "warning",
            f"the classes {', '.join(map(str, sorted(seen.classes)))} were read, and ilastik numbers them from 1 on",
            "classes are counted, named and coloured by their numbers: these were scaled, as for display",
            "export the image again without renormalizing it",
        )
    elif spec.holds_classes and spec.channel_names and seen.most > len(spec.channel_names):
        yield Finding(
            "values",
            "warning",
            f"class {seen.most:g} was read, and there are {counted(len(spec.channel_names), 'name')}: "
            f"{', '.join(spec.channel_names)}",
            "voxels of this class have no name and no colour of their own",
            f"pass the project that made the image: {option('project')}",
        )
