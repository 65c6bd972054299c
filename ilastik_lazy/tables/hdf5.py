"""Read tables from HDF5 files: one compound dataset with a row for each object.

ilastik writes them without chunks unless a compression was chosen (``ilastik/utility/exportFile.py``).
Chunks with known filters are decoded without libhdf5, as for images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.lib.recfunctions import repack_fields

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.size_text import human_bytes
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.errors import (
    DatasetNotFoundError,
    LimitExceededError,
    MetadataError,
    UnfinishedWriteError,
    UnsupportedFilterError,
    option,
    remedy,
)
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.hdf5.file import dataset_at, key_of, link_of, names_in, open_hdf5
from ilastik_lazy.formats.hdf5.layout import is_converted, pipeline_of
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.values import check_chunks
from ilastik_lazy.storage.files import Stamp, require_unchanged, stamp_of
from ilastik_lazy.storage.isolation import in_child
from ilastik_lazy.warning import warn

__all__ = ["read_hdf5_table", "read_rows"]

_MOST_SHOWN = 8


def read_hdf5_table(
    location: Location, most_bytes: int, check_names: Callable[[Sequence[str]], object], options: OpenOptions
) -> pd.DataFrame:
    """Read the whole table: numbers as stored, text decoded.

    Parameters
    ----------
    location
        The file; without an internal path, ``table`` or the only table is read.
    most_bytes
        Refuse a table that is larger.
    check_names
        Called with the names of the columns before the rows are read; raises to refuse them.
    options
        Whether the HDF5 library may read the file in this process.

    Raises
    ------
    DatasetNotFoundError, MetadataError, LimitExceededError, UnfinishedWriteError, ExternalReferenceError
        There is no table, or it is malformed, too large, incomplete, or in another file.
    """
    if options.trust == "untrusted":
        inside, rows = in_child(location.path, read_rows, location, most_bytes, most_bytes=most_bytes)
        check_names(rows.dtype.names or ())
    else:
        inside, rows = _read_rows(location, most_bytes, check_names)
    here = Location(location.path, inside)
    return pd.DataFrame({name: _column(rows, name, here) for name in rows.dtype.names or ()}, copy=False)


def read_rows(location: Location, most_bytes: int) -> tuple[str, np.ndarray[Any, Any]]:
    """Return the internal path and the rows of a table in a child process, without gaps between columns."""
    inside, rows = _read_rows(location, most_bytes, lambda _: None)
    return inside, repack_fields(rows)


def _read_rows(
    location: Location, most_bytes: int, check_names: Callable[[Sequence[str]], object]
) -> tuple[str, np.ndarray[Any, Any]]:
    stamp = stamp_of(location.path)
    with open_hdf5(location.path) as file:
        inside = location.internal_path or _only_table(file)
        here = Location(location.path, inside)
        dataset = dataset_at(file, inside)
        _check_table(dataset, here, most_bytes)
        check_names(dataset.dtype.names)
        chunked = _direct_source(dataset, here, stamp)
        rows = dataset[...] if chunked is None else None
    if chunked is not None:
        rows = chunked.read((slice(0, chunked.spec.shape[0]),))
    # If the file shrank, libhdf5 returned zeros for the missing bytes.
    require_unchanged(location.path, stamp)
    assert rows is not None
    return inside, rows


def _only_table(file: h5py.File) -> str:
    if file.get("table", getlink=True) is not None:
        return "table"
    found: list[str] = [name for name in names_in(file)[: Limits().members] if _is_table(file, name)]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(ascii(name) for name in found[:_MOST_SHOWN])
        raise DatasetNotFoundError(
            f"{file.filename} holds {len(found)} tables: {shown}; add the name of one to the path"
        )
    raise DatasetNotFoundError(
        f"{file.filename} holds no table: no dataset 'table' of named columns; "
        + remedy("images are opened with open_dataarray()", "ilastik-lazy info describes images")
    )


def _is_table(file: h5py.File, name: str) -> bool:
    if not isinstance(link_of(file, name), h5py.HardLink):
        return False
    node = file[key_of(name)]
    return isinstance(node, h5py.Dataset) and node.ndim == 1 and node.dtype.names is not None


def _check_table(dataset: h5py.Dataset, location: Location, most_bytes: int) -> None:
    names = dataset.dtype.names
    if names is None or dataset.ndim != 1:
        raise MetadataError(
            f"{location} is not a table of named columns but {dataset.ndim}-dimensional {str(dataset.dtype)[:40]}: "
            + remedy("images are opened with open_dataarray()", "ilastik-lazy info describes images")
        )
    for name in names:
        field = dataset.dtype.fields[name][0]
        # "O" is text of any length or references: ilastik writes neither into tables.
        if field.kind not in "biufS" or (field.kind == "f" and field.itemsize > 8):
            raise MetadataError(f"{location}: column {name!a} holds {str(field)[:40]}: expected numbers or text")
    if (nbytes := dataset.shape[0] * dataset.dtype.itemsize) > most_bytes:
        raise LimitExceededError(
            f"{location} has {dataset.shape[0]:,} rows, {human_bytes(nbytes)} in all, more than the limit of "
            f"{human_bytes(most_bytes)}: raise {option('memory')} to read it"
        )
    if dataset.is_virtual:
        raise MetadataError(f"{location} is a virtual dataset: open the datasets that it refers to")
    if dataset.chunks is not None:
        check_chunks(location, dataset.shape, dataset.chunks, dataset.dtype.itemsize, Limits())
    _check_all_there(dataset, location)


def _check_all_there(dataset: h5py.Dataset, location: Location) -> None:
    """Raise if rows were never written: they would read as zeros and look like objects."""
    if dataset.shape[0] == 0:
        return
    if dataset.chunks is None:
        there = dataset.id.get_storage_size() >= dataset.shape[0] * dataset.dtype.itemsize
    else:
        there = dataset.id.get_num_chunks() >= -(-dataset.shape[0] // dataset.chunks[0])
    if not there:
        raise UnfinishedWriteError(f"{location}: rows of the table were never written; export it again")


def _direct_source(dataset: h5py.Dataset, location: Location, stamp: Stamp) -> DirectHdf5Source | None:
    """Return a source that decodes the chunks without h5py; None without chunks, or if only h5py can decode them."""
    if dataset.chunks is None or dataset.shape[0] == 0:
        return None
    pipeline = pipeline_of(dataset)
    if pipeline.of_plugins:
        raise UnsupportedFilterError(
            f"{location} is compressed with {pipeline.name}, which is not decoded in tables: write it again with gzip"
        )
    if not pipeline.is_supported or is_converted(dataset):
        return None
    # The axis x of an image is the rows of a table.
    spec = ArraySpec(
        name="table",
        shape=dataset.shape,
        dtype=dataset.dtype,
        axes=(Axis("x"),),
        chunks=dataset.chunks,
        storage=Storage(str(location), location.path, "chunked", pipeline.name),
    )
    return DirectHdf5Source(spec, location, stamp, pipeline, None)


def _column(rows: np.ndarray[Any, Any], name: str, location: Location) -> np.ndarray[Any, Any] | pd.Series[Any]:
    values = rows[name]
    if values.dtype.kind == "S":
        return _decoded(values, name, location)
    # Without h5py's metadata, in native byte order, which pandas needs.
    return values.astype(np.dtype(values.dtype.str).newbyteorder("="))


def _decoded(values: np.ndarray[Any, Any], name: str, location: Location) -> pd.Series[Any]:
    """Decode the text of a column, each distinct value once."""
    distinct, which = np.unique(values, return_inverse=True)
    texts = np.empty(len(distinct), object)
    for i, value in enumerate(distinct):
        try:
            texts[i] = value.decode("utf-8")
        except UnicodeDecodeError:
            texts[i] = value.decode("utf-8", "replace")
            warn(
                f"{location}: column {name!a} holds {value[:40]!a}, which is not UTF-8: "
                "its unknown bytes are shown as \\ufffd"
            )
    return pd.Series(texts[which], dtype=str)
