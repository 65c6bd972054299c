"""Where a plain Zarr array lies in space: the coordinates beside it, as xarray writes them.

An array of the dimension ``x`` beside it, called ``x``, holds the positions along it, and its attribute ``units``
their unit (https://docs.xarray.dev/en/stable/internals/zarr-encoding-spec.html).  OME-Zarr says it elsewhere.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import replace

from ilastik_lazy.axes import Axis
from ilastik_lazy.errors import AccessDeniedError, FormatError, MetadataError, MetadataWarning, UnsafeFileError
from ilastik_lazy.limits import Limits
from ilastik_lazy.positions import step_and_origin
from ilastik_lazy.sources.zarr_direct import ZarrSource
from ilastik_lazy.sources.zarr_layout import ArrayLayout, parse_layout
from ilastik_lazy.sources.zarr_store import Node, node_at
from ilastik_lazy.spec import ArraySpec, Storage
from ilastik_lazy.units import full_unit_name

__all__ = ["placed_axes"]

# Values that CF packs into others: https://cfconventions.org/cf-conventions/cf-conventions.html#packed-data
_PACKED = ("scale_factor", "add_offset")
# xarray writes one; each takes a request, or 20 us, while nothing but metadata is to be read.
_MOST_CHUNKS = 64


def placed_axes(node: Node, layout: ArrayLayout, axes: tuple[Axis, ...], limits: Limits) -> tuple[Axis, ...]:
    """`axes` of the array `node`, with step, origin and unit where there are coordinates beside it.

    Warns
    -----
    MetadataWarning
        Coordinates that cannot be read, or are not evenly spaced: they only inform, so the image opens.
    """
    if not (folder := node.files.parent(node.path)):
        return axes
    noted = layout.names or node.attributes.get("_ARRAY_DIMENSIONS")
    if not isinstance(noted, list | tuple) or len(noted) != len(axes):
        return axes
    placed = []
    for axis, name, length in zip(axes, noted, layout.shape, strict=True):
        # Names of other axes are nobody's business: a name from a file becomes a path here.
        if axis.name != "c" and isinstance(name, str) and name.lower() == axis.name:
            axis = _placed(node, axis, os.path.join(folder, name), length, limits)
        placed.append(axis)
    return tuple(placed)


def _placed(image: Node, axis: Axis, path: str, length: int, limits: Limits) -> Axis:
    try:
        image.files.check_links(path)
        node = node_at(path, image.files)
        if node is None or node.kind != "array" or node.document.get("shape") != [length]:
            return axis
        if any(name in node.attributes for name in _PACKED):
            raise MetadataError(f"{path} holds positions packed with a scale_factor")
        source = _source(node, axis, limits)
        if (chunks := math.prod(source.spec.grid)) > _MOST_CHUNKS:
            raise MetadataError(f"{path} holds positions in {chunks:,} chunks")
        found = step_and_origin(source.read((slice(0, length),)))
    except AccessDeniedError:
        return axis  # S3 may hide what there is and what there is not
    except (FormatError, UnsafeFileError) as error:
        warnings.warn(f"{error}: positions along {axis.name} are taken as unknown", MetadataWarning, stacklevel=2)
        return axis
    if found is None:
        warnings.warn(
            f"{path}: its positions do not rise evenly: those along {axis.name} are taken as unknown",
            MetadataWarning,
            stacklevel=2,
        )
        return axis
    unit = node.attributes.get("units")
    # CF's "seconds since 2024-05-01" is a unit and a date.
    named = full_unit_name(unit.partition(" since ")[0]) if isinstance(unit, str) else axis.unit
    return replace(axis, scale=found[0], translation=found[1], unit=named)


def _source(node: Node, axis: Axis, limits: Limits) -> ZarrSource:
    layout = parse_layout(node.document, node.version, node.path, limits, ranks=(1,))
    spec = ArraySpec(
        name=axis.name,
        shape=layout.shape,
        dtype=layout.dtype,
        axes=(axis,),
        chunks=layout.chunks,
        storage=Storage(node.path),
    )
    # What is missing reads as its fill value, NaN: the positions are unknown then, and a warning says so.
    return ZarrSource(spec, node.files, node.path, node.metadata_path, node.metadata_version, layout, is_complete=False)
