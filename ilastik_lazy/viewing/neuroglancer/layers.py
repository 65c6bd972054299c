"""Describe images as layers of Neuroglancer's state: what is shown as channels, what as segments, and how.

https://neuroglancer-docs.web.app/json/api/: a state is a JSON value.  The client ignores what OME-Zarr 0.5 says of
channels, and float images are black unless ``shaderControls`` state their range: all of it is stated here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.classes import hex_colors
from ilastik_lazy.core.display import Channel, channels_of, class_color
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.serving.addresses import unused
from ilastik_lazy.viewing.neuroglancer.segments import Segments

__all__ = ["SEGMENTS", "Layer", "Shown", "layers_of"]

Layer = dict[str, Any]

SEGMENTS = "segments"
"""Folder of the document of segment properties, below the address of its image."""

_SHADER = """#uicontrol invlerp contrast
#uicontrol vec3 color color
void main() {
  emitRGB(color * contrast());
}
"""
# Channels beyond are there to be switched on: the features that ilastik exports are hundreds.
_MOST_VISIBLE = 8
# Colours of classes without names; the client chooses others for larger numbers.
_MOST_CLASSES = 32
_ALPHA, _ALPHA_OVER_CHANNELS = 0.5, 0.3
# Bright voxels of a raw image and a channel over it are not yet white, so that the colour of a class is seen.
_RAW_BENEATH, _OVER_RAW = 0.6, 0.5


@dataclass(frozen=True, slots=True)
class Shown:
    """An image, and what is known of how it is to be shown."""

    name: str
    spec: ArraySpec
    url: str
    """Address of its OME-Zarr."""
    is_labels: bool
    is_raw: bool = False
    measured: Sequence[tuple[float, float]] | None = None
    """Range of values of each channel, where the file states none."""
    segments: Segments | None = None


def layers_of(images: Sequence[Shown]) -> list[Layer]:
    """Return the layers of all images, the lowest first: raw images, then channels, then labels.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> from ilastik_lazy.formats.stack import open_paths
    >>> raw = Shown("nuclei", open_paths(sample("raw")).spec, "http://localhost/nuclei.zarr", is_labels=False)
    >>> [(layer["name"], layer["type"], layer["shaderControls"]["contrast"]) for layer in layers_of([raw])]
    [('nuclei', 'image', {'range': [0, 255], 'window': [0, 255]})]
    """
    ordered = sorted(images, key=lambda image: (not image.is_raw, image.is_labels))
    has_channels = any(not image.is_labels and not image.is_raw for image in images)
    is_mixed = has_channels and any(image.is_raw for image in images)
    layers: list[Layer] = []
    for image in ordered:
        if image.is_labels:
            of_image = _label_layers(image, _ALPHA_OVER_CHANNELS if has_channels else _ALPHA)
        else:
            of_image = _channel_layers(image, is_mixed)
        taken = {layer["name"] for layer in layers}
        for layer in of_image:
            name = layer["name"] if layer["name"] not in taken else f"{image.name} {layer['name']}"
            layers.append({**layer, "name": unused(name, {each["name"] for each in layers})})
    # The lowest one covers the background, and the others are added to it.
    for layer in [layer for layer in layers if layer["type"] == "image"][1:]:
        layer["blend"] = "additive"
    return layers


def _named(image: Shown) -> list[Channel]:
    """Return the channels with the names of layers."""
    spec, found = image.spec, channels_of(image.spec, image.measured)
    if spec.channel_names:
        return found
    return [replace(each, name=f"{image.name} {each.name}" if len(found) > 1 else image.name) for each in found]


def _channel_layers(image: Shown, is_mixed: bool) -> Iterable[Layer]:
    spec = image.spec
    # The client does not apply the opacity of what covers the background.
    brightness = _RAW_BENEATH if is_mixed and image.is_raw else 1
    for number, channel in enumerate(_named(image)):
        red, green, blue = (round(part * brightness) for part in channel.color)
        yield {
            "type": "image",
            "name": channel.name,
            "source": _sources(image),
            **_channel(spec, number),
            "shader": _SHADER,
            "shaderControls": {"contrast": _contrast(spec, channel), "color": hex_colors([(red, green, blue)])[0]},
            "opacity": _OVER_RAW if is_mixed and not image.is_raw else 1,
            "blend": "default",
            **({} if number < _MOST_VISIBLE else {"visible": False}),
        }


def _contrast(spec: ArraySpec, channel: Channel) -> dict[str, Any]:
    kind = round if spec.dtype.kind in "iu" else float
    return {"range": [kind(end) for end in channel.contrast], "window": [kind(end) for end in channel.limits]}


def _label_layers(image: Shown, alpha: float) -> Iterable[Layer]:
    spec = image.spec
    for number in range(spec.channels):
        name = image.name if spec.channels == 1 else f"{image.name} channel {number}"
        layer: Layer = {
            "type": "segmentation",
            "name": name,
            "source": _sources(image),
            **_channel(spec, number),
            "selectedAlpha": alpha,
        }
        if spec.holds_classes:
            count = len(spec.channel_names) or min(_MOST_CLASSES, int(np.iinfo(spec.dtype).max))
            colors = hex_colors([class_color(spec, k) for k in range(count)])
            layer["segmentColors"] = {str(k): color for k, color in enumerate(colors, 1)}
        if image.segments is not None:
            layer["tab"] = "segments"
            if image.segments.query:
                layer["segmentQuery"] = image.segments.query
        yield layer


def _sources(image: Shown) -> list[dict[str, str]]:
    found = [{"url": f"zarr3://{image.url}/"}]
    if image.segments is not None:
        found.append({"url": f"precomputed://{image.url}/{SEGMENTS}"})
    return found


def _channel(spec: ArraySpec, number: int) -> Layer:
    """Choose one channel: the client has ``c'``, with this mark, as a dimension of the layer alone."""
    return {"localDimensions": {"c'": [1, ""]}, "localPosition": [number]} if "c" in spec.dims else {}
