"""Open the tables that ilastik writes beside its images: `open_table`.

Which columns there are depends on the features that were chosen, and their order on nothing at all
(ilastik collects them in Python sets): go by name.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from typing import Literal, overload

import pandas as pd

from ilastik_lazy.core.limits import Trust
from ilastik_lazy.core.sizes import parse_size
from ilastik_lazy.errors import ArgumentError, MetadataError, UnknownFormatError, remedy
from ilastik_lazy.formats.hdf5.superblock import has_signature
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.suffixes import HDF5_SUFFIXES, TABLE_SUFFIXES
from ilastik_lazy.storage.allowed import granted
from ilastik_lazy.tables.csv import read_csv_table
from ilastik_lazy.tables.hdf5 import read_hdf5_table
from ilastik_lazy.tables.images import ObjectImages, open_object_images

__all__ = ["TableKind", "open_table", "table_kind"]

TableKind = Literal["objects", "tracking", "divisions", "points"]

_TRACK = re.compile(r"track_id\d+")


@overload
def open_table(
    path: str | os.PathLike[str],
    *,
    images: Literal[False] = False,
    memory: str | int = "4GB",
    trust: Trust = "local",
) -> pd.DataFrame: ...
@overload
def open_table(
    path: str | os.PathLike[str], *, images: Literal[True], memory: str | int = "4GB", trust: Trust = "local"
) -> tuple[pd.DataFrame, ObjectImages]: ...
def open_table(
    path: str | os.PathLike[str], *, images: bool = False, memory: str | int = "4GB", trust: Trust = "local"
) -> pd.DataFrame | tuple[pd.DataFrame, ObjectImages]:
    """Open a table of ilastik: objects and their features, tracks, divisions.

    Parameters
    ----------
    path
        HDF5 or CSV file.  Of an HDF5 file ``table`` is taken, or the one that the path names:
        ``"cells_table.h5/divisions"``.
    images
        Also give the images of the objects that an HDF5 table holds.
    memory
        Size of the largest table to read: of its rows in HDF5, of the file in CSV.
    trust
        ``"untrusted"`` lets the HDF5 library see the file in a process of its own only.

    Returns
    -------
    table : pandas.DataFrame
        Columns have the names and, in HDF5, the types of the file; text is `str`.  In CSV, whole numbers are int64
        and others float64; of a table without rows, ids and frames are int64, and all else float64.
        ``attrs["source"]`` says where it is from, ``attrs["kind"]`` what it holds:

        ``objects``
            ``object_id`` is the row, ``timestep`` the frame from 0, ``labelimage_oid`` the value in the
            *Object Identities* image of that frame.  ``User Label`` is ``"0"`` where nothing was labelled.
            Coordinates such as ``Bounding Box Minimum_0`` are pixels in the order x, y, z;
            ``Bounding Box Maximum`` is exclusive since ilastik 1.3.3post3, inclusive before.
        ``tracking``
            Of the CSV-Table plugin: ``frame``, ``labelimageId`` (the value in *Object-Identities*),
            ``trackId``, ``lineageId`` (both -1 where there is none), ``parentTrackId``, ``mergerLabelId``
            (0 where there is none); ``Center_of...`` are cut to whole numbers there.  Of manual tracking: the
            columns of ``objects`` and ``track_id1``, ``track_id2``, ... (0 where there is none).
        ``divisions``
            Of manual tracking.  ilastik misnames a column: ``lineage_id`` holds the parent's object id.
        ``points``
            Positions and sizes in pixels, of the blockwise export of clusters.
    images : ObjectImages
        Only with ``images=True``: lazy images by ``object_id``.

    Raises
    ------
    MetadataError
        The columns are none of ilastik's, or a row does not fit them.
    DatasetNotFoundError
        An HDF5 file without a table, or with several and none called ``table``.
    LimitExceededError
        The table is larger than `memory`.

    See Also
    --------
    ilastik_lazy.tables.paint.paint : put a column into the pixels of the label image.

    Examples
    --------
    >>> cells = open_table("cells_table.h5")                                # doctest: +SKIP
    >>> cells.groupby("Predicted Class")["Size in pixels"].mean()           # doctest: +SKIP
    """
    location = Location.parse(path)
    most_bytes = parse_size(memory, "memory")
    is_hdf5 = location.internal_path is not None or _is_hdf5(location)
    if images and not is_hdf5:
        raise ArgumentError(f"{location} is CSV, which holds no images: export the table as HDF5, or pass images=False")
    limits = granted(None, trust)
    if images and limits.trust == "untrusted":
        what_now = remedy(": their images are opened with open_dataarray()")
        raise ArgumentError(f"images=True is for trusted files{what_now}")

    def check(names: Iterable[object]) -> TableKind:
        return _require_kind(names, location)

    if is_hdf5:
        table = read_hdf5_table(location, most_bytes, check, limits)
    else:
        table = read_csv_table(location, most_bytes, check)
    kind = _require_kind(table.columns, location)
    table.attrs = {"source": str(location), "kind": kind}
    return (table, open_object_images(location.path)) if images else table


def _is_hdf5(location: Location) -> bool:
    """Whether to read HDF5: by the name, or by the first bytes where the name says something else."""
    if os.path.isdir(location.path):
        raise UnknownFormatError(f"{location.path} is a folder: name a table in it")
    if location.suffix in HDF5_SUFFIXES or has_signature(location.path):
        return True
    if location.suffix in TABLE_SUFFIXES:
        return False
    raise UnknownFormatError(
        f"{location.path} is no table of ilastik: expected .h5 or .csv; "
        + remedy("images are opened with open_dataarray()", "ilastik-lazy info describes images")
    )


def _require_kind(names: Iterable[object], location: Location) -> TableKind:
    """What the table holds; asked before its rows are read, since any CSV and any HDF5 may be named."""
    if (kind := table_kind(names)) is None:
        found = ", ".join(ascii(str(name)[:40]) for name in itertools.islice(names, 4))
        raise MetadataError(f"{location} is no table of ilastik: its columns are {found}, ...: use pandas or h5py")
    return kind


def table_kind(columns: Iterable[object]) -> TableKind | None:
    """What a table with these columns holds; None where they are none of ilastik's.

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
    return "points" if names >= {"x_px", "y_px", "size_px"} else None
