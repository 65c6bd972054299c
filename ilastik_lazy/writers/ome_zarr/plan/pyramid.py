"""Plan a conversion before anything is written: levels, shards, memory, and defaults."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import cast, get_args

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.kinds import name_of_ids
from ilastik_lazy.core.parallel import threads_for
from ilastik_lazy.core.size_text import human_bytes, parse_size
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.whole_chunks import chunks_held
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError, encodable, option
from ilastik_lazy.writers.ome_zarr.downsample import Method
from ilastik_lazy.writers.ome_zarr.encode import CODECS, Codec
from ilastik_lazy.writers.ome_zarr.plan.memory import memory_needed
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Plan, Version
from ilastik_lazy.writers.ome_zarr.plan.shapes import MOST_LEVELS, Index, inner_chunks, level_shapes, shard_shape
from ilastik_lazy.writers.ome_zarr.verbatim import why_recompress

__all__ = [
    "OME_ORDER",
    "checked_levels",
    "downsampled_axis",
    "method_for",
    "plan_conversion",
    "plan_levels",
    "plan_pyramid",
]

OME_ORDER = ("t", "c", "z", "y", "x")
"""Order of axes that https://ngff.openmicroscopy.org/0.5/#multiscale-md demands."""

_SHARD_BYTES = 16 * 2**20
# Without a limit on memory, results that all shards share may take this much.
_SPARE = 64 * 2**20


def method_for(spec: ArraySpec, wanted: str) -> tuple[Method, str]:
    """Choose how each level is made from the one before, and say why."""
    if wanted in ("mean", "mode", "nearest"):
        return cast("Method", wanted), f"{option('downsample', wanted)} was asked for"
    if wanted != "auto":
        raise ArgumentError(f"{option('downsample', wanted)}: expected 'auto', 'mean', 'mode' or 'nearest'")
    if spec.packing is not None and spec.packing.missing and not spec.is_unpacked:
        return "nearest", "some of the packed numbers stand for missing values, which a mean would mix with others"
    if spec.is_label_image:
        return "mode", f"the values are {spec.kind}"
    if spec.display_mode == "random-colortable":
        return "mode", "the file says that its values are ids: they are shown in random colours"
    if spec.dtype.kind == "b":
        return "mode", "the values are true or false"
    if spec.kind is not None or spec.dtype.kind == "f":
        return "mean", f"the values are {spec.kind or 'floating-point numbers'}"
    otherwise = f"if not, pass {option('kind', 'intensity')}"
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
    """Plan what `to_ome_zarr` would do; nothing is read or written."""
    if codec not in ("auto", *CODECS):
        raise ArgumentError(f"{option('codec', codec)}: expected 'auto', {', '.join(map(repr, CODECS))}")
    method, why = method_for(source.spec, downsample)
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


def plan_pyramid(
    spec: ArraySpec,
    *,
    levels: int | None = None,
    method: Method = "mean",
    codec: Codec | None = None,
    version: Version = "0.5",
    workers: int = 1,
    memory: int | None = None,
) -> Plan:
    """Plan the conversion of an array to OME-Zarr.

    Parameters
    ----------
    spec
        Spec of the source.
    levels
        Number of resolutions, the full one included; None continues until no axis of space is longer than 256.
    codec
        How chunks are compressed; None takes ``zstd``, and ``blosc`` for 0.4, since many of the programs that
        read no newer version support no other: https://github.com/bcdev/jzarr has zlib and blosc.
    version
        Version of OME-Zarr.
    workers
        Threads that convert one shard each.
    memory
        Bytes that may be used; None takes shards of 16 MiB.

    Raises
    ------
    AxesError
        The array has no y or no x axis.
    MemoryLimitError
        `memory` is too small; the message says how much is enough.
    """
    _check_convertible(spec)
    if version not in get_args(Version):
        raise ArgumentError(f"{option('version', version)}: expected '0.5' or '0.4'")
    codec = codec or ("zstd" if version == "0.5" else "blosc")
    permutation = tuple(spec.dims.index(name) for name in OME_ORDER if name in spec.dims)
    shape = tuple(spec.shape[i] for i in permutation)
    axes = tuple(spec.axes[i] for i in permutation)
    stored = tuple(min(spec.chunks[i], spec.shape[i]) for i in permutation)
    chunks = inner_chunks(shape, stored, spec.dtype.itemsize, axes)
    shapes = level_shapes(shape, axes, checked_levels(levels))
    return plan_levels(spec, permutation, chunks, shapes, method, codec, version, workers, memory)


def checked_levels(levels: int | None) -> int | None:
    """Return `levels` if it is None or a possible number of resolutions; else raise `ArgumentError`."""
    if levels is not None and not (isinstance(levels, int | np.integer) and 1 <= levels <= MOST_LEVELS):
        raise ArgumentError(f"{option('levels', levels)}: expected a whole number from 1 to {MOST_LEVELS}")
    return levels


def plan_levels(
    spec: ArraySpec,
    permutation: Index,
    chunks: Index,
    shapes: list[tuple[Index, Index]],
    method: Method,
    codec: Codec,
    version: Version,
    workers: int,
    memory: int | None,
    shard_bytes: int | None = None,
) -> Plan:
    """Plan levels of the given chunks and `shapes` (see `level_shapes`): their shards, the workers, the memory."""
    axes = tuple(spec.axes[i] for i in permutation)
    stored = tuple(min(spec.chunks[i], spec.shape[i]) for i in permutation)
    shape, itemsize = shapes[0][0], spec.dtype.itemsize
    factors = shapes[1][1] if len(shapes) > 1 else ()
    # Smaller shards first, then fewer workers: both cost speed, the second more.
    crews = [(part, workers) for part in (1, 2, 4)] + [(4, crew) for crew in range(workers - 1, 0, -1)]
    for part, crew in [*crews, (8, 1), (16, 1)]:
        shards = shard_shape(shape, stored, chunks, itemsize, axes, (shard_bytes or _SHARD_BYTES) // part, factors)
        # From chunks that are not compressed, only the wanted part is read.
        held = 0 if spec.storage.compression == "none" else chunks_held(shards, stored, shape)
        need = memory_needed(shards, stored, itemsize, crew, len(shapes), spec.storage.buffers, held)
        if memory is None or need <= memory:
            made = tuple(
                replace(level, codec=codec, sharded=version == "0.5")
                for level in _levels(shapes, axes, chunks, shards, method)
            )
            spec = replace(spec, channel_names=tuple(map(encodable, spec.channel_names)))
            spare = _SPARE if memory is None else memory - need
            return Plan(spec, permutation, made, method, codec, crew, need, spare, held, version)
    little = f"{option('memory', human_bytes(memory or 0))} is too little"
    raise MemoryLimitError(f"{little} to convert {spec.storage.location}: {-(-need // 10**6)} MB would do")


def _check_convertible(spec: ArraySpec) -> None:
    if missing := [name for name in "yx" if name not in spec.dims]:
        raise AxesError(f"{spec.storage.location} has no axis {missing[0]!r}: OME-Zarr holds images with y and x")
    if any(length == 0 for length in spec.shape):
        raise ArgumentError(f"{spec.storage.location} is empty (shape {spec.shape}): there is nothing to convert")
    if spec.dtype.kind not in "biuf" or spec.dtype.itemsize > 8:
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: Zarr has no such type")


def _levels(
    shapes: list[tuple[Index, Index]], axes: tuple[Axis, ...], chunks: Index, shards: Index, method: Method
) -> tuple[Level, ...]:
    made: list[Level] = []
    for number, (shape, factors) in enumerate(shapes):
        axes = tuple(downsampled_axis(axis, factor, method) for axis, factor in zip(axes, factors, strict=True))
        inner = tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
        # A single shard along an axis may be cut to whole chunks; several keep their length, so that parents align.
        outer = tuple(-(-n // c) * c if n <= s else s for n, c, s in zip(shape, inner, shards, strict=True))
        made.append(Level(number, shape, inner, outer, factors, axes))
    return tuple(made)


def downsampled_axis(axis: Axis, factor: float, method: Method) -> Axis:
    """Multiply the step, and move to the middle of the voxels that are one now, unless the first of them is taken."""
    if factor == 1:
        return axis
    step = axis.scale or 1.0
    moved = 0.0 if method == "nearest" else step * (factor - 1) / 2
    return replace(axis, scale=step * factor, translation=axis.translation + moved)
