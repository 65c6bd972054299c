"""Names and colours of classes: defaults, texts such as ``#e69f00``, and CF's flags for the values of an image."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ilastik_lazy.errors import ArgumentError

__all__ = [
    "COLORS",
    "MOST_CLASSES",
    "RGB",
    "by_value",
    "class_colors_in",
    "color_of",
    "colors_from",
    "flag_attributes",
    "flag_colors",
    "flag_names",
    "flag_words",
    "hex_colors",
    "place_of_class",
]

RGB = tuple[int, int, int]

COLORS = "class_color"
"""Name of the coordinate along ``c`` that holds the colours of the channels."""

MOST_CLASSES = 1000
"""A larger value that a file names is the id of an object, not the number of a class."""

_T = TypeVar("_T")

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
    """Read what `hex_colors` wrote, in a list or in one text; empty if any entry is something else.

    >>> colors_from(["#e69f00"]), colors_from("#e69f00 red")
    (((230, 159, 0),), ())
    """
    texts = texts.split() if isinstance(texts, str) else texts
    if not isinstance(texts, list | tuple | np.ndarray):
        return ()
    if not all(isinstance(text, str) and re.fullmatch("#[0-9a-fA-F]{6}", text) for text in texts):
        return ()
    return tuple((int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)) for text in texts)


def flag_words(names: Sequence[str]) -> tuple[str, ...]:
    """Spell names as section 3.5 of the CF conventions does, without blanks."""
    return tuple("_".join(name.split()) for name in names)


def by_value(named: Mapping[int, _T], unnamed: Callable[[int], _T]) -> tuple[_T, ...]:
    """Return what is known of the values 1, 2, ..., and `unnamed` of those between them; empty beyond `MOST_CLASSES`.

    >>> by_value({0: "background", 1: "nucleus", 3: "wall"}, "class {}".format)
    ('nucleus', 'class 2', 'wall')
    """
    last = max(named, default=0)
    numbers = range(1, last + 1) if last <= MOST_CLASSES else ()
    return tuple(named[number] if number in named else unnamed(number) for number in numbers)


def flag_attributes(names: Sequence[str], colors: Sequence[RGB] = ()) -> dict[str, Any]:
    """Return attributes that name the values 1, 2, ... as the CF conventions do, in one text, and their colours.

    >>> flag_attributes(["cell body", "background"], [(230, 159, 0), (0, 0, 0)])["flag_meanings"]
    'cell_body background'
    >>> flag_attributes([], [(230, 159, 0)])
    {'flag_values': [1], 'flag_colors': '#e69f00'}
    """
    count = len(names or colors)
    made: dict[str, Any] = {"flag_values": list(range(1, count + 1))} if count else {}
    if names:
        made["flag_meanings"] = " ".join(flag_words(names))
    if colors:
        all_colors = [*colors, *map(color_of, range(len(colors), count))]
        made["flag_colors"] = " ".join(hex_colors(all_colors[:count]))
    return made


def flag_names(attributes: Mapping[Any, Any], stored: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the values 1, 2, ... in flags, a text or a list; empty if these make no sense.

    The name of 0, the background, is left out; a value between others that has no name is called ``class 2``.

    Parameters
    ----------
    stored
        Names as the file has them, with blanks: they are returned if the flags are made from them.
    """
    meanings = attributes.get("flag_meanings")
    meanings = meanings.split() if isinstance(meanings, str) else meanings
    if not isinstance(meanings, list | tuple | np.ndarray):
        return ()
    names = _by_flag_value(attributes, [str(name) for name in meanings], "class {}".format)
    return tuple(stored) if flag_words(names) == flag_words(stored) else names


def flag_colors(attributes: Mapping[Any, Any]) -> tuple[RGB, ...]:
    """Return the colours of the values 1, 2, ... in flags; default ones between them; empty if these make no sense."""
    colors = colors_from(attributes.get("flag_colors"))
    return _by_flag_value(attributes, colors, lambda number: color_of(number - 1))


def _by_flag_value(attributes: Mapping[Any, Any], each: Sequence[_T], unnamed: Callable[[int], _T]) -> tuple[_T, ...]:
    values = attributes.get("flag_values")
    # netCDF makes a number of a list with one element.
    values = values.tolist() if isinstance(values, np.ndarray | np.generic) else values
    values = values if isinstance(values, list | tuple) else [values]
    is_whole = all(isinstance(value, int | float | np.number) and float(value).is_integer() for value in values)
    if not is_whole or len(values) != len(each):
        return ()
    return by_value({int(value): one for value, one in zip(values, each, strict=True)}, unnamed)


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
