"""Decoded chunks kept for a viewer: scrolling through z decodes each chunk once, not once a plane."""

from __future__ import annotations

import functools
import itertools
import threading
import uuid
import weakref
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.core.grid import Region, check_region, chunk_region, overlaps, region_shape
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import EncodedView

__all__ = ["CachedSource"]

Array = np.ndarray[Any, Any]

# By opening: every slice of an array, every thread, and every copy that dask unpickles shares one, which goes with
# the last of them.  What is opened anew starts afresh: no metadata of Zarr or N5 show that a chunk was written again.
_caches: weakref.WeakValueDictionary[str, ByteCache[Array]] = weakref.WeakValueDictionary()
_openings: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
"""Numbers for the openings of each image in this process."""
_caches_lock = threading.Lock()


def _cache_of(opening: str, nbytes: int) -> ByteCache[Array]:
    with _caches_lock:
        return _caches.setdefault(opening, ByteCache(lambda chunk: chunk.nbytes, nbytes))


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
    _cache: ByteCache[Array] = field(init=False, repr=False, compare=False)

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
        out = np.empty(region_shape(region), spec.dtype)
        for overlap in overlaps(region, spec.chunks):
            whole = chunk_region(overlap.chunk, spec.chunks, spec.shape)
            chunk = self._cache.get(overlap.chunk, functools.partial(self.source.read, whole))
            out[overlap.target] = chunk[overlap.inside]
        return out

    def _is_scan(self, region: Region) -> bool:
        """Whether most of what would be decoded is wanted, or more than the cache holds."""
        spec, wanted, touched = self.source.spec, 1, 1
        for part, step, length in zip(region, spec.chunks, spec.shape, strict=True):
            wanted *= part.stop - part.start
            touched *= min(-(-part.stop // step) * step, length) - part.start // step * step
        return 2 * wanted >= touched or touched * spec.dtype.itemsize > self.nbytes
