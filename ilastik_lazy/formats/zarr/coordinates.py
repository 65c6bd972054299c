"""The coordinates beside a Zarr array, as xarray writes them.

An array of the dimension ``x`` beside it, called ``x``, holds the positions along it, and its attribute ``units``
their unit (https://docs.xarray.dev/en/stable/internals/zarr-encoding-spec.html).  Of ``c`` it holds names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import AXIS_NAMES, Axis
from ilastik_lazy.core.limits import Limits
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.errors import AccessDeniedError, FormatError, MetadataError, UnsafeFileError
from ilastik_lazy.formats.conventions import Along
from ilastik_lazy.formats.zarr.direct import ZarrSource
from ilastik_lazy.formats.zarr.layout import parse_layout
from ilastik_lazy.formats.zarr.tree import Node, node_at

__all__ = ["coordinates_beside"]

# Values that CF packs into others: https://cfconventions.org/cf-conventions/cf-conventions.html#packed-data
_PACKED = ("scale_factor", "add_offset")
# xarray writes one; each takes a request, or 20 us, while nothing but metadata is to be read.
_MOST_CHUNKS = 64


def coordinates_beside(node: Node, dims: Sequence[str], shape: Sequence[int], limits: Limits) -> list[Along | None]:
    """The coordinate of each dimension of the array `node`, as far as there is one.

    What is wrong with one is noted in it: coordinates only inform, so the image opens.
    """
    folder = node.files.parent(node.path)
    # Names of other axes are nobody's business: a name from a file becomes a path here.
    return [
        _along(node, os.path.join(folder, name), length, limits) if folder and name.lower() in AXIS_NAMES else None
        for name, length in zip(dims, shape, strict=True)
    ]


def _along(image: Node, path: str, length: int, limits: Limits) -> Along | None:
    try:
        image.files.check_links(path)
        node = node_at(path, image.files)
        if node is None or node.kind != "array" or node.document.get("shape") != [length]:
            return None
        if any(name in node.attributes for name in _PACKED):
            raise MetadataError(f"{path} holds positions packed with a scale_factor")
        return Along(path, _values(node, limits), node.attributes.get("units"))
    except AccessDeniedError:
        return None  # S3 may hide what there is and what there is not
    except (FormatError, UnsafeFileError) as error:
        return Along(path, problem=str(error).removeprefix(f"{path}: ").removeprefix(f"{path} "))


def _values(node: Node, limits: Limits) -> np.ndarray[Any, Any]:
    """All values: numbers, or texts of one length."""
    layout = parse_layout(node.document, node.version, node.path, limits, ranks=(1,), kinds="biufU")
    spec = ArraySpec(
        name="", shape=layout.shape, dtype=layout.dtype, axes=(Axis("x"),), chunks=layout.chunks,
        storage=Storage(node.path),
    )  # fmt: skip
    if (chunks := math.prod(spec.grid)) > _MOST_CHUNKS:
        raise MetadataError(f"{node.path} holds positions in {chunks:,} chunks")
    # What is missing reads as its fill value, NaN: the positions are unknown then, and a warning says so.
    source = ZarrSource(
        spec, node.files, node.path, node.metadata_path, node.metadata_version, layout, is_complete=False
    )
    return source.read((slice(0, layout.shape[0]),))
