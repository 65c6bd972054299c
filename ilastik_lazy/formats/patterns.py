"""Patterns of files, and of images inside files: what fits them, and in which order."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.errors import ArgumentError, DatasetNotFoundError, SourceNotFoundError, option
from ilastik_lazy.formats import list_images
from ilastik_lazy.formats.location import Location, number_key, with_slashes
from ilastik_lazy.formats.named_image import no_such_image
from ilastik_lazy.formats.suffixes import CONTAINER
from ilastik_lazy.storage.object_store import is_url
from ilastik_lazy.storage.similar import did_you_mean
from ilastik_lazy.warning import warn

__all__ = ["StackOrder", "expanded", "files_of", "images_named", "is_pattern", "matching"]

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


def expanded(pattern: str, options: OpenOptions, order: StackOrder) -> list[Location]:
    """Return the images that fit a pattern, in `order`, with a warning where ilastik would sort them otherwise."""
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
            f"ilastik would sort them as text; {option('stack_order', 'text')} does the same"
        )
