"""All formats, and the way from a location to a source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import SourceIOError, UnknownFormatError, remedy
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.suffixes import IMAGE_SUFFIXES, TABLE_SUFFIXES
from ilastik_lazy.storage.similar import first_of

__all__ = ["format_of", "list_images", "open_source", "open_sources"]


def _formats(*, is_remote: bool) -> Iterator[Format]:
    """Formats in the order in which they are tried; each is imported when its turn comes.

    Only Zarr is read over a network.
    """
    if not is_remote:
        from ilastik_lazy.formats import hdf5

        yield hdf5.FORMAT
    from ilastik_lazy.formats import zarr

    yield zarr.FORMAT
    if not is_remote:
        from ilastik_lazy.formats import n5

        yield n5.FORMAT
        from ilastik_lazy.formats import tiff

        yield tiff.FORMAT
        from ilastik_lazy.formats import npy

        yield npy.FORMAT
        from ilastik_lazy.formats import mrc

        yield mrc.FORMAT
        from ilastik_lazy.formats import picture

        yield picture.FORMAT
        from ilastik_lazy.formats import bdv

        yield bdv.FORMAT


def format_of(location: Location, options: OpenOptions = DEFAULTS) -> Format:
    """First format that recognises the file.

    Raises
    ------
    UnknownFormatError
        None does.
    SourceIOError
        It is a folder that may not be looked into, which could be anything.
    """
    for each in _formats(is_remote=location.is_remote):
        if each.recognises(location, options):
            return each
    if location.is_remote:
        raise UnknownFormatError(
            f"{location.path}: over a network this release opens Zarr and OME-Zarr, chunk by chunk; download the file "
            "and open the copy, or convert it where it lies: ilastik-lazy convert FILE FILE.zarr"
        )
    if os.path.isdir(location.path) and not os.access(location.path, os.R_OK | os.X_OK):
        raise SourceIOError(f"cannot open {location.path}: its permissions do not let you look into this folder")
    what = "is in no format that ilastik writes images in"
    if location.suffix == ".csv":
        what = f"is a table, not an image: {remedy('open_table() opens it', 'ilastik-lazy table prints it')}"
    elif os.path.isdir(location.path):
        held = first_of(location.path, _is_openable)
        all_of_them = remedy("", ", or all, by a pattern in quotes that ends in /*")
        what = f"is a folder: name a file in it{held and f', such as {held}{all_of_them}'}"
    names = ", ".join(each.name for each in _formats(is_remote=False))
    raise UnknownFormatError(f"{location.path} {what} (this release opens {names})")


def _is_openable(name: str) -> bool:
    """Whether a file with this name is likely to be opened; any text may be called ``.txt``."""
    return name.lower().endswith((*IMAGE_SUFFIXES, *TABLE_SUFFIXES, ".zarr")) and not name.lower().endswith(".txt")


def list_images(location: Location, options: OpenOptions = DEFAULTS) -> list[str]:
    """Internal paths of all images of a file, the likeliest first."""
    return format_of(location, options).images(location, options)


def open_source(location: Location, options: OpenOptions = DEFAULTS) -> ArraySource:
    """Source of one image: its spec is known, none of its voxels is read."""
    return format_of(location, options).open_images(location, [location.internal_path], options)[0]


def open_sources(
    location: Location, paths: Sequence[str | None] | None, options: OpenOptions = DEFAULTS
) -> list[ArraySource]:
    """Sources of several images of one file, in the order of their internal `paths`.

    A path of None stands for the only image; without paths, all images are opened.
    """
    return format_of(location, options).open_images(location, paths, options)
