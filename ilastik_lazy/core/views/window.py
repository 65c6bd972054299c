"""Views that cut and turn: a part of an array, such as the sub-volume that a project works on, and its axes moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ilastik_lazy.core.grid import Region, check_region
from ilastik_lazy.core.spec import ArraySource, ArraySpec, EncodedChunks, Keep
from ilastik_lazy.core.views.view import EncodedView
from ilastik_lazy.errors import MetadataError

__all__ = [
    "TransposedSource", "Window", "WindowSource", "one_channel", "transposed", "window_of", "windowed",
    "without_single_channel",
]  # fmt: skip

_T = TypeVar("_T")

Window = tuple[int | slice, ...]
"""For each axis of a source one element, or a slice with bounds inside its shape and step 1."""


@dataclass(frozen=True, slots=True)
class WindowSource(EncodedView):
    """A part of another source; positions stay those of the whole image."""

    spec: ArraySpec
    source: ArraySource
    start: tuple[int, ...]
    """First voxel, for each axis of `source`."""
    taken: tuple[int, ...] = ()
    """Axes of `source` of which one element is wanted, and which the part lacks."""
    is_image: bool = False
    """Whether the part is an image of its own, whose first frame is frame 0."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        return self.source.read(self._moved(region)).squeeze(self.taken)

    @property
    def how(self) -> Mapping[str, Any]:
        taken = {"taken": list(self.taken)} if self.taken else {}
        return {"window": [list(self.start), list(self.spec.shape)]} | taken

    @property
    def chunk_codec(self) -> str:
        """That of the whole, where the part begins at the border of a chunk, and is cut by borders or the image."""
        spec, codec = self.source.spec, self.source.chunk_codec if isinstance(self.source, EncodedChunks) else ""
        if any(first % chunk for first, chunk in zip(self.start, spec.chunks, strict=True)):
            return ""
        if any(spec.chunks[axis] > 1 for axis in self.taken):
            return ""
        for axis, length in zip(self._kept, self.spec.shape, strict=True):
            # A chunk that extends beyond the part holds voxels that do not belong to it.
            if (self.start[axis] + length) % spec.chunks[axis] and self.start[axis] + length < spec.shape[axis]:
                return ""
        return codec if self.spec.chunks == tuple(spec.chunks[axis] for axis in self._kept) else ""

    def read_encoded(self, region: Region, keep: Keep) -> np.ndarray[Any, Any]:
        assert isinstance(self.source, EncodedChunks)
        chunks, kept = self.source.spec.chunks, self._kept

        def keep_moved(chunk: tuple[int, ...], stream: bytes, decoded: np.ndarray[Any, Any]) -> None:
            keep(tuple(chunk[axis] - self.start[axis] // chunks[axis] for axis in kept), stream, decoded)

        return self.source.read_encoded(self._moved(region), keep_moved).squeeze(self.taken)

    def encoded(self, chunk: tuple[int, ...]) -> bytes | None:
        assert isinstance(self.source, EncodedChunks)
        moved = [first // length for first, length in zip(self.start, self.source.spec.chunks, strict=True)]
        for axis, place in zip(self._kept, chunk, strict=True):
            moved[axis] += place
        return self.source.encoded(tuple(moved))

    @property
    def _kept(self) -> list[int]:
        return [axis for axis in range(len(self.start)) if axis not in self.taken]

    def _moved(self, region: Region) -> Region:
        moved = [slice(first, first + 1) for first in self.start]
        for axis, part in zip(self._kept, region, strict=True):
            moved[axis] = slice(part.start + self.start[axis], part.stop + self.start[axis])
        return tuple(moved)


def windowed(source: ArraySource, window: Window) -> ArraySource:
    """Return the part of `source` that a window shows; itself, where that is all of it."""
    spec = source.spec
    spans = [part if isinstance(part, slice) else slice(part, part + 1) for part in window]
    kept = [axis for axis, part in enumerate(window) if isinstance(part, slice)]
    shape = tuple(spans[axis].stop - spans[axis].start for axis in kept)
    if shape == spec.shape:
        return source
    axes = tuple(
        axis if axis.scale is None else replace(axis, translation=axis.translation + span.start * axis.scale)
        for axis, span in zip(spec.axes, spans, strict=True)
    )
    names, colors = spec.channel_names, spec.channel_colors
    if "c" in spec.dims and not spec.is_label_image:
        channels = spans[spec.dims.index("c")]
        names, colors = names[channels], colors[channels]
    places = [spec.storage.order[axis] for axis in kept] if spec.storage.order else []
    storage = replace(spec.storage, order=tuple(map(sorted(places).index, places)))
    cut = replace(
        spec,
        shape=shape,
        axes=tuple(axes[axis] for axis in kept),
        chunks=tuple(max(1, min(spec.chunks[axis], n)) for axis, n in zip(kept, shape, strict=True)),
        storage=storage,
        channel_names=names,
        channel_colors=colors,
    )
    taken = tuple(axis for axis in range(spec.ndim) if axis not in kept)
    return WindowSource(cut, source, tuple(span.start for span in spans), taken)


def one_channel(source: ArraySource, number: int) -> ArraySource:
    """Return one channel of a source, counted from 0, without the axis ``c``."""
    parts = zip(source.spec.dims, source.spec.shape, strict=True)
    return windowed(source, tuple(number if dim == "c" else slice(0, length) for dim, length in parts))


def without_single_channel(source: ArraySource) -> ArraySource:
    """Return a source without its axis ``c``, if that has length 1; else itself."""
    return one_channel(source, 0) if "c" in source.spec.dims and source.spec.channels == 1 else source


def window_of(source: ArraySource, start: tuple[int, ...], stop: tuple[int, ...]) -> ArraySource:
    """Return the part of `source` from voxel `start` up to `stop`, which is not in it, as an image of its own.

    Raises
    ------
    MetadataError
        It lies outside the image.
    """
    spec = source.spec
    bounds = list(zip(start, stop, spec.shape, strict=False))
    if not len(start) == len(stop) == spec.ndim or any(not 0 <= a < b <= length for a, b, length in bounds):
        raise MetadataError(
            f"{spec.storage.location}: the sub-volume from {start} to {stop} lies outside the image, shape {spec.shape}"
        )
    part = windowed(source, tuple(slice(a, b) for a, b, _ in bounds))
    return replace(part, is_image=True) if isinstance(part, WindowSource) and part is not source else part


@dataclass(frozen=True, slots=True)
class TransposedSource(EncodedView):
    """Another source with its axes in another order."""

    spec: ArraySpec
    source: ArraySource
    order: tuple[int, ...]
    """For each axis its number in `source`."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        return self.source.read(self._back(region)).transpose(self.order)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"order": list(self.order)}

    def read_encoded(self, region: Region, keep: Keep) -> np.ndarray[Any, Any]:
        """See `EncodedChunks`; the bytes of a chunk stay in the order of ``spec.storage.order``."""
        assert isinstance(self.source, EncodedChunks)

        def keep_moved(chunk: tuple[int, ...], stream: bytes, decoded: np.ndarray[Any, Any]) -> None:
            keep(tuple(chunk[axis] for axis in self.order), stream, decoded)

        return self.source.read_encoded(self._back(region), keep_moved).transpose(self.order)

    def encoded(self, chunk: tuple[int, ...]) -> bytes | None:
        """See `EncodedChunks`; the bytes of a chunk stay in the order of ``spec.storage.order``."""
        assert isinstance(self.source, EncodedChunks)
        return self.source.encoded(self._back(chunk))

    def _back(self, each: tuple[_T, ...]) -> tuple[_T, ...]:
        """Bring what is known of each axis into the order of the axes of `source`."""
        return tuple(each[self.order.index(axis)] for axis in range(len(self.order)))


def transposed(source: ArraySource, order: Sequence[int]) -> ArraySource:
    """Return `source` with axis ``order[k]`` as axis ``k``; itself, where nothing moves."""
    if list(order) == list(range(source.spec.ndim)):
        return source
    if isinstance(source, TransposedSource):
        return transposed(source.source, [source.order[axis] for axis in order])
    spec = source.spec
    stored = spec.storage.order or range(spec.ndim)
    moved = replace(
        spec,
        shape=tuple(spec.shape[axis] for axis in order),
        axes=tuple(spec.axes[axis] for axis in order),
        chunks=tuple(spec.chunks[axis] for axis in order),
        storage=replace(spec.storage, order=tuple(stored[axis] for axis in order)),
    )
    return TransposedSource(moved, source, tuple(order))
