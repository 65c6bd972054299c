"""The report of a finished conversion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ilastik_lazy.core.size_text import counted, human_bytes, human_seconds
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import option, remedy
from ilastik_lazy.showing.html import html_table

__all__ = ["ConversionReport", "unknown_steps"]

_MOST_CLASSES, _MOST_CHUNKS = 12, 10


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion wrote."""

    target: str
    levels: tuple[tuple[int, ...], ...]
    """Shape of each level, in OME order."""

    dims: tuple[str, ...]
    method: str
    codec: str
    bytes_decoded: int
    """Size of level 0 in memory."""

    bytes_written: int
    """Size of all voxels on the disk, including those that an earlier run has written."""

    seconds: float
    verified: bool
    reason: str = ""
    """Why chunks were moved as they are, or why not."""

    method_reason: str = ""
    """Why levels were made by `method`."""

    resumed: int = 0
    """Number of parts (shards, or blocks of chunks) that an earlier run had written."""

    parts: int = 0
    """Number of all parts."""

    voxels_per_class: Mapping[str, int] = field(default_factory=dict)
    """Voxels of a label image of 8 bits, by the name of the class, or its number."""

    labels: Mapping[str, ConversionReport] = field(default_factory=dict)
    """Reports of the label images that were written with the image, by name."""

    masked: tuple[str, ...] = ()
    """Chunks of the source that could not be decoded, and are filled (``on_error="mask"``)."""

    unknown_steps: tuple[str, ...] = ()
    """Axes of space along which the source states no voxel size."""

    @property
    def ratio(self) -> float:
        """Decoded bytes of level 0 for each byte on the disk, all levels counted."""
        return self.bytes_decoded / max(1, self.bytes_written)

    def as_json(self) -> dict[str, Any]:
        """Plain values by name, for programs."""
        labels = {name: report.as_json() for name, report in self.labels.items()}
        return {**dataclasses.asdict(replace(self, labels={})), "labels": labels, "ratio": self.ratio}

    def __str__(self) -> str:
        lines = [self.target, *(f"  {line}" for line in (self._levels(), self._size(), self._time()))]
        if self.unknown_steps:
            lines.append(f"  {self._unknown()}")
        if self.voxels_per_class:
            lines.append(f"  voxels: {self._classes()}")
        if self.masked:
            lines.append(f"  chunks that cannot be decoded and are filled: {len(self.masked):,}")
            lines += [f"    {text}" for text in self.masked[:_MOST_CHUNKS]]
            if len(self.masked) > _MOST_CHUNKS:
                lines.append(f"    and {len(self.masked) - _MOST_CHUNKS:,} more{remedy(', in `masked`')}")
        return "\n".join([*lines, *map(str, self.labels.values())])

    def _repr_html_(self) -> str:
        rows = [("levels", self._levels()), ("size", self._size()), ("time", self._time())]
        rows += [("voxel size", self._unknown())] if self.unknown_steps else []
        rows += [("voxels", self._classes())] if self.voxels_per_class else []
        rows += [("filled", "\n".join(self.masked[:_MOST_CHUNKS]))] if self.masked else []
        return html_table(self.target, rows)

    def _levels(self) -> str:
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.levels)
        how = f"; made by {self.method}" if len(self.levels) > 1 else ""
        why = f": {self.method_reason}" if how and self.method_reason else ""
        return f"{counted(len(self.levels), 'level')}, {'/'.join(self.dims)}: {shapes}{how}{why}"

    def _size(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        less = f"{self.ratio:.1f} times less" if self.ratio >= 1 else f"{1 / self.ratio:.1f} times more"
        return f"{human_bytes(self.bytes_written)} on disk, {less} than in memory; {self.codec}{why}"

    def _time(self) -> str:
        rate = f", {human_bytes(self.bytes_decoded / self.seconds)}/s" if self.seconds >= 1 and not self.resumed else ""
        # A rate would include what an earlier run has done.
        parts = "all" if self.resumed == self.parts else f"{self.resumed:,} of {counted(self.parts, 'part')}"
        earlier = f"; {parts} written by an earlier run" if self.resumed else ""
        return f"{human_seconds(self.seconds)}{rate}{earlier}{'; every voxel verified' if self.verified else ''}"

    def _unknown(self) -> str:
        along = ", ".join(self.unknown_steps)
        return f"voxel size along {along} unknown: if you know it, state it with {option('voxel_size')}"

    def _classes(self) -> str:
        total = sum(self.voxels_per_class.values())
        shown = [
            f"{name} {count:,} ({100 * count / total:.3g} %)"
            for name, count in list(self.voxels_per_class.items())[:_MOST_CLASSES]
        ]
        more = len(self.voxels_per_class) - len(shown)
        return ", ".join(shown) + (f", and {more} more values" if more else "")


def unknown_steps(spec: ArraySpec) -> tuple[str, ...]:
    """Name the axes of space with more than one voxel whose step is not known."""
    axes = zip(spec.axes, spec.shape, strict=True)
    return tuple(axis.name for axis, length in axes if axis.name in "zyx" and axis.scale is None and length > 1)
