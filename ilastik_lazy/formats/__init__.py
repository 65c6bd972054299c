"""All formats in one table, and the way from a location to a source."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from ilastik_lazy.core.limits import Limits
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import SourceIOError, UnknownFormatError, remedy
from ilastik_lazy.formats.location import Location

__all__ = ["FORMATS", "Format", "format_of", "list_images", "open_source", "open_sources"]


class FormatModule(Protocol):
    """What a module of this folder offers to be a row of `FORMATS`."""

    def recognises(self, location: Location, limits: Limits) -> bool:
        """Whether `location` is of this format; cheap, and raises nothing for other files."""

    def images(self, location: Location, limits: Limits) -> list[str]:
        """Internal paths of the images there, the likeliest first."""

    # A module may also have `tree(location, limits) -> dict[str, str]`: internal paths by their nodes in a DataTree;
    # and `open_images(location, paths, axes, limits)`, where several cost little more than one.

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
        return cast("FormatModule", importlib.import_module(f"ilastik_lazy.formats.{self.module}"))


FORMATS: tuple[Format, ...] = (
    Format("BigDataViewer", "hdf5.bdv"),
    Format("HDF5", "hdf5"),
    Format("Zarr", "zarr", is_remote=True),
    Format("N5", "n5"),
    Format("TIFF", "tiff"),
    Format("numpy", "npy"),
    Format("pictures", "picture"),
)


def format_of(location: Location, limits: Limits | None = None) -> Format:
    """First row of `FORMATS` that recognises the file.

    Raises
    ------
    UnknownFormatError
        No row does.
    SourceIOError
        It is a folder that may not be looked into, which could be anything.
    """
    limits = limits or Limits()
    for row in FORMATS:
        if row.is_remote >= location.is_remote and row.load().recognises(location, limits):
            return row
    if location.is_remote:
        raise UnknownFormatError(
            f"{location.path}: over a network this release opens Zarr and OME-Zarr, chunk by chunk; download the file "
            "and open the copy, or convert it where it lies: ilastik-lazy convert FILE FILE.zarr"
        )
    if os.path.isdir(location.path) and not os.access(location.path, os.R_OK | os.X_OK):
        raise SourceIOError(f"cannot open {location.path}: its permissions do not let you look into this folder")
    names = ", ".join(row.name for row in FORMATS)
    what = "is in no format that ilastik writes images in"
    if location.suffix == ".csv":
        what = f"is a table, no image: {remedy('open_table() opens it', 'ilastik-lazy table prints it')}"
    elif os.path.isdir(location.path):
        what = "is a folder: name a file in it"
    raise UnknownFormatError(f"{location.path} {what} (this release opens {names})")


def list_images(location: Location, *, limits: Limits | None = None) -> list[str]:
    """Internal paths of all images of a file, the likeliest first."""
    return format_of(location, limits).load().images(location, limits or Limits())


def open_source(location: Location, *, axes: str | None = None, limits: Limits | None = None) -> ArraySource:
    """Source of one image: its spec is known, none of its voxels is read."""
    return format_of(location, limits).load().open_image(location, axes, limits or Limits())


def open_sources(
    location: Location, paths: Sequence[str | None] | None, *, axes: str | None = None, limits: Limits | None = None
) -> list[ArraySource]:
    """Sources of several images of one file, in the order of their internal `paths`.

    A path of None is that of the only image, and no paths are those of all images.
    """
    module, limits = format_of(location, limits).load(), limits or Limits()
    together: Callable[..., list[ArraySource]] | None = getattr(module, "open_images", None)
    if together is not None:
        return together(location, paths, axes, limits)
    if paths is None:
        # Of none: raises, and says why and what is there instead.
        paths = module.images(location, limits) or [None]
    return [module.open_image(location.at(path), axes, limits) for path in paths]
