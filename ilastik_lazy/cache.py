"""Decoded chunks kept for a viewer: scrolling through z decodes each chunk once, not once a plane."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.chunks import Region, check_region, overlaps, region_shape
from ilastik_lazy.spec import ArraySource, ArraySpec, View

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


# Process-wide, so that every slice of an array, and every thread, shares it; never pickled.
@functools.lru_cache(maxsize=8)
def _cache_of(source: Hashable, nbytes: int) -> _ChunkCache:
    return _ChunkCache(nbytes)


@dataclass(frozen=True, slots=True)
class CachedSource(View):
    """A source that remembers the chunks of which only a part was wanted.

    Reads of whole chunks go past it, so that a full scan neither fills it nor pays for it.
    """

    source: ArraySource
    nbytes: int
    """Decoded bytes to keep at most."""

    @property
    def spec(self) -> ArraySpec:
        """What is known of the source."""
        return self.source.spec

    def read(self, region: Region) -> Array:
        """Read `region` (see `ArraySource.read`)."""
        spec = self.source.spec
        check_region(region, spec.shape)
        if self._is_scan(region):
            return self.source.read(region)
        cache = _cache_of(self.source, self.nbytes)
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
