"""Names and colours of classes, as attributes of an image: CF's flags, and texts such as ``#e69f00``."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ilastik_lazy.errors import ArgumentError

__all__ = [
    "RGB",
    "class_colors_in",
    "color_of",
    "colors_from",
    "flag_attributes",
    "flag_names",
    "flag_words",
    "hex_colors",
    "place_of_class",
]

RGB = tuple[int, int, int]

# Colour-blind safe: https://jfly.uni-koeln.de/color/ (Okabe and Ito).
_FIRST: tuple[RGB, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167), (255, 255, 255),
)  # fmt: skip
_GOLDEN_RATIO = 0.6180339887498949


def color_of(number: int) -> RGB:
    """Return the default colour of channel or class `number`, counted from 0.

    >>> color_of(0), color_of(8) != color_of(9)
    ((230, 159, 0), True)
    """
    if number < len(_FIRST):
        return _FIRST[number]
    # Steps of the golden ratio around the circle of hues never meet, and neighbours are far apart.
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def hex_colors(colors: Sequence[RGB]) -> list[str]:
    """Spell colours as viewers and web pages do.

    >>> hex_colors([(230, 159, 0)])
    ['#e69f00']
    """
    return [f"#{bytes(rgb).hex()}" for rgb in colors]


def class_colors_in(palette: bytes) -> tuple[RGB, ...]:
    """Return the colours of the classes 1, 2, ... in a palette: red, green, blue of each index from 0 on.

    Programs fill what they do not use of a palette with black.

    >>> class_colors_in(bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 0]))
    ((255, 0, 0), (0, 255, 0))
    """
    flat = palette.rstrip(b"\0")
    flat += bytes(-len(flat) % 3)
    return tuple((flat[k], flat[k + 1], flat[k + 2]) for k in range(3, len(flat), 3))


def colors_from(texts: object) -> tuple[RGB, ...]:
    """Read what `hex_colors` wrote; empty if any entry is something else.

    >>> colors_from(["#e69f00"]), colors_from(["#e69f00", "red"])
    (((230, 159, 0),), ())
    """
    if not isinstance(texts, list | tuple | np.ndarray):
        return ()
    if not all(isinstance(text, str) and re.fullmatch("#[0-9a-fA-F]{6}", text) for text in texts):
        return ()
    return tuple((int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)) for text in texts)


def flag_words(names: Sequence[str]) -> tuple[str, ...]:
    """Spell names as section 3.5 of the CF conventions does, without blanks."""
    return tuple("_".join(name.split()) for name in names)


def flag_attributes(names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes that name the values 1, 2, ... as the CF conventions do, in one text.

    >>> flag_attributes(["cell body", "background"])
    {'flag_values': [1, 2], 'flag_meanings': 'cell_body background'}
    """
    return {"flag_values": list(range(1, len(names) + 1)), "flag_meanings": " ".join(flag_words(names))}


def flag_names(attributes: Mapping[Any, Any], stored: Sequence[str] = ()) -> tuple[str, ...]:
    """Read the names in flags, a text or a list; empty if other values than 1, 2, ... are named.

    Parameters
    ----------
    stored
        Names as the file has them, with blanks: they are returned if the flags are made from them.
    """
    meanings, values = attributes.get("flag_meanings"), attributes.get("flag_values")
    meanings = meanings.split() if isinstance(meanings, str) else meanings
    names = tuple(map(str, meanings)) if isinstance(meanings, list | tuple) else ()
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, list | tuple) or list(values) != list(range(1, len(names) + 1)):
        return ()
    return tuple(stored) if names == flag_words(stored) else names


def place_of_class(name: str, names: Sequence[str], where: object) -> int:
    """Return the place of `name` among `names`, counted from 0.

    Raises
    ------
    ArgumentError
        Several classes or channels at `where` have this name.
    """
    if (count := names.count(name)) > 1:
        raise ArgumentError(f"{where} has {count} classes called {name!r}: rename them, or name them by number")
    return names.index(name)
