"""Several files as one array: slices, time points or channels, by ilastik's rules for its stacks.

The rules are those of lazyflow's ``opStreamingH5N5SequenceReaderM``, ``opTiffSequenceReader`` and ``OpStackLoader``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.stacked import stack_of
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.formats import format_of, open_source
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.patterns import StackOrder, expanded, is_pattern
from ilastik_lazy.formats.suffixes import PICTURE_SUFFIXES
from ilastik_lazy.storage.object_store import is_url
from ilastik_lazy.warning import warn

__all__ = ["open_paths", "open_stack", "open_stacks"]


def open_paths(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    internal_path: str | None = None,
    along: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    options: OpenOptions = DEFAULTS,
    order: StackOrder = "natural",
) -> ArraySource:
    """Source of what a caller names: a file, a URL, a pattern, or a list of files that are a stack.

    Raises
    ------
    ArgumentError
        `along` is given for one file.
    """
    if isinstance(path, list | tuple):
        return open_stack([Location.parse(each, internal_path, storage_options) for each in path], along, options)
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"expected the path of a file, not {type(path).__name__}: pass its name")
    if not is_url(path) and is_pattern(os.fsdecode(path)):
        return open_stack(path, along, options, order)
    if along is not None:
        raise ArgumentError(f"{option('stack_along', along)} is for several files: pass a pattern, or a list of files")
    return open_source(Location.parse(path, internal_path, storage_options), options)


def open_stack(
    locations: str | os.PathLike[str] | Sequence[Location],
    along: str | None = None,
    options: OpenOptions = DEFAULTS,
    order: StackOrder = "natural",
) -> ArraySource:
    """Open several files as one array; only metadata are read.

    Parameters
    ----------
    locations
        The files in order, or a pattern such as ``"dir/slice_*.png"`` or ``"a.h5/t*"``.
    along
        Axis along which the files follow one another, ``t``, ``z`` or ``c``.  One that the files have is made
        longer; one that they lack becomes the first axis.  Without it: ``z`` for pictures; else the first of
        t, z, c that they lack; else the first that they have.
    options
        Those of each file.
    order
        Order of the images of a pattern.

    Raises
    ------
    SourceNotFoundError
        No file fits the pattern.
    MetadataError
        A file has another shape, dtype or axes than the first one.
    ArgumentError
        The files are of several kinds, or there are none.
    """
    if isinstance(locations, str | os.PathLike):
        locations = expanded(os.fsdecode(locations), options, order)
    along = _checked_along(locations, along)
    opened = _opened([(location, [location.internal_path]) for location in locations], options)
    return stack_of([source for (source,) in opened], along)


def open_stacks(
    files: Sequence[Location],
    images: Sequence[Sequence[str]],
    along: str | None = None,
    options: OpenOptions = DEFAULTS,
) -> list[ArraySource]:
    """Open several files that hold images alike: one stack for each image (see `open_stack`).

    Parameters
    ----------
    files
        The files in order.
    images
        Internal paths of the images of each file, as many in each.
    """
    along = _checked_along(files, along)
    opened = _opened(list(zip(files, images, strict=True)), options)
    return [stack_of(members, along) for members in zip(*opened, strict=True)]


def _checked_along(locations: Sequence[Location], along: str | None) -> str | None:
    """Check that the files may be a stack, and return the axis along which they follow one another if it is known."""
    if not locations:
        raise ArgumentError("a stack needs at least one file")
    if other := next((one for one in locations if one.suffix != locations[0].suffix), None):
        raise ArgumentError(
            f"a stack must not mix formats: {locations[0].path} is {locations[0].suffix or 'without suffix'}, "
            f"{other.path} is {other.suffix or 'without suffix'}"
        )
    return "z" if along is None and locations[0].suffix in PICTURE_SUFFIXES else along


def _opened(wanted: Sequence[tuple[Location, Sequence[str | None]]], options: OpenOptions) -> list[list[ArraySource]]:
    """Open the images that are wanted of each file; a warning that concerns several files is one, with their number."""
    sources, places = [], dict[tuple[str, type[Warning]], list[str]]()
    found: Format | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for location, images in wanted:
            # The next file is likely to have the format of this one: trying all takes 0.1 ms.
            if found is None or not found.recognises(location, options):
                found = format_of(location, options)
            sources.append(found.open_images(location, images, options))
            for one in caught:
                text = str(one.message).replace(location.path, "\0")
                places.setdefault((text, one.category), []).append(location.path)
            caught.clear()
    for (text, category), paths in places.items():
        alike = f" (and {len(paths) - 1} more of {len(wanted)} files likewise)" if len(paths) > 1 else ""
        warn(text.replace("\0", paths[0]) + alike, category)
    return sources
