"""Parse the paths that a project recorded: lists, URLs, patterns, and internal paths.

The syntax is that of ilastik's ``lazyflow/utility/pathHelpers.py``.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from ilastik_lazy.errors import UnsafePathError
from ilastik_lazy.formats.suffixes import CONTAINER

__all__ = [
    "CONTAINERS",
    "DRIVE",
    "WILDCARD",
    "common_end",
    "end_of",
    "first_wildcard",
    "is_url",
    "last_start",
    "names_of",
    "path_of_url",
    "split_paths",
    "splits",
]

CONTAINERS = re.compile(rf"(?:{CONTAINER}|\.npz)(?=/|$)", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # a single letter is a drive of Windows
DRIVE = re.compile(r"[a-z]:/", re.IGNORECASE)
WILDCARD = re.compile(r"[*?\[]")


def is_url(text: str) -> bool:
    """Whether `text` begins with a scheme such as ``https://``.

    >>> is_url("precomputed://https://a.org/b"), is_url("C:/data/a.h5")
    (True, False)
    """
    return _URL.match(text) is not None


def split_paths(text: str) -> list[str]:
    r"""Split the paths of a stack, which ilastik joins with ``os.pathsep`` of the machine that wrote the project.

    >>> split_paths("a.png:b.png"), split_paths("C:\\a.png;C:\\b.png")
    (['a.png', 'b.png'], ['C:/a.png', 'C:/b.png'])
    """
    unified = text.replace("\\", "/")
    if is_url(unified):
        return [unified]
    is_from_windows = "\\" in text or DRIVE.match(unified) is not None
    if not is_from_windows and ":" in unified:
        return [part for part in unified.split(":") if part]
    parts = [part for part in unified.split(";") if part]
    # File names on POSIX may contain semicolons, so all parts must look like files.
    are_files = all(os.path.splitext(part)[1] or CONTAINERS.search(part) for part in parts)
    return parts if is_from_windows or are_files else [unified]


def first_wildcard(pattern: str) -> int:
    """Return the position of the first wildcard; the length of `pattern` if there is none."""
    found = WILDCARD.search(pattern)
    return len(pattern) if found is None else found.start()


def path_of_url(url: str) -> str:
    """Return the path in a ``file://`` URL; other URLs are refused."""
    split = urlsplit(url)
    if split.scheme.lower() != "file" or split.netloc not in ("", "localhost"):
        raise UnsafePathError(f"{url[:80]!a} is a URL, and nothing is fetched for a project: open a local copy")
    path = unquote(split.path)
    if "\0" in path:
        raise UnsafePathError(f"{url[:80]!a} contains a NUL byte, which no file name can contain")
    return path.lstrip("/") if DRIVE.match(path.lstrip("/")) else path


def splits(path: str) -> list[tuple[str, str | None]]:
    """Split into file and internal path, the most likely first: ilastik splits after the last container extension."""
    ends = [match.end() for match in CONTAINERS.finditer(path)]
    pairs = [(path[:end], path[end:].strip("/") or None) for end in reversed(ends)]
    return pairs if ends and ends[-1] == len(path) else [*pairs, (path, None)]


def names_of(path: str) -> list[str]:
    """List the names in a path, without prefixes that depend on the machine: drive, home, ``..``."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    known = [i for i, name in enumerate(names) if name == ".." or (i == 0 and (name[1:] == ":" or name[0] == "~"))]
    return names[known[-1] + 1 :] if known else names


def end_of(path: str, start: int) -> str:
    """Return the end of `path` that begins with name number `start`."""
    return "/".join(names_of(path)[start:])


def last_start(part: str) -> int:
    """Return the last `start` for `end_of`: the name of the file, since an internal path alone is not an end."""
    return len(names_of(splits(part)[0][0])) - 1


def common_end(names: Sequence[str], path: str) -> int:
    """Count the last parts of `path` that equal the last of `names`."""
    pairs = zip(reversed(names), reversed(path.split("/")), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
