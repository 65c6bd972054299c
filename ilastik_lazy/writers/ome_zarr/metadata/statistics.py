"""Statistics that a conversion collects on its way: the range of the voxels, and the number in each class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.writers.ome_zarr.plan.plan import Shard

__all__ = ["Statistics", "statistics_of"]

_MOST_COUNTED = 255
_AT_ONCE = 2**18
# Comparing with a value takes 0.1 ns a voxel, `bincount` 2 ns.
_FEW = 16


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mergeable results of a part of an image."""

    ranges: Mapping[int, tuple[float, float]]
    """Least and greatest finite value of each channel; of channel 0 if there is no channel axis."""

    counts: Mapping[int, int]
    """Voxels of each value of a label image; empty if some values were too large to count, then there is a range."""

    def merged(self, other: Statistics) -> Statistics:
        """Statistics of two parts together."""
        ranges = dict(self.ranges)
        for channel, (low, high) in other.ranges.items():
            a, b = ranges.get(channel, (low, high))
            ranges[channel] = min(a, low), max(b, high)
        counts = dict(self.counts)
        for value, count in other.counts.items():
            counts[value] = counts.get(value, 0) + count
        if ranges and counts:
            low, high = ranges.get(0, (math.inf, -math.inf))
            ranges, counts = {0: (min(low, *counts), max(high, *counts))}, {}
        return Statistics(ranges, counts)

    def measured(self, spec: ArraySpec) -> list[tuple[float, float]]:
        """Least and greatest value of each channel, NaN if none is finite; one pair for a label image."""
        if self.counts:
            return [(min(self.counts), max(self.counts))]
        return [self.ranges.get(channel, (math.nan, math.nan)) for channel in range(spec.channels)]

    def agreed(self, spec: ArraySpec) -> ArraySpec:
        """Remove inherited metadata from `spec` that the voxels contradict."""
        ends = np.array(self.measured(spec), float)
        ends = ends[np.isfinite(ends).all(axis=1)]
        return spec.agreeing(float(ends[:, 0].min()), float(ends[:, 1].max())) if len(ends) else spec

    def voxels_per_class(self, spec: ArraySpec) -> dict[str, int]:
        """Count the voxels of each class by its name; classes count from 1, and 0 belongs to none."""
        known = self.agreed(spec).channel_names
        # Two classes may have one name, or the number of another, and each has its own voxels.
        names = {
            k: name if known.count(name) == 1 and not name.isdecimal() else f"{name} ({k})"
            for k, name in enumerate(known, 1)
        }
        return {names.get(value, str(value)): self.counts[value] for value in sorted(self.counts)}

    def as_json(self) -> dict[str, Any]:
        """Plain values; the keys of JSON's objects are texts."""
        return {
            "ranges": {str(channel): list(ends) for channel, ends in self.ranges.items()},
            "counts": {str(value): count for value, count in self.counts.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Statistics:
        return cls(
            {int(channel): (float(low), float(high)) for channel, (low, high) in found["ranges"].items()},
            {int(value): int(count) for value, count in found["counts"].items()},
        )


def statistics_of(spec: ArraySpec, shard: Shard, block: np.ndarray[Any, Any], *, ranges: bool = True) -> Statistics:
    """Measure a shard of level 0.

    Parameters
    ----------
    spec
        What is known of the source: classes are counted in label images, if no value exceeds 255; a range is
        measured where the file notes none.
    block
        Voxels in the target's order of axes.
    ranges
        Whether ranges are measured, too.
    """
    if spec.is_label_image:
        if block.dtype != np.uint8:
            if not spec.holds_classes or block.dtype.kind not in "iu":
                return Statistics({}, {})
            least, most = int(block.min()), int(block.max())
            if least < 0 or most > _MOST_COUNTED:
                return Statistics({0: (least, most)}, {})
        flat, counts = block.reshape(-1), np.zeros(256, np.int64)
        # numpy makes a copy with 8 bytes for each value.
        for start in range(0, flat.size, _AT_ONCE):
            part = flat[start : start + _AT_ONCE]
            if (most := int(part.max())) < _FEW:
                lower = [np.count_nonzero(part == value) for value in range(most)]
                counts[: most + 1] += np.array([*lower, part.size - sum(lower)])
            else:
                counts += np.bincount(part, minlength=256)
        return Statistics({}, {int(value): int(counts[value]) for value in np.flatnonzero(counts)})
    if not ranges or (spec.drange is not None and not spec.is_inherited) or block.dtype.kind == "b":
        return Statistics({}, {})
    names = [axis.name for axis in shard.level.axes]
    channel_axis = names.index("c") if "c" in names else None
    first = 0 if channel_axis is None else shard.region[channel_axis].start
    channels = 1 if channel_axis is None else block.shape[channel_axis]
    found = {}
    for k in range(channels):
        part = block if channel_axis is None else block.take(k, axis=channel_axis) if channels > 1 else block
        # Unlike `min`, these ignore NaN.
        low, high = float(np.fmin.reduce(part, axis=None)), float(np.fmax.reduce(part, axis=None))
        if not np.isfinite([low, high]).all():
            finite = part[np.isfinite(part)]
            if not finite.size:
                continue
            low, high = float(finite.min()), float(finite.max())
        found[first + k] = low, high
    return Statistics(found, {})
