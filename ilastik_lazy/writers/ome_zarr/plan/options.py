"""What a caller leaves open, decided by what is known of the source."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import cast

from ilastik_lazy.core.kinds import name_of_ids
from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.core.sizes import parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError, option
from ilastik_lazy.writers.ome_zarr.downsample import Method
from ilastik_lazy.writers.ome_zarr.encode.chunks import CODECS, Codec
from ilastik_lazy.writers.ome_zarr.encode.verbatim import why_recompress
from ilastik_lazy.writers.ome_zarr.plan.pyramid import Plan, Version, plan_pyramid

__all__ = ["method_for", "plan_conversion"]


def method_for(spec: ArraySpec, wanted: str) -> Method:
    """How levels are made of each other where the caller leaves it open."""
    return _method_and_reason(spec, wanted)[0]


def _method_and_reason(spec: ArraySpec, wanted: str) -> tuple[Method, str]:
    if wanted in ("mean", "mode", "nearest"):
        return cast("Method", wanted), f"{option('downsample', wanted)} was asked for"
    if wanted != "auto":
        raise ArgumentError(f"{option('downsample', wanted)}: expected 'auto', 'mean', 'mode' or 'nearest'")
    if spec.is_label_image:
        return "mode", f"the values are {spec.kind}"
    if spec.display_mode == "random-colortable":
        return "mode", "the file says that its values are ids: it has them shown in random colours"
    if spec.dtype.kind == "b":
        return "mode", "the values are true or false"
    if spec.kind is not None or spec.dtype.kind == "f":
        return "mean", f"the values are {spec.kind or 'floating-point numbers'}"
    otherwise = f"if they are none, say {option('kind', 'intensity')}"
    if spec.may_hold_ids:
        return "nearest", f"integers computed from something else may be classes or ids: {otherwise}"
    if word := name_of_ids(spec.name, spec.storage.location.removeprefix(os.path.dirname(spec.storage.path))):
        return "nearest", f"integers called {word!r} may be classes or ids: {otherwise}"
    # Images of microscopes and scanners have 8 or 16 bits; programs number objects with more.
    if spec.dtype.itemsize > 2:
        return "nearest", f"integers of more than 16 bits without a kind may be ids: {otherwise}"
    say = option("kind", "labels")
    return "mean", f"no file, name or role says that these are classes or ids: if they are, say {say}"


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
        raise ArgumentError(f"{option('codec', codec)}: expected 'auto', {', '.join(map(repr, CODECS))}")
    method, why = _method_and_reason(source.spec, downsample)
    plan = plan_pyramid(
        source.spec,
        version=version,
        levels=levels,
        method=method,
        codec=None if codec == "auto" else cast("Codec", codec),
        workers=threads_for(workers),
        memory=None if memory is None else parse_size(memory, "memory"),
    )
    plan = replace(plan, method_reason=why)
    if codec != "auto":
        return replace(plan, reason=f"{option('codec', codec)} was asked for")
    if version != "0.5":
        return replace(plan, reason="OME-Zarr 0.4 is for programs that may not know gzip")
    first = plan.levels[0]
    if why := why_recompress(source, plan.permutation, first.chunks):
        return replace(plan, reason=why)
    moved = tuple(replace(level, codec="gzip") for level in plan.levels)
    return replace(plan, levels=moved, codec="gzip", verbatim=True, reason="gzip chunks are moved as they are")
