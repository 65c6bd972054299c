"""Open the tables that ilastik writes beside its images: `open_table`.

The columns depend on the features that were chosen in ilastik.  Their order varies from file to file, since ilastik
collects them in Python sets: use their names.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from typing import Literal, overload

import pandas as pd

from ilastik_lazy.core.options import Trust
from ilastik_lazy.core.size_text import parse_size
from ilastik_lazy.errors import ArgumentError, MetadataError, UnknownFormatError, option, remedy
from ilastik_lazy.formats.hdf5.superblock import has_signature
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.suffixes import HDF5_SUFFIXES, TABLE_SUFFIXES
from ilastik_lazy.storage.allowed import checked_options
from ilastik_lazy.tables.csv import read_csv_table
from ilastik_lazy.tables.hdf5 import read_hdf5_table
from ilastik_lazy.tables.images import ObjectImages, open_object_images
from ilastik_lazy.tables.joined import joined, require_size, table_files
from ilastik_lazy.tables.measured import is_measured, read_parquet_table, units_in

__all__ = ["TableKind", "open_table", "table_kind"]

TableKind = Literal["objects", "tracking", "divisions", "points", "measurements"]

_TRACK = re.compile(r"track_id\d+")


_Path = str | os.PathLike[str]


@overload
def open_table(
    path: _Path | Sequence[_Path],
    *,
    images: Literal[False] = False,
    memory: str | int = "4GB",
    trust: Trust = "local",
) -> pd.DataFrame: ...
@overload
def open_table(
    path: _Path, *, images: Literal[True], memory: str | int = "4GB", trust: Trust = "local"
) -> tuple[pd.DataFrame, ObjectImages]: ...
def open_table(
    path: _Path | Sequence[_Path], *, images: bool = False, memory: str | int = "4GB", trust: Trust = "local"
) -> pd.DataFrame | tuple[pd.DataFrame, ObjectImages]:
    """Open a table of ilastik (objects and their features, tracks, divisions), or one of `measure_objects`.

    Parameters
    ----------
    path
        HDF5, CSV or Parquet file.  The path may name a table in an HDF5 file, such as
        ``"cells_table.h5/divisions"``; else ``table`` is read, or the only table.  Several files, as a list or a
        pattern such as ``"*_table.csv"`` (``t2`` before ``t10``), become one table.
    images
        Also return the images of the objects that an HDF5 table holds.
    memory
        Size of the largest table to read: of its rows for HDF5 and Parquet, of the file for CSV; of several, also
        all together.
    trust
        ``"untrusted"`` lets the HDF5 library read the file only in another process.

    Returns
    -------
    table : pandas.DataFrame
        Columns have the names and, in HDF5, the types of the file; text is `str`.  In CSV, whole numbers are int64
        and others float64; in a table without rows, ids and frames are int64, and everything else is float64.
        Columns of words that were added to a CSV are `str`, too.  ``attrs["source"]`` names the file, and
        ``attrs["kind"]`` the contents (see below).  In a table of several files, the first column ``source`` names
        the file of each row as it was given, and ``attrs["source"]`` lists all; where tables have a column ``source``
        already, the added one is ``table``.  Values of columns that a table lacks are NaN.

        ``objects``
            ``object_id`` is the row, ``timestep`` the frame from 0, ``labelimage_oid`` the value in the
            *Object Identities* image of that frame.  ``User Label`` is ``"0"`` where nothing was labelled.
            Coordinates such as ``Bounding Box Minimum_0`` are pixels in the order x, y, z;
            ``Bounding Box Maximum`` is exclusive since ilastik 1.3.3post3, inclusive before.
        ``tracking``
            From the CSV-Table plugin: ``frame``, ``labelimageId`` (the value in *Object-Identities*),
            ``trackId``, ``lineageId`` (both -1 where there is none), ``parentTrackId``, ``mergerLabelId``
            (0 where there is none); ``Center_of...`` are truncated to whole numbers.  From manual tracking: the
            columns of ``objects`` and ``track_id1``, ``track_id2``, ... (0 where there is none).
        ``divisions``
            From manual tracking.  ilastik misnames a column: ``lineage_id`` holds the parent's object id.
        ``points``
            Positions and sizes in pixels, from the blockwise export on clusters.
        ``measurements``
            From ``ilastik-lazy objects`` or `measure_objects`, also in Parquet: ``label`` is the value in the label
            image, ``timestep`` the frame, ``source`` the file.  ``length_unit`` and ``area_unit`` are the units of
            each row (``voxel`` where the size of a voxel is not known); where all rows have the same, it is in
            ``attrs["units"]`` for each column.
    images : ObjectImages
        Only with ``images=True``: lazy images by ``object_id``.

    Raises
    ------
    SourceNotFoundError, UnknownFormatError
        There is no such file, or it is no table by its name.
    MetadataError
        The columns are not those of an ilastik table, or a row does not match them; or several tables are of
        different kinds.
    DatasetNotFoundError
        The HDF5 file holds no table, or several and none is called ``table``.
    LimitExceededError
        The table is larger than `memory`.

    See Also
    --------
    ilastik_lazy.paint : put a column into the pixels of the label image.

    Examples
    --------
    >>> import tempfile, pathlib, ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "nuclei.csv"
    >>> nuclei = il.label_objects(sample("segmentation"), classes=1, min_size=1000)
    >>> il.measure_objects(nuclei, properties=["num_pixels"]).to_csv(file, index=False)
    >>> cells = il.open_table(file)
    >>> cells.attrs["kind"], cells["num_pixels"].tolist()[:2]
    ('measurements', [1121, 2340])

    Tables that ilastik exported:

    >>> cells = il.open_table("cells_table.h5")                             # doctest: +SKIP
    >>> il.open_table("*_table.csv").groupby("source").size()               # doctest: +SKIP
    """
    if (files := table_files(path)) is not None:
        if images:
            raise ArgumentError("images=True is for one file: open the tables one by one")
        return _open_tables(files, memory, trust)
    assert isinstance(path, str | os.PathLike)
    location = Location.parse(path)
    most_bytes = parse_size(memory, "memory")
    is_hdf5 = location.internal_path is not None or _is_hdf5(location)
    if images and not is_hdf5:
        raise ArgumentError(
            f"{location} is not an HDF5 file, and holds no images: export the table as HDF5, or pass images=False"
        )
    options = checked_options(trust=trust)
    if images and options.trust == "untrusted":
        raise ArgumentError("images=True needs trust='local'" + remedy("; or open an image with open_dataarray()"))

    def check(names: Iterable[object]) -> TableKind:
        return _require_kind(names, location)

    if is_hdf5:
        table = read_hdf5_table(location, most_bytes, check, options)
    elif location.suffix == ".parquet":
        if options.trust == "untrusted":
            raise ArgumentError(
                f"{location} is Parquet, which pyarrow decodes in this process: pass {option('trust', 'local')}, or CSV"
            )
        table = read_parquet_table(location, most_bytes)
    else:
        table = read_csv_table(location, most_bytes, check)
    kind = _require_kind(table.columns, location)
    table.attrs = {"source": str(location), "kind": kind}
    if kind == "measurements" and (units := units_in(table)):
        table.attrs["units"] = units
    return (table, open_object_images(location.path)) if images else table


def _open_tables(files: Sequence[str], memory: str | int, trust: Trust) -> pd.DataFrame:
    tables: dict[str, pd.DataFrame] = {}
    for name in files:
        tables[name] = open_table(name, memory=memory, trust=trust)
        require_size(sum(int(each.memory_usage().sum()) for each in tables.values()), parse_size(memory, "memory"))
    table = joined(tables)
    table.attrs = {"source": list(files), "kind": tables[files[0]].attrs["kind"]}
    if table.attrs["kind"] == "measurements" and (units := units_in(table)):
        table.attrs["units"] = units
    return table


def _is_hdf5(location: Location) -> bool:
    """Whether the file is HDF5, by its name or its first bytes."""
    if os.path.isdir(location.path):
        if any(os.path.exists(os.path.join(location.path, name)) for name in ("zarr.json", ".zgroup", ".zarray")):
            raise UnknownFormatError(
                f"{location.path} is a Zarr, not a table: the values of objects in an OME-Zarr are for viewers; open "
                "the CSV, HDF5 or Parquet file that they came from"
            )
        raise UnknownFormatError(f"{location.path} is a folder: name a table file in it")
    if location.suffix in HDF5_SUFFIXES or has_signature(location.path):
        return True
    if location.suffix in TABLE_SUFFIXES:
        return False
    raise UnknownFormatError(
        f"{location.path} is not an ilastik table: expected .h5, .csv or .parquet; "
        + remedy("images are opened with open_dataarray()", "ilastik-lazy info describes images")
    )


def _require_kind(names: Iterable[object], location: Location) -> TableKind:
    """Return the kind of a table; called before rows are read, since the file may be any CSV or HDF5."""
    if (kind := table_kind(names)) is None:
        found = ", ".join(ascii(str(name)[:40]) for name in itertools.islice(names, 4))
        raise MetadataError(f"{location} is not an ilastik table (its columns are {found}, ...): use pandas or h5py")
    return kind


def table_kind(columns: Iterable[object]) -> TableKind | None:
    """Return the kind of a table with these columns; None if they are not those of an ilastik table.

    >>> table_kind(["object_id", "timestep", "labelimage_oid", "Size in pixels"])
    'objects'
    """
    names = {str(name) for name in columns}
    if names >= {"frame", "labelimageId", "trackId"}:
        return "tracking"
    if names >= {"timestep", "child1_object_id", "child2_object_id"}:
        return "divisions"
    if names >= {"object_id", "timestep", "labelimage_oid"}:
        return "tracking" if any(_TRACK.fullmatch(name) for name in names) else "objects"
    if is_measured(names):
        return "measurements"
    return "points" if names >= {"x_px", "y_px", "size_px"} else None
