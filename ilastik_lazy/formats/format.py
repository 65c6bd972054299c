"""What a format has to offer: `Format`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import DatasetNotFoundError, SourceError
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import Stamp, opened, read_up_to, stamp_of

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

    @classmethod
    def of_single_images(
        cls,
        name: str,
        open_file: Callable[[str, Stamp, OpenOptions], ArraySource],
        *,
        suffixes: tuple[str, ...],
        magic: bytes,
        magic_at: int = 0,
    ) -> Format:
        """Make the format of files that hold one image each, which is called like the file.

        Parameters
        ----------
        name
            Name of the format, for people.
        open_file
            Opens the file at a path; it must raise if the file no longer has the given stamp.
        suffixes
            File name extensions in lower case, with their dots.  `open_file` is called for every such file, and raises
            an error that states what is wrong with it.
        magic, magic_at
            Bytes that identify a file of this format under any name, and their offset.
        """

        def recognises(location: Location, options: OpenOptions) -> bool:
            if not os.path.isfile(location.path):
                return False
            if location.suffix in suffixes:
                return True
            try:
                with opened(location.path) as fd:
                    return read_up_to(fd, len(magic), magic_at, location.path) == magic
            except SourceError:
                return False

        def images(location: Location, options: OpenOptions) -> list[str]:
            return [Path(location.path).stem]

        def open_image(location: Location, options: OpenOptions) -> ArraySource:
            path = location.path
            if location.internal_path not in (None, Path(path).stem):
                raise DatasetNotFoundError(
                    f"no dataset {location.internal_path!a} in {path}: it is one array, without paths"
                )
            return open_file(path, stamp_of(path), options)

        return cls(name, recognises, images, open_image)

    def open_images(
        self, location: Location, paths: Sequence[str | None] | None, options: OpenOptions
    ) -> list[ArraySource]:
        """Return sources of the images at `paths`, in their order: None is the only image; without paths, all."""
        if self.open_together is not None:
            return self.open_together(location, paths, options)
        if paths is None:
            # Without any image, opening "the only one" raises an error that explains why.
            paths = self.images(location, options) or [None]
        if options.axes_by_name and list(paths) == [None] and len(names := self.images(location, options)) == 1:
            paths = names
        return [
            self.open_image(location.at(path), replace(options, axes=options.axes_of(path), axes_by_name=()))
            for path in paths
        ]

    def tree(self, location: Location, options: OpenOptions) -> dict[str, str]:
        """Internal paths of the images by their nodes in a DataTree."""
        if self.arrange is not None:
            return self.arrange(location, options)
        return {path: path for path in self.images(location, options)}
