"""The objects of a whole image from the components of its blocks: which are one, which remain, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.reductions.objects.blocks import Block, Borders, Components
from ilastik_lazy.reductions.objects.object_axes import ObjectAxes
from ilastik_lazy.reductions.objects.runs import components, touching

__all__ = ["Census", "Numbers"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """The number of the object that each component belongs to."""

    offsets: Array
    """For each block the place of its first component in `numbers`, and the number of all components."""
    numbers: Array
    """uint32; 0 for what was left out.  Each frame begins with 1."""
    frames: Array
    """For each component the number of its frame."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self.offsets.nbytes + self.numbers.nbytes + self.frames.nbytes)

    def of_block(self, block: int) -> Array:
        """Numbers of the components of one block."""
        return np.asarray(self.numbers[self.offsets[block] : self.offsets[block + 1]])


class _Union:
    """Joins the components of blocks, which come in the order of slabs.

    Only the borders of one slab of blocks are kept, and of those before it what leads on into it.
    """

    def __init__(self, axes: ObjectAxes, connectivity: int) -> None:
        self._shape, self._connectivity = axes.volume, connectivity
        self._slab, self._borders = 0, list[Borders]()
        self._pairs = list[Array]()
        self._parts = list[Components]()
        self._counts = [0]

    def add(self, slab: int, found: Components) -> None:
        """Take the components of the next block."""
        if slab != self._slab:
            self._close()
            self._slab = slab
        edges = found.borders
        self._borders.append(Borders(edges.starts, edges.ends, edges.components + self._counts[-1], edges.leads_on))
        self._counts.append(self._counts[-1] + found.count)
        # The borders would stay in memory with the rest.
        none = np.zeros(0, np.int64)
        self._parts.append(
            Components(found.frames.astype(np.int32), found.firsts, found.sizes, Borders(none, none, none, none))
        )

    def _close(self) -> None:
        """Link what touches in the slab that is complete."""
        starts, ends, numbers, leads_on = (
            np.concatenate([getattr(each, name) for each in self._borders] or [np.zeros(0, np.int64)])
            for name in ("starts", "ends", "components", "leads_on")
        )
        order = np.argsort(starts, kind="stable")
        starts, ends, numbers = starts[order], ends[order], numbers[order]
        first, second = touching(starts, ends, self._shape, self._connectivity)
        # A row goes on in the next block.
        along = np.flatnonzero(ends[:-1] == starts[1:])
        one = numbers[np.concatenate([first, along])]
        other = numbers[np.concatenate([second, along + 1])]
        differ = one != other
        # One number for each pair: they are sorted ten times as fast as two.
        pairs = np.minimum(one, other)[differ] * self.count + np.maximum(one, other)[differ]
        self._pairs.append(np.stack(np.divmod(np.unique(pairs), max(1, self.count))))
        onward = leads_on[order].astype(np.bool_)
        self._borders = [Borders(starts[onward], ends[onward], numbers[onward], np.zeros(int(onward.sum()), np.bool_))]

    @property
    def count(self) -> int:
        """Number of components so far."""
        return self._counts[-1]

    @property
    def offsets(self) -> Array:
        """For each block the number of components before it."""
        return np.array(self._counts, np.int64)

    def objects(self) -> tuple[Array, Components]:
        """Return the object of each component, and all objects; after the last block."""
        self._close()
        self._borders = []
        pairs = np.concatenate(self._pairs, axis=1) if self._pairs else np.zeros((2, 0), np.int64)
        count, found = components(self._counts[-1], pairs[0], pairs[1])
        frames, firsts, sizes = (
            np.concatenate([getattr(part, name) for part in self._parts] or [np.zeros(0, np.int64)])
            for name in ("frames", "firsts", "sizes")
        )
        least = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(least, found, firsts)
        total = np.zeros(count, np.int64)
        np.add.at(total, found, sizes)
        frame = np.zeros(count, np.int32)
        frame[found] = frames
        none = np.zeros(0, np.int64)
        return found, Components(frame, least, total, Borders(none, none, none, none))


class Census:
    """Counts the objects of an image block by block, and numbers those that remain."""

    def __init__(
        self, axes: ObjectAxes, connectivity: int, least: int | None, most: int | None, needs_cores: bool
    ) -> None:
        self._objects = _Union(axes, connectivity)
        self._cores = _Union(axes, connectivity) if needs_cores else None
        self._owners = list[Array]()
        self._bounds = least, most

    def add(self, slab: int, block: Block) -> None:
        """Take the next block."""
        before = self._objects.count
        self._objects.add(slab, block.components)
        if self._cores is not None and block.cores is not None and block.owners is not None:
            self._cores.add(slab, block.cores)
            self._owners.append(np.where(block.owners < 0, -1, block.owners + before))

    def numbers(self) -> Numbers:
        """Number the objects of each frame by their first voxels, after the last block."""
        found, objects = self._objects.objects()
        kept = _within(objects.sizes, *self._bounds)
        if self._cores is not None:
            of_core, cores = self._cores.objects()
            owners = np.concatenate(self._owners or [np.zeros(0, np.int64)])
            counts = _within(cores.sizes, *self._bounds)[of_core] & (owners >= 0)
            has_core = np.zeros(objects.count, np.bool_)
            has_core[found[owners[counts]]] = True
            kept &= has_core
        chosen = np.flatnonzero(kept)
        chosen = chosen[np.lexsort((objects.firsts[chosen], objects.frames[chosen]))]
        frames = objects.frames[chosen]
        numbers = np.zeros(objects.count, np.uint32)
        numbers[chosen] = np.arange(len(chosen)) - np.searchsorted(frames, frames) + 1
        return Numbers(self._objects.offsets, numbers[found], objects.frames[found])


def _within(sizes: Array, least: int | None, most: int | None) -> Array:
    """Return whether each size lies within the bounds, both included."""
    kept = np.ones(len(sizes), np.bool_)
    if least is not None:
        kept &= sizes >= least
    if most is not None:
        kept &= sizes <= most
    return kept
