"""The numbers that OME-TIFF can hold, and a source of them in place of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import View
from ilastik_lazy.errors import ArgumentError, remedy

__all__ = ["as_tiff_numbers"]

# https://www.openmicroscopy.org/Schemas/Documentation/Generated/OME-2016-06/ome_xsd.html#PixelType has no integers of
# 64 bits, and no floating-point numbers of 16 bits.
_STORED = {"b1": "u1", "f2": "f4", "i8": "i4", "u8": "u4"}


def as_tiff_numbers(source: ArraySource) -> ArraySource:
    """Return `source`, or a view of it whose numbers OME-TIFF can hold: bool as uint8, 64-bit integers as 32-bit ones.

    Raises
    ------
    ArgumentError
        There is no such type.
    """
    spec = source.spec
    key = f"{spec.dtype.kind}{spec.dtype.itemsize}"
    if spec.dtype.kind not in "biuf" or spec.dtype.itemsize > 8:
        raise ArgumentError(f"{spec.storage.location} holds {spec.dtype}: OME-TIFF has no such type")
    if key not in _STORED:
        return source
    return _ConvertedSource(replace(spec, dtype=np.dtype(_STORED[key])), source)


@dataclass(frozen=True, slots=True)
class _ConvertedSource(View):
    """The same numbers in another dtype."""

    spec: ArraySpec
    source: ArraySource

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`).

        Raises
        ------
        ArgumentError
            A whole number does not fit.
        """
        block, dtype = self.source.read(region), self.spec.dtype
        if block.dtype.kind in "iu" and block.size:
            ends, least, most = np.iinfo(dtype), int(block.min()), int(block.max())
            if least < ends.min or most > ends.max:
                raise ArgumentError(
                    f"{self.spec.storage.location} holds {least if least < ends.min else most}, and OME-TIFF has no "
                    f"integers of more than 32 bits: write OME-Zarr" + remedy(", or convert it with .astype('float64')")
                )
        return block.astype(dtype)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"dtype": str(self.spec.dtype)}
