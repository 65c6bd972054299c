"""Find out how one HDF5 dataset is stored: its filters, and whether chunks can be read past h5py."""

from __future__ import annotations

import math
from typing import Literal

import h5py

from ilastik_lazy.core.options import Limits, Trust
from ilastik_lazy.errors import (
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataError,
    UnsupportedFilterError,
    option,
    remedy,
)
from ilastik_lazy.formats.hdf5.chunks.filters import PLUGIN_NAMES, Pipeline
from ilastik_lazy.formats.hdf5.chunks.header import chunk_layout
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.values import check_chunks, check_shape
from ilastik_lazy.warning import warn

__all__ = [
    "UNKNOWN_LAYOUT", "check_array", "is_converted", "layout_of", "pipeline_of", "require_plugins", "start_of",
    "why_not_direct",
]  # fmt: skip

UNKNOWN_LAYOUT = "unknown layout"
"""Where only libhdf5 can find the chunks."""


def check_array(dataset: h5py.Dataset, location: Location, limits: Limits) -> None:
    """Raise unless the dataset is an array of numbers, of a size that `limits` allow."""
    if dataset.shape is None or dataset.dtype.kind not in "biuf" or dataset.dtype.subdtype is not None:
        hint = remedy("; tables are opened with open_table()", "; ilastik-lazy table prints tables")
        what = f"{str(dataset.dtype)[:60]}{hint if dataset.dtype.kind == 'V' else ''}"
        raise MetadataError(f"{location} is not an image: its elements are {what}")
    check_shape(location, dataset.shape, limits)
    if dataset.chunks is None:
        _check_allocated(dataset, location, limits)
    else:
        check_chunks(location, dataset.shape, dataset.chunks, dataset.dtype.itemsize, limits)


def _check_allocated(dataset: h5py.Dataset, location: Location, limits: Limits) -> None:
    """Warn if nothing of an array without chunks was written: it reads as the fill value."""
    nbytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.is_virtual or nbytes == 0 or dataset.id.get_storage_size():
        return
    if nbytes > limits.unallocated_bytes:
        raise LimitExceededError(f"{location} would be {nbytes} bytes (shape {dataset.shape}), and none were written")
    warn(f"{location} was never written: it reads as the fill value", IncompleteSourceWarning)


def pipeline_of(dataset: h5py.Dataset) -> Pipeline:
    """Return the filters of the dataset; no plugin is searched for."""
    plist = dataset.id.get_create_plist()
    filters = tuple(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))
    return Pipeline(filters, dataset.dtype.itemsize)


def require_plugins(filters: tuple[int, ...], where: object, trust: Trust) -> None:
    """Raise `UnsupportedFilterError` unless plugins that the caller loaded decode `filters`, in a file that is trusted.

    The HDF5 library loads plugins from ``HDF5_PLUGIN_PATH``, too.
    """
    for number in filters:
        if trust == "local" and h5py.h5z.filter_avail(number):
            continue
        name = PLUGIN_NAMES.get(number)
        if trust != "local":
            advice = f"plugins decode files that you trust only: pass {option('trust', 'local')}"
        elif name is None:
            advice = "load a plugin that decodes it, or write it again with gzip"
        else:
            advice = remedy(
                "import hdf5plugin (pip install hdf5plugin), and open it again",
                "install hdf5plugin, and set HDF5_PLUGIN_PATH to the folder that "
                "'python -c \"import hdf5plugin; print(hdf5plugin.PLUGIN_PATH)\"' prints",
            )
        named = f"{name} (HDF5 filter {number})" if name else f"HDF5 filter {number}"
        raise UnsupportedFilterError(f"{where} is compressed with {named}, which no loaded plugin decodes: {advice}")


def layout_of(dataset: h5py.Dataset) -> Literal["chunked", "contiguous", "virtual"]:
    """Return the layout of the dataset, in the words of `Storage`."""
    if dataset.is_virtual:
        return "virtual"
    return "chunked" if dataset.chunks is not None else "contiguous"


def why_not_direct(dataset: h5py.Dataset, pipeline: Pipeline, layout: str, path: str) -> str | None:
    """Say why the chunks cannot be read past h5py; None if they can."""
    if layout != "chunked":
        return f"{layout} layout"
    if chunk_layout(dataset, path) is None:
        return UNKNOWN_LAYOUT
    if not pipeline.is_supported:
        return f"{pipeline.name} filter"
    return "converted type" if is_converted(dataset) else None


def is_converted(dataset: h5py.Dataset) -> bool:
    """Whether libhdf5 has to convert the elements: enumerations, bit fields, padded numbers."""
    return dataset.dtype.kind == "b" or not dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype))


def start_of(dataset: h5py.Dataset) -> int | None:
    """Return the first byte of a dataset whose elements lie in the file as they are in memory."""
    if layout_of(dataset) != "contiguous" or is_converted(dataset):
        return None
    start: int | None = dataset.id.get_offset()
    return start
