"""A source whose stored numbers are packed, with their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.kinds import WHOLE_NUMBERS
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.views.view import DescribedSource, View

__all__ = ["UnpackedSource", "packed_again", "unpacked"]


def unpacked(source: ArraySource) -> ArraySource:
    """Return `source`, or a view of its values if its spec says that the numbers are packed."""
    spec = source.spec
    if spec.packing is None:
        return source
    kind = None if spec.kind in WHOLE_NUMBERS and spec.packing.dtype.kind == "f" else spec.kind
    return UnpackedSource(replace(spec, dtype=spec.packing.dtype, kind=kind, is_unpacked=True), source)


def packed_again(source: ArraySource) -> ArraySource:
    """Return the stored numbers below `source`, however it was described since."""
    if isinstance(source, UnpackedSource):
        return source.source
    if isinstance(source, DescribedSource) and (below := packed_again(source.source)) is not source.source:
        return DescribedSource(replace(source.spec, dtype=below.spec.dtype, is_unpacked=False), below)
    return source


@dataclass(frozen=True, slots=True)
class UnpackedSource(View):
    """Values of a source of packed numbers."""

    spec: ArraySpec
    source: ArraySource

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        packing = self.source.spec.packing
        assert packing is not None
        return packing.unpacked(self.source.read(region))

    @property
    def how(self) -> Mapping[str, Any]:
        return {"packing": str(self.source.spec.packing)}
