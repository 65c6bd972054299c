"""What a file holds: images, a table, or a project.

Nothing here imports xarray before a project is opened, nor pandas before a table is: of an image, ``info`` starts in
0.2 s.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilastik_lazy.errors import DatasetNotFoundError, FormatError, MissingSourceWarning
from ilastik_lazy.formats.suffixes import TABLE_SUFFIXES

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ilastik_lazy.core.options import OpenOptions
    from ilastik_lazy.core.spec import ArraySource
    from ilastik_lazy.formats.location import Location
    from ilastik_lazy.formats.zarr.ome.plates import Plate
    from ilastik_lazy.project.labels.counts import LabelCount

__all__ = ["Contents", "Fields", "Images", "Project", "Table", "contents_of", "inside"]


# Group where ilastik stores images of single objects next to its tables.
_CUT_OUTS = "/images/"


@dataclass(frozen=True, slots=True)
class Images:
    """The images of one file."""

    path: str
    sources: list[ArraySource]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of objects, tracks or measurements."""

    location: str
    table: pd.DataFrame
    cut_outs: int
    """Number of images of single objects next to it."""


@dataclass(frozen=True, slots=True)
class Project:
    """An ilastik project."""

    path: str
    tree: xr.DataTree
    counts: tuple[LabelCount, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of view of a plate, or of one well."""

    path: str
    internal_path: str
    """Path of the plate or well in the file; empty if it is the file."""
    plate: Plate
    first: ArraySource
    """The first field at its finest level."""


Contents = Images | Table | Project | Fields


def contents_of(
    location: Location,
    options: OpenOptions,
    *,
    project: str | os.PathLike[str] | None = None,
    source_roots: Sequence[str] = (),
    memory: str = "4GB",
) -> Contents:
    """Open what is at `location`; of images, only metadata are read.

    Parameters
    ----------
    project
        The project that names the classes of the images.
    source_roots
        If a project is at `location`: further folders that may hold its images.
    memory
        Size of the largest table to read.
    """
    if location.suffix == ".ilp" and location.internal_path is None:
        return _project_at(location.path, source_roots, options)
    if location.suffix in TABLE_SUFFIXES and location.suffix != ".txt":  # any text may be called so
        return _table_at(location, 0, memory, options)
    from ilastik_lazy.formats import format_of, open_source, open_sources

    if format_of(location, options).name == "Zarr":
        from ilastik_lazy.formats.zarr import plate_at

        if (plate := plate_at(location, options)) is not None:
            above = location.internal_path or ""
            field = location.at(f"{above}/{plate.fields[0]}".lstrip("/"))
            return Fields(location.path, above, plate, open_source(field, options))
    paths = [location.internal_path] if location.internal_path else None
    try:
        sources = open_sources(location, paths, options)
    except FormatError as error:
        if location.is_remote or not (_is_table(location) or isinstance(error, DatasetNotFoundError)):
            raise
        # It may be a table of objects without images, which the error does not mention.
        try:
            return _table_at(location, 0, memory, options)
        except FormatError:
            raise error from None
    if paths is None and all(inside(source, location.path).startswith(_CUT_OUTS) for source in sources):
        return _table_at(location, len(sources), memory, options)
    if project is not None:
        from ilastik_lazy.project.classes import with_classes_each

        sources = with_classes_each(sources, project, options)
    return Images(location.path, sources)


def inside(source: ArraySource, path: str) -> str:
    """Return the part of a source's location behind the file at `path`."""
    return source.spec.storage.location.removeprefix(path)


def _project_at(path: str, source_roots: Sequence[str], options: OpenOptions) -> Project:
    from ilastik_lazy.formats.location import Location
    from ilastik_lazy.project.labels.counts import label_counts
    from ilastik_lazy.project.tree import open_project

    with warnings.catch_warnings():
        # The nodes of the tree state what is missing, lane by lane.
        warnings.simplefilter("ignore", MissingSourceWarning)
        tree = open_project(path, source_roots=source_roots, chunks=None, options=options)
    return Project(path, tree, label_counts(Location(path), options))


def _table_at(location: Location, cut_outs: int, memory: str, options: OpenOptions) -> Table:
    from ilastik_lazy.tables import open_table

    table = open_table(str(location), memory=memory, trust=options.trust)
    return Table(str(table.attrs["source"]), table, cut_outs)


def _is_table(location: Location) -> bool:
    """Whether the file or dataset has a name that ilastik gives to tables."""
    return re.search(r"table|division", os.path.basename(str(location)), re.IGNORECASE) is not None
