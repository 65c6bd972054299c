"""Cells in a tissue that repeats: the probability map that ilastik exports of them, and the label image.

One period, up to four chunks along each axis, is computed; its chunks are encoded once and written again and again, so
that a file of any size is there in seconds.  Objects go on across the borders of chunks and of periods.  The raw image
beside them is `write_export(kind="raw")`, in chunks of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.exports import encoded, ilastik_chunks, origins_of, write_streams

Array = np.ndarray[Any, Any]
PERIOD, LEAST = 4, 72
"""Chunks along each axis of a period at most, and voxels at least: no cell touches itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """One period of cells, along z, y and x."""

    chunks: tuple[int, ...]
    counts: tuple[int, ...]
    """Chunks of a period along each axis."""
    nearness: Array
    """How near each voxel is to the inside of a cell, in voxels; from 0 on it lies within one."""
    cell: Array
    """Number of the nearest cell, from 1."""
    moved: Array
    """From 0 to 26: the period where the centre of that cell lies; 13 is this one."""

    @classmethod
    def of(
        cls,
        chunks: Sequence[int],
        grid: Sequence[int],
        fill: float,
        *,
        spacing: int = 15,
        gaps: bool = True,
        seed: int = 0,
    ) -> Tissue:
        """Cells that fill this share of the volume, on a lattice that is shaken.

        Parameters
        ----------
        grid
            Chunks of the volume along each axis.
        spacing
            Voxels between cells.
        gaps
            Whether background lies between all neighbouring cells; else they may touch.
        """
        in_period = tuple(max(min(PERIOD, n), math.ceil(LEAST / c)) for n, c in zip(grid, chunks, strict=True))
        shape = tuple(n * chunk for n, chunk in zip(in_period, chunks, strict=True))
        rng = np.random.default_rng(seed)
        counts = [max(1, round(length / spacing)) for length in shape]
        steps = np.array(shape) / counts
        places = np.array(list(np.ndindex(*counts)))
        centres = (places + 0.5 + rng.uniform(-0.25, 0.25, places.shape)) * steps
        reach = math.ceil(1.2 * steps.max()) if fill > 0.2 else math.ceil(0.6 * steps.max())
        far = np.float32(2 * reach)
        nearest, second = np.full(shape, far), np.full(shape, far)
        cell, moved = np.zeros(shape, np.uint32), np.full(shape, 13, np.int8)
        offsets = np.arange(-reach, reach + 1)
        for number, centre in enumerate(centres, 1):
            around = [np.int64(np.floor(c)) + offsets for c in centre]
            squares = np.ix_(*((along - c) ** 2 for along, c in zip(around, centre, strict=True)))
            distance = np.sqrt(squares[0] + squares[1] + squares[2], dtype=np.float32)
            box = np.ix_(*(along % length for along, length in zip(around, shape, strict=True)))
            # A voxel in the next period belongs to a cell whose centre lies in the one before.
            periods = np.ix_(*(1 - along // length for along, length in zip(around, shape, strict=True)))
            here, next_one = nearest[box], second[box]
            nearer = distance < here
            second[box] = np.where(nearer, here, np.minimum(next_one, distance))
            nearest[box] = np.where(nearer, distance, here)
            cell[box] = np.where(nearer, number, cell[box])
            moved[box] = np.where(nearer, 9 * periods[0] + 3 * periods[1] + periods[2], moved[box])
        depth = (second - nearest) / 2 if gaps and fill > 0.2 else -nearest
        return cls(tuple(chunks), in_period, depth - np.quantile(depth, 1 - fill), cell, moved)

    def parts(self) -> Iterator[tuple[slice, ...]]:
        """Region of each chunk of the period."""
        for origin in origins_of(self.cell.shape, self.chunks):
            yield tuple(slice(start, start + chunk) for start, chunk in zip(origin, self.chunks, strict=True))

    def probabilities(self, seed: int = 0) -> Array:
        """In hundredths, with noise where they are neither 0 nor 1."""
        smooth = 1 / (1 + np.exp(np.clip(-2 * self.nearness, -40, 40)))
        noise = np.random.default_rng(seed).integers(-2, 3, smooth.shape, dtype=np.int8)
        noise *= (smooth > 0.02) & (smooth < 0.98)
        hundredths = np.clip(np.rint(smooth * 100) + noise, 0, 100)
        return (hundredths / np.float32(100)).astype(np.float32)


def write_probabilities(
    path: str, shape: Sequence[int], fill: float, *, spacing: int = 15, every: int = 1, seed: int = 0
) -> str:
    """Write a probability map of cells along z, y and x with one class, and return its path.

    Parameters
    ----------
    every
        One of so many periods has cells, and the others are empty.
    """
    *chunks, _ = ilastik_chunks((*shape, 1), "zyxc", 4)
    grid = [math.ceil(length / chunk) for length, chunk in zip(shape, chunks, strict=True)]
    tissue = Tissue.of(chunks, grid, fill, spacing=spacing, seed=seed)
    whole = tissue.probabilities()
    with ThreadPoolExecutor() as pool:
        streams = list(pool.map(lambda part: encoded(whole[part]), tissue.parts()))
    empty = encoded(np.zeros(chunks, np.float32))
    periods = [math.ceil(n / count) for n, count in zip(grid, tissue.counts, strict=True)]

    def chosen() -> Iterator[bytes]:
        for place in np.ndindex(*grid):
            period, within = zip(*map(divmod, place, tissue.counts), strict=True)
            is_empty = np.ravel_multi_index(period, periods) % every
            yield empty if is_empty else streams[np.ravel_multi_index(within, tissue.counts)]

    return write_streams(path, (*shape, 1), "zyxc", np.dtype("f4"), (*chunks, 1), chosen())


def write_labels(path: str, shape: Sequence[int], fill: float, *, spacing: int = 15, seed: int = 0) -> str:
    """Write a label image of cells that touch, uint32 along z, y and x with gaps between ids, and return its path."""
    chunks = ilastik_chunks(shape, "zyx", 4)
    grid = [math.ceil(length / chunk) for length, chunk in zip(shape, chunks, strict=True)]
    tissue = Tissue.of(chunks, grid, fill, spacing=spacing, gaps=False, seed=seed)
    inside, count = tissue.nearness >= 0, int(tissue.cell.max())
    padded = [math.ceil(n / in_period) + 2 for n, in_period in zip(grid, tissue.counts, strict=True)]
    neighbours = np.array(list(itertools.product((-1, 0, 1), repeat=3)))

    def stored(place: tuple[int, ...]) -> bytes:
        period, within = zip(*map(divmod, place, tissue.counts), strict=True)
        part = tuple(slice(at * chunk, (at + 1) * chunk) for at, chunk in zip(within, chunks, strict=True))
        first = count * np.ravel_multi_index(tuple((neighbours + np.array(period) + 1).T), padded)
        numbers = tissue.cell[part] + first.astype(np.uint32)[tissue.moved[part]]
        return encoded(np.where(inside[part], numbers, np.uint32(0)))

    with ThreadPoolExecutor() as pool:
        streams = pool.map(stored, np.ndindex(*grid))
        return write_streams(path, shape, "zyx", np.dtype("u4"), chunks, streams)
