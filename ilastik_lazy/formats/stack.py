"""Several files as one array: slices, time points or channels, by ilastik's rules for its stacks.

The rules are those of lazyflow's ``opStreamingH5N5SequenceReaderM``, ``opTiffSequenceReader`` and ``OpStackLoader``.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.stacked import stack_of
from ilastik_lazy.errors import ArgumentError, DatasetNotFoundError, MetadataWarning, SourceNotFoundError, option
from ilastik_lazy.formats import list_images, open_source, open_sources
from ilastik_lazy.formats.location import Location, with_slashes
from ilastik_lazy.formats.named_image import no_such_image
from ilastik_lazy.formats.suffixes import CONTAINER, PICTURE_SUFFIXES
from ilastik_lazy.storage.object_store import is_url
from ilastik_lazy.storage.similar import did_you_mean
from ilastik_lazy.warning import warn

__all__ = [
    "StackOrder", "files_of", "images_named", "is_pattern", "matching", "number_key", "open_paths", "open_stack",
    "open_stacks",
]  # fmt: skip

StackOrder = Literal["natural", "text"]
"""How the images of a pattern follow one another: ``a_2`` before ``a_10``, or after it, as ilastik sorts."""

# "a_*.h5/volume/data": as in `Location`, what stands behind the container is the internal path.
_INSIDE = re.compile(f"{CONTAINER}/(?!.*{CONTAINER}/)", re.IGNORECASE)


def is_pattern(text: str) -> bool:
    """Whether a path is a pattern for several files, and not the name of one (or of a dataset in it) with such letters.

    Folders called ``[2024]`` are common, and to `glob` a choice of four digits.
    """
    if not glob.has_magic(text):
        return False
    try:
        named = Location.parse(text)
    except SourceNotFoundError:
        return True
    return glob.has_magic(named.internal_path or "")


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
        locations = _expanded(os.fsdecode(locations), options, order)
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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for location, images in wanted:
            sources.append(open_sources(location, images, options))
            for one in caught:
                text = str(one.message).replace(location.path, "\0")
                places.setdefault((text, one.category), []).append(location.path)
            caught.clear()
    for (text, category), paths in places.items():
        alike = f" (and {len(paths) - 1} more of {len(wanted)} files likewise)" if len(paths) > 1 else ""
        warn(text.replace("\0", paths[0]) + alike, category)
    return sources


def number_key(path: str) -> list[tuple[int, str]]:
    """Return the key by which ``a_2`` comes before ``a_10``.

    >>> sorted(["a_10", "a_2"], key=number_key)
    ['a_2', 'a_10']
    """
    # More digits are a larger number; Python makes none of more than 4300 digits.
    parts = [part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", path)]
    return [(len(part) if part.isdecimal() else 0, part) for part in parts]


def matching(
    pattern: str, options: OpenOptions = DEFAULTS, order: StackOrder = "natural"
) -> list[tuple[str, str | None]]:
    """Return the images that fit a pattern, in `order`: the file of each, and its internal path if the pattern has one.

    Wildcards may be in both: ``"a_*.h5/volume/data"``, ``"a.h5/t*/channel0"``; none of them matches a ``/``.

    Raises
    ------
    SourceNotFoundError
        No file fits.
    DatasetNotFoundError
        No image in the files fits.
    """
    paths, inside, _ = _files_matching(pattern)
    images: list[tuple[str, str | None]] = [(path, inside) for path in paths]
    if inside is not None and glob.has_magic(inside):
        held = {path: list_images(Location.parse(path), options) for path in paths}
        images = [(path, name) for path, names in held.items() for name in _fitting(names, inside)]
        if not images:
            raise _nothing_fits(inside, paths[0], held[paths[0]])
    return images if order == "text" else sorted(images, key=lambda image: number_key("/".join(filter(None, image))))


def _files_matching(pattern: str) -> tuple[list[str], str | None, bool]:
    """Return the files that fit a pattern, sorted as text, what it says of images in them, and if it names files."""
    pattern = with_slashes(os.path.expanduser(pattern))
    inside, found = None, list(_INSIDE.finditer(pattern))
    if found and not os.path.exists(pattern):
        pattern, inside = pattern[: found[-1].end() - 1], pattern[found[-1].end() :].strip("/") or None
    if not (paths := sorted(glob.glob(pattern) if not os.path.exists(pattern) else [pattern])):
        raise SourceNotFoundError(f"no file matches {pattern}{did_you_mean(pattern)}")
    return paths, inside, paths != [pattern]


def _fitting(names: Sequence[str], pattern: str) -> list[str]:
    """Return the names of images that fit a pattern, in which no wildcard matches a ``/``, sorted as text."""
    patterns = pattern.split("/")

    def fits(name: str) -> bool:
        parts = name.split("/")
        return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))

    return sorted(filter(fits, names))


def _nothing_fits(pattern: str, where: str, held: Sequence[str]) -> DatasetNotFoundError:
    """Make the error for a pattern that no image fits; one that fits only the groups of images is completed."""
    depth = pattern.count("/") + 1
    deeper = next((name for name in held if _fitting(["/".join(name.split("/")[:depth])], pattern)), None)
    rest = "" if deeper is None else "/".join(deeper.split("/")[depth:])
    error = no_such_image(f"image that fits {pattern!r}", where, [repr(name) for name in held])
    return DatasetNotFoundError(f"{error}; did you mean '{pattern}/{rest}'?") if rest else error


def files_of(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    internal_path: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    order: StackOrder = "natural",
) -> tuple[list[Location], str | None, bool]:
    """Return the files that a caller names, what is said of the images in them, and whether they are a stack.

    A pattern of files and a list are a stack.
    """
    if isinstance(path, list | tuple):
        files = [Location.parse(each, internal_path, storage_options) for each in path]
        if other := next((one for one in files if one.internal_path != files[0].internal_path), None):
            raise ArgumentError(f"{files[0]} and {other} name different images: name files only, or one image in all")
        if not files:
            raise ArgumentError("a stack needs at least one file")
        return [one.at(None) for one in files], files[0].internal_path, True
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"expected the path of a file, not {type(path).__name__}: pass its name")
    if is_url(path) or not is_pattern(text := os.fsdecode(path)):
        one = Location.parse(path, internal_path, storage_options)
        return [one.at(None)], one.internal_path, False
    _check_order(order)
    paths, inside, is_stack = _files_matching(text)
    if inside is not None and internal_path is not None and inside != internal_path:
        raise ArgumentError(f"{text!r} names the image {inside!r}, {option('internal_path')} names {internal_path!r}")
    ordered = paths if order == "text" else sorted(paths, key=number_key)
    if order == "natural":
        _warn_of_order(text, [(each, None) for each in ordered])
    return [Location.parse(each) for each in ordered], inside or internal_path, is_stack


def images_named(file: Location, inside: str | None, options: OpenOptions) -> list[str]:
    """Return the internal paths of the images of a file that `inside` names: one, those of a pattern, or all.

    Raises
    ------
    DatasetNotFoundError
        No image fits the pattern.
    """
    if inside is not None and not glob.has_magic(inside):
        return [inside]
    held = list_images(file, options)
    if inside is None or inside in held:
        return held if inside is None else [inside]
    if found := _fitting(held, inside):
        return sorted(found, key=number_key)
    raise _nothing_fits(inside, file.path, held)


def _expanded(pattern: str, options: OpenOptions, order: StackOrder) -> list[Location]:
    _check_order(order)
    images = matching(pattern, options, order)
    if order == "natural":
        _warn_of_order(pattern, images)
    return [Location.parse(path, inside) for path, inside in images]


def _check_order(order: str) -> None:
    if order not in get_args(StackOrder):
        raise ArgumentError(f"{option('stack_order', order)}: expected 'natural' or 'text'")


def _warn_of_order(pattern: str, images: Sequence[tuple[str, str | None]]) -> None:
    """Warn if ilastik would sort the images of a stack otherwise."""
    if images != (as_text := sorted(images, key=lambda image: (image[0], image[1] or ""))):
        k = next(k for k, (one, other) in enumerate(zip(images, as_text, strict=True)) if one != other)
        (path, inside), (other_path, other_inside) = images[k], as_text[k]
        first, other = map(os.path.basename, (path, other_path)) if path != other_path else (inside, other_inside)
        warn(
            f"{pattern}: images are in the order of the numbers in their names: {first} comes before {other}; "
            f"ilastik would sort them as text; {option('stack_order', 'text')} does the same",
            MetadataWarning,
        )
