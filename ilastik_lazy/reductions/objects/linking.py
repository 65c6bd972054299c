"""Which runs touch, and which of them are one object.

The same arithmetic links the runs of a block, and those at the borders of blocks in the whole image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["components", "touching"]

Array = np.ndarray[Any, Any]


def touching(starts: Array, ends: Array, shape: tuple[int, ...], connectivity: int) -> tuple[Array, Array]:
    """Pairs of runs in neighbouring rows that touch.

    Parameters
    ----------
    starts, ends
        Sorted positions of the first voxel of runs, and behind the last one.  Each row counts one voxel more
        than it has, so that runs in two rows never touch in them.
    shape
        Frames, z, y and x; no run touches one of another frame.
    connectivity
        Along how many axes two neighbouring voxels may differ, as in `scipy.ndimage.generate_binary_structure`.
    """
    _, depth, height, length = shape
    width = length + 1
    planes, y = np.divmod(starts // width, height)
    z = planes % depth
    first: list[Array] = []
    second: list[Array] = []
    for dz, dy in ((0, 1), (1, -1), (1, 0), (1, 1)):
        steps = dz + abs(dy)
        if steps > connectivity or dz >= depth or abs(dy) >= height:
            continue
        inside = np.flatnonzero((z + dz < depth) & (y + dy >= 0) & (y + dy < height))
        shift = (dz * height + dy) * width
        reach = 1 if steps < connectivity else 0  # along x, too
        low = np.searchsorted(ends, starts[inside] + (shift - reach), side="right")
        high = np.searchsorted(starts, ends[inside] + (shift + reach), side="left")
        counts = high - low
        total = int(counts.sum())
        first.append(np.repeat(inside, counts))
        second.append(np.arange(total) + np.repeat(low - (np.cumsum(counts) - counts), counts))
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
