"""Parse names and colours in OME-Zarr metadata: of channels (``omero``) and of labels (``image-label``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ilastik_lazy.core.classes import MOST_CLASSES, color_of

__all__ = ["Color", "channels_in", "classes_in"]

Color = tuple[int, int, int]

_HEX = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


def channels_in(content: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    """Return names and colours of the channels in ``omero``; none if some channels lack them."""
    omero = content.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list) or not channels or not all(isinstance(c, dict) for c in channels):
        return (), ()
    labels = [channel.get("label") for channel in channels[:MOST_CLASSES]]
    names = tuple(label for label in labels if isinstance(label, str) and label)
    matches = [_HEX.fullmatch(str(channel.get("color"))) for channel in channels[:MOST_CLASSES]]
    colors = tuple((int(m[1], 16), int(m[2], 16), int(m[3], 16)) for m in matches if m)
    if names == tuple(f"channel {k}" for k in range(len(names))):
        # Without class names, to_ome_zarr numbers the channels; without colours, it takes some, white for a single one.
        metadata = entry.get("metadata")
        ours = isinstance(metadata, Mapping) and metadata.get("method") == "ilastik_lazy.to_ome_zarr"
        taken = colors in (tuple(map(color_of, range(len(labels)))), ((255, 255, 255),))
        names, colors = (), () if ours and taken else colors
    return names if len(names) == len(labels) else (), colors if len(colors) == len(labels) else ()


def classes_in(labels: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    """Return names and colours of the values 1, 2, ... in ``image-label``; none if some values lack them."""
    names: dict[int, str] = {}
    colors: dict[int, Color] = {}
    for key in ("colors", "properties"):
        entries = labels.get(key)
        for entry in entries[: MOST_CLASSES + 1] if isinstance(entries, list) else ():
            value = entry.get("label-value") if isinstance(entry, dict) else None
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                continue  # 0 is the background
            rgba, name = entry.get("rgba"), entry.get("name", entry.get("class"))
            if isinstance(rgba, list) and len(rgba) in (3, 4) and all(isinstance(v, int) for v in rgba):
                r, g, b = (min(max(v, 0), 255) for v in rgba[:3])
                colors[value] = r, g, b
            if isinstance(name, str) and name:
                names[value] = name
    if set(names) != set(range(1, len(names) + 1)) or len(names) > MOST_CLASSES:
        names = {}
    if set(colors) != set(range(1, len(colors) + 1)) or len(colors) > MOST_CLASSES:
        colors = {}
    return tuple(names[v] for v in sorted(names)), tuple(colors[v] for v in sorted(colors))
