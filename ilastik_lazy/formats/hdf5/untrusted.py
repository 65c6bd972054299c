"""Images in HDF5 files from strangers: the HDF5 library sees the file in another process only.

A child tells what there is and where it lies; this process reads bytes and decodes them, with the
checks that it always makes.  What only the library can read is read by a child, too, one for each read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, check_region, region_shape
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, CountedChunks
from ilastik_lazy.core.views.unpacked import unpacked
from ilastik_lazy.errors import CorruptFileError, ExternalReferenceError, option
from ilastik_lazy.formats.hdf5.bdv import FoundLevel
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.hdf5.external import Found, ReferringSource
from ilastik_lazy.formats.hdf5.library import H5pySource
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata import check_chunks, check_shape
from ilastik_lazy.formats.npy import contiguous_source
from ilastik_lazy.storage.allowed import is_below
from ilastik_lazy.storage.files import Stamp, require_unchanged, stamp_of, unchanged
from ilastik_lazy.storage.isolation import in_child

__all__ = ["IsolatedSource", "found_by_child", "images_by_child"]


def images_by_child(location: Location, options: OpenOptions) -> list[str]:
    """Internal paths of the images (see `hdf5.images`)."""
    found: list[str] = in_child(location.path, "formats.hdf5:images", list[str], location, options.in_child)
    return found


def found_by_child(
    location: Location, paths: Sequence[str | None] | None, options: OpenOptions
) -> tuple[tuple[Found | FoundLevel, ...], Callable[[Found], ArraySource]]:
    """What one child found at `paths` (see `hdf5.found_images`), and what makes a source of it for this process."""
    stamp = stamp_of(location.path)
    function, result = "formats.hdf5:found_images", tuple[Found | FoundLevel, ...]
    arguments = (location, None if paths is None else list(paths), options.in_child)
    found = in_child(location.path, function, result, *arguments)
    require_unchanged(location.path, stamp)
    return found, lambda one: _settled(one, location.path, stamp, options)


def _settled(found: Found, path: str, stamp: Stamp, options: OpenOptions) -> ArraySource:
    """A source for this process; of allowed files only, whatever the child said."""
    source, spec = found.source, found.source.spec
    where = source.location
    stamps = {path: stamp}
    for each in dict.fromkeys((where.path, found.home, *(other for other, _ in found.others))):
        if each not in stamps:
            stamps[each] = _stamp_of_allowed(path, each, options)
    check_shape(where, spec.shape, options.limits)
    check_chunks(where, spec.shape, spec.chunks, spec.dtype.itemsize, options.limits)
    settled: ArraySource
    if found.start is not None:
        if not 0 <= found.start <= stamps[found.home].size - spec.nbytes:
            raise CorruptFileError(f"{where} ends before its data do: was it copied or exported completely?")
        direct = replace(spec, storage=replace(spec.storage, access="direct"))
        settled = contiguous_source(direct, found.home, stamps[found.home], found.start)
    elif isinstance(source, H5pySource):
        guard = None if source.guard is None else _plain(replace(source.guard, location=where, stamp=source.stamp))
        by_child = replace(source, stamp=stamps[where.path], guard=guard)
        settled = IsolatedSource(spec, by_child, where.path, stamps[where.path], "formats.hdf5.library:read_region")
    elif not source.pipeline.is_supported or source.pipeline.itemsize != spec.dtype.itemsize:
        raise CorruptFileError(f"{where}: the process that inspected it answered nonsense: damaged or malicious")
    else:
        settled = _plain(replace(source, stamp=stamps[where.path], trust="untrusted"))
    others = tuple((other, stamps[other]) for other, _ in found.others)
    return unpacked(ReferringSource(settled.spec, settled, others) if others else settled)


def _stamp_of_allowed(path: str, other: str, options: OpenOptions) -> Stamp:
    if os.path.realpath(other) != other or not is_below(other, options.external_roots) or not os.path.isfile(other):
        folders = option("allow_external")
        raise ExternalReferenceError(f"{path} refers to {other!a}, which lies in none of the folders in {folders}")
    return stamp_of(other)


def _plain(source: DirectHdf5Source) -> DirectHdf5Source:
    """With a scalar for the fill value, which can be hashed."""
    fill = source.fill_value
    return replace(source, fill_value=fill[()] if isinstance(fill, np.ndarray) else fill)


@dataclass(frozen=True, slots=True)
class IsolatedSource(CountedChunks):
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
        with unchanged(self.path, self.stamp):
            values: np.ndarray[Any, Any] = in_child(
                self.path,
                self.function,
                np.ndarray[Any, Any],
                self.source,
                region,
                most_bytes=math.prod(shape) * dtype.itemsize,
            )
        if values.shape != shape or values.dtype != dtype:
            raise CorruptFileError(f"{self.path}: the process that read it answered nonsense: damaged or malicious")
        return values

    def count_absent(self) -> int:
        """Number of chunks that were never written (see `CountedChunks`)."""
        return self.source.count_absent("untrusted") if isinstance(self.source, H5pySource) else 0
