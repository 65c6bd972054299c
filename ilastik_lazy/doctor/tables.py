"""Checks of ids of objects: in an image, in a table, and in a table against the label image that lies beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.doctor.finding import Finding
from ilastik_lazy.errors import ArgumentError, remedy
from ilastik_lazy.formats.suffixes import HDF5_SUFFIXES, TIFF_SUFFIXES

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["label_image_beside", "repeated_ids", "restarting_ids", "unlike_labels"]

# "cells_table.h5" and "cells_CSV-Table.csv" are of "cells_Object Identities.h5".
_TABLE = re.compile(r"[ _-]*(csv[ _-]*)?table$", re.IGNORECASE)
_IDENTITIES = re.compile(r"[ _-]*object[ _-]*identities$", re.IGNORECASE)
_IMAGES = (*HDF5_SUFFIXES, ".n5", ".zarr", *TIFF_SUFFIXES)
_WITH_IDS = ("objects", "tracking", "measurements")
_SHOWN = 3


def restarting_ids(spec: ArraySpec) -> Iterator[Finding]:
    """Find images of ids over time, which ilastik numbers in each frame anew."""
    frames = spec.shape[spec.dims.index("t")] if "t" in spec.dims else 1
    if spec.kind != "object identities" or frames < 2:
        return
    yield Finding(
        "ids-restart",
        "warning",
        f"object identities over {frames} frames: ilastik numbers the objects of each frame from 1 on",
        "the same id in two frames is not the same object: only frame and id together name one",
        "join tables by timestep and id"
        + remedy(", as il.paint(labels, table, column) does")
        + "; for objects that keep their number, export a tracking result",
    )


def label_image_beside(path: str) -> str | None:
    """Return the *Object Identities* in the folder of a table that have its name; None unless there is exactly one."""
    stem, table = os.path.splitext(os.path.basename(path))[0], os.path.abspath(path)
    folder, name = os.path.dirname(table), _TABLE.sub("", stem)
    found = []
    try:
        others = sorted(os.listdir(folder))
    except OSError:
        return None  # a folder whose files can be opened, but not listed
    for other in others:
        image, suffix = os.path.splitext(other)
        if suffix.lower() in _IMAGES and _IDENTITIES.search(image) and _IDENTITIES.sub("", image) == name:
            found.append(os.path.join(folder, other))
    return found[0] if len(found) == 1 and found[0] != table else None


def repeated_ids(table: pd.DataFrame) -> Iterator[Finding]:
    """Find ids that occur twice in a frame of one image."""
    from ilastik_lazy.tables.rows import key_columns

    if table.attrs["kind"] not in _WITH_IDS:
        return
    name, when = key_columns(table, None, None)
    keys = [key for key in ("source" if "source" in table else None, when, name) if key is not None]
    real = table[table[name] > 0]
    twice = real[real.duplicated(keys)]
    if len(twice):
        first = ", ".join(f"{key} {twice[key].iloc[0]}" for key in keys)
        yield Finding(
            "table",
            "warning",
            f"{counted(len(twice), 'row')} repeat the id of another row, such as {first}",
            "a row stands for an object, and these cannot be painted into the label image",
            "keep one row of each: " + remedy(f"table.drop_duplicates({keys})", "is it the table of one image?"),
        )


def unlike_labels(table: pd.DataFrame, image: str, options: OpenOptions, *, full: bool) -> Iterator[Finding]:
    """Find what a table and its label image do not have in common; with `full`, by all ids in the image.

    Raises
    ------
    IlastikLazyError
        The image cannot be opened or read.
    """
    from ilastik_lazy.api import open_dataarray
    from ilastik_lazy.tables.paint import mismatches, paint
    from ilastik_lazy.tables.rows import key_columns

    if table.attrs["kind"] not in _WITH_IDS or next(repeated_ids(table), None) is not None:
        return
    labels = open_dataarray(
        image, axes=options.axes, trust=options.trust, allow_external=options.external_roots, limits=options.limits
    )
    name, _ = key_columns(table, None, None)
    try:
        paint(labels, table, name)
    except ArgumentError as error:
        yield _unlike(f"{image}: {error}", "a value of one cannot be put into the pixels of the other")
        return
    if beyond := _beyond(labels, table):
        yield _unlike(beyond, "its objects lie where the image has no voxels")
    if not full:
        return
    missing = mismatches(labels, table)
    # Tables of tracking leave out objects that are in no track.
    of_table = missing[missing["missing_from"] == "table"] if table.attrs["kind"] != "tracking" else missing[:0]
    for rows, what in (
        (missing[missing["missing_from"] == "image"], f"of the table are not in {image}"),
        (of_table, f"of {image} are not in the table"),
    ):
        if len(rows):
            shown = "; ".join(
                f"frame {frame}, id {number}" for frame, number in rows.iloc[:_SHOWN, :2].itertuples(index=False)
            )
            yield _unlike(f"{counted(len(rows), 'object')} {what}: {shown}{' ...' if len(rows) > _SHOWN else ''}",
                          "objects without a row have no properties, rows without an object no place")  # fmt: skip


def _beyond(labels: xr.DataArray, table: pd.DataFrame) -> str:
    """Say which bounding boxes end beyond the image."""
    for number, dim in enumerate("xyz"):
        column = f"Bounding Box Maximum_{number}"
        if column in table and len(table) and dim in labels.dims:
            most = float(np.max(table[column].to_numpy()))
            if most > labels.sizes[dim]:
                return f"bounding boxes reach {most:g} along {dim}, where the image has {labels.sizes[dim]} voxels"
    return ""


def _unlike(what: str, why: str) -> Finding:
    return Finding("table", "warning", what, why, "export both again from the same project, of the same image")
