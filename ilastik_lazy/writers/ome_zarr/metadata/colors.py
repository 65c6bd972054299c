"""Colours for channels, classes and labels whose project is not at hand."""

from __future__ import annotations

import colorsys

__all__ = ["RGB", "color_of"]

RGB = tuple[int, int, int]

# Colour-blind safe: https://jfly.uni-koeln.de/color/ (Okabe and Ito).
_FIRST: tuple[RGB, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167), (255, 255, 255),
)  # fmt: skip
_GOLDEN_RATIO = 0.6180339887498949


def color_of(number: int) -> RGB:
    """The colour of channel or class `number`, counted from 0: always the same.

    >>> color_of(0), color_of(8) != color_of(9)
    ((230, 159, 0), True)
    """
    if number < len(_FIRST):
        return _FIRST[number]
    # Steps of the golden ratio around the circle of hues never meet, and neighbours are far apart.
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
