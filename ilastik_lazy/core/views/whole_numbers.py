"""A source of classes or ids that are stored in a type for other numbers, with unsigned integers in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Kind
from ilastik_lazy.core.views.view import View
from ilastik_lazy.errors import ArgumentError, option

__all__ = ["WholeNumbersSource", "whole_numbers"]

_DTYPES: dict[str, np.dtype[Any]] = {"f": np.dtype("uint32"), "b": np.dtype("uint8"), "i": np.dtype("uint64")}


def whole_numbers(source: ArraySource, kind: Kind) -> ArraySource:
    """Return a view of a source whose values, which must be whole, are unsigned: those of floats are uint32."""
    dtype = _DTYPES[source.spec.dtype.kind]
    spec = replace(source.spec, dtype=dtype, kind=kind, drange=None, packing=None, is_unpacked=False)
    return WholeNumbersSource(spec, source)


@dataclass(frozen=True, slots=True)
class WholeNumbersSource(View):
    """Unsigned integers of a source of other numbers."""

    spec: ArraySpec
    source: ArraySource

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`).

        Raises
        ------
        ArgumentError
            A value is no whole number from 0 on; -1, with which tables mark objects without a track, becomes 0.
        """
        block = self.source.read(region)
        if self.spec.kind == "tracking":
            block[block == -1] = 0
        if block.dtype.kind == "f":
            is_whole = (block == np.floor(block)) & (block >= 0) & (block <= np.iinfo(self.spec.dtype).max)
        else:
            is_whole = block >= 0
        if not is_whole.all():
            raise ArgumentError(
                f"{self.spec.storage.location} holds {block[~is_whole][0]:g}, and values of the kind "
                f"{self.spec.kind} are whole numbers from 0 on: state what it holds with {option('kind')}"
            )
        return block.astype(self.spec.dtype)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"whole_numbers": str(self.spec.dtype)}
