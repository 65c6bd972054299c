"""Arithmetic of chunk grids: which chunks a region touches, and how blocks are made of chunks.

A *chunk* is the unit of storage, a *block* the unit of work (of a dask array, of a task).
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ilastik_lazy.errors import ArgumentError

__all__ = [
    "BLOCK_BYTES_LEAST",
    "BLOCK_BYTES_MOST",
    "Overlap",
    "Region",
    "block_lengths",
    "block_shape",
    "check_region",
    "chunk_region",
    "grid_shape",
    "overlaps",
    "region_shape",
    "regions_of_blocks",
]

Region = tuple[slice, ...]

# A block near 4 MiB keeps dask's 0.3 ms a task near 5 % of the time that decoding takes (0.5-0.9 GB/s
# a core).  At 8 MiB a reduction holds 50 MB, however long the longest axis is; at 32 MiB it were 66 MB and more.
BLOCK_BYTES_LEAST = 4 * 2**20
BLOCK_BYTES_MOST = 8 * 2**20


def check_region(region: Region, shape: Sequence[int]) -> None:
    """Raise `ArgumentError` unless `region` has a slice inside `shape` for each axis, with step 1."""
    if len(region) != len(shape) or not all(_fits(part, length) for part, length in zip(region, shape, strict=True)):
        raise ArgumentError(f"region {region} does not fit an array of shape {tuple(shape)}")


def _fits(part: object, length: int) -> bool:
    if not isinstance(part, slice) or part.step not in (None, 1):
        return False
    try:
        return 0 <= operator.index(part.start) <= operator.index(part.stop) <= length
    except TypeError:
        return False


def region_shape(region: Region) -> tuple[int, ...]:
    """Return the shape of the array that `region` cuts out.

    >>> region_shape((slice(2, 5), slice(0, 1)))
    (3, 1)
    """
    return tuple(part.stop - part.start for part in region)


def grid_shape(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """Return the number of chunks along each axis; the last one may be ragged.

    >>> grid_shape((10, 4), (4, 4))
    (3, 1)
    """
    return tuple(-(-length // chunk) for length, chunk in zip(shape, chunks, strict=True))


def chunk_region(position: Sequence[int], chunks: Sequence[int], shape: Sequence[int]) -> Region:
    """Return the region of the chunk at a position in the grid, clipped to the array.

    >>> chunk_region((2, 0), (4, 4), (10, 4))
    (slice(8, 10, None), slice(0, 4, None))
    """
    return tuple(
        slice(i * chunk, min((i + 1) * chunk, length)) for i, chunk, length in zip(position, chunks, shape, strict=True)
    )


class Overlap(NamedTuple):
    """What one chunk gives to a region."""

    chunk: tuple[int, ...]
    """Position of the chunk in the grid."""

    inside: Region
    """The part of the chunk that is wanted."""

    target: Region
    """Where that part goes in the result."""

    whole: bool
    """Whether the wanted part is a full, unclipped chunk."""


def overlaps(region: Region, chunks: Sequence[int]) -> Iterator[Overlap]:
    """Return the chunks that `region` touches, in C order.

    >>> [o.chunk for o in overlaps((slice(3, 9), slice(0, 2)), (4, 2))]
    [(0, 0), (1, 0), (2, 0)]
    """
    per_axis = []
    for part, chunk in zip(region, chunks, strict=True):
        pieces = []
        for i in range(part.start // chunk, -(-part.stop // chunk) if part.stop > part.start else 0):
            low, high = max(part.start, i * chunk), min(part.stop, (i + 1) * chunk)
            inside, target = slice(low - i * chunk, high - i * chunk), slice(low - part.start, high - part.start)
            pieces.append((i, inside, target, high - low == chunk))
        per_axis.append(pieces)
    for combination in itertools.product(*per_axis):
        # One call of zip: this loop runs once a chunk, and a plane of plain chunks takes 10 us for each.
        chunk_, inside_, target_, whole = zip(*combination, strict=True)
        yield Overlap(chunk_, inside_, target_, all(whole))


def block_shape(
    shape: Sequence[int],
    chunks: Sequence[int],
    itemsize: float,
    names: Sequence[str],
    *,
    least: int = BLOCK_BYTES_LEAST,
    most: int = BLOCK_BYTES_MOST,
) -> tuple[int, ...]:
    """Group whole chunks into a block that one task reads.

    Grows along the first spatial axis up to `most` bytes, since chunks stacked along the slowest
    axis lie one after the other in memory and are decoded into place.  Other axes follow, the
    next spatial ones first, t and c last, only while the block is below `least` bytes.

    Examples
    --------
    >>> block_shape((448, 448, 448, 2), (50, 50, 50, 1), 4, "zyxc")
    (448, 50, 50, 1)
    """
    block = [min(chunk, length) for chunk, length in zip(chunks, shape, strict=True)]
    spatial = [i for i, name in enumerate(names) if name in "zyx"]
    order = spatial + [i for name in "tc" for i, n in enumerate(names) if n == name]
    for rank, i in enumerate(order):
        size = max(1, math.prod(block) * itemsize)
        bound = most if rank == 0 else least
        times = int(bound // size) if rank == 0 else math.ceil(bound / size)
        times = max(1, min(times, int(most // size)))
        if block[i]:
            # Equal blocks: eight chunks and one of nine would leave a thread with nothing to do.
            count = -(-shape[i] // block[i])
            times = -(-count // -(-count // times))
        block[i] = min(block[i] * times, shape[i])
    return tuple(block)


def block_lengths(shape: Sequence[int], block: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the lengths of the blocks along each axis, as dask writes its ``chunks``.

    >>> block_lengths((10, 4), (4, 4))
    ((4, 4, 2), (4,))
    """
    return tuple(
        tuple(min(step, length - start) for start in range(0, length, max(step, 1))) or (0,)
        for length, step in zip(shape, block, strict=True)
    )


def regions_of_blocks(shape: Sequence[int], block: Sequence[int]) -> Iterator[Region]:
    """Return the regions of all blocks of a grid, in C order."""
    per_axis = [
        [slice(start, min(start + step, length)) for start in range(0, length, max(step, 1))]
        for length, step in zip(shape, block, strict=True)
    ]
    yield from itertools.product(*per_axis)
