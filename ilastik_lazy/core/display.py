"""How an image is shown: as labels or as channels, and the name, colour and contrast of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ilastik_lazy.core.classes import RGB, color_of
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.window import without_single_channel

__all__ = [
    "Channel",
    "as_shown",
    "channels_of",
    "class_color",
    "is_color_picture",
    "samples_of",
    "shows_labels",
    "states_contrast",
]

_WHITE: RGB = (255, 255, 255)
_PRIMARY: dict[str, RGB] = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
_FROM_0_TO_1 = ("probabilities", "object probabilities", "uncertainty")


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel as viewers show it."""

    name: str
    color: RGB
    contrast: tuple[float, float]
    """Values shown black and in full colour."""

    limits: tuple[float, float]
    """Range in which the contrast may be moved."""


def shows_labels(spec: ArraySpec) -> bool:
    """Whether the values are classes or ids, each shown in a colour of its own; such an image holds integers."""
    return spec.dtype.kind in "iu" and (spec.is_label_image or spec.display_mode == "random-colortable")


def as_shown(source: ArraySource) -> ArraySource:
    """Return a label image without a single channel, since viewers expect no axis ``c`` there; others as they are."""
    return without_single_channel(source) if shows_labels(source.spec) else source


def class_color(spec: ArraySpec, number: int) -> RGB:
    """Return the colour of channel or class `number`, counted from 0: the stated one, else the default one."""
    return spec.channel_colors[number] if number < len(spec.channel_colors) else color_of(number)


def is_color_picture(spec: ArraySpec) -> bool:
    """Whether the channels are red, green and blue, as in pictures of tissue; ilastik shows them so, too."""
    is_unnamed = spec.channel_names in ((), tuple(_PRIMARY)) and spec.channel_colors in ((), tuple(_PRIMARY.values()))
    return spec.dtype == np.uint8 and spec.channels == 3 and is_unnamed and spec.kind in (None, "intensity")


def samples_of(count: int) -> tuple[tuple[str, ...], tuple[RGB, ...]]:
    """Return names and colours of the samples of a colour picture; alpha is black, since it adds no light.

    >>> samples_of(3)
    (('red', 'green', 'blue'), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    """
    known = _PRIMARY | {"alpha": (0, 0, 0)}
    return (tuple(known)[:count], tuple(known.values())[:count]) if count in (3, 4) else ((), ())


def states_contrast(spec: ArraySpec) -> bool:
    """Whether the file states the range for display, or the kind of its values does; of what was computed, neither."""
    return not spec.is_inherited and (_noted_range(spec) is not None or spec.kind in _FROM_0_TO_1)


def channels_of(spec: ArraySpec, measured: Sequence[tuple[float, float]] | None = None) -> list[Channel]:
    """Return name, colour and contrast along ``c``; one channel if the image has no such axis.

    Parameters
    ----------
    spec
        The image.
    measured
        Least and largest value of each channel, without NaN, if known. They decide the contrast where the file
        notes none.
    """
    if is_color_picture(spec):
        # Contrasts of their own would change the colours.
        return [Channel(name, color, (0.0, 255.0), (0.0, 255.0)) for name, color in _PRIMARY.items()]
    channels = []
    for k in range(spec.channels):
        name = spec.channel_names[k] if k < len(spec.channel_names) else f"channel {k}"
        color = class_color(spec, k) if spec.channels > 1 or spec.channel_names or spec.channel_colors else _WHITE
        contrast, limits = _contrast(spec, None if measured is None else measured[k])
        channels.append(Channel(name, color, contrast, limits))
    return channels


def _noted_range(spec: ArraySpec) -> tuple[float, float] | None:
    # ilastik notes 0 to 1 for densities, of which a voxel has a few thousandths.
    if spec.kind == "density" or spec.drange is None or not spec.drange[0] < spec.drange[1]:
        return None
    return float(spec.drange[0]), float(spec.drange[1])


def _contrast(spec: ArraySpec, measured: tuple[float, float] | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """Contrast, and the range that it may be moved in: from the file if it notes one, else from the voxels."""
    noted = _noted_range(spec)
    if noted is not None and not spec.is_inherited:
        return noted, noted
    limits = (0.0, 1.0)
    if spec.dtype.kind in "iu":
        ends = np.iinfo(spec.dtype)
        limits = float(ends.min), float(ends.max)
    if measured is None or not (math.isfinite(measured[0]) and measured[0] < measured[1] < math.inf):
        return limits, limits
    contrast = float(measured[0]), float(measured[1])
    if spec.dtype.kind != "f":
        return contrast, limits
    if spec.kind in _FROM_0_TO_1 and contrast[0] >= 0 and contrast[1] <= 1:
        return limits, limits
    return contrast, contrast
