"""Which images the FILEs of a command stand for, and what the files made of them are called."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.formats.location import with_slashes
from ilastik_lazy.formats.stack import is_pattern, matching
from ilastik_lazy.formats.suffixes import CONTAINER
from ilastik_lazy.storage.object_store import is_url

__all__ = ["expanded", "stem_of"]

_INSIDE = re.compile(f"({CONTAINER})/.*", re.IGNORECASE)


def expanded(names: Sequence[str], options: OpenOptions = DEFAULTS) -> list[str]:
    """List the images that `names` stand for; those of a pattern in the order of the numbers in their names.

    Raises
    ------
    SourceNotFoundError
        No file fits a pattern.
    ArgumentError
        A file is named twice.
    """
    found: list[str] = []
    for name in names:
        if is_url(name) or not is_pattern(name):
            found.append(name if is_url(name) else os.path.normpath(name))
            continue
        for path, inside in matching(name, options):
            found.append("/".join(filter(None, (os.path.normpath(path), inside))))
    places = [name if is_url(name) else os.path.abspath(name) for name in found]
    counts = Counter(places)
    if twice := next((name for name, place in zip(found, places, strict=True) if counts[place] > 1), None):
        raise ArgumentError(f"{twice} is named twice: name each file once")
    return found


def stem_of(name: str) -> str:
    """Return the name of a file without its folder, its suffixes and the path inside.

    >>> stem_of("exports/control_1_Probabilities.h5/exported_data"), stem_of("raw/control_1.ome.tif")
    ('control_1_Probabilities', 'control_1')
    """
    stem = os.path.splitext(os.path.basename(_INSIDE.sub(r"\1", with_slashes(name)).rstrip("/")))[0]
    return stem[:-4] if stem.lower().endswith(".ome") else stem
