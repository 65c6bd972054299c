"""Images in HDF5 files: ilastik's exports, data embedded in projects, anybody's arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import h5py

from ilastik_lazy.core.limits import Limits
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import DatasetNotFoundError, ExternalReferenceError, option
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.hdf5.dataset import source_of
from ilastik_lazy.formats.hdf5.external import Found, allowed_file, found_at, source_from
from ilastik_lazy.formats.hdf5.file import DatasetEntry, LinkedFile, image_entries, link_of, object_at, open_hdf5
from ilastik_lazy.formats.hdf5.superblock import has_signature
from ilastik_lazy.formats.hdf5.untrusted import images_by_child, open_images_by_child
from ilastik_lazy.formats.location import Location, only_image
from ilastik_lazy.storage.files import stamp_of

__all__ = ["FORMAT", "found_images", "images", "open_image", "open_images", "recognises"]

# Cut-outs of single objects beside the tables of ilastik, and BigDataViewer's pyramids, are not what "the image" means.
_CUT_OUTS = re.compile(r"^images/")
_NOT_THE_IMAGE = re.compile(r"^images/|^t\d{5}/s\d+/\d+/cells$")
_NO_IMAGES = re.compile(r"^s\d+/(resolutions|subdivisions)$")
_EMBEDDED = "Input Data/local_data/"
# Links from file to file to file.
_MOST_FILES = 8


def recognises(location: Location, limits: Limits) -> bool:
    """Whether the file is HDF5, by its name or its first bytes."""
    import os

    if not os.path.isfile(location.path):
        return False
    return location.suffix in (".h5", ".hdf5", ".hdf", ".ilp") or has_signature(location.path)


def images(location: Location, limits: Limits) -> list[str]:
    """Internal paths of the images in a file, the likeliest first.

    Of a project, the images embedded in it.  Cut-outs beside object tables are left out, unless there is nothing else.
    """
    if limits.trust == "untrusted":
        return images_by_child(location, limits)
    with open_hdf5(location.path) as file:
        return _listed(file, limits)


def _listed(file: h5py.File, limits: Limits) -> list[str]:
    """Paths of the images; where other files may be referred to, an export that is a link into one is the first."""
    paths = [entry.path for entry in _main_entries(file, limits)]
    is_linked = isinstance(link_of(file["/"], "exported_data"), h5py.ExternalLink)
    return ["exported_data", *paths] if is_linked and limits.external_roots else paths


def _main_entries(file: h5py.File, limits: Limits) -> list[DatasetEntry]:
    entries = [entry for entry in image_entries(file, limits) if not _NO_IMAGES.search(entry.path)]
    if _is_project(file):
        # Everything else in it are settings, labels in pieces, and caches.
        return [entry for entry in entries if entry.path.startswith(_EMBEDDED)]
    chosen = [entry for entry in entries if not _NOT_THE_IMAGE.search(entry.path)] or entries
    return sorted(chosen, key=lambda entry: (entry.path != "exported_data", entry.path))


def _is_project(file: h5py.File) -> bool:
    return "workflowName" in file and "Input Data" in file


def open_image(location: Location, axes: str | None, limits: Limits) -> ArraySource:
    """Source of one dataset; only metadata are read.

    Parameters
    ----------
    location
        The file; without an internal path, ``exported_data`` or the only image is taken.
    axes
        Names of the axes where the caller knows better than the file.

    Raises
    ------
    DatasetNotFoundError
        There is no such dataset, or several and none called ``exported_data``.
    MetadataError, ExternalReferenceError, UnsupportedFilterError, LimitExceededError
    """
    return open_images(location, [location.internal_path], axes, limits)[0]


def open_images(
    location: Location, paths: Sequence[str | None] | None, axes: str | None, limits: Limits
) -> list[ArraySource]:
    """Sources of several datasets of one file; a path of None is the only image, no paths are all of them."""
    if limits.trust == "untrusted":
        return open_images_by_child(location, paths, axes, limits)
    return [source_from(found) for found in found_images(location, paths, axes, limits)]


def found_images(
    location: Location, paths: Sequence[str | None] | None, axes: str | None, limits: Limits
) -> tuple[Found, ...]:
    """What `open_images` opens, and where arrays without chunks begin."""
    return tuple(_found_in(location.path, paths, axes, limits, _MOST_FILES))


def _found_in(
    path: str, inside: Sequence[str | None] | None, axes: str | None, limits: Limits, hops: int
) -> Iterator[Found]:
    """Images of one file; those that are links into other files lead on, `hops` times at most."""
    stamp, roots = stamp_of(path), limits.external_roots
    with open_hdf5(path) as file:
        if inside is None:
            inside = _listed(file, limits) or [None]
        for name in inside:
            here = Location(path, name or _only_image(file, path, limits))
            linked = object_at(file, here.internal_path or "") if roots else None
            if not isinstance(linked, LinkedFile):
                source = source_of(file, here, stamp, axes, limits)
                yield found_at(file, here, source, roots)
                continue
            if hops == 0:
                raise ExternalReferenceError(f"{here} runs through links of more than {_MOST_FILES} files")
            target = allowed_file(str(here), linked.path, path, roots)
            for found in _found_in(target, [linked.internal_path.strip("/")], axes, limits, hops - 1):
                yield replace(found, others=((path, stamp), *found.others))


def _only_image(file: h5py.File, path: str, limits: Limits) -> str:
    if file.get("exported_data", getlink=True) is not None:
        return "exported_data"
    entries = _main_entries(file, limits)
    if not entries and _is_project(file):
        raise DatasetNotFoundError(
            f"{path} is a project, and no image is embedded in it: "
            f"open an export, and name the project with {option('project')}"
        )
    if len(entries) > 1 and all(_CUT_OUTS.search(entry.path) for entry in entries):
        raise DatasetNotFoundError(
            f"{path} holds a table of objects; its {len(entries)} images are cut-outs of single objects: "
            f"name one with {option('internal_path', entries[0].path)}"
        )
    shown = [f"{entry.path} {entry.shape} {entry.dtype}" for entry in entries[:8]]
    return only_image(path, [entry.path for entry in entries], shown)


FORMAT = Format("HDF5", recognises, images, open_image, open_together=open_images)
