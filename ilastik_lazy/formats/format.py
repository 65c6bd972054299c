"""What a format has to offer: `Format`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.formats.location import Location

__all__ = ["Format"]


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: its name for people, and the functions that recognise, list and open its images."""

    name: str
    recognises: Callable[[Location, OpenOptions], bool]
    """Whether a file is of this format; cheap, and raises nothing for other files."""
    images: Callable[[Location, OpenOptions], list[str]]
    """Internal paths of the images, the likeliest first."""
    open_image: Callable[[Location, OpenOptions], ArraySource]
    """Source of one image, with the axes that the caller names; reads metadata only."""
    open_together: Callable[[Location, Sequence[str | None] | None, OpenOptions], list[ArraySource]] | None = None
    """The same as `open_images`, where several images cost little more than one."""
    arrange: Callable[[Location, OpenOptions], dict[str, str]] | None = None
    """The same as `tree`, where images belong together."""

    def open_images(
        self, location: Location, paths: Sequence[str | None] | None, options: OpenOptions
    ) -> list[ArraySource]:
        """Sources of the images at `paths`, in their order: None is the only image, no paths are all images."""
        if self.open_together is not None:
            return self.open_together(location, paths, options)
        if paths is None:
            # Without any image, opening "the only one" raises an error that explains why.
            paths = self.images(location, options) or [None]
        return [self.open_image(location.at(path), options) for path in paths]

    def tree(self, location: Location, options: OpenOptions) -> dict[str, str]:
        """Internal paths of the images by their nodes in a DataTree."""
        if self.arrange is not None:
            return self.arrange(location, options)
        return {path: path for path in self.images(location, options)}
