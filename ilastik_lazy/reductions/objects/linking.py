"""Which runs touch, and which of them are one object.

The same arithmetic links the runs of a block, and those at the borders of blocks in the whole image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["components", "spread_out", "touching"]

Array = np.ndarray[Any, Any]


def spread_out(frames: Array, z: Array, y: Array, x: Array, shape: tuple[int, ...]) -> Array:
    """Positions with one voxel more a row, one row more a plane, and one plane more a frame than there are.

    So what lies in two rows never touches in them, and a neighbour beyond the end of a plane is no voxel.

    Parameters
    ----------
    shape
        z, y and x of a frame.
    """
    depth, height, length = shape
    return ((frames * (depth + 1) + z) * (height + 1) + y) * (length + 1) + x


def touching(starts: Array, ends: Array, shape: tuple[int, ...], connectivity: int) -> tuple[Array, Array]:
    """Pairs of runs in neighbouring rows that touch.

    Parameters
    ----------
    starts, ends
        Sorted positions of the first voxel of runs, and behind the last one, as from `spread_out`.
    shape
        z, y and x of a frame.
    connectivity
        Along how many axes two neighbouring voxels may differ, as in `scipy.ndimage.generate_binary_structure`.
    """
    depth, height, length = shape
    first: list[Array] = []
    second: list[Array] = []
    for dz, dy in ((0, 1), (1, -1), (1, 0), (1, 1)):
        steps = dz + abs(dy)
        if steps > connectivity or dz >= depth or abs(dy) >= height:
            continue
        shift = (dz * (height + 1) + dy) * (length + 1)
        reach = 1 if steps < connectivity else 0  # along x, too
        low = np.searchsorted(ends, starts + (shift - reach), side="right")
        counts = np.searchsorted(starts, ends + (shift + reach), side="left") - low
        # Most runs have one neighbour at most.
        inside = np.flatnonzero(counts)
        counts, low = counts[inside], low[inside]
        before = np.cumsum(counts) - counts
        first.append(np.repeat(inside, counts))
        second.append(np.arange(len(first[-1])) + np.repeat(low - before, counts))
    if not first:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(first), np.concatenate(second)


def components(count: int, first: Array, second: Array) -> tuple[int, Array]:
    """Number of components of a graph, and the one of each of its `count` nodes, numbered in the order of nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not count:
        return 0, np.zeros(0, np.int64)
    if not len(first):
        return count, np.arange(count)
    edges = coo_array((np.ones(len(first), np.uint8), (first, second)), (count, count))
    number, found = connected_components(edges.tocsr(), directed=False)
    # scipy does not promise the order of components.
    earliest = np.empty(number, np.int64)
    earliest[found[::-1]] = np.arange(count)[::-1]
    rank = np.empty(number, np.int64)
    rank[np.argsort(earliest)] = np.arange(number)
    return number, rank[found]
