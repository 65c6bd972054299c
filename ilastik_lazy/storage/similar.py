"""What else lies in a folder: names like the one that is missing, and the first files that can be opened."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from itertools import islice

__all__ = ["did_you_mean", "first_of"]

# In a folder with more names, a suggestion is not worth the time.
_MOST_NAMES = 2000


def did_you_mean(path: str) -> str:
    """Return a question for the end of a message that `path` is missing: similar names, or nothing.

    The first folder or file on the way that is missing counts.  Only names are read.
    """
    parent, name = os.path.split(os.path.abspath(path))
    rest = ""
    while name and not os.path.isdir(parent):
        rest = os.path.join(name, rest)
        parent, name = os.path.split(parent)
    by_lower = {each.lower(): each for each in _names(parent)}
    if not name or name in by_lower.values():
        return ""
    similar = difflib.get_close_matches(name.lower(), by_lower, 3, 0.8)
    meant = [os.path.join(parent, by_lower[each], rest).rstrip(os.sep) for each in similar]
    if not (os.path.isabs(path) or os.path.splitdrive(path)[0]):  # on Windows, another drive is never relative
        meant = list(map(os.path.relpath, meant))
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def first_of(folder: str, wanted: Callable[[str], bool]) -> str:
    """List for a message the first names in a folder that are `wanted`; empty if there are none."""
    names = _names(folder)
    found = list(filter(wanted, names))
    if len(found) <= 4:
        return ", ".join(found)
    return f"{', '.join(found[:3])} and {f'{len(found) - 3} ' if len(names) < _MOST_NAMES else ''}more"


def _names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _MOST_NAMES))
    except OSError:
        return []
