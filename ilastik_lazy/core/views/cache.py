"""Decoded chunks kept for a viewer: scrolling through z decodes each chunk once, not once a plane."""

from __future__ import annotations

import itertools
import threading
import uuid
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, check_region, overlaps, region_shape
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import EncodedView

__all__ = ["CachedSource"]

Array = np.ndarray[Any, Any]


class _ChunkCache:
    """The chunks that were used last, up to a number of bytes."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._lock = threading.Lock()
        self._chunks: OrderedDict[tuple[int, ...], Array] = OrderedDict()
        self._held = 0

    def get(self, key: tuple[int, ...]) -> Array | None:
        with self._lock:
            if (chunk := self._chunks.get(key)) is not None:
                self._chunks.move_to_end(key)
            return chunk

    def put(self, key: tuple[int, ...], chunk: Array) -> None:
        chunk.setflags(write=False)
        with self._lock:
            if key in self._chunks:
                return
            self._chunks[key] = chunk
            self._held += chunk.nbytes
            while self._held > self._nbytes:
                _, dropped = self._chunks.popitem(last=False)
                self._held -= dropped.nbytes


# By opening: every slice of an array, every thread, and every copy that dask unpickles shares one, which goes with
# the last of them.  What is opened anew starts afresh: no metadata of Zarr or N5 show that a chunk was written again.
_caches: weakref.WeakValueDictionary[str, _ChunkCache] = weakref.WeakValueDictionary()
_openings: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
"""Numbers for the openings of each image in this process."""
_caches_lock = threading.Lock()


def _cache_of(opening: str, nbytes: int) -> _ChunkCache:
    with _caches_lock:
        return _caches.setdefault(opening, _ChunkCache(nbytes))


@dataclass(frozen=True, slots=True)
class CachedSource(EncodedView):
    """A source that remembers the chunks of which only a part was wanted.

    Reads of whole chunks go past it, so that a full scan neither fills it nor pays for it.
    """

    source: ArraySource
    nbytes: int
    """Decoded bytes to keep at most."""
    opening: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Name of the cache, which no other opening has, in any process."""
    number: int = 0
    """Number of this opening among those of the same image, in the process that opened it.

    dask names arrays by it: two openings may hold different versions of a chunk, so they are different arrays, and
    a program that runs again gets the names that it had, so it can resume a conversion.
    """
    _cache: _ChunkCache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cache", _cache_of(self.opening, self.nbytes))
        if self.number == 0:
            with _caches_lock:
                object.__setattr__(self, "number", next(_openings[self.spec.storage.location]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.nbytes, self.opening, self.number)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, self.source, self.nbytes, self.number

    @property
    def spec(self) -> ArraySpec:
        """What is known of the source."""
        return self.source.spec

    def read(self, region: Region) -> Array:
        spec = self.source.spec
        check_region(region, spec.shape)
        if self._is_scan(region):
            return self.source.read(region)
        cache = self._cache
        out = np.empty(region_shape(region), spec.dtype)
        for overlap in overlaps(region, spec.chunks):
            chunk = cache.get(overlap.chunk)
            if chunk is None:
                chunk = self.source.read(
                    tuple(
                        slice(i * step, min((i + 1) * step, length))
                        for i, step, length in zip(overlap.chunk, spec.chunks, spec.shape, strict=True)
                    )
                )
                cache.put(overlap.chunk, chunk)
            out[overlap.target] = chunk[overlap.inside]
        return out

    def _is_scan(self, region: Region) -> bool:
        """Whether most of what would be decoded is wanted, or more than the cache holds."""
        spec, wanted, touched = self.source.spec, 1, 1
        for part, step, length in zip(region, spec.chunks, spec.shape, strict=True):
            wanted *= part.stop - part.start
            touched *= min(-(-part.stop // step) * step, length) - part.start // step * step
        return 2 * wanted >= touched or touched * spec.dtype.itemsize > self.nbytes
