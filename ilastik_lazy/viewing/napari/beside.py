"""Files beside an export that belong to it by the names that ilastik gives: the project, and the table of objects."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

import pandas as pd

from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import IlastikLazyError
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.classes import with_classes
from ilastik_lazy.project.path_text import split_paths, splits
from ilastik_lazy.project.record import read_project
from ilastik_lazy.tables import open_table
from ilastik_lazy.tables.rows import key_columns
from ilastik_lazy.tables.unique_ids import with_unique_ids
from ilastik_lazy.warning import warn

__all__ = ["stem_of", "with_features_beside", "with_names_beside"]

# Each is opened to find out which images it was made with.
_MOST_PROJECTS = 20
_OF_CLASSES = ("probabilities", "segmentation", "object predictions", "object probabilities")


def stem_of(path: str) -> str:
    """Return the name of a file or folder without its suffix."""
    return os.path.splitext(os.path.basename(path.rstrip("/")))[0]


def with_names_beside(source: ArraySource) -> ArraySource:
    """Name the classes of an export as the only project in its folder does that was made with its image.

    ilastik names an export after its image: ``cells_Probabilities.h5`` of ``cells.tif``.
    """
    spec = source.spec
    folder, stem = os.path.dirname(spec.storage.path), stem_of(spec.storage.path)
    if spec.channel_names or spec.kind not in _OF_CLASSES:
        return source
    projects = sorted(glob.glob(os.path.join(glob.escape(folder), "*.ilp")))
    known = [project for project in projects if _holds(project, stem)] if len(projects) <= _MOST_PROJECTS else []
    return with_classes(source, known[0]) if len(known) == 1 else source


def _holds(project: str, stem: str) -> bool:
    """Whether a project with classes has a lane whose image an export with this stem is named after."""
    try:
        read = read_project(Location(project), DEFAULTS)
    except IlastikLazyError:
        return False  # the export itself is readable
    images = [recorded for lane in read.lanes for recorded in lane.inputs[:1]]
    names = {recorded.nickname for recorded in images}
    names |= {stem_of(splits(part)[0][0]) for recorded in images for part in split_paths(recorded.file_path or "")}
    return any(key.startswith("label_names") for key in read.attributes) and not names.isdisjoint(_starts(stem))


def with_features_beside(levels: Sequence[ArraySource]) -> tuple[Sequence[ArraySource], pd.DataFrame | None]:
    """Return the levels of an image, and the rows of the table of its objects, with their ids in the column ``index``.

    ilastik writes ``cells_table.csv`` beside ``cells_Object Identities.h5``.  napari has one row for an id, so ids that
    start again in each frame become unique.  The table is None if there is none, or if it does not fit.
    """
    spec = levels[0].spec
    if spec.kind != "object identities" or (path := _table_beside(spec.storage.path)) is None:
        return levels, None
    try:
        table = open_table(path)
        label, _ = key_columns(table, None, None)
        if table[table[label] > 0][label].duplicated().any():
            made = [with_unique_ids(level, level, table) for level in levels]
            levels, table = [level for level, _ in made], table if made[0][1] is None else made[0][1]
    except IlastikLazyError as error:
        warn(f"{spec.storage.path}: its objects have no features: {error}")
        return levels, None
    rows = table[table[label] > 0]
    if rows[label].duplicated().any():
        warn(
            f"{path}: its ids start again in each frame, and {spec.storage.path} has no frames: its features are not "
            "shown"
        )
        return levels, None
    return levels, pd.concat([rows[label].rename("index"), rows.drop(columns="index", errors="ignore")], axis=1)


def _table_beside(path: str) -> str | None:
    """Return the table with the longest name that the name of an image begins with."""
    folder = os.path.dirname(path)
    names = (f"{start}_table{suffix}" for start in _starts(stem_of(path)) for suffix in (".h5", ".csv"))
    return next((found for name in names if os.path.isfile(found := os.path.join(folder, name))), None)


def _starts(stem: str) -> list[str]:
    """Return `stem`, then what remains of it without its last words, the longest first.

    >>> _starts("img_10_Probabilities")
    ['img_10_Probabilities', 'img_10', 'img']
    """
    return [stem, *(stem[:end] for end in reversed(range(1, len(stem))) if not stem[end].isalnum())]
