"""Describe images as layers of napari: arrays, and the arguments of ``add_image`` and ``add_labels``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd

from ilastik_lazy.core.axes import AXIS_NAMES, Axis, axis_names
from ilastik_lazy.core.classes import hex_colors
from ilastik_lazy.core.display import Channel, channels_of, class_color, shows_labels, states_contrast
from ilastik_lazy.core.size_text import parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS
from ilastik_lazy.core.views.cache import CachedSource
from ilastik_lazy.lazy.dask_array import to_dask
from ilastik_lazy.viewing.napari.beside import with_features_beside
from ilastik_lazy.viewing.napari.images import Image

__all__ = ["LayerData", "layers_of"]

LayerData = tuple[Any, dict[str, Any], str]
"""A dask array, or a list of them for a pyramid; arguments of ``add_image`` or ``add_labels``; which of the two."""

# Decoded chunks of each image: the next plane lies in the same ones.
_CACHE = "500MB"
# pint, which napari asks, knows these; any other name would be an error there.
_UNITS = OME_SPACE_UNITS | OME_TIME_UNITS
# Channels beyond are there to be switched on: the features that ilastik exports are hundreds.
_MOST_VISIBLE = 8
_MOST_CLASSES = 255
_OTHER_CLASSES = "#808080"


def layers_of(images: Sequence[Image]) -> list[LayerData]:
    """Return the layers of the images of a file, one for each channel; dims are in the order t, z, y, x.

    napari compares layers by their last dims: an image without z between images with t and z gets a z of length 1.
    """
    known = {"y": Axis("y"), "x": Axis("x")}
    known |= {axis.name: axis for image in reversed(images) for axis in image.spec.axes if axis.name != "c"}
    return [layer for image in images for layer in _layers(image, known)]


def _layers(image: Image, known: Mapping[str, Axis]) -> list[LayerData]:
    spec = image.spec
    own = {axis.name: axis for axis in spec.axes}
    axes = [own.get(name, known[name]) for name in AXIS_NAMES if name in known]
    first = next((number for number, axis in enumerate(axes) if axis.name in own), 0)
    axes = axes[min(first, len(axes) - 2) :]
    size = parse_size(_CACHE, "cache") // len(image.levels)
    is_labels = shows_labels(spec)
    sources, table = with_features_beside(image.levels) if is_labels else (image.levels, None)
    levels = [CachedSource(level, size) for level in sources]
    layers: list[LayerData] = []
    for number, channel in enumerate(channels_of(spec)):
        arrays = [_array(level, number, axis_names(axes)) for level in levels]
        options = _place(axes) | {
            "name": _name(image, channel),
            "visible": image.is_visible and number < _MOST_VISIBLE,
            "multiscale": len(arrays) > 1,
        }
        options |= _labels_options(spec, table) if is_labels else _image_options(spec, channel)
        layers.append((arrays if len(arrays) > 1 else arrays[0], options, "labels" if is_labels else "image"))
    return layers


def _array(source: ArraySource, channel: int, dims: Sequence[str]) -> da.Array:
    """Return one channel with its axes in the order `dims`; those that it lacks have the length 1."""
    array, own = to_dask(source, None), list(source.spec.dims)
    if "c" in own:
        array = array[tuple(channel if name == "c" else slice(None) for name in own)]
        own.remove("c")
    array = array.transpose([own.index(name) for name in dims if name in own])  # type: ignore[no-untyped-call]
    whole: da.Array = array if len(own) == len(dims) else array[tuple(slice(None) if n in own else None for n in dims)]
    return whole


def _place(axes: Sequence[Axis]) -> dict[str, Any]:
    """Return where the voxels lie: steps, first positions and units of `axes`; what is not known is in pixels."""
    units = tuple(axis.unit if axis.scale and axis.unit in _UNITS else "pixel" for axis in axes)
    place = {
        "axis_labels": axis_names(axes),
        "scale": tuple(axis.scale or 1.0 for axis in axes),
        "translate": tuple(axis.translation if axis.scale else 0.0 for axis in axes),
    }
    return place | ({"units": units} if set(units) != {"pixel"} else {})


def _name(image: Image, channel: Channel) -> str:
    spec = image.spec
    if spec.is_label_image or not (spec.channel_names or _is_split(spec)):
        return image.name
    return channel.name if image.is_alone and spec.channel_names else f"{image.name}: {channel.name}"


def _is_split(spec: ArraySpec) -> bool:
    return spec.channels > 1


def _image_options(spec: ArraySpec, channel: Channel) -> dict[str, Any]:
    # napari takes an image whose last axis has 3 or 4 elements for one in colours.
    options: dict[str, Any] = {"rgb": False}
    if spec.channel_names or spec.channel_colors or _is_split(spec):
        options |= {"colormap": hex_colors([channel.color])[0], "blending": "additive"}
    # Without limits, napari takes those of the first plane that it shows.
    if states_contrast(spec):
        options["contrast_limits"] = channel.contrast
    return options


def _labels_options(spec: ArraySpec, table: pd.DataFrame | None) -> dict[str, Any]:
    """Return names and colours of classes, or the table of objects."""
    if not spec.holds_classes:
        return {} if table is None else {"features": table}
    options: dict[str, Any] = {}
    if spec.channel_names:
        options["features"] = {"index": list(range(1, len(spec.channel_names) + 1)), "class": list(spec.channel_names)}
    count = len(spec.channel_names) or min(_MOST_CLASSES, int(np.iinfo(spec.dtype).max))
    colors = hex_colors([class_color(spec, number) for number in range(count)])
    options["colormap"] = {None: _OTHER_CLASSES, 0: "transparent"} | dict(enumerate(colors, 1))
    return options
