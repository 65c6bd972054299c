"""Views that choose: channels in any order, and classes of a label image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, check_region
from ilastik_lazy.core.spec import ArraySource, ArraySpec, EncodedChunks, Keep
from ilastik_lazy.core.views.view import EncodedView, View
from ilastik_lazy.core.views.window import windowed, without_single_channel

__all__ = ["PickedChannels", "PickedClasses", "with_channels", "with_classes_alone"]


@dataclass(frozen=True, slots=True)
class PickedChannels(EncodedView):
    """Some channels of another source, in another order."""

    spec: ArraySpec
    source: ArraySource
    axis: int
    """The axis ``c`` of `source`."""
    numbers: tuple[int, ...]
    """For each channel its number in `source`."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        wanted = self.numbers[region[self.axis]]
        if self._lie_alone or not wanted:
            return self._joined(region, [self.source.read(self._at(region, number)) for number in wanted])
        # Channels that share a chunk are decoded once.
        first = min(wanted)
        values = self.source.read(self._at(region, first, max(wanted) + 1))
        return np.take(values, [number - first for number in wanted], self.axis)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"channels": list(self.numbers)}

    @property
    def chunk_codec(self) -> str:
        """That of the whole, if each channel has chunks of its own."""
        return self.source.chunk_codec if isinstance(self.source, EncodedChunks) and self._lie_alone else ""

    def read_encoded(self, region: Region, keep: Keep) -> np.ndarray[Any, Any]:
        assert isinstance(self.source, EncodedChunks)
        parts = []
        for place in range(region[self.axis].start, region[self.axis].stop):

            def keep_moved(chunk: tuple[int, ...], stream: bytes, decoded: Any, place: int = place) -> None:
                keep((*chunk[: self.axis], place, *chunk[self.axis + 1 :]), stream, decoded)

            parts.append(self.source.read_encoded(self._at(region, self.numbers[place]), keep_moved))
        return self._joined(region, parts)

    def encoded(self, chunk: tuple[int, ...]) -> bytes | None:
        assert isinstance(self.source, EncodedChunks)
        return self.source.encoded((*chunk[: self.axis], self.numbers[chunk[self.axis]], *chunk[self.axis + 1 :]))

    @property
    def _lie_alone(self) -> bool:
        return self.source.spec.chunks[self.axis] == 1

    def _at(self, region: Region, start: int, stop: int | None = None) -> Region:
        return (*region[: self.axis], slice(start, stop or start + 1), *region[self.axis + 1 :])

    def _joined(self, region: Region, parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        # Without any channel, the rest of the shape still counts.
        return np.concatenate(parts, self.axis) if parts else self.source.read(self._at(region, 0, 0))


def with_channels(source: ArraySource, numbers: Sequence[int]) -> ArraySource:
    """Return the channels `numbers` of a source, counted from 0, in this order, with their names and colours."""
    spec = source.spec
    axis = spec.dims.index("c")
    if list(numbers) == list(range(numbers[0], numbers[0] + len(numbers))):
        window = [slice(0, length) for length in spec.shape]
        window[axis] = slice(numbers[0], numbers[0] + len(numbers))
        return windowed(source, tuple(window))
    names, colors = spec.channel_names, spec.channel_colors
    picked = replace(
        spec,
        shape=(*spec.shape[:axis], len(numbers), *spec.shape[axis + 1 :]),
        chunks=(*spec.chunks[:axis], min(spec.chunks[axis], len(numbers)), *spec.chunks[axis + 1 :]),
        channel_names=tuple(names[number] for number in numbers) if names else (),
        channel_colors=tuple(colors[number] for number in numbers) if colors else (),
    )
    return PickedChannels(picked, source, axis, tuple(numbers))


@dataclass(frozen=True, slots=True)
class PickedClasses(View):
    """Some classes of a label image, counted from 1; all else is 0."""

    spec: ArraySpec
    source: ArraySource
    values: tuple[int, ...]
    """For each class its value in `source`."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        stored = self.source.read(region)
        classes = np.zeros(stored.shape, self.spec.dtype)
        for number, value in enumerate(self.values, 1):
            classes[stored == value] = number
        return classes

    @property
    def how(self) -> Mapping[str, Any]:
        return {"classes": list(self.values)}


def with_classes_alone(source: ArraySource, numbers: Sequence[int]) -> ArraySource:
    """Return the classes `numbers` of a label image, counted from 0: each becomes 1, 2, ... in this order, all else 0.

    An axis ``c`` of length 1 is left out.
    """
    source = without_single_channel(source)
    spec = source.spec
    colors = spec.channel_colors
    picked = replace(
        spec,
        dtype=np.min_scalar_type(len(numbers)),
        channel_names=tuple(spec.channel_names[number] for number in numbers),
        channel_colors=tuple(colors[number] for number in numbers) if colors else (),
    )
    return PickedClasses(picked, source, tuple(number + 1 for number in numbers))
