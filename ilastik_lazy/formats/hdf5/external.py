"""Data of an HDF5 file that lie in other files: links, external storage, virtual datasets.

Each file is checked before it is opened: it must lie below a folder that the caller named, be a
regular file, and stay what it was when the image was opened.  libhdf5 itself would read pixels out of
``/etc/passwd``, wait forever at a named pipe, and take zeros for the data of a file that is missing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Keep, Storage
from ilastik_lazy.core.views.view import EncodedView
from ilastik_lazy.errors import (
    CorruptFileError,
    ExternalReferenceError,
    SourceNotFoundError,
    UnsupportedFilterError,
    option,
)
from ilastik_lazy.formats.hdf5.dataset_facts import DatasetFacts, OtherFiles
from ilastik_lazy.formats.hdf5.file import dataset_at, object_at, open_hdf5
from ilastik_lazy.formats.hdf5.layout import is_converted, start_of
from ilastik_lazy.storage.allowed import is_below
from ilastik_lazy.storage.files import Stamp, require_unchanged, stamp_of

__all__ = ["ReferringSource", "allowed_file", "found_at"]

_PREFIXES = ("HDF5_VDS_PREFIX", "HDF5_EXT_PREFIX", "HDF5_EXTFILE_PREFIX")


@dataclass(frozen=True, slots=True)
class ReferringSource(EncodedView):
    """A source whose data lie in other files than the one that was opened; none of them may change."""

    spec: ArraySpec
    source: ArraySource
    files: OtherFiles

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        self._require_unchanged()
        values = self.source.read(region)
        self._require_unchanged()
        return values

    @property
    def origins(self) -> tuple[ArraySource | Storage, ...]:
        return self.source, *(Storage(path, path) for path, _ in self.files)

    def read_encoded(self, region: Region, keep: Keep) -> np.ndarray[Any, Any]:
        self._require_unchanged()
        # Named: a dataclass with slots is another class than the one that `super()` without arguments means.
        values = EncodedView.read_encoded(self, region, keep)
        self._require_unchanged()
        return values

    def encoded(self, chunk: tuple[int, ...]) -> bytes | None:
        self._require_unchanged()
        stream = EncodedView.encoded(self, chunk)
        self._require_unchanged()
        return stream

    def _require_unchanged(self) -> None:
        for path, stamp in self.files:
            require_unchanged(path, stamp)


def found_at(file: h5py.File, found: DatasetFacts, roots: tuple[str, ...]) -> DatasetFacts:
    """Find out where the data of an image of the open `file` lie."""
    location = found.location
    assert location.internal_path is not None
    dataset = dataset_at(file, location.internal_path, refuse_external=not roots)
    if dataset.external:
        path, start = _external_storage(dataset, location.path, roots)
        return replace(found, home=path, start=start, others=((location.path, found.stamp), (path, stamp_of(path))))
    if roots and dataset.is_virtual:
        return replace(found, refers=True, others=_virtual_sources(dataset, location.path, roots))
    return replace(found, start=start_of(dataset))


def allowed_file(where: str, name: str, home: str, roots: tuple[str, ...]) -> str:
    """Return the file that `name` stands for in the file `home`, without symbolic links.

    Raises
    ------
    ExternalReferenceError
        It lies outside `roots`, whether or not it exists, or is not a regular file.
    SourceNotFoundError
        There is none.
    """
    real = os.path.realpath(os.path.join(os.path.dirname(home), name)) if "\0" not in name else ""
    if not is_below(real, roots):
        raise ExternalReferenceError(
            f"{where} refers to the file {name!a}, which lies in none of the folders in {option('allow_external')}: "
            "add its folder, if you trust it"
        )
    if not os.path.lexists(real):
        raise SourceNotFoundError(f"{where} refers to the file {name!a}, which is not there")
    if not os.path.isfile(real):
        raise ExternalReferenceError(f"{where} refers to {name!a}, which is not a regular file")
    return real


def _external_storage(dataset: h5py.Dataset, home: str, roots: tuple[str, ...]) -> tuple[str, int]:
    """Return the file and first byte of a dataset that keeps its elements in another file."""
    where = f"{home}: {dataset.name!a}"
    (name, start, _), *others = dataset.external
    if others:
        raise UnsupportedFilterError(f"{where} is spread over {len(others) + 1} other files: only one can be read")
    path = allowed_file(where, name, home, roots)
    if is_converted(dataset):
        raise UnsupportedFilterError(f"{where} lies in {path}, as {str(dataset.dtype)[:40]}: only plain numbers can be")
    needed = start + dataset.size * dataset.dtype.itemsize
    if (size := stamp_of(path).size) < needed:
        # libhdf5 would take zeros for what is missing.
        raise CorruptFileError(f"{where} lies in {path}, which has {size} bytes instead of {needed}")
    return path, start


def _virtual_sources(dataset: h5py.Dataset, home: str, roots: tuple[str, ...]) -> OtherFiles:
    """Return the other files that a virtual dataset is made of; raise if one of them, or its data, is missing."""
    where = f"{home}: {dataset.name!a}"
    datasets = dict.fromkeys((part.file_name, part.dset_name) for part in dataset.virtual_sources())
    files: dict[str, Stamp] = {}
    for name, inside in datasets:
        if name == ".":
            _require_plain(dataset.file, inside, where)
            continue
        if "%" in name + inside:
            raise ExternalReferenceError(f"{where} refers to {name!a} {inside!a}: such patterns are not followed")
        path = allowed_file(where, name, home, roots)
        _require_one_place(where, name, home, path)
        files[path] = stamp_of(path)
        with open_hdf5(path) as file:
            _require_plain(file, inside, where)
    return tuple(files.items())


def _require_one_place(where: str, name: str, home: str, path: str) -> None:
    """Raise if another file has the same name in one of the folders that libhdf5 searches."""
    folders = [os.getcwd(), os.path.dirname(home), os.path.dirname(os.path.realpath(home))]
    folders += [os.environ[prefix] for prefix in _PREFIXES if os.environ.get(prefix)]
    for folder in folders:
        for part in (name, os.path.basename(name)):
            other = os.path.realpath(os.path.join(folder, part))
            if other != path and os.path.lexists(other):
                raise ExternalReferenceError(f"{where} refers to {name!a}, and there are several such files")


def _require_plain(file: h5py.File, inside: str, where: str) -> None:
    """Raise unless the dataset at `inside` holds its data itself."""
    found = object_at(file, inside)
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise ExternalReferenceError(f"{where} is made of {inside!a}, which is not a plain dataset itself")
