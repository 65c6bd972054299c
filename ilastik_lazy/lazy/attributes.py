"""Write the attributes of a DataArray and the coordinates of its channels from a spec, and read them back.

xarray keeps attributes through any operation, so that reading checks whether they still hold.  Names and colours of
channels are coordinates, which follow any selection.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ilastik_lazy.core.axes import Axis, names_of
from ilastik_lazy.core.classes import (
    COLORS,
    RGB,
    color_of,
    colors_from,
    flag_attributes,
    flag_colors,
    flag_names,
    flag_words,
    hex_colors,
)
from ilastik_lazy.core.kinds import WHOLE_NUMBERS
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Kind, Storage
from ilastik_lazy.core.views.packing import Packing
from ilastik_lazy.formats.metadata.json_text import json_value
from ilastik_lazy.formats.metadata.values import packing_of
from ilastik_lazy.warning import warn

__all__ = [
    "attributes_of",
    "channel_colors",
    "channel_coordinates",
    "channel_names",
    "drange_of",
    "kind_of",
    "may_keep_drange",
    "packing_in",
    "unplaced_units",
    "unplaced_units_of",
    "without_inherited",
]

# What xarray's plots write beside the values.
_LONG_NAMES: dict[Kind, str] = {
    "probabilities": "probability",
    "segmentation": "class",
    "uncertainty": "uncertainty",
    "features": "feature value",
    "labels": "label",
    "object identities": "object id",
    "object predictions": "predicted class",
    "object probabilities": "class probability",
    "tracking": "track id",
    "density": "object density",
    "intensity": "intensity",
}


def attributes_of(spec: ArraySpec) -> dict[str, Any]:
    """Describe an array in plain values, which survive JSON, Zarr and netCDF."""
    attributes: dict[str, Any] = {}
    if spec.kind is not None:
        attributes |= {"ilastik_kind": spec.kind, "long_name": _LONG_NAMES[spec.kind]}
    elif spec.name == "exported_data":
        attributes["long_name"] = "value"  # ilastik gives this name to every dataset, whatever it holds
    if spec.axes_guessed:
        attributes["axes_guessed"] = 1  # netCDF has no bool
    # ilastik hands down the (0, 1) of the probabilities to what is made of them: wrong for ids and classes.
    if spec.drange is not None and not spec.is_label_image:
        attributes["drange"] = list(spec.drange)
    if spec.display_mode:
        attributes["display_mode"] = spec.display_mode
    attributes |= unplaced_units(spec.axes)
    if spec.packing is not None and not spec.is_unpacked:
        attributes |= spec.packing.attributes()
    if spec.is_label_image:
        attributes |= flag_attributes(spec.channel_names, spec.channel_colors)
    return attributes


def channel_coordinates(spec: ArraySpec, dim: str = "c") -> dict[str, xr.Variable]:
    """Return the coordinates `dim` and ``class_color``, with names and colours of the channels, as far as known.

    They have no dimension if the image is one channel without an axis ``c``.  Label images have attributes instead.
    """
    has_axis = "c" in spec.dims
    what = "class" if spec.kind in ("probabilities", "object probabilities") else "channel"
    texts = {dim: (what, spec.channel_names), COLORS + dim[1:]: (f"{what} color", hex_colors(spec.channel_colors))}
    return {
        name: xr.Variable((dim,) if has_axis else (), np.array(each if has_axis else each[0]), {"long_name": said})
        for name, (said, each) in texts.items()
        if each and len(each) == spec.channels and not spec.is_label_image
    }


def unplaced_units(axes: Sequence[Axis]) -> dict[str, str]:
    """Return the attribute ``axis_units``, a JSON text of the units of axes that have no coordinate."""
    units = {axis.name: axis.unit for axis in axes if axis.unit and axis.scale is None}
    return {"axis_units": json.dumps(units)} if units else {}


def unplaced_units_of(array: xr.DataArray) -> dict[str, object]:
    """Read what `unplaced_units` wrote; empty where there is nothing of the kind."""
    units = json_value(array.attrs.get("axis_units"))
    return units if isinstance(units, dict) else {}


def channel_names(array: xr.DataArray, kind: Kind | None, stored: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the channels; for label images, those that CF's flags give the values 1, 2, ...."""
    if kind in WHOLE_NUMBERS:
        return flag_names(array.attrs, stored)
    # Also that of one channel which was taken out: xarray keeps it as a coordinate without a dimension.
    return names_of(np.atleast_1d(array.coords["c"].values)) or () if "c" in array.coords else ()


def without_inherited(
    names: tuple[str, ...], array: xr.DataArray, origins: Sequence[ArraySource | Storage]
) -> tuple[str, ...]:
    """Return `names` of classes, or none if they were inherited from an image that `array` was computed from.

    xarray keeps attributes through ``3 - segmentation`` and ``(segmentation == 2).astype("u1")``, whose values have
    other meanings.  A list in place of CF's text can only be the caller's own.
    """
    inherited = isinstance(array.attrs.get("flag_meanings"), str) and any(
        isinstance(origin, ArraySource)
        and origin.spec.is_label_image
        and names == flag_words(origin.spec.channel_names)
        for origin in origins
    )
    if not (names and inherited):
        return names
    warn(
        f"{array.name or 'the array'} is computed from an image of classes, whose names ({', '.join(names)[:80]}) need "
        "not be those of its values: left out; to keep them, set attrs['flag_meanings'] to a list of names"
    )
    return ()


def channel_colors(array: xr.DataArray, kind: Kind | None) -> tuple[RGB, ...]:
    """Return the colours of the channels; for label images, those of the values 1, 2, ....  Empty if unknown."""
    if kind in WHOLE_NUMBERS:
        return flag_colors(array.attrs)
    # After `.rename(c_raw="c")`, the colours still have the name that they had with c_raw.
    stated = [each for name, each in array.coords.items() if str(name).startswith(COLORS) and each.dims in ((), ("c",))]
    # xarray's `concat` makes a single colour of equal ones.
    count = array.sizes.get("c", 1)
    colors = colors_from(np.broadcast_to(stated[0].values, (count,))) if stated else ()
    if stated and not colors and stated[0].size:
        warn(
            f"{array.name or 'the array'}: its coordinate {stated[0].name} holds other values than texts such as "
            f"{hex_colors([color_of(0)])[0]!r}: its colours are left out"
        )
    return colors


def kind_of(array: xr.DataArray, original: ArraySource | None) -> Kind | None:
    """Return the kind that attributes state, if the numbers can be that: xarray keeps attributes in all operations."""
    kind = array.attrs.get("ilastik_kind")
    if kind not in typing.get_args(Kind):
        return None
    if original is not None:
        return kind
    if array.dtype.kind == "b":
        return None  # `prob > 0.5` holds no probabilities
    # `prob.argmax("c")` holds classes, `segmentation.mean("z")` no more.
    return kind if (kind in WHOLE_NUMBERS) == (array.dtype.kind in "iu") else None


def packing_in(array: xr.DataArray, origins: Sequence[ArraySource | Storage]) -> Packing | None:
    """Return the packing that the attributes state, as xarray writes it after ``mask_and_scale=False``.

    Numbers of another dtype than the packed ones that `array` was computed from may be values: none is returned.
    """
    packing = packing_of(array.name, array.attrs, array.dtype)
    packed = [each.spec for each in origins if isinstance(each, ArraySource) and each.spec.packing is not None]
    if packing is None or all(spec.is_unpacked or spec.dtype == array.dtype for spec in packed):
        return packing
    warn(
        f"{array.name or 'the array'} is computed from packed numbers, and may hold their values: its attributes "
        f"{', '.join(packing.attributes())} are left out"
    )
    return None


def may_keep_drange(array: xr.DataArray, origins: Sequence[ArraySource | Storage]) -> bool:
    """Whether the range for display may still hold; what is in memory is compared with it afterwards.

    The range of an image is none for its classes: numpy makes integers of 64 bits of ``argmax`` and of counts.
    """
    is_in_memory = array.chunks is None and not origins
    return array.dtype.kind == "f" or (is_in_memory and array.dtype.kind in "iu" and array.dtype.itemsize < 8)


def drange_of(array: xr.DataArray) -> tuple[float, float] | None:
    """Return the range for display, if it is one."""
    drange = array.attrs.get("drange")
    if isinstance(drange, list | tuple | np.ndarray) and len(drange) == 2:
        low, high = drange
        if all(isinstance(end, int | float | np.number) and np.isfinite(end) for end in (low, high)):
            return float(low), float(high)
    return None
