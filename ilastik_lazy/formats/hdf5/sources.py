"""Make sources of what was found in HDF5 files, by the same code for files that are trusted and files that are not.

The HDF5 library sees an untrusted file in a child process only, which states facts (`DatasetFacts`).  This process
reads bytes and decodes them, with the checks that it always makes.  What only the library can read is read by a child,
too, one for each read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, check_region, region_shape
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, CountedChunks
from ilastik_lazy.core.views.unpacked import unpacked
from ilastik_lazy.errors import CorruptFileError, ExternalReferenceError, option
from ilastik_lazy.formats.contiguous import ContiguousSource
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.hdf5.dataset_facts import DatasetFacts
from ilastik_lazy.formats.hdf5.external import ReferringSource
from ilastik_lazy.formats.hdf5.h5py_source import H5pySource, read_region
from ilastik_lazy.formats.hdf5.layout import require_plugins
from ilastik_lazy.formats.metadata.values import check_chunks, check_shape
from ilastik_lazy.storage.allowed import is_below
from ilastik_lazy.storage.files import Stamp, require_unchanged, unchanged
from ilastik_lazy.storage.isolation import in_child

__all__ = ["IsolatedSource", "isolated", "source_from"]

_Read = Callable[[Any, Region], np.ndarray[Any, Any]]


def source_from(found: DatasetFacts, path: str, stamp: Stamp, options: OpenOptions) -> ArraySource:
    """Make a source of what was found in the file at `path`, and in no other file that is not allowed.

    Raises
    ------
    ExternalReferenceError
        The data lie in a file that `options` do not allow, whatever a child process said.
    SourceChangedError
        A file changed while it was opened.
    """
    spec, where, plugins = found.spec, found.location, found.pipeline.of_plugins
    stamps = {where.path: found.stamp, **dict(found.others), path: stamp}
    for other, version in stamps.items():
        if other != path:
            _require_allowed(path, other, options)
        require_unchanged(other, version)
    check_shape(where, spec.shape, options.limits)
    if spec.storage.layout == "chunked":
        check_chunks(where, spec.shape, spec.chunks, spec.dtype.itemsize, options.limits)
    source: ArraySource
    if found.start is not None and (found.home or options.trust == "untrusted"):
        home = found.home or where.path
        if not 0 <= found.start <= stamps[home].size - spec.nbytes:
            raise CorruptFileError(f"{where} ends before its data do: was it copied or exported completely?")
        direct = replace(spec, storage=replace(spec.storage, access="direct"))
        source = ContiguousSource(direct, home, stamps[home], found.start, spec.dtype)
    elif found.is_direct:
        source = _direct(found, stamps[where.path], options)
    elif plugins and options.trust == "untrusted":
        source = UndecodedSource(spec, plugins)
    else:
        # A child reads as it does in a file that is trusted.
        guard = _direct(found, stamps[where.path], options.in_child) if found.is_checkable else None
        by_library = H5pySource(spec, where, stamps[where.path], guard, found.is_indexed, found.refers, plugins)
        source = isolated(by_library, where.path, by_library.stamp, read_region, options)
    others = tuple((other, stamps[other]) for other, _ in found.others)
    return unpacked(ReferringSource(source.spec, source, others) if others else source)


def _direct(found: DatasetFacts, stamp: Stamp, options: OpenOptions) -> DirectHdf5Source:
    # A scalar, which can be hashed.
    fill = found.fill_value[()] if isinstance(found.fill_value, np.ndarray) else found.fill_value
    return DirectHdf5Source(found.spec, found.location, stamp, found.pipeline, fill, options.trust)


def _require_allowed(path: str, other: str, options: OpenOptions) -> None:
    if os.path.realpath(other) != other or not is_below(other, options.external_roots) or not os.path.isfile(other):
        folders = option("allow_external")
        raise ExternalReferenceError(f"{path} refers to {other!a}, which lies in none of the folders in {folders}")


def isolated(source: ArraySource, path: str, stamp: Stamp, function: _Read, options: OpenOptions) -> ArraySource:
    """Return `source`, which calls the HDF5 library, or one that has a child call it where the file is untrusted."""
    return source if options.trust == "local" else IsolatedSource(source.spec, source, path, stamp, function)


@dataclass(frozen=True, slots=True)
class IsolatedSource(CountedChunks):
    """A source that is read by a child, since it calls the HDF5 library."""

    spec: ArraySpec
    source: ArraySource
    """What the child reads from."""
    path: str
    stamp: Stamp
    function: _Read
    """Function of a module that takes `source` and a region, and returns the values."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`); starts a process, which takes 0.2 s."""
        check_region(region, self.spec.shape)
        shape, dtype = region_shape(region), self.spec.dtype
        with unchanged(self.path, self.stamp):
            most_bytes = math.prod(shape) * dtype.itemsize
            values = in_child(self.path, self.function, self.source, region, most_bytes=most_bytes)
        if values.shape != shape or values.dtype != dtype:
            raise CorruptFileError(f"{self.path}: the process that read it answered nonsense: damaged or malicious")
        return values

    def count_absent(self) -> int:
        """Number of chunks that were never written (see `CountedChunks`)."""
        return self.source.count_absent("untrusted") if isinstance(self.source, H5pySource) else 0


@dataclass(frozen=True, slots=True)
class UndecodedSource:
    """An image in an untrusted file that only a plugin could decode: it is listed, and not read."""

    spec: ArraySpec
    plugins: tuple[int, ...]

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Raise `UnsupportedFilterError`."""
        require_plugins(self.plugins, self.spec.storage.location, "untrusted")
        raise AssertionError("an untrusted file was decoded by a plugin")
