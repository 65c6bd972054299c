"""Answer any index into a source with the fewest reads of regions."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.window import Window, transposed

__all__ = ["CopiedWhenChanged", "SourceArray"]


class SourceArray(BackendArray):
    """A source, or a window into it, that can be indexed as xarray and dask do.

    Integers, slices with any step, and lists; only chunks that an index touches are read.
    """

    def __init__(self, source: ArraySource, window: Window | None = None, token: str = "") -> None:
        self.source = source
        self.token = token
        """dask's token of the source, kept once it is made: making it takes as long as reading a small plane."""
        self.window = window or tuple(slice(0, length) for length in source.spec.shape)
        self.shape = tuple(part.stop - part.start for part in self.window if isinstance(part, slice))
        self.dtype = source.spec.dtype

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, indexing.ExplicitIndexer):
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self.outer)
        return self.outer(key if isinstance(key, tuple) else (key,))

    def outer(self, key: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        """Read the outer product of one index for each axis."""
        spec = self.source.spec
        parts = iter(key + (slice(None),) * (self.ndim - len(key)))
        lifted = [part if isinstance(part, int) else _lifted(next(parts), part) for part in self.window]
        if all(isinstance(part, slice) for part in lifted):
            return self.source.read(tuple(part for part in lifted if isinstance(part, slice)))
        axes = [_AxisPieces.of(part, chunk) for part, chunk in zip(lifted, spec.chunks, strict=True)]
        if all(axis.is_plain for axis in axes):
            values = self.source.read(tuple(axis.pieces[0].region for axis in axes))
        else:
            values = np.empty([axis.length for axis in axes], self.dtype)
            for pieces in itertools.product(*(axis.pieces for axis in axes)):
                block = self.source.read(tuple(piece.region for piece in pieces))
                values[np.ix_(*(piece.target for piece in pieces))] = block[np.ix_(*(p.local for p in pieces))]
        return values[tuple(0 if axis.is_scalar else slice(None) for axis in axes)]

    def windowed(self, key: Any) -> SourceArray | None:
        """Return the window that integers and slices with step 1 cut out; None for any other index."""
        keys = key if isinstance(key, tuple) else (key,)
        # Checked by type: comparing an array with Ellipsis or None gives an array.
        dots = [at for at, part in enumerate(keys) if part is Ellipsis]
        if len(dots) == 1:
            keys = (*keys[: dots[0]], *[slice(None)] * (self.ndim - len(keys) + 1), *keys[dots[0] + 1 :])
        if len(keys) > self.ndim or not all(_is_basic(part) for part in keys):
            return None
        parts = iter((*keys, *[slice(None)] * (self.ndim - len(keys))))
        window: list[int | slice] = []
        for old in self.window:
            if isinstance(old, int):
                window.append(old)
                continue
            part, length = next(parts), old.stop - old.start
            if isinstance(part, slice):
                start, stop, step = part.indices(length)
                if step != 1:
                    return None
                window.append(slice(old.start + start, old.start + max(start, stop)))
            elif -length <= part < length:
                window.append(old.start + int(part) % length)
            else:
                return None
        return SourceArray(self.source, tuple(window), self.token)

    def transposed(self, order: Sequence[int]) -> SourceArray:
        """Return the same window with its axis ``order[k]`` as axis ``k``."""
        kept = [axis for axis, part in enumerate(self.window) if isinstance(part, slice)]
        axes = [axis for axis in range(len(self.window)) if axis not in kept] + [kept[axis] for axis in order]
        return SourceArray(transposed(self.source, axes), tuple(self.window[axis] for axis in axes))


class CopiedWhenChanged(indexing.CopyOnWriteArray):
    """A lazily indexed array that is read into memory when elements are assigned to it; no file is ever changed.

    xarray's own forgets this when it is transposed, and a deep copy of it shares what was changed before.
    """

    def transpose(self, order: Any) -> CopiedWhenChanged:
        return type(self)(self.array.transpose(order))

    def __deepcopy__(self, memo: Any) -> CopiedWhenChanged:
        return type(self)(copy.deepcopy(self.array, memo) if self._copied else self.array)


def _is_basic(part: object) -> bool:
    if isinstance(part, slice):
        ends = (part.start, part.stop, part.step)
        return all(end is None or (isinstance(end, int | np.integer) and not isinstance(end, bool)) for end in ends)
    return isinstance(part, int | np.integer) and not isinstance(part, bool)


def _lifted(index: Any, part: slice) -> Any:
    """Translate an index into a part of an axis to the whole axis, without negative numbers."""
    length = part.stop - part.start
    if isinstance(index, slice):
        start, stop, step = index.indices(length)
        if step == 1:
            # Without a step, as sources compare parts of regions with whole axes.
            return slice(part.start + start, part.start + max(start, stop))
        return part.start + np.arange(start, stop, step)
    wanted = np.asarray(index)
    if wanted.dtype == bool:
        wanted = np.flatnonzero(wanted)
    wanted = np.where(wanted < 0, wanted + length, wanted).astype(np.int64)
    if wanted.size and not (wanted.min() >= 0 and wanted.max() < length):
        raise IndexError(f"index {index} is out of bounds for an axis of length {length}")
    return part.start + wanted


class _Piece(NamedTuple):
    """Part of an index along one axis that one read answers."""

    region: slice
    local: Any
    """Which elements of the region are wanted."""
    target: Any
    """Where they go."""


class _AxisPieces(NamedTuple):
    """An index along one axis, cut into pieces that lie in one storage chunk each."""

    pieces: list[_Piece]
    length: int
    is_scalar: bool
    is_plain: bool
    """Whether one piece is the whole answer, in its own order."""

    @classmethod
    def of(cls, index: Any, chunk: int) -> _AxisPieces:
        if isinstance(index, slice):
            every = np.arange(index.stop - index.start)
            return cls([_Piece(index, every, every)], len(every), False, True)
        wanted = np.atleast_1d(index)
        if np.ndim(index) == 0:
            first = int(wanted[0])
            return cls([_Piece(slice(first, first + 1), [0], [0])], 1, True, True)
        pieces = []
        for number in np.unique(wanted // chunk):
            target = np.flatnonzero(wanted // chunk == number)
            low, high = int(wanted[target].min()), int(wanted[target].max())
            pieces.append(_Piece(slice(low, high + 1), wanted[target] - low, target))
        return cls(pieces, len(wanted), False, False)
