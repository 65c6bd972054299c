"""Whether a dataset can be added to a file or folder that exists."""

from __future__ import annotations

import json
import os

import h5py

from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.formats.hdf5.file import H5PY_ERRORS

__all__ = ["is_free_in_hdf5", "is_free_in_n5"]


def is_free_in_hdf5(path: str, internal_path: str) -> bool:
    """Return whether `path` is an HDF5 file without anything at `internal_path`.

    Raises
    ------
    ArgumentError
        A part of `internal_path` is a dataset, or a link: what is written there might go into another file.
    """
    if not os.path.isfile(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            here: h5py.Group = file
            *above, name = internal_path.split("/")
            for part in above:
                if (link := here.get(part, getlink=True)) is None:
                    return True
                found = here.get(part) if isinstance(link, h5py.HardLink) else None
                if not isinstance(found, h5py.Group):
                    raise _no_group(path, part)
                here = found
            return here.get(name, getlink=True) is None
    except ArgumentError:
        raise
    except H5PY_ERRORS:
        return False


def is_free_in_n5(path: str, internal_path: str) -> bool:
    """Return whether `path` is an N5 folder without anything at `internal_path`.

    Raises
    ------
    ArgumentError
        A part of `internal_path` is a dataset, or a link.
    """
    if not os.path.isfile(os.path.join(path, "attributes.json")):
        return False
    here = path
    for part in internal_path.split("/"):
        if _is_n5_dataset(here) or (here != path and os.path.islink(here)):
            raise _no_group(path, os.path.basename(here))
        here = os.path.join(here, part)
    return not os.path.lexists(here)


def _is_n5_dataset(folder: str) -> bool:
    try:
        with open(os.path.join(folder, "attributes.json"), "rb") as file:
            return "dimensions" in json.load(file)
    except (OSError, ValueError, TypeError):
        return False


def _no_group(path: str, part: str) -> ArgumentError:
    return ArgumentError(f"{part!r} in {path} is not a group that a dataset can be added to: choose another path")
