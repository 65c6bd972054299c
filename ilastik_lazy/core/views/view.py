"""The base class of views, and the way down to what a view reads in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource, ArraySpec, EncodedChunks, Keep, Storage

__all__ = ["DescribedSource", "EncodedView", "View", "leaves_of", "storage_of"]


class View:
    """Base of the sources that read other sources: one that is described anew, a part of one, several as one."""

    __slots__ = ()

    source: ArraySource
    """What it reads from, where that is one source."""

    @property
    def origins(self) -> tuple[ArraySource | Storage, ...]:
        """What it reads from; what other libraries read is known by its place alone."""
        return (self.source,)

    @property
    def how(self) -> Mapping[str, Any]:
        """What decides its voxels beside `origins` and the spec, as plain JSON values."""
        return {}


class EncodedView(View, EncodedChunks):
    """Base of the views whose chunks are those of `source`, also as stored."""

    __slots__ = ()

    @property
    def chunk_codec(self) -> str:
        return self.source.chunk_codec if isinstance(self.source, EncodedChunks) else ""

    def read_encoded(self, region: Region, keep: Keep) -> np.ndarray[Any, Any]:
        assert isinstance(self.source, EncodedChunks)
        return self.source.read_encoded(region, keep)

    def encoded(self, chunk: tuple[int, ...]) -> bytes | None:
        assert isinstance(self.source, EncodedChunks)
        return self.source.encoded(chunk)


def leaves_of(source: ArraySource | Storage) -> Iterator[ArraySource | Storage]:
    """Yield the sources that a source reads in the end; itself if it is not a view."""
    if isinstance(source, View):
        for origin in source.origins:
            yield from leaves_of(origin)
    else:
        yield source


def storage_of(leaf: ArraySource | Storage) -> Storage:
    """Return the storage of one of `leaves_of`."""
    return leaf if isinstance(leaf, Storage) else leaf.spec.storage


@dataclass(frozen=True, slots=True)
class DescribedSource(EncodedView):
    """A source whose spec says more than its file: class names from a project, for instance."""

    spec: ArraySpec
    source: ArraySource

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        return self.source.read(region)
