"""OME-Zarr metadata, as plain JSON values.

https://ngff.openmicroscopy.org/0.5/ and https://ngff.openmicroscopy.org/0.4/, which differ in the place of the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ilastik_lazy import __version__
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.display import channels_of, shows_labels
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS
from ilastik_lazy.writers.ome_zarr.metadata.labels import image_label
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan

__all__ = ["ome_attributes"]

_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
_DESCRIPTIONS = {
    "mean": "mean of 2 voxels along each halved axis, integers rounded half to even",
    "mode": "most frequent value of 2 voxels along each halved axis, the smallest if equally frequent",
    "nearest": "first of 2 voxels along each halved axis, at whose position it is",
}


def ome_attributes(
    plan: Plan,
    name: str,
    *,
    measured: Sequence[tuple[float, float]] | None = None,
    properties: list[dict[str, Any]] | None = None,
    is_below: bool = False,
) -> dict[str, Any]:
    """The attributes of the root group: in 0.5 the value of ``ome``, in 0.4 all of them.

    Parameters
    ----------
    measured
        Least and largest value of each channel, without NaN; one pair if there is no axis ``c``.
    properties
        Properties of the objects whose ids the image holds, from `object_properties`.
    is_below
        Whether it lies in ``labels`` of the image that it belongs to.
    """
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": [_axis(axis) for axis in plan.levels[0].axes],
        "datasets": [
            {"path": level.path, "coordinateTransformations": _transformations(level.axes)} for level in plan.levels
        ],
        "type": plan.method,
        "metadata": {
            "description": _DESCRIPTIONS[plan.method],
            "method": "ilastik_lazy.to_ome_zarr",
            "version": __version__,
        },
    }
    if plan.version == "0.4":
        attributes: dict[str, Any] = {"multiscales": [{"version": "0.4"} | multiscale]}
    else:
        attributes = {"version": "0.5", "multiscales": [multiscale]}
    spec = plan.spec
    if shows_labels(spec) or properties is not None or is_below:
        version = {"version": "0.4"} if plan.version == "0.4" else {}
        # Viewers colour what has an `image-label`, be it empty.
        source = {"source": {"image": "../../"}} if is_below else {}
        attributes["image-label"] = version | source | image_label(spec, measured, properties)
    elif not spec.is_label_image:
        attributes["omero"] = _omero(spec, measured)
    return attributes


def _axis(axis: Axis) -> dict[str, str]:
    entry = {"name": axis.name, "type": _TYPES[axis.name]}
    valid = OME_TIME_UNITS if axis.name == "t" else OME_SPACE_UNITS
    # A unit describes the step: without a known step it would be misleading.
    if axis.name != "c" and axis.scale is not None and axis.unit in valid:
        entry["unit"] = axis.unit
    return entry


def _transformations(axes: tuple[Axis, ...]) -> list[dict[str, Any]]:
    """Scale of each axis, 1 if it is unknown; then the position of the first voxel's centre."""
    made: list[dict[str, Any]] = [{"type": "scale", "scale": [float(axis.scale or 1.0) for axis in axes]}]
    if any(axis.translation for axis in axes):
        made.append({"type": "translation", "translation": [float(axis.translation) for axis in axes]})
    return made


def _omero(spec: ArraySpec, measured: Sequence[tuple[float, float]] | None) -> dict[str, Any]:
    """Names, colours and contrast of the channels, for viewers."""
    channels = []
    for k, channel in enumerate(channels_of(spec, measured)):
        (start, end), (low, high) = channel.contrast, channel.limits
        window = {"min": low, "max": high, "start": start, "end": end}
        channels.append(
            {"label": channel.name, "color": bytes(channel.color).hex().upper(), "window": window, "active": k < 4}
        )
    return {"channels": channels, "rdefs": {"model": "color"}}
