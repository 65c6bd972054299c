"""Label images whose ids start again in each frame, with ids that differ between frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, check_region
from ilastik_lazy.core.kinds import with_kind
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import View
from ilastik_lazy.errors import ArgumentError, remedy

__all__ = ["FrameIds"]

# A million objects in a frame are more than almost any has, and leave uint32, which more viewers read, to 4,294 frames.
_STEP = 10**6
_LARGE_STEP = 10**10


@dataclass(frozen=True, slots=True)
class FrameIds(View):
    """A label image whose ids start again in each frame, with ids that differ between frames.

    Id 17 of frame 3 becomes 3 * `step` + 17, so no other frame has to be read, and a part of the image has the ids of
    the whole.  Values below 1 are background.
    """

    spec: ArraySpec
    source: ArraySource
    step: int
    """A number above all ids of a frame; a power of ten leaves the id in the file in the last digits."""
    frames: range | tuple[int, ...]
    """Number of each frame in the whole image; of the only one, where the image has no ``t``."""

    @classmethod
    def of(
        cls,
        source: ArraySource,
        frames: Sequence[int],
        length: int,
        step: int | np.integer[Any] | None = None,
        largest: int = 0,
    ) -> FrameIds:
        """Return a view of ids in the smaller of uint32 and uint64 that can hold those of all frames.

        Parameters
        ----------
        length
            How many frames the whole image has: the type of a part is that of the whole.
        step
            By default the power of ten above all ids that 8 or 16 bits can hold; for 32 bits 10**6, as long as uint32
            can hold all ids; else 10**10.
        largest
            The largest id in a frame, as far as it is known.

        Raises
        ------
        ArgumentError
            64 bits cannot hold the ids.
        """
        if source.spec.kind is None:
            source = with_kind(source, "object identities")
        most = int(np.iinfo(source.spec.dtype).max)
        if isinstance(step, bool) or not isinstance(step, int | np.integer | None):
            raise ArgumentError(f"a step of {step!r} between frames: expected a whole number")
        if step is None:
            has_room = largest < _STEP and length * _STEP <= np.iinfo(np.uint32).max and most < _LARGE_STEP
            step = min(10 ** len(str(most)), _STEP if has_room else _LARGE_STEP)
        step = int(step)
        last = (length - 1) * step + min(most, step - 1)
        if step < 1 or last > np.iinfo(np.uint64).max:
            raise ArgumentError(
                f"a step of {step!r} between frames: expected a whole number that is larger than all ids of "
                f"a frame, and of which {length} fit into 64 bits"
            )
        dtype = np.dtype(np.uint32 if last <= np.iinfo(np.uint32).max else np.uint64)
        numbers = tuple(map(int, frames))
        evenly = range(numbers[0], numbers[0] + len(numbers)) if numbers else range(0)
        made = replace(source.spec, dtype=dtype, kind="object identities", drange=None, packing=None, is_unpacked=False)
        return cls(made, source, step, evenly if tuple(evenly) == numbers else numbers)

    def numbered(self, frames: np.ndarray[Any, Any], ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what ids from 1 on become, each in its frame.

        Raises
        ------
        ArgumentError
            An id is so large that it could be one of the next frame.
        """
        self._require_below_step(ids)
        made: np.ndarray[Any, Any] = frames.astype(np.uint64) * np.uint64(self.step) + ids.astype(np.uint64)
        return made

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`).

        Raises
        ------
        ArgumentError
            An id is so large that it could be one of the next frame.
        """
        check_region(region, self.spec.shape)
        ids = self.source.read(region)
        self._require_below_step(ids)
        offsets = np.array(self.frames[self._along(region)], self.spec.dtype) * self.spec.dtype.type(self.step)
        shape = [-1 if name == "t" else 1 for name in self.spec.dims]
        made: np.ndarray[Any, Any] = np.maximum(ids, 0).astype(self.spec.dtype)
        np.add(made, offsets.reshape(shape), out=made, where=made > 0)
        return made

    def _require_below_step(self, ids: np.ndarray[Any, Any]) -> None:
        if ids.size and int(ids.max()) >= self.step:
            raise ArgumentError(
                f"{self.spec.storage.location} has id {ids.max()} in a frame, and only ids below {self.step} become "
                f"unique: renumber the objects, or pass a larger step to unique_ids(){remedy('', ' in Python')}"
            )

    def _along(self, region: Region) -> slice:
        return region[self.spec.dims.index("t")] if "t" in self.spec.dims else slice(0, 1)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"step": self.step, "frames": str(self.frames)}
