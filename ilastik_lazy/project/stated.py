"""What a caller states about an image: its kind, the project that made it, its voxel size."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource, Kind
from ilastik_lazy.core.views.stated import VoxelSizes, parse_voxel_size, with_voxel_size
from ilastik_lazy.core.views.window import without_single_channel
from ilastik_lazy.project.classes import with_classes_each

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
        return self.views([source], options)[0]

    def views(self, sources: Iterable[ArraySource], options: OpenOptions) -> list[ArraySource]:
        """Return the images of a file as the caller describes them."""
        if self.kind is not None:
            sources = [with_kind(source, self.kind) for source in sources]
        if self.voxel_size is not None:
            sources = [with_voxel_size(source, self.voxel_size) for source in sources]
        if self.project is not None:
            sources = with_classes_each(sources, self.project, options)
        return [
            without_single_channel(source) if self.squeeze and source.spec.is_label_image else source
            for source in sources
        ]
