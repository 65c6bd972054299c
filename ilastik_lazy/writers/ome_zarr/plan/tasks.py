"""In which order shards are converted, and which of them an interrupted conversion still has to touch."""

from __future__ import annotations

import itertools
from collections.abc import Container, Hashable, Iterator

import numpy as np

from ilastik_lazy.core.views.whole_chunks import cell_of, interleaved
from ilastik_lazy.writers.ome_zarr.plan.pyramid import Plan
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = ["Task", "all_tasks", "below", "children_of", "in_turn", "remaining", "shards_of", "tops", "unit_name"]

Task = tuple[int, Index]
"""Number of a level, and a shard in it: converted, or read back where it is written already."""


def unit_name(task: Task) -> str:
    """How the journal calls a shard.

    >>> unit_name((0, (3, 2, 1)))
    '0/3.2.1'
    """
    return f"{task[0]}/{'.'.join(map(str, task[1]))}"


def all_tasks(plan: Plan) -> list[Task]:
    """Every shard of every level."""
    return [(level.number, shard) for level in plan.levels for shard in np.ndindex(level.grid)]


def children_of(plan: Plan, task: Task) -> Iterator[Task]:
    """Shards of the level before that a shard is made of."""
    number, shard = task
    for child in itertools.product(*plan.children(number, shard)):
        yield number - 1, child


def below(plan: Plan, task: Task) -> Iterator[Task]:
    """A shard, and all that it is made of, on all levels."""
    yield task
    if task[0] > 0:
        for child in children_of(plan, task):
            yield from below(plan, child)


def tops(plan: Plan, highest: int | None = None) -> Iterator[Task]:
    """Shards of level `highest`, and those below it that are part of none: odd last voxels alone."""
    highest = len(plan.levels) - 1 if highest is None else highest
    for number in range(highest, -1, -1):
        shards = np.ndindex(plan.levels[number].grid)
        for shard in sorted(shards, key=lambda shard: _chunk_below(plan, number, shard)) if plan.held else shards:
            if number == highest or plan.parent(number, shard) is None:
                yield number, shard


def _chunk_below(plan: Plan, number: int, shard: Index) -> tuple[int, ...]:
    """The chunk of the source in which a shard of any level begins."""
    while number:
        number, shard = next(children_of(plan, (number, shard)))
    return cell_of(plan.source_region(plan.levels[0].region(shard)), plan.spec.chunks)


def shards_of(plan: Plan) -> Iterator[Index]:
    """Shards of level 0, those that share a parent one after the other."""
    return (shard for _, shard in remaining(plan, (), tops(plan)))


def remaining(plan: Plan, done: Container[Task], tops: Iterator[Task]) -> Iterator[Task]:
    """What is left to do below `tops`, so that few unfinished shards of upper levels are held at any time.

    A shard of level 0 that is not written is converted.  One of any level that is written, but part of one
    that is not, is read back.  All others come about on the way.
    """
    for top in tops:
        yield from _below(plan, done, top, top in done)


def in_turn(plan: Plan, tasks: Iterator[Task]) -> Iterator[Task]:
    """`tasks`; where shards share chunks of the source, those of one chunk for each worker in turn."""
    if not plan.held or plan.workers == 1:
        return tasks

    def chunk_of(task: Task) -> Hashable:
        return task if task[0] else _chunk_below(plan, *task)

    return interleaved(tasks, chunk_of, plan.workers)


def _below(plan: Plan, done: Container[Task], task: Task, is_done: bool) -> Iterator[Task]:
    if task[0] == 0:
        if not is_done:
            yield task
        return
    for child in children_of(plan, task):
        child_is_done = child in done
        yield from _below(plan, done, child, child_is_done)
        if child_is_done and not is_done:
            yield child
