"""What the HDF5 library says of one image, as plain facts: `sources` makes sources from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.formats.hdf5.chunks.filters import Pipeline
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.values import pieces
from ilastik_lazy.storage.files import Stamp

__all__ = ["DatasetFacts", "OtherFiles"]

OtherFiles = tuple[tuple[str, Stamp], ...]
"""Paths of files that hold data of an image, and the versions of them that were there."""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """One image: its spec, how it is stored, and the files that its data lie in."""

    spec: ArraySpec
    location: Location
    stamp: Stamp
    pipeline: Pipeline
    fill_value: Any
    is_direct: bool
    """Whether its chunks are read past the HDF5 library."""
    is_indexed: bool
    """Whether its chunks are found without the library."""
    is_checkable: bool
    """Whether its streams are checked before the library decodes them."""
    refers: bool = False
    """Whether it is a view of datasets in other files."""
    home: str = ""
    """File in which the data lie, where that is another one."""
    start: int | None = None
    """First byte of an array that lies in its file as it is; None for all others."""
    others: OtherFiles = ()
    """Further files that must not change."""

    def __post_init__(self) -> None:
        """Check what a child process that was misled may have sent."""
        itemsize = self.spec.dtype.itemsize
        if self.is_direct and not (self.pipeline.is_supported and self.pipeline.itemsize == itemsize):
            raise ValueError(f"chunks of {self.spec.dtype} cannot be read past the HDF5 library")
        if self.spec.storage.layout != "chunked" and self.spec.chunks != pieces(self.spec.shape, itemsize):
            raise ValueError(f"{self.spec.chunks} are not pieces of an array without chunks")
        if self.home and (self.start is None or self.home not in dict(self.others)):
            raise ValueError(f"{self.home!a} has no place for the data")
