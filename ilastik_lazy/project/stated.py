"""What a caller states about an image: its kind, the project that made it, its voxel size."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource, Kind
from ilastik_lazy.core.views.stated import VoxelSizes, parse_voxel_size, with_voxel_size
from ilastik_lazy.core.views.window import without_single_channel
from ilastik_lazy.project.classes import with_classes

__all__ = ["Stated"]


@dataclass(frozen=True, slots=True)
class Stated:
    """What the caller states about images, beyond how to open them."""

    kind: Kind | None = None
    project: str | os.PathLike[str] | None = None
    voxel_size: VoxelSizes | None = None
    squeeze: bool = False
    """Whether images of classes and ids lose a single channel."""

    def __post_init__(self) -> None:
        """Check the sizes before a file is opened."""
        if self.voxel_size is not None:
            parse_voxel_size(self.voxel_size)

    def view(self, source: ArraySource, options: OpenOptions) -> ArraySource:
        """Return `source` as the caller describes it."""
        if self.kind is not None:
            source = with_kind(source, self.kind)
        if self.voxel_size is not None:
            source = with_voxel_size(source, self.voxel_size)
        if self.project is not None:
            source = with_classes(source, self.project, options)
        return without_single_channel(source) if self.squeeze and source.spec.is_label_image else source
