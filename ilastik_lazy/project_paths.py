"""Where the paths in a project lead on this machine, and which of them may be followed.

A path in a project is data from whoever made the file.  It is followed on its own only where it
stays below the project's folder; everything else needs a folder that the caller named.
The syntax is that of ilastik's ``lazyflow/utility/pathHelpers.py``.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ilastik_lazy.errors import (
    LimitExceededError,
    SourceNotFoundError,
    UnknownFormatError,
    UnsafePathError,
)
from ilastik_lazy.external import Folders, is_below, named_folders
from ilastik_lazy.location import Location

__all__ = ["Roots", "is_url", "resolve", "split_paths"]

_MOST_PATHS = 1000
_CONTAINERS = re.compile(r"\.(?:ilp|h5|hdf5|hdf|npz|n5|zarr)(?=/|$)", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # one letter alone is a drive of Windows
_DRIVE = re.compile(r"[a-z]:/", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?\[]")
_HINT = "pass source_roots=[folder], with the folder that holds it"


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders that images may be opened from: the project's own, and those that the caller named."""

    project: str
    """Folder of the project, without symbolic links."""

    named: tuple[str, ...] = ()
    """Folders that the caller trusts, as spelled and without symbolic links."""

    @classmethod
    def of(cls, project: str, source_roots: Folders) -> Roots:
        """Check the folders that a caller named.

        Raises
        ------
        ArgumentError
            One of them is no folder.
        """
        named: dict[str, None] = {}
        for folder in named_folders(source_roots, "source_roots"):
            named |= {os.path.realpath(folder): None, folder: None}
        return cls(os.path.dirname(os.path.realpath(project)), tuple(named))


def is_url(text: str) -> bool:
    """Whether `text` begins with a scheme such as ``https://``.

    >>> is_url("precomputed://https://a.org/b"), is_url("C:/data/a.h5")
    (True, False)
    """
    return _URL.match(text) is not None


def split_paths(text: str) -> list[str]:
    r"""Paths of a stack, which ilastik joins with ``os.pathsep`` of the machine that wrote the project.

    >>> split_paths("a.png:b.png"), split_paths("C:\\a.png;C:\\b.png")
    (['a.png', 'b.png'], ['C:/a.png', 'C:/b.png'])
    """
    unified = text.replace("\\", "/")
    if is_url(unified):
        return [unified]
    is_from_windows = "\\" in text or _DRIVE.match(unified) is not None
    if not is_from_windows and ":" in unified:
        return [part for part in unified.split(":") if part]
    parts = [part for part in unified.split(";") if part]
    # On POSIX a semicolon is a letter like others, so there all parts must look like files.
    return parts if is_from_windows or all(os.path.splitext(part)[1] for part in parts) else [unified]


def resolve(text: str, roots: Roots) -> tuple[Location, ...]:
    """The file, and the dataset in it, that a path of a project stands for; several of a stack.

    Parameters
    ----------
    text
        The path as stored: relative to the project or absolute, with the internal path behind it.
    roots
        Where files may lie.  Below `Roots.project` lead only plain relative paths; globs, lists,
        absolute paths, ``..``, ``~`` and ``file://`` need one of `Roots.named`.

    Raises
    ------
    UnsafePathError
        The path leads elsewhere; nothing there was opened or listed.
    LimitExceededError
        It lists more than 1000 files.
    SourceNotFoundError
        There is no such file.
    UnknownFormatError
        It is a pattern of datasets in one file.
    """
    shown = ascii(text[:80])
    if "\0" in text:
        raise UnsafePathError(f"the path {shown} holds a NUL byte, which no file name does")
    if not text.strip():
        raise SourceNotFoundError("the project names no file")
    parts = split_paths(text)
    if len(parts) > _MOST_PATHS:
        raise LimitExceededError(f"the path {shown}... lists {len(parts)} files, more than {_MOST_PATHS}")
    return tuple(location for part in parts for location in _expanded(part, roots, is_listed=len(parts) > 1))


def _expanded(part: str, roots: Roots, *, is_listed: bool) -> list[Location]:
    """The file that `part` names, or all files that it is a pattern of; never none."""
    shown = ascii(part[:80])
    if is_listed and not roots.named:
        raise UnsafePathError(f"{shown} is one of a list of files: {_HINT}")
    if is_url(part):
        part = _path_of_url(part)
    is_refused = False
    for external, internal in _splits(part):
        for path, within in _places(external, roots):
            if (real := _inside(path, within)) is None:
                is_refused = True
            elif os.path.isfile(real) or os.path.isdir(real):
                return [Location(real, internal)]
            elif os.path.exists(real):
                raise UnsafePathError(f"{shown} is neither a file nor a folder")
    if _WILDCARD.search(part):
        return _matches(part, roots)
    if is_refused:
        raise UnsafePathError(f"{shown} leads out of the project's folder: {_HINT}")
    raise SourceNotFoundError(
        f"no such file: {shown}, looked for in {roots.project}: put it there, "
        "or pass source_roots=[folder], with the folder that the path starts from"
    )


def _matches(pattern: str, roots: Roots) -> list[Location]:
    """Files that fit a glob, in plain text order as ilastik sorts them."""
    shown = ascii(pattern[:80])
    if not roots.named:
        raise UnsafePathError(f"{shown} is a pattern of file names: {_HINT}")
    if ".." in pattern.split("/"):
        raise UnsafePathError(f"{shown} is a pattern with '..' in it: open the files themselves")
    external, internal = _splits(pattern)[0]
    if (first := _WILDCARD.search(external)) is None:
        raise UnknownFormatError(f"{shown} is a stack of datasets in one file: open the file with open_dataset()")
    is_refused = True
    for path, _ in _places(external, roots):
        # The folder before the first wildcard must be allowed before anything is listed.
        fixed = os.path.dirname(path[: len(path) - len(external) + first.start()])
        if _inside(fixed, roots.named) is None:
            continue
        is_refused = False
        listed = sorted(itertools.islice(glob.iglob(path), _MOST_PATHS + 1))
        if len(listed) > _MOST_PATHS:
            raise LimitExceededError(f"{shown} stands for more than {_MOST_PATHS} files")
        real = [inside for name in listed if (inside := _inside(name, roots.named)) is not None]
        if real:
            return [Location(name, internal) for name in real]
    if is_refused:
        raise UnsafePathError(f"{shown} leads out of the folders in source_roots: {_HINT}")
    raise SourceNotFoundError(f"no file fits {shown}")


def _path_of_url(url: str) -> str:
    """Path of a ``file://`` URL; no other is opened."""
    split = urlsplit(url)
    if split.scheme.lower() != "file" or split.netloc not in ("", "localhost"):
        raise UnsafePathError(f"{url[:80]!a} is a URL, and nothing is fetched from the network: open a local copy")
    path = unquote(split.path)
    if "\0" in path:
        raise UnsafePathError(f"{url[:80]!a} holds a NUL byte, which no file name does")
    return path


def _splits(path: str) -> list[tuple[str, str | None]]:
    """File and internal path, the likeliest first: ilastik splits behind the last container extension."""
    ends = [match.end() for match in _CONTAINERS.finditer(path)]
    pairs = [(path[:end], path[end:].strip("/") or None) for end in reversed(ends)]
    return pairs if ends and ends[-1] == len(path) else [*pairs, (path, None)]


def _places(external: str, roots: Roots) -> list[tuple[str, tuple[str, ...]]]:
    """Where a file may lie, each with the folders that it must stay below."""
    expanded = os.path.expanduser(external) if external.startswith("~") and roots.named else external
    if os.path.isabs(expanded) or expanded.startswith("~") or _DRIVE.match(expanded):
        return [(expanded, roots.named)]
    if ".." in expanded.split("/"):
        return [(os.path.join(roots.project, expanded), roots.named)]
    own = (os.path.join(roots.project, expanded), (roots.project, *roots.named))
    return [own, *((os.path.join(root, expanded), roots.named) for root in roots.named)]


def _inside(path: str, within: Sequence[str]) -> str | None:
    """`path` without symbolic links, if it lies below one of the folders before and after; else None."""
    if not os.path.isabs(path) or not is_below(os.path.normpath(path), within):
        return None
    real = os.path.realpath(path)
    return real if is_below(real, within) else None
