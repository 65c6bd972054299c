"""What is drawn of pixels, the same in all panels of a picture, and the key to its colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ilastik_lazy.core.classes import RGB
from ilastik_lazy.core.display import Channel, channels_of, class_color, is_color_picture, shows_labels
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import printable
from ilastik_lazy.formats.suffixes import PICTURE_SUFFIXES
from ilastik_lazy.viewing.pictures.pixels import Pixels

__all__ = [
    "NO_NUMBER",
    "ColorBar",
    "Legend",
    "Mode",
    "Rendering",
    "class_legend",
    "in_label_colors",
    "mode_of",
    "rendered",
]

Mode = Literal["labels", "color", "channels", "values"]
"""Classes or ids; red, green and blue; several channels added in their colours; one channel with a colour bar."""

Legend = tuple[tuple[str, RGB | None], ...]
"""Names and their colours; None for a remark."""

NO_NUMBER: RGB = (110, 40, 70)
"""Colour of NaN and infinity: none that grey values or the default classes have."""

_PERCENTILES = (0.2, 99.8)
# Golden-ratio steps of `color_of` lose their digits in the product with a large id.
_DISTINCT = 4093

# As many as there are default colours that nobody confuses.
_MOST_CHANNELS = 8
_MOST_IN_LEGEND = 20


@dataclass(frozen=True, slots=True)
class ColorBar:
    """The key to the values of one channel."""

    label: str
    color: RGB
    contrast: tuple[float, float]
    """Values shown black and in full colour."""

    goes_beyond: tuple[bool, bool]
    """Whether some pixels lie below and above the contrast."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """Pixels as they are drawn, and their key."""

    images: tuple[Pixels, ...]
    """For each panel RGB (down, across, 3), or values (down, across) if there is a `bar`."""

    legend: Legend = ()
    bar: ColorBar | None = None
    may_be_averaged: bool = True
    """Whether a color between two others means anything."""

    overlays: tuple[Pixels, ...] = ()
    """For each panel what is drawn over it, RGBA."""

    outlines: Legend = ()
    """Names and colours of what `overlays` show."""


def elided(text: str, most: int = 60) -> str:
    """Return `text` on one line of at most `most` letters: names in files may be long.

    >>> elided("a" * 30 + "b" * 30, 11)
    'aaaaa…bbbbb'
    """
    text, half = printable(text), (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def mode_of(spec: ArraySpec, indices: Mapping[str, int]) -> Mode:
    """Choose how an image is drawn; ``c`` in `indices` says that one channel is wanted."""
    if shows_labels(spec):
        return "labels"
    if spec.channels == 1 or "c" in indices or spec.channels > _MOST_CHANNELS or spec.kind == "features":
        return "values"
    return "color" if is_color_picture(spec) or _is_transparent_picture(spec) else "channels"


def _is_transparent_picture(spec: ArraySpec) -> bool:
    """Whether a fourth channel is how opaque a pixel is."""
    is_picture = spec.display_mode == "rgba" or spec.storage.path.lower().endswith(PICTURE_SUFFIXES)
    return is_picture and spec.dtype == np.uint8 and spec.channels == 4 and not spec.channel_names


def rendered(
    planes: Sequence[Pixels],
    spec: ArraySpec,
    mode: Mode,
    channel: int,
    contrast: tuple[float, float] | None,
) -> Rendering:
    """Render `planes` (channel, down, across) of one picture.

    Parameters
    ----------
    channel
        The one that `planes` hold, if they hold one.
    contrast
        Values drawn black and in full colour; without it, as the file notes, or percentiles of `planes`.
    """
    if mode == "labels":
        images = tuple(in_label_colors(pixels[0], spec) for pixels in planes)
        return Rendering(images, class_legend([pixels[0] for pixels in planes], spec), may_be_averaged=False)
    if mode == "color":
        # Means of pixels were made in float64; a fourth channel is how opaque a pixel is.
        return Rendering(tuple(np.rint(np.moveaxis(pixels[:3], 0, -1)).astype(np.uint8) for pixels in planes))
    channels = _with_contrast(planes, spec, channel, contrast)
    no_number: Legend = (("NaN or infinite", NO_NUMBER),) if any(_is_bad(pixels).any() for pixels in planes) else ()
    if mode == "channels":
        legend = tuple((_with_range(each), each.color) for each in channels)
        return Rendering(tuple(composed(pixels, channels) for pixels in planes), legend + no_number)
    (shown,) = channels
    is_colored = bool(spec.channel_colors or (spec.channel_names and spec.kind == "probabilities"))
    if spec.dtype.kind == "b" and contrast is None:
        legend = (("True", (255, 255, 255)), ("False", (0, 0, 0)))
        return Rendering(tuple(_grey(pixels[0]) for pixels in planes), legend)
    with np.errstate(invalid="ignore"):
        below = any(bool((pixels < shown.contrast[0]).any()) for pixels in planes)
        above = any(bool((pixels > shown.contrast[1]).any()) for pixels in planes)
    label = shown.name if spec.channel_names else spec.kind or "value"
    bar = ColorBar(elided(label), shown.color if is_colored else (255, 255, 255), shown.contrast, (below, above))
    return Rendering(tuple(pixels[0] for pixels in planes), no_number, bar)


def _grey(pixels: Pixels) -> Pixels:
    """Draw the share of True in each pixel."""
    return np.repeat(np.rint(pixels * 255.0).astype(np.uint8)[..., np.newaxis], 3, -1)


def _with_contrast(
    planes: Sequence[Pixels], spec: ArraySpec, channel: int, contrast: tuple[float, float] | None
) -> list[Channel]:
    count = planes[0].shape[0]
    measured = [contrast] * count if contrast is not None else measured_contrast(planes)
    padded: list[tuple[float, float]] = [(np.nan, np.nan)] * channel + measured
    padded += [(np.nan, np.nan)] * (spec.channels - len(padded))
    found = channels_of(spec, padded)[channel : channel + count]
    if contrast is None:
        return found
    return [Channel(each.name, each.color, contrast, each.limits) for each in found]


def _with_range(channel: Channel) -> str:
    low, high = channel.contrast
    name = elided(channel.name, 40)
    return name if (low, high) == (0, 1) else f"{name}: {low:.4g} to {high:.4g}"


def class_legend(planes: Sequence[Pixels], spec: ArraySpec) -> Legend:
    """Name the classes that are seen in `planes`; empty for ids, which nobody looks up by their colour."""
    if not spec.holds_classes:
        return ()
    seen = np.unique(np.concatenate([np.unique(pixels) for pixels in planes])).tolist()
    entries = [(_class_name(spec, value), label_color(spec, value)) for value in seen if value != 0]
    more = len(entries) - _MOST_IN_LEGEND
    unlabelled: Legend = (("0: not labelled", (0, 0, 0)),) if 0 in seen else ()
    tail: Legend = ((f"and {more} more", None),) if more > 0 else ()
    return (*entries[:_MOST_IN_LEGEND], *tail, *unlabelled)


def _class_name(spec: ArraySpec, value: int) -> str:
    is_named = 0 < value <= len(spec.channel_names)
    return elided(spec.channel_names[value - 1], 40) if is_named else f"class {value}"


def label_color(spec: ArraySpec, value: int) -> RGB:
    """Return the colour of a class or id; 0, which is background or not labelled, is black."""
    if value == 0:
        return (0, 0, 0)
    return class_color(spec, value - 1 if spec.holds_classes and value > 0 else (value - 1) % _DISTINCT)


def in_label_colors(pixels: Pixels, spec: ArraySpec) -> Pixels:
    """Colour classes or ids: RGB, uint8."""
    values, index = np.unique(pixels, return_inverse=True)
    table = np.array([label_color(spec, int(value)) for value in values], np.uint8)
    return table[index.reshape(pixels.shape)]


def _is_bad(pixels: Pixels) -> Pixels:
    """Whether no channel has a finite number (down, across)."""
    return np.asarray(~np.isfinite(pixels).any(0))


def measured_contrast(planes: Sequence[Pixels]) -> list[tuple[float, float]]:
    """Return two percentiles of each channel of all `planes` (channel, down, across), which noise does not move.

    Where they are equal, as in an image that is nearly all background, the least and the largest value.
    """
    measured = []
    for channel in zip(*planes, strict=True):
        values = np.concatenate([pixels.ravel() for pixels in channel])
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values.astype(np.float64)
        if not values.size:
            measured.append((np.nan, np.nan))
            continue
        low, high = np.percentile(values, _PERCENTILES).tolist()
        measured.append((low, high) if low < high else (float(values.min()), float(values.max())))
    return measured


def composed(pixels: Pixels, channels: Sequence[Channel]) -> Pixels:
    """Add channels (channel, down, across) in their colours: RGB, uint8; `NO_NUMBER` where none has a finite number."""
    light = np.zeros((*pixels.shape[1:], 3), np.float32)
    for values, channel in zip(pixels, channels, strict=True):
        low, high = channel.contrast
        share = np.clip((np.nan_to_num(values.astype(np.float32), nan=low) - low) / (high - low), 0, 1)
        light += share[..., np.newaxis] * np.array(channel.color, np.float32)
    made = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    made[_is_bad(pixels)] = NO_NUMBER
    return made
