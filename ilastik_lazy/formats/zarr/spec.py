"""Describe a Zarr array unread: axes, names, colours and kind, from its attributes and from its multiscales.

Positions come from ``multiscales`` alone: the ``axistags`` that ilastik writes at each level repeat the resolution of
the finest one.
"""

from __future__ import annotations

import json
import os
import typing
from dataclasses import dataclass, replace
from typing import Any

from ilastik_lazy.core.axes import Axis, axis_names, parse_axis_names
from ilastik_lazy.core.classes import flag_colors, flag_names
from ilastik_lazy.core.kinds import WHOLE_NUMBERS, kind_from_name
from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.spec import ArraySpec, Kind, Storage
from ilastik_lazy.core.views.packing import PACKING_ATTRIBUTES
from ilastik_lazy.errors import MetadataError, option
from ilastik_lazy.formats.metadata.axistags import parse_axistags
from ilastik_lazy.formats.metadata.settled_axes import CONVENTIONS, Settled, axis_along, settled_axes
from ilastik_lazy.formats.metadata.values import channel_count, drange_from, packing_of
from ilastik_lazy.formats.zarr.coordinates import colors_beside, coordinates_beside
from ilastik_lazy.formats.zarr.layout import ArrayLayout
from ilastik_lazy.formats.zarr.ome import Multiscale
from ilastik_lazy.formats.zarr.tree import Node

__all__ = ["Home", "array_spec", "is_label_group"]


def is_label_group(inside: str, multiscale: Multiscale) -> bool:
    """Return whether the group at the path `inside` holds labels: by its metadata, or by a parent ``labels``."""
    return multiscale.is_labels or os.path.basename(os.path.dirname(inside)) == "labels"


@dataclass(frozen=True, slots=True)
class Home:
    """The multiscales that list an array."""

    group: str
    """Folder of the group."""
    multiscale: Multiscale
    level: int


def array_spec(
    node: Node,
    layout: ArrayLayout,
    home: Home | None,
    name: str,
    storage: Storage,
    axes: str | None,
    limits: Limits,
) -> ArraySpec:
    """Return the spec of one array.

    Parameters
    ----------
    home
        The multiscales that list the array, if any.
    axes
        Names of the axes, which replace those in the store.

    Raises
    ------
    MetadataError
        The axes do not fit the array.
    """
    settled = _axes_in(node, layout, home, storage.location, axes, limits)
    found = settled.axes
    kind = _kind_of(node, layout, home, storage.path, found)
    names, colors = _classes_of(node, layout, home, kind, found)
    return ArraySpec(
        name=name,
        shape=layout.shape,
        dtype=layout.dtype,
        axes=found,
        chunks=layout.chunks,
        storage=storage,
        axes_guessed=settled.guessed,
        channel_names=names if names or kind in WHOLE_NUMBERS else settled.channel_names,
        channel_colors=colors if colors or kind in WHOLE_NUMBERS else settled.channel_colors,
        kind=kind,
        drange=drange_from(node.attributes.get("drange"), storage.location),
        display_mode=mode if isinstance(mode := node.attributes.get("display_mode"), str) else "",
        packing=packing_of(storage.location, _packing_attributes(node, layout, home), layout.dtype),
        remarks=settled.remarks,
    )


def _packing_attributes(node: Node, layout: ArrayLayout, home: Home | None) -> dict[str, Any]:
    """Return CF's packing attributes; in Zarr 2, xarray stores ``_FillValue`` as the fill value of the array."""
    found = {name: node.attributes[name] for name in PACKING_ATTRIBUTES if name in node.attributes}
    is_xarrays = node.version == 2 and home is None and "_ARRAY_DIMENSIONS" in node.attributes
    if is_xarrays and node.document.get("fill_value") is not None:
        # zarr-python also writes 0 if no fill value was requested.
        found |= {"_FillValue": layout.fill_value} if layout.fill_value != 0 or found else {}
    return found


def _axes_in(
    node: Node, layout: ArrayLayout, home: Home | None, where: str, axes: str | None, limits: Limits
) -> Settled:
    ndim = len(layout.shape)
    noted = layout.names or _texts(node.attributes.get("_ARRAY_DIMENSIONS"))
    dims = noted if len(noted) == ndim else ()
    if home is None:
        attributes = {name: node.attributes[name] for name in CONVENTIONS if name in node.attributes}
        return settled_axes(
            where, layout.shape, axes, attributes,
            dims=noted, dims_from="dimension_names" if layout.names else "_ARRAY_DIMENSIONS",
            beside=coordinates_beside(node, dims, layout.shape, limits) if dims else (),
            colors=colors_beside(node, dims, layout.shape, limits) if dims else None,
        )  # fmt: skip
    remarks = home.multiscale.problems
    stored = home.multiscale.axes_of_level(home.level, _unset(node, ndim))
    if axes is None and len(stored) != ndim:
        raise MetadataError(
            f"{where} has shape {layout.shape}, and multiscales name the axes {''.join(axis_names(stored))}: "
            f"pass {option('axes')} with one letter of 'tzyxc' per dimension"
        )
    if axes is None:
        return Settled(_placed_beside(node, home, stored, dims, layout.shape, limits), remarks=remarks)
    pairs = zip(parse_axis_names(axes, layout.shape, where), [*stored, *[None] * ndim][:ndim], strict=True)
    return Settled(tuple(axis if axis and axis.name == name else Axis(name) for name, axis in pairs), remarks=remarks)


def _placed_beside(
    node: Node, home: Home, axes: tuple[Axis, ...], dims: tuple[str, ...], shape: tuple[int, ...], limits: Limits
) -> tuple[Axis, ...]:
    """`axes`, with what multiscales do not say, from the coordinates in the level's own folder.

    A step of 1 without a unit may be unknown, and a date that times count from has no place in OME-Zarr.
    """
    unknown = [axis.name == "t" or (axis.scale is None and axis.name != "c") for axis in axes]
    if not any(unknown) or node.files.parent(node.path) == home.group or dims != axis_names(axes):
        return axes
    wanted = tuple(name if is_unknown else "" for name, is_unknown in zip(dims, unknown, strict=True))
    beside = coordinates_beside(node, wanted, shape, limits)
    found = (axis_along(axis, along, is_known=axis.scale is not None) for axis, along in zip(axes, beside, strict=True))
    return tuple(axis if other is None else _dated(axis, other) for axis, other in zip(axes, found, strict=True))


def _dated(axis: Axis, beside: Axis) -> Axis:
    """`axis` with the date in the coordinate `beside` it, which only holds for the same positions."""
    if axis.scale is None:
        return beside
    near = 1e-3 * axis.scale
    is_same = axis.unit in ("", beside.unit) and abs(axis.translation - beside.translation) < near
    if not beside.since or not is_same or abs(axis.scale - (beside.scale or axis.scale)) > near:
        return axis
    return replace(axis, unit=beside.unit, since=beside.since)


def _unset(node: Node, ndim: int) -> set[str]:
    """Return the axes without a resolution in ilastik's ``axistags``."""
    text = node.attributes.get("axistags")
    if not isinstance(text, str):
        return set()
    try:
        json.loads(text)  # vigra's broken texts deserve a warning only if axes depend on them
        return {axis.name for axis in parse_axistags(text, ndim, node.path) or () if axis.scale is None}
    except (ValueError, RecursionError):
        return set()


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _kind_of(node: Node, layout: ArrayLayout, home: Home | None, store: str, axes: tuple[Axis, ...]) -> Kind | None:
    """Return what the numbers mean: from ilastik_lazy's attribute, a group ``labels``, or the store's name."""
    is_whole = layout.dtype.kind in "iu"
    noted = node.attributes.get("ilastik_kind")
    if noted in typing.get_args(Kind) and (noted not in WHOLE_NUMBERS or is_whole):
        return typing.cast("Kind", noted)
    if home is not None and is_label_group(home.group, home.multiscale):
        return "labels" if is_whole else None
    return kind_from_name(store, layout.dtype, channel_count(axes, layout.shape))


def _classes_of(
    node: Node, layout: ArrayLayout, home: Home | None, kind: Kind | None, axes: tuple[Axis, ...]
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Return names and colours of the channels, or of the values of a label image."""
    names = home.multiscale.channel_names if home is not None else ()
    colors = home.multiscale.channel_colors if home is not None else ()
    if kind in WHOLE_NUMBERS:
        if home is not None and not home.multiscale.is_labels:
            names, colors = (), ()  # omero describes channels
        return names or flag_names(node.attributes), colors or flag_colors(node.attributes)
    channels = channel_count(axes, layout.shape)
    return names if len(names) == channels else (), colors if len(colors) == channels else ()
