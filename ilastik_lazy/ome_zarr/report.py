"""What a conversion says of itself when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ilastik_lazy.sizes import human_bytes

__all__ = ["ConversionReport"]


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
    """Size of all voxels on the disk, those that an earlier run has written included."""

    seconds: float
    verified: bool
    reason: str = ""
    """Why chunks were moved as they are, or were not."""

    resumed: int = 0
    """Units that an earlier run had written."""

    voxels_per_class: Mapping[str, int] = field(default_factory=dict)
    """Of a label image of 8 bits, by the name of the class, or its number."""

    masked: tuple[str, ...] = ()
    """Chunks of the source that could not be decoded, and are filled (``on_error="mask"``)."""

    @property
    def ratio(self) -> float:
        """Decoded bytes of level 0 for each byte on the disk, all levels counted."""
        return self.bytes_decoded / max(1, self.bytes_written)

    def __str__(self) -> str:
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.levels)
        count = f"{len(self.levels)} level{'s' if len(self.levels) > 1 else ''}"
        rate = f" ({human_bytes(self.bytes_decoded / self.seconds)}/s)" if self.seconds >= 1 else ""
        lines = [
            self.target,
            f"  {count}, {'/'.join(self.dims)}: {shapes}; made by {self.method}",
            f"  {human_bytes(self.bytes_written)} on disk as {self.codec}, {self.ratio:.1f} times less than in memory; "
            f"{self.seconds:.1f} s{rate}" + ("; every voxel verified" if self.verified else ""),
        ]
        if self.resumed:
            lines.append(f"  {self.resumed} units were there from an earlier run")
        if self.voxels_per_class:
            shown = [f"{name} {count:,}" for name, count in list(self.voxels_per_class.items())[:12]]
            lines.append(f"  voxels: {', '.join(shown)}{', ...' if len(self.voxels_per_class) > 12 else ''}")
        if self.masked:
            lines.append(f"  {len(self.masked)} chunks cannot be decoded and are filled:")
            lines += [f"    {text}" for text in self.masked[:10]]
        return "\n".join(lines)
