"""Plan an OME-TIFF: its planes, tiles and levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ilastik_lazy.core.display import is_color_picture
from ilastik_lazy.core.spec import COMPUTED, ArraySpec
from ilastik_lazy.writers.ome_zarr.downsample import Method
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan
from ilastik_lazy.writers.ome_zarr.plan.pyramid import OME_ORDER, checked_levels, plan_levels
from ilastik_lazy.writers.ome_zarr.plan.shapes import level_shapes

__all__ = ["plan_tiff"]

# Viewers fetch one tile at a time; a multiple of 16, as TIFF demands.
_TILE = 512
# What one task reads: small enough for the cache, and for memory that is not taken anew each time.
_PART_BYTES = 4 * 2**20


def plan_tiff(
    spec: ArraySpec,
    levels: int | None,
    method: Method,
    codec: Literal["gzip", "none"],
    workers: int,
    memory: int | None,
) -> Plan:
    """Plan what is written: planes in OME's order, of which each level halves y and x."""
    order = ("t", "z", "y", "x", "c") if is_color_picture(spec) else OME_ORDER
    permutation = tuple(spec.dims.index(name) for name in order if name in spec.dims)
    shape, axes = tuple(spec.shape[i] for i in permutation), [spec.axes[i] for i in permutation]
    plane = [i for i, axis in enumerate(axes) if axis.name in "yx"]
    found = level_shapes(tuple(shape[i] for i in plane), [axes[i] for i in plane], checked_levels(levels))
    shapes = [(_with(shape, plane, lengths), _with((1,) * len(shape), plane, factors)) for lengths, factors in found]
    chunks = tuple(
        min(_TILE, length) if i in plane else length if i > plane[-1] else 1 for i, length in enumerate(shape)
    )
    if spec.storage.access == COMPUTED and spec.storage.compression == "none":
        # In memory: read tile by tile, so that what is read is written without a copy.
        spec = replace(spec, chunks=tuple(chunks[permutation.index(i)] for i in range(len(chunks))))
    return plan_levels(spec, permutation, chunks, shapes, method, codec, "0.5", workers, memory, _PART_BYTES)


def _with(values: tuple[int, ...], places: list[int], others: tuple[int, ...]) -> tuple[int, ...]:
    """Return `values` with `others` in their `places`."""
    found = dict(zip(places, others, strict=True))
    return tuple(found.get(i, value) for i, value in enumerate(values))
