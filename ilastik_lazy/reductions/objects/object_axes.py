"""The axes of an image as those of objects: frames, in which objects are apart, and three axes of space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import BLOCK_BYTES_LEAST, Region, regions_of_blocks
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.core.units import converted
from ilastik_lazy.errors import AxesError

__all__ = ["ObjectAxes", "Space", "large_block"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ObjectAxes:
    """Which axes of an image are frames (``t`` and ``c``) and which are space, in their own order.

    Blocks are brought to the shape (frames, z, y, x), with length 1 for an axis of space that the image lacks.

    Examples
    --------
    >>> ObjectAxes((8, 9, 2), (2,), (0, 1)).canonical(np.zeros((8, 9, 2))).shape
    (2, 1, 8, 9)
    """

    shape: tuple[int, ...]
    """Shape of the image."""

    frames: tuple[int, ...]
    """Numbers of the axes ``t`` and ``c``."""

    space: tuple[int, ...]
    """Numbers of the axes ``z``, ``y`` and ``x``: raster order is theirs."""

    @classmethod
    def of(cls, spec: ArraySpec) -> ObjectAxes:
        """Return the axes of an image as those of objects.

        Raises
        ------
        AxesError
            The image has no axis of space.
        """
        space = tuple(axis for axis, name in enumerate(spec.dims) if name in "zyx")
        if not space:
            raise AxesError(f"{spec.storage.location} has none of the dims z, y, x: there are no objects in it")
        return cls(spec.shape, tuple(axis for axis in range(spec.ndim) if axis not in space), space)

    @property
    def volume(self) -> tuple[int, int, int]:
        """Lengths of z, y and x of a frame."""
        lengths = (1, 1, 1, *(self.shape[axis] for axis in self.space))[-3:]
        return lengths[0], lengths[1], lengths[2]

    @property
    def order(self) -> tuple[int, ...]:
        """Axes of the image, frames first."""
        return self.frames + self.space

    def regions(self, block: tuple[int, ...]) -> Iterator[tuple[int, Region]]:
        """Yield the number of the slab and the region of each block, in raster order of frames and then of space.

        The blocks of a slab have the same place along frames and along the first axis of space.
        """
        moved = regions_of_blocks([self.shape[axis] for axis in self.order], [block[axis] for axis in self.order])
        slab, before = -1, None
        for parts in moved:
            if (here := parts[: len(self.frames) + 1]) != before:
                slab, before = slab + 1, here
            yield slab, tuple(parts[self.order.index(axis)] for axis in range(len(self.shape)))

    def canonical(self, block: Array) -> Array:
        """Turn a block of the image into a contiguous array of frames, z, y and x."""
        moved = np.ascontiguousarray(block.transpose(self.order))
        lengths = moved.shape
        space = (1, 1, 1, *lengths[len(self.frames) :])[-3:]
        return moved.reshape(math.prod(lengths[: len(self.frames)]), *space)

    def restored(self, block: Array, shape: tuple[int, ...]) -> Array:
        """Turn what `canonical` made of a block of this shape back into the axes of the image."""
        moved = block.reshape([shape[axis] for axis in self.order])
        return moved.transpose([self.order.index(axis) for axis in range(len(shape))])

    def frame_numbers(self, region: Region) -> Array:
        """Return the number of each frame in a block, counted over all axes of frames."""
        numbers = np.zeros(1, np.int64)
        for axis in self.frames:
            along = np.arange(region[axis].start, region[axis].stop)
            numbers = (numbers[:, None] * self.shape[axis] + along).ravel()
        return numbers

    def origin(self, region: Region) -> Array:
        """Return the place of the first voxel of a block along z, y and x."""
        return np.array((0, 0, 0, *(region[axis].start for axis in self.space))[-3:], np.int64)


# Work on runs takes numpy some 50 calls per block, and borders cost as much as what lies inside: in blocks of 16 MiB
# labelling takes 2/3 of the time that it takes in blocks of 4 MiB.
_BLOCK_BYTES = 16 * 2**20


def large_block(spec: ArraySpec) -> tuple[int, ...]:
    """Return the block in which objects are found: whole chunks, up to 16 MiB, and some 16 blocks at least.

    Chunks that are not compressed may be cut.

    It grows along the last axis of space first, since its borders cut runs, and along the first one last, since the
    borders of all blocks that lie side by side along the others are in memory at once.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> from ilastik_lazy.lazy.from_xarray import as_source
    >>> large_block(as_source(sample("raw")).spec)
    (40, 128, 160)
    """
    most = min(_BLOCK_BYTES, max(BLOCK_BYTES_LEAST, spec.nbytes // 16))
    block = [max(1, min(chunk, length)) for chunk, length in zip(spec.chunks, spec.shape, strict=True)]
    space = [axis for axis, name in enumerate(spec.dims) if name in "zyx"]
    frames = [spec.dims.index(name) for name in "tc" if name in spec.dims]
    if spec.storage.compression == "none":
        # A part of a chunk takes no time for the rest of it: an array in memory is one chunk.
        for axis in (*frames, *space):
            block[axis] = max(1, block[axis] // -(-math.prod(block) * spec.dtype.itemsize // most))
    for axis in (*reversed(space), *frames):
        times = max(1, most // (math.prod(block) * spec.dtype.itemsize))
        # Equal blocks: eight chunks and one of nine would leave a thread with nothing to do.
        count = max(1, -(-spec.shape[axis] // block[axis]))
        times = -(-count // -(-count // times))
        block[axis] = min(block[axis] * times, max(1, spec.shape[axis]))
    return tuple(block)


@dataclass(frozen=True, slots=True)
class Space:
    """The axes of space of an image, and how long a voxel is along each."""

    names: tuple[str, ...]
    lengths: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    unit: str
    """Empty where lengths are voxels."""

    @classmethod
    def of(cls, axes: Sequence[Axis], lengths: Sequence[int]) -> Space:
        """Use the unit of the last axis; use voxels if the step along any axis is not known in that unit."""
        names = tuple(axis.name for axis in axes)
        unit = axes[-1].unit if axes else ""
        steps = [
            None if axis.scale is None or (axis.unit == "") != (unit == "") else converted(axis.scale, axis.unit, unit)
            for axis in axes
        ]
        spacing = tuple(step for step in steps if step is not None)
        if len(spacing) < len(axes):
            return cls(names, tuple(lengths), (1.0,) * len(axes), (0.0,) * len(axes), "")
        origin = tuple(converted(axis.translation, axis.unit, unit) or 0.0 for axis in axes)
        return cls(names, tuple(lengths), spacing, origin, unit)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.names)

    @property
    def voxel(self) -> float:
        """Area or volume of one voxel."""
        return math.prod(self.spacing)

    def of_space(self, values: Array) -> Array:
        """Return the rows of `values` along the axes that the image has."""
        return values[len(values) - self.ndim :]
