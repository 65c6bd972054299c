"""Images in HDF5 files from strangers: the HDF5 library sees the file in another process only.

A child tells what there is and where it lies; this process reads bytes and decodes them, with the
checks that it always makes.  What only the library can read is read by a child, too, one for each read.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.chunks import Region, check_region, region_shape
from ilastik_lazy.errors import CorruptFileError
from ilastik_lazy.files import Stamp, require_unchanged, stamp_of
from ilastik_lazy.isolation import in_child
from ilastik_lazy.limits import Limits
from ilastik_lazy.location import Location
from ilastik_lazy.sources.attributes import check_chunks, check_shape
from ilastik_lazy.sources.hdf5_direct import DirectHdf5Source
from ilastik_lazy.sources.hdf5_library import H5pySource
from ilastik_lazy.sources.npy import contiguous_source
from ilastik_lazy.spec import ArraySource, ArraySpec

__all__ = ["Found", "IsolatedSource", "images_by_child", "open_images_by_child", "trusting"]


@dataclass(frozen=True, slots=True)
class Found:
    """One image, as a child found it."""

    source: DirectHdf5Source | H5pySource
    start: int | None
    """First byte of an array that lies in the file as it is; None for all others."""


def trusting(limits: Limits) -> Limits:
    """The same for a child, which is where the library may see the file."""
    return replace(limits, trust="local")


def images_by_child(location: Location, limits: Limits) -> list[str]:
    """Internal paths of the images (see `hdf5.images`)."""
    found: list[str] = in_child(location.path, "sources.hdf5:images", list[str], location, trusting(limits))
    return found


def open_images_by_child(
    location: Location, paths: Sequence[str | None] | None, axes: str | None, limits: Limits
) -> list[ArraySource]:
    """Sources of the datasets at `paths`, all found by one child."""
    stamp = stamp_of(location.path)
    function, result = "sources.hdf5:found_images", tuple[Found, ...]
    arguments = (location, None if paths is None else list(paths), axes, trusting(limits))
    found = in_child(location.path, function, result, *arguments)
    require_unchanged(location.path, stamp)
    return [_settled(one, location, stamp, limits) for one in found]


def _settled(found: Found, location: Location, stamp: Stamp, limits: Limits) -> ArraySource:
    """The source for this process, of this file, whatever the child said of that."""
    source, spec = found.source, found.source.spec
    here = replace(source.location, path=location.path)
    check_shape(here, spec.shape, limits)
    check_chunks(here, spec.shape, spec.chunks, spec.dtype.itemsize, limits)
    if found.start is not None:
        if not 0 <= found.start <= stamp.size - spec.nbytes:
            raise CorruptFileError(f"{here} ends before its data do: was it copied or exported completely?")
        direct = replace(spec, storage=replace(spec.storage, path=location.path, access="direct"))
        return contiguous_source(direct, location.path, stamp, found.start)
    if isinstance(source, H5pySource):
        guard = None if source.guard is None else _plain(replace(source.guard, location=here, stamp=stamp))
        read_by_child = replace(source, location=here, stamp=stamp, guard=guard)
        return IsolatedSource(spec, read_by_child, location.path, stamp, "sources.hdf5_library:read_region")
    if not source.pipeline.is_supported or source.pipeline.itemsize != spec.dtype.itemsize:
        raise CorruptFileError(f"{here}: the process that inspected it answered nonsense: damaged or malicious")
    return _plain(replace(source, location=here, stamp=stamp, trust="untrusted"))


def _plain(source: DirectHdf5Source) -> DirectHdf5Source:
    """With a scalar for the fill value, which can be hashed."""
    fill = source.fill_value
    return replace(source, fill_value=fill[()] if isinstance(fill, np.ndarray) else fill)


@dataclass(frozen=True, slots=True)
class IsolatedSource:
    """A source that is read by a child, since it calls the HDF5 library."""

    spec: ArraySpec
    source: Hashable
    """What the child reads from."""
    path: str
    stamp: Stamp
    function: str
    """Function of this package that takes `source` and a region, and gives the values."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`); starts a process, which takes 0.2 s."""
        check_region(region, self.spec.shape)
        shape, dtype = region_shape(region), self.spec.dtype
        require_unchanged(self.path, self.stamp)
        values: np.ndarray[Any, Any] = in_child(
            self.path,
            self.function,
            np.ndarray[Any, Any],
            self.source,
            region,
            most_bytes=math.prod(shape) * dtype.itemsize,
        )
        require_unchanged(self.path, self.stamp)
        if values.shape != shape or values.dtype != dtype:
            raise CorruptFileError(f"{self.path}: the process that read it answered nonsense: damaged or malicious")
        return values
