"""Chunks larger than the pieces that are worked on: each is read, or computed, once for all of them.

A chunk, whether a compressed one of a file or a block of dask, can only be read as a whole.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ilastik_lazy.core.grid import Region, check_region, chunk_region, grid_shape, overlaps, region_shape
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import EncodedView

__all__ = ["WholeChunks", "cell_of", "chunks_held", "interleaved"]

Array = np.ndarray[Any, Any]
Cell = tuple[int, ...]
_Task = TypeVar("_Task")


def chunks_held(piece: Sequence[int], chunks: Sequence[int], shape: Sequence[int]) -> int:
    """Chunks that a piece of work touches, where it is shorter than one along some axis; else 0: none is shared.

    >>> chunks_held((64, 128), (32, 256), (512, 512)), chunks_held((64, 256), (32, 256), (512, 512))
    (2, 0)
    """
    if all(size >= min(chunk, length) for size, chunk, length in zip(piece, chunks, shape, strict=True)):
        return 0
    return math.prod(grid_shape(piece, chunks))


def cell_of(region: Region, chunks: Sequence[int]) -> Cell:
    """Position of the chunk that a region begins in."""
    return tuple(part.start // chunk for part, chunk in zip(region, chunks, strict=True))


def interleaved(tasks: Iterable[_Task], cell: Callable[[_Task], Hashable], workers: int) -> Iterator[_Task]:
    """`tasks`, those of `workers` chunks in turn, so that one thread does not wait for what another one reads.

    >>> "".join(interleaved("aAAbBcC", str.lower, 2))
    'abABAcC'
    """
    runs = (list(run) for _, run in itertools.groupby(tasks, cell))
    while several := list(itertools.islice(runs, workers)):
        for turn in itertools.zip_longest(*([(task,) for task in run] for run in several), fillvalue=()):
            yield from itertools.chain.from_iterable(turn)


class _Chunks:
    """The chunks that were used last; a thread waits for one that another thread is reading."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Cell, Future[Array]] = OrderedDict()

    def get(self, cell: Cell, most: int, read: Callable[[], Array]) -> Array:
        with self._lock:
            if (known := self._known.get(cell)) is not None:
                self._known.move_to_end(cell)
            else:
                # Before the next one is read: beside `most` of them, a thread has one at the most.
                while len(self._known) >= most:
                    self._known.popitem(last=False)
                reading = self._known[cell] = Future[Array]()
        if known is not None:
            return known.result()
        try:
            reading.set_result(chunk := read())
        except BaseException as error:
            with self._lock:
                self._known.pop(cell, None)
            reading.set_exception(error)
            raise
        return chunk

    def __reduce__(self) -> tuple[type[_Chunks], tuple[()]]:
        return _Chunks, ()


@dataclass(frozen=True, slots=True)
class WholeChunks(EncodedView):
    """A source that is read by whole chunks, of which it holds the last ones."""

    source: ArraySource
    most: int
    """Chunks to hold."""
    _chunks: _Chunks

    @classmethod
    def of(cls, source: ArraySource, most: int) -> ArraySource:
        """Return `source` with room for `most` chunks; `source` itself if that is 0."""
        return cls(source, most, _Chunks()) if most else source

    @property
    def spec(self) -> ArraySpec:
        """What is known of the source."""
        return self.source.spec

    def read(self, region: Region) -> Array:
        spec = self.source.spec
        check_region(region, spec.shape)
        out = np.empty(region_shape(region), spec.dtype)
        for overlap in overlaps(region, spec.chunks):
            out[overlap.target] = self._chunk(overlap.chunk)[overlap.inside]
        return out

    def _chunk(self, cell: Cell) -> Array:
        spec = self.source.spec
        whole = chunk_region(cell, spec.chunks, spec.shape)
        return self._chunks.get(cell, self.most, lambda: self.source.read(whole))
