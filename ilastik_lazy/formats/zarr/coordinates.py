"""Read the coordinates that xarray writes beside a Zarr array.

An array ``x`` beside the image, with the same dimension ``x``, holds the positions along that axis, and its attribute
``units`` their unit (https://docs.xarray.dev/en/stable/internals/zarr-encoding-spec.html).  An array ``c`` holds names,
``class_color`` colours.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import AXIS_NAMES, Axis
from ilastik_lazy.core.classes import COLORS
from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.errors import AccessDeniedError, FormatError, MetadataError, UnsafeFileError
from ilastik_lazy.formats.metadata.settled_axes import Along, require_unpacked
from ilastik_lazy.formats.zarr.direct import ZarrSource
from ilastik_lazy.formats.zarr.layout import parse_layout
from ilastik_lazy.formats.zarr.tree import Node, node_at

__all__ = ["colors_beside", "coordinates_beside"]

# xarray writes one chunk.  Each costs a request, or 20 us, at opening, which should read metadata only.
_MOST_CHUNKS = 64


def coordinates_beside(node: Node, dims: Sequence[str], shape: Sequence[int], limits: Limits) -> list[Along | None]:
    """Return the coordinate of each dimension of the array `node`, None where there is none.

    A coordinate that cannot be read holds the problem: the image opens without it.
    """
    folder = node.files.parent(node.path)
    # A name from a file becomes a path here: accept names of axes only.
    return [
        _along(node, os.path.join(folder, name), length, limits) if folder and name.lower() in AXIS_NAMES else None
        for name, length in zip(dims, shape, strict=True)
    ]


def colors_beside(node: Node, dims: Sequence[str], shape: Sequence[int], limits: Limits) -> Along | None:
    """Return the coordinate ``class_color`` of the array `node`; None where it states none."""
    lengths = [length for name, length in zip(dims, shape, strict=True) if name.lower() == "c"]
    folder = node.files.parent(node.path)
    if not (folder and lengths and COLORS in str(node.attributes.get("coordinates")).split()):
        return None
    return _along(node, os.path.join(folder, COLORS), lengths[0], limits)


def _along(image: Node, path: str, length: int, limits: Limits) -> Along | None:
    try:
        image.files.check_links(path)
        node = node_at(path, image.files)
        if node is None or node.kind != "array" or node.document.get("shape") != [length]:
            return None
        attributes = node.attributes
        require_unpacked(path, attributes)
        return Along(path, _values(node, limits), attributes.get("units"), calendar=attributes.get("calendar"))
    except AccessDeniedError:
        return None  # S3 may also deny access to what does not exist
    except (FormatError, UnsafeFileError) as error:
        return Along.unreadable(path, error)


def _values(node: Node, limits: Limits) -> np.ndarray[Any, Any]:
    """Read all values: numbers, or texts of fixed length."""
    layout = parse_layout(node.document, node.version, node.path, limits, ranks=(1,), kinds="biufU")
    spec = ArraySpec(
        name="", shape=layout.shape, dtype=layout.dtype, axes=(Axis("x"),), chunks=layout.chunks,
        storage=Storage(node.path),
    )  # fmt: skip
    if (chunks := math.prod(spec.grid)) > _MOST_CHUNKS:
        raise MetadataError(f"{node.path} holds positions in {chunks:,} chunks")
    # A missing chunk reads as its fill value, NaN: the positions are then unknown, and a warning says so.
    source = ZarrSource(
        spec, node.files, node.path, node.metadata_path, node.metadata_version, layout, is_complete=False
    )
    return source.read((slice(0, layout.shape[0]),))
