"""What a caller leaves open, decided by what is known of the source."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from ilastik_lazy.blockwise import threads_for
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.ome_zarr.chunk_encoding import CODECS, Codec
from ilastik_lazy.ome_zarr.downsample import Method
from ilastik_lazy.ome_zarr.plan import Plan, Version, plan_pyramid
from ilastik_lazy.ome_zarr.verbatim import why_recompress
from ilastik_lazy.sizes import parse_size
from ilastik_lazy.spec import ArraySource, ArraySpec

__all__ = ["method_for", "plan_conversion"]


def method_for(spec: ArraySpec, wanted: str) -> Method:
    """How levels are made of each other where the caller leaves it open."""
    if wanted in ("mean", "mode", "nearest"):
        return wanted  # type: ignore[return-value]  # a literal by the test before
    if wanted != "auto":
        raise ArgumentError(f"downsample={wanted!r}: expected 'auto', 'mean', 'mode' or 'nearest'")
    if spec.is_label_image or spec.display_mode == "random-colortable" or spec.dtype.kind == "b":
        return "mode"
    if spec.dtype.kind == "f" or spec.kind == "probabilities":
        return "mean"
    return "nearest"


def plan_conversion(
    source: ArraySource,
    *,
    version: Version = "0.5",
    memory: str | int | None = None,
    levels: int | None = None,
    downsample: str = "auto",
    codec: str = "auto",
    workers: int | None = None,
) -> Plan:
    """What `to_ome_zarr` would do; nothing is read or written."""
    if codec not in ("auto", *CODECS):
        raise ArgumentError(f"codec={codec!r}: expected 'auto', {', '.join(map(repr, CODECS))}")
    plan = plan_pyramid(
        source.spec,
        version=version,
        levels=levels,
        method=method_for(source.spec, downsample),
        codec=None if codec == "auto" else cast("Codec", codec),
        workers=threads_for(workers),
        memory=None if memory is None else parse_size(memory, "memory"),
    )
    if codec != "auto":
        return replace(plan, reason=f"codec={codec!r} was asked for")
    if version != "0.5":
        return replace(plan, reason="OME-Zarr 0.4 is for programs that may not know gzip")
    first = plan.levels[0]
    if why := why_recompress(source, plan.permutation, first.chunks):
        return replace(plan, reason=why)
    moved = tuple(replace(level, codec="gzip") for level in plan.levels)
    return replace(plan, levels=moved, codec="gzip", verbatim=True, reason="gzip chunks are moved as they are")
