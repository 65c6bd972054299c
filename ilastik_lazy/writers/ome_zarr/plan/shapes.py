"""Shapes for a pyramid: of its levels, of the chunks, and of the shards that hold the chunks.

Shards follow the chunks of the source, so that a conversion decodes each source chunk once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.units import in_base_unit
from ilastik_lazy.writers.ome_zarr.downsample import halved

__all__ = ["MOST_LEVELS", "Index", "inner_chunks", "level_shapes", "shard_shape"]

Index = tuple[int, ...]

MOST_LEVELS = 16
_SMALLEST_LEVEL = 256
# Viewers fetch one chunk at a time: requests dominate for smaller chunks, and viewers wait for larger ones.
_CHUNK_LEAST, _CHUNK_MOST = 64 * 2**10, 4 * 2**20
# A shard may be this many times larger than its target in order to hold whole chunks of the source.
_STRETCH = 4


def level_shapes(shape: Index, axes: Sequence[Axis], levels: int | None) -> list[tuple[Index, Index]]:
    """Shape and factors of each level; the finest axes are halved until voxels are about isotropic."""
    made = [(shape, (1,) * len(shape))]
    space = [i for i, axis in enumerate(axes) if axis.name in "zyx"]
    steps = _comparable_steps(axes, space)
    while len(made) < (levels or MOST_LEVELS):
        now = made[-1][0]
        if levels is None and max(now[i] for i in space) <= _SMALLEST_LEVEL:
            break
        long = [i for i in space if now[i] > 1]
        if not long:
            break
        # sqrt(2) is halfway between "as fine as the finest" and "twice as coarse".
        finest = min(steps[i] for i in long)
        factors = tuple(2 if i in long and steps[i] < finest * math.sqrt(2) else 1 for i in range(len(shape)))
        steps = {i: step * factors[i] for i, step in steps.items()}
        made.append((tuple(halved(n, f) for n, f in zip(now, factors, strict=True)), factors))
    return made


def _comparable_steps(axes: Sequence[Axis], space: Sequence[int]) -> dict[int, float]:
    """Steps of the axes of space in one unit; an unknown step counts as the finest."""
    units = {axes[i].unit for i in space if axes[i].scale is not None}
    known = {
        i: step
        for i in space
        if (scale := axes[i].scale) is not None
        and (step := scale if len(units) == 1 else in_base_unit(scale, axes[i].unit)) is not None
    }
    finest = min(known.values(), default=1.0)
    return {i: known.get(i, finest) for i in space}


def inner_chunks(shape: Index, stored: Index, itemsize: int, axes: Sequence[Axis]) -> Index:
    """Choose chunks of the target: those of the source, parts or groups of them; one t and one c in each.

    Parameters
    ----------
    stored
        Chunks of the source, not longer than `shape`.
    """
    chunks = [1 if axis.name in "tc" else length for length, axis in zip(stored, axes, strict=True)]
    space = [i for i, axis in enumerate(axes) if axis.name in "zyx"]
    while math.prod(chunks) * itemsize > _CHUNK_MOST:
        longest = max(space, key=lambda i: chunks[i])
        chunks[longest] = _part_of(chunks[longest], stored[longest] == shape[longest])
    while math.prod(chunks) * itemsize < _CHUNK_LEAST:
        growing = [i for i in space if chunks[i] < shape[i]]
        if not growing:
            break
        shortest = min(growing, key=lambda i: chunks[i])
        chunks[shortest] = min(2 * chunks[shortest], shape[shortest])
    return tuple(chunks)


def _part_of(length: int, whole: bool) -> int:
    """The largest proper divisor if it is about half; else, and for a whole axis, half."""
    for divisor in (2, 3, 5, 7):
        if length % divisor == 0 and not whole:
            return length // divisor
    return -(-length // 2)


def shard_shape(
    shape: Index,
    stored: Index,
    chunks: Index,
    itemsize: int,
    axes: Sequence[Axis],
    target: int,
    factors: Sequence[int] = (),
) -> Index:
    """Group chunks into shards of about `target` bytes.

    A shard holds whole chunks of the source, and an even number of voxels along each halved axis:
    a pair must not lie in two shards.  Chunks that are too large are cut along all axes that `factors` halve
    from level 0 to level 1, so that the parts of a chunk are a shard of level 1, and are converted one after the other.
    """
    space = [i for i, axis in enumerate(axes) if axis.name in "zyx"]
    shards = list(_whole_source_chunks(shape, stored, chunks, space))

    def size() -> int:
        return math.prod(shards) * itemsize

    least = [_even(c, c, length, i in space) for i, (c, length) in enumerate(zip(chunks, shape, strict=True))]
    while size() > _STRETCH * target and any(n > low for n, low in zip(shards, least, strict=True)):
        cut = [i for i, factor in enumerate(factors) if factor == 2 and shards[i] > least[i]]
        for i in cut or [max(range(len(shape)), key=lambda i: shards[i] / least[i])]:
            half = -(-shards[i] // (2 * chunks[i])) * chunks[i]
            shards[i] = max(least[i], _even(half, chunks[i], shape[i], i in space))
    for group in (space, [i for i in reversed(range(len(shape))) if i not in space]):
        while 2 * size() <= target:
            growing = [i for i in group if shards[i] < shape[i]]
            if not growing:
                break
            shards[min(growing, key=lambda i: shards[i])] *= 2
    return tuple(min(n, -(-length // c) * c) for n, length, c in zip(shards, shape, chunks, strict=True))


def _whole_source_chunks(shape: Index, stored: Index, chunks: Index, space: Sequence[int]) -> Index:
    """The smallest shard that holds whole chunks of the source."""
    made = []
    for i, (length, old, new) in enumerate(zip(shape, stored, chunks, strict=True)):
        step = math.lcm(old, new)
        if i in space and step % 2:
            step *= 2
        made.append(step if step < length else -(-length // new) * new)
    return tuple(made)


def _even(length: int, chunk: int, whole: int, is_halved: bool) -> int:
    """`length`, or one chunk more if a pair of voxels would be split."""
    return length + chunk if is_halved and length % 2 and length < whole else length
