"""Several files as one array: slices, time points or channels, by ilastik's rules for its stacks.

The rules are those of lazyflow's ``opStreamingH5N5SequenceReaderM``, ``opTiffSequenceReader`` and ``OpStackLoader``.
"""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.stacked import stack_of
from ilastik_lazy.errors import ArgumentError, MetadataWarning, SourceNotFoundError, remedy
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.suffixes import CONTAINER, PICTURE_SUFFIXES
from ilastik_lazy.storage.object_store import is_url
from ilastik_lazy.storage.similar import did_you_mean

__all__ = ["is_pattern", "matching", "number_key", "open_paths", "open_stack"]

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
        return open_stack(path, along, options)
    if along is not None:
        raise ArgumentError(f"stack_along={along!r} is for several files: pass a pattern, or a list of files")
    return open_source(Location.parse(path, internal_path, storage_options), options)


def open_stack(
    locations: str | os.PathLike[str] | Sequence[Location],
    along: str | None = None,
    options: OpenOptions = DEFAULTS,
) -> ArraySource:
    """Open several files as one array; only metadata are read.

    Parameters
    ----------
    locations
        The files in order, or a pattern such as ``"dir/slice_*.png"``, whose files are sorted as text:
        ``img_10`` comes before ``img_2``.
    along
        Axis along which the files follow one another, ``t``, ``z`` or ``c``.  One that the files have is made
        longer; one that they lack becomes the first axis.  Without it: ``z`` for pictures; else the first of
        t, z, c that they lack; else the first that they have.
    options
        Those of each file.

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
        locations = _expanded(os.fsdecode(locations))
    if not locations:
        raise ArgumentError("a stack needs at least one file")
    if other := next((one for one in locations if one.suffix != locations[0].suffix), None):
        raise ArgumentError(
            f"a stack must not mix formats: {locations[0].path} is {locations[0].suffix or 'without suffix'}, "
            f"{other.path} is {other.suffix or 'without suffix'}"
        )
    if along is None and locations[0].suffix in PICTURE_SUFFIXES:
        along = "z"
    return stack_of([open_source(one, options) for one in locations], along)


def number_key(path: str) -> list[tuple[int, str]]:
    """Return the key by which ``a_2`` comes before ``a_10``.

    >>> sorted(["a_10", "a_2"], key=number_key)
    ['a_2', 'a_10']
    """
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path)]


def matching(pattern: str) -> tuple[list[str], str | None]:
    """Return the files that fit a pattern, in no order, and the internal path behind it.

    Raises
    ------
    SourceNotFoundError
        No file fits.
    """
    pattern = os.path.expanduser(pattern)
    inside, found = None, list(_INSIDE.finditer(pattern))
    if found and not os.path.exists(pattern):
        pattern, inside = pattern[: found[-1].end() - 1], pattern[found[-1].end() :]
    if not (paths := glob.glob(pattern)):
        raise SourceNotFoundError(f"no file fits {pattern}{did_you_mean(pattern)}")
    return paths, inside or None


def _expanded(pattern: str) -> list[Location]:
    found, inside = matching(pattern)
    paths, by_number = sorted(found), sorted(found, key=number_key)
    if by_number != paths:
        first = next(k for k, (one, other) in enumerate(zip(paths, by_number, strict=True)) if one != other)
        names = [os.path.basename(path) for path in (paths[first], by_number[first])]
        warnings.warn(
            f"{pattern}: files are in the order of their names as text, as in ilastik: {names[0]} comes before "
            f"{names[1]}; "
            + remedy("for another order pass a list of files", "give the numbers in the names as many digits"),
            MetadataWarning,
            stacklevel=4,
        )
    return [Location.parse(path, inside) for path in paths]
