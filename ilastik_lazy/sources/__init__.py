"""All formats in one table, and the way from a location to a source."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Protocol, cast

from ilastik_lazy.errors import UnknownFormatError
from ilastik_lazy.limits import Limits
from ilastik_lazy.location import Location
from ilastik_lazy.spec import ArraySource

__all__ = ["FORMATS", "Format", "format_of", "list_images", "open_source"]


_HINTS = {
    ".csv": "is a table, no image: open_table() opens it",
}


class FormatModule(Protocol):
    """What a module of this folder offers to be a row of `FORMATS`."""

    def recognises(self, location: Location) -> bool:
        """Whether `location` is of this format; cheap, and raises nothing for other files."""

    def images(self, location: Location, limits: Limits) -> list[str]:
        """Internal paths of the images there, the likeliest first."""

    # A module may also have `tree(location, limits) -> dict[str, str]`: internal paths by their nodes in a DataTree.

    def open_image(self, location: Location, axes: str | None, limits: Limits) -> ArraySource:
        """Source of one image; reads metadata only."""


@dataclass(frozen=True, slots=True)
class Format:
    """One row: a name for people, and the module, which is imported when it is needed."""

    name: str
    module: str
    is_remote: bool = False
    """Whether it is read over a network, too."""

    def load(self) -> FormatModule:
        return cast("FormatModule", importlib.import_module(f"ilastik_lazy.sources.{self.module}"))


FORMATS: tuple[Format, ...] = (
    Format("BigDataViewer", "bdv"),
    Format("HDF5", "hdf5"),
    Format("Zarr", "zarr", is_remote=True),
    Format("N5", "n5"),
    Format("TIFF", "tiff"),
    Format("numpy", "npy"),
    Format("pictures", "picture"),
)


def format_of(location: Location) -> Format:
    """First row of `FORMATS` that recognises the file.

    Raises
    ------
    UnknownFormatError
        No row does.
    """
    for row in FORMATS:
        if row.is_remote >= location.is_remote and row.load().recognises(location):
            return row
    if location.is_remote:
        raise UnknownFormatError(
            f"{location.path}: over a network this release opens Zarr and OME-Zarr, chunk by chunk; download the file "
            "and open the copy, or convert it where it lies: ilastik-lazy convert FILE FILE.zarr"
        )
    names = ", ".join(row.name for row in FORMATS)
    hint = _HINTS.get(location.suffix, "")
    if os.path.isdir(location.path) and not hint:
        hint = "is a folder: name a file in it"
    what = hint or "is in no format that ilastik writes images in"
    raise UnknownFormatError(f"{location.path} {what} (this release opens {names})")


def list_images(location: Location, *, limits: Limits | None = None) -> list[str]:
    """Internal paths of all images of a file, the likeliest first."""
    return format_of(location).load().images(location, limits or Limits())


def open_source(location: Location, *, axes: str | None = None, limits: Limits | None = None) -> ArraySource:
    """Source of one image: its spec is known, none of its voxels is read."""
    return format_of(location).load().open_image(location, axes, limits or Limits())
