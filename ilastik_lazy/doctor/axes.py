"""Checks of what a file states about axes, voxel sizes and units."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping

from ilastik_lazy.core.axes import Axis, advice_on_guess
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS
from ilastik_lazy.doctor.finding import Finding
from ilastik_lazy.errors import option, remedy
from ilastik_lazy.formats.suffixes import HDF5_SUFFIXES
from ilastik_lazy.listing.statements import voxel_size_of

__all__ = ["guessed_axes", "unknown_units", "unknown_voxel_size"]

_EXAMPLE = {"z": 0.8, "y": 0.25, "x": 0.25}


def guessed_axes(spec: ArraySpec) -> Iterator[Finding]:
    """Find axes that are a guess from the shape."""
    if spec.axes_guessed:
        names = "".join(spec.dims)
        yield Finding(
            "axes-guessed",
            "warning",
            f"the axes {names} are guessed from the shape {spec.shape}: the file does not name all of them",
            "with wrong axes, a reduction over z goes over something else, and exports are transposed",
            f"pass {option('axes', names)} if that is right, and otherwise the right order"
            + (f"; {advice_on_guess(spec.likelier_axes)}" if spec.likelier_axes else ""),
        )


def unknown_voxel_size(spec: ArraySpec) -> Iterator[Finding]:
    """Find dimensions of space whose step the file does not state."""
    space = [axis for axis in _extended(spec) if axis.name in "zyx"]
    missing = [axis.name for axis in space if axis.scale is None]
    if not missing:
        return
    stated = voxel_size_of(spec)
    known = f" ({stated})" if len(missing) < len(space) or spec.remarks or any(a.unit for a in space) else ""
    yield Finding(
        "voxel-size",
        "warning",
        f"the file states no voxel size along {', '.join(missing)}{known}",
        "there are no positions, objects are measured in voxels, and viewers show voxels as cubes without a scale bar",
        _how_to_give(spec),
    )


def unknown_units(spec: ArraySpec) -> Iterator[Finding]:
    """Find steps without a unit, and units that are not units of length or time."""
    axes = [axis for axis in _extended(spec) if axis.name in "tzyx"]
    strange = [axis for axis in axes if axis.unit and axis.unit not in _units_of(axis)]
    if strange:
        shown = ", ".join(f"{axis.name} {axis.unit!r}" for axis in strange)
        yield Finding(
            "unit",
            "warning",
            f"the unit is not understood: {shown}",
            "it is kept as it is, but lengths are not converted, and other programs may refuse it",
            "write it out, such as micrometer or second, in the program that made the file",
        )
    bare = [axis for axis in axes if axis.name in "zyx" and axis.scale is not None and not axis.unit]
    if bare:
        shown = ", ".join(f"{axis.name} {axis.scale:g}" for axis in bare)
        yield Finding(
            "unit",
            "warning",
            f"the voxel size has no unit: {shown}",
            "positions are numbers without a meaning, and a scale bar cannot name its length",
            f"give it with the right one: {_option_of({axis.name: axis.scale for axis in bare})}",
        )


def _extended(spec: ArraySpec) -> list[Axis]:
    """Return the axes that have more than one element: only these have a step."""
    return [axis for axis, length in zip(spec.axes, spec.shape, strict=True) if length > 1]


def _units_of(axis: Axis) -> frozenset[str]:
    return OME_TIME_UNITS if axis.name == "t" else OME_SPACE_UNITS


def _how_to_give(spec: ArraySpec) -> str:
    """Say how to give a voxel size: HDF5 files of one image can state it themselves."""
    stated = {axis.name: axis.scale for axis in spec.axes}
    sizes = {dim: stated[dim] or _EXAMPLE[dim] for dim in "zyx" if dim in stated}
    path, inside = spec.storage.path, spec.storage.location.removeprefix(spec.storage.path).strip("/")
    if path.lower().endswith(HDF5_SUFFIXES) and "".join(sizes) in ("yx", "zyx"):
        steps = ", ".join(f"{size:g}" for size in sizes.values())
        file, name = _in_double_quotes(path), _in_double_quotes(inside)
        given = f'[{name}].attrs["element_size_um"] = [{steps}]'
        command = shlex.quote(f'import h5py; h5py.File({file}, "r+"){given}')
        code = remedy(f'with h5py.File({file}, "r+") as file: file{given}', f"python -c {command}")
        return f"write it into the file, in micrometer along {', '.join(sizes)}, with your numbers: {code}"
    return f"give it, with your numbers: {_option_of(sizes)}"


def _option_of(sizes: Mapping[str, float | None]) -> str:
    return option("voxel_size", ",".join(f"{dim}={size:g}um" for dim, size in sizes.items()))


def _in_double_quotes(text: str) -> str:
    """Return a literal of Python that needs no escapes in the single quotes of a shell."""
    return json.dumps(text, ensure_ascii=False)
