"""Neuroglancer's state for some images: where they lie, in metres, and a position and zoom that show them whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.units import in_base_unit
from ilastik_lazy.viewing.neuroglancer.layers import Layer

__all__ = ["state_of"]

# As in src/datasource/zarr/ome.ts, for the other units that OME-Zarr has.
_FACTORS = {
    "foot": 0.3048, "inch": 0.0254, "mile": 1609.34, "parsec": 3.0856775814913673e16, "yard": 0.9144,
    "minute": 60.0, "hour": 3600.0, "day": 86400.0,
}  # fmt: skip
# Width and height, in pixels, of one panel and of each of four, in a window of 1280 x 720 with the side panel open.
_ONE_PANEL = (880, 670)
_OF_FOUR = (440, 330)
_SIDE_PANEL = 390
_MARGIN = 1.1
# Quaternion of the panel in three dimensions, so that more than one side of the volume is seen.
_FROM_ABOVE = [0.26, -0.2, -0.06, 0.94]


@dataclass(frozen=True, slots=True)
class _Dimension:
    """One dimension of the view: the union of the images along it."""

    name: str
    scale: float
    """Metres or seconds from one voxel of the first image to the next; any number where the unit is not known."""
    unit: str
    start: float
    """Edge of the first voxel, in multiples of `scale`."""
    stop: float

    @property
    def extent(self) -> float:
        """Length in `unit`."""
        return (self.stop - self.start) * self.scale

    @property
    def position(self) -> float:
        """The middle; the first frame of a time series, and in z the middle of a voxel."""
        if self.name == "t":
            return self.start + 0.5
        middle = (self.start + self.stop) / 2
        # Between two voxels it would be left to rounding which one is shown.
        return self.start + 0.5 + (self.stop - self.start) // 2 if self.name == "z" else middle


def state_of(specs: Sequence[ArraySpec], layers: Sequence[Layer], selected: str | None = None) -> dict[str, Any]:
    """Return the state that shows `layers`.

    Parameters
    ----------
    specs
        The images; their axes are in one place (see `in_one_place`).
    layers
        See `layers_of`.
    selected
        Name of the layer whose panel is open.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> from ilastik_lazy.formats.stack import open_paths
    >>> state = state_of([open_paths(sample("raw")).spec], [])
    >>> state["dimensions"]["x"], state["position"], state["layout"]
    ([2.5e-07, 'm'], [79.5, 63.5, 20.0], '4panel')
    """
    dimensions = _dimensions(specs)
    space = [name for name in "xyz" if name in dimensions]
    is_flat = "z" not in dimensions or dimensions["z"].stop - dimensions["z"].start <= 1
    voxel = min(dimensions[name].scale for name in space)
    width, height = _ONE_PANEL if is_flat else _OF_FOUR
    # The panel xz has z upright, the panel yz has it across: the zoom of all three is one.
    across = max(dimensions[name].extent for name in space if name != "y")
    upright = max(dimensions[name].extent for name in space if name != "x")
    scale = _MARGIN * max(across / width, upright / height) / voxel
    state: dict[str, Any] = {
        "dimensions": {name: [each.scale, each.unit] for name, each in dimensions.items()},
        "displayDimensions": space,
        "position": [each.position for each in dimensions.values()],
        "crossSectionScale": scale,
        "projectionOrientation": _FROM_ABOVE,
        "projectionScale": _MARGIN * sum(dimensions[name].extent ** 2 for name in space) ** 0.5 / voxel,
        "layers": list(layers),
        "layout": "xy" if is_flat else "4panel",
        "crossSectionBackgroundColor": "#000000",
        "hideCrossSectionBackground3D": True,
        "showAxisLines": not is_flat,
    }
    if selected is not None:
        state["selectedLayer"] = {"layer": selected, "visible": True, "size": _SIDE_PANEL}
    return state


def _dimensions(specs: Iterable[ArraySpec]) -> Mapping[str, _Dimension]:
    found: dict[str, _Dimension] = {}
    for spec in specs:
        for axis, length in zip(spec.axes, spec.shape, strict=True):
            if axis.name == "c":
                continue
            step, unit = _in_base_unit(axis.scale, axis.unit)
            # The position of a voxel is that of its centre.
            start = axis.translation / (axis.scale or 1) - 0.5
            here = _Dimension(axis.name, step, unit, start, start + length)
            found[axis.name] = _union(found.get(axis.name, here), here)
    return {name: found[name] for name in "xyzt" if name in found}


def _union(one: _Dimension, other: _Dimension) -> _Dimension:
    ratio = other.scale / one.scale
    start, stop = min(one.start, other.start * ratio), max(one.stop, other.stop * ratio)
    return _Dimension(one.name, one.scale, one.unit, start, stop)


def _in_base_unit(scale: float | None, unit: str) -> tuple[float, str]:
    """Convert a step to metres or seconds; 1, without a unit, where it is not known."""
    if scale is None:
        return 1.0, ""
    if unit in _FACTORS:
        return scale * _FACTORS[unit], "s" if unit in ("minute", "hour", "day") else "m"
    converted = in_base_unit(scale, unit)
    if converted is None:
        return scale, ""
    return converted, "s" if unit.endswith("second") else "m"
