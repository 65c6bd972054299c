"""Divide an array into rows with separate results: one for each position along a dim, or the whole array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, AxesError

__all__ = ["Rows"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """How an array is divided into rows.

    Examples
    --------
    >>> Rows(1).count((4, 3)), Rows(1).of(np.zeros((4, 3))).shape, Rows(None).of(np.zeros((4, 3))).shape
    (3, (3, 4), (1, 4, 3))
    """

    axis: int | None
    """The axis that separates rows; None if the whole array is one row."""

    @classmethod
    def along(cls, by: str | None, spec: ArraySpec) -> Rows:
        """Return the rows for the argument ``by``.

        Raises
        ------
        AxesError
            The array has no such dim.
        ArgumentError
            The array holds no numbers.
        """
        if spec.dtype.kind not in "biuf":
            raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: only numbers can be counted")
        if by is not None and by not in spec.dims:
            raise AxesError(f"no dim {by!r} to count by: {spec.storage.location} has {', '.join(spec.dims)}")
        return cls(None if by is None else spec.dims.index(by))

    def count(self, shape: Sequence[int]) -> int:
        """Count the rows in an array or block of this shape."""
        return 1 if self.axis is None else shape[self.axis]

    def of(self, block: Array) -> Array:
        """Return a view of `block` with its rows along the first axis."""
        return block[np.newaxis] if self.axis is None else np.moveaxis(block, self.axis, 0)

    def within(self, region: Region) -> slice:
        """Return the numbers of the rows that `region` touches."""
        return slice(None) if self.axis is None else region[self.axis]
