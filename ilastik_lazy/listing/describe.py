"""Describe images, projects and conversions for people and programs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ilastik_lazy.core.axes import advice_on_guess
from ilastik_lazy.core.size_text import counted, human_bytes
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import folder_option
from ilastik_lazy.listing.statements import access_of, voxel_size_of

if TYPE_CHECKING:
    import xarray as xr

    from ilastik_lazy.writers.ome_zarr.plan.plan import Plan

__all__ = ["CLASSES", "class_names", "describe", "describe_plan", "describe_project", "spec_as_json"]


CLASSES = ("classes", "channels", "values")
"""Labels of the row of names: of classes along ``c``, of other channels, and of the values of a label image."""


def _by_dim(dims: tuple[str, ...], values: tuple[Any, ...]) -> str:
    return "  ".join(f"{dim} {value}" for dim, value in zip(dims, values, strict=True))


def class_names(spec: ArraySpec) -> tuple[str, ...]:
    """Return the names of the classes; in a label image after their values."""
    names = spec.channel_names
    return tuple(f"{value} {name}" for value, name in enumerate(names, 1)) if spec.is_label_image else names


def describe(spec: ArraySpec) -> list[tuple[str, str]]:
    """Describe an image for people, as pairs of label and text."""
    guessed = f"  (axes guessed from the shape: {advice_on_guess(spec.likelier_axes)})" if spec.axes_guessed else ""
    rows = [
        ("image", f"{spec.kind or 'kind unknown'}, {spec.dtype.name}, {human_bytes(spec.nbytes)} in memory"),
        ("size", _by_dim(spec.dims, spec.shape) + guessed),
        ("voxel", voxel_size_of(spec)),
    ]
    if spec.packing is not None:
        rows.append(("packed", str(spec.packing)))
    if spec.channel_names:
        is_of_classes = spec.kind in ("probabilities", "object probabilities")
        label = "values" if spec.is_label_image else "classes" if is_of_classes else "channels"
        rows.append((label, ", ".join(class_names(spec))))
    chunk = math.prod(spec.chunks) * spec.dtype.itemsize
    if spec.storage.layout == "chunked":
        count = math.prod(spec.grid)
        rows.append(("chunks", f"{_by_dim(spec.dims, spec.chunks)}  ({count:,} of {human_bytes(chunk)})"))
    else:
        rows.append(("chunks", f"none, {spec.storage.layout} layout"))
    rows.append(("stored", f"{spec.storage.compression}; read {access_of(spec)}"))
    if spec.drange is not None and not spec.is_label_image:
        rows.append(("display", f"{spec.drange[0]:g} to {spec.drange[1]:g}"))
    return rows


def describe_project(tree: xr.DataTree, drawn: Callable[[str, str], dict[str, int]]) -> list[tuple[str, str]]:
    """Describe a project for people, as pairs of label and text.

    `drawn` gives the labelled voxels of each class, by the names of a lane and of a role.
    """
    about = tree.attrs
    rows = [("project", f"{about.get('workflow', 'workflow unknown')}, ilastik {about.get('ilastik_version', '?')}")]
    if names := about.get("label_names"):
        rows.append(("classes", ", ".join(names)))
    for lane in tree.children.values():
        for name, role in lane.children.items():
            images = [
                f"{array.dtype.name}, {_by_dim(tuple(map(str, array.dims)), array.shape)}"
                for array in role.data_vars.values()
            ]
            recorded = f"{role.attrs['file_path']}: " if "file_path" in role.attrs else ""
            state = images[0] if images else str(role.attrs.get("status", "nothing selected"))
            counts = ", ".join(f"{count:,} {label}" for label, count in drawn(str(lane.name), str(name)).items())
            rows.append((str(lane.name), f"{name}: {recorded}{state}{f'; voxels: {counts}' if counts else ''}"))
            if not images and "problem" in role.attrs:
                rows.append(("", f"  {role.attrs['problem']}"))
                if folder_option("source_roots") not in role.attrs["problem"]:
                    rows.append(("", f"  {role.attrs['remedy']}"))
    return rows


def describe_plan(plan: Plan, target: str) -> list[str]:
    """Describe for people, line by line, what a conversion will write."""
    from ilastik_lazy.writers.ome_zarr.commit.zip_target import is_zip_target

    dims = " ".join(axis.name for axis in plan.levels[0].axes)
    lines = [
        f"{target}: OME-Zarr {plan.version}, axes {dims}, {plan.dtype.name}, {plan.codec}"
        + (f", levels by {plan.method}" if len(plan.levels) > 1 else ""),
        *([f"  {plan.reason}"] if plan.reason else []),
        *([f"  {plan.method}: {plan.method_reason}"] if len(plan.levels) > 1 else []),
    ]
    for level in plan.levels:
        shape, shard, chunks = ("x".join(map(str, lengths)) for lengths in (level.shape, level.shards, level.chunks))
        unit = "shards" if level.sharded else "blocks"
        lines.append(f"  {level.path:14} {shape:24} {unit}: {math.prod(level.grid)} of {shard}, chunks of {chunks}")
    size, memory = human_bytes(plan.nbytes), human_bytes(plan.memory)
    lines.append(f"  {size} before compression, {counted(plan.workers, 'worker')}, at most {memory} of memory")
    if is_zip_target(target):
        lines.append("  packed into one file at the end: the disk needs room for two copies of what is written")
    return lines


def spec_as_json(spec: ArraySpec) -> dict[str, Any]:
    """Describe an image for programs."""
    return {
        "location": spec.storage.location,
        "name": spec.name,
        "kind": spec.kind,
        "dims": list(spec.dims),
        "shape": list(spec.shape),
        "dtype": spec.dtype.name,
        "axes": [{"name": a.name, "scale": a.scale, "translation": a.translation, "unit": a.unit} for a in spec.axes],
        "axes_guessed": spec.axes_guessed,
        "channel_names": list(spec.channel_names),
        "chunks": list(spec.chunks) if spec.storage.layout == "chunked" else None,
        "compression": spec.storage.compression,
        "access": spec.storage.access,
        "drange": list(spec.drange) if spec.drange is not None else None,
        "display_mode": spec.display_mode,
        "packing": str(spec.packing) if spec.packing is not None else None,
        "remarks": list(spec.remarks),
    }
