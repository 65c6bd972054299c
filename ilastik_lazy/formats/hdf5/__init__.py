"""Images in HDF5 files: ilastik's exports, data embedded in projects, anybody's arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import h5py

from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import DatasetNotFoundError, ExternalReferenceError, option, remedy
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.hdf5 import bdv, imaris
from ilastik_lazy.formats.hdf5.dataset import described
from ilastik_lazy.formats.hdf5.dataset_facts import DatasetFacts
from ilastik_lazy.formats.hdf5.external import allowed_file, found_at
from ilastik_lazy.formats.hdf5.file import DatasetEntry, LinkedFile, image_entries, link_of, object_at, open_hdf5
from ilastik_lazy.formats.hdf5.layout import require_plugins
from ilastik_lazy.formats.hdf5.sources import source_from
from ilastik_lazy.formats.hdf5.superblock import has_signature
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.named_image import only_image
from ilastik_lazy.formats.suffixes import HDF5_SUFFIXES
from ilastik_lazy.storage.files import Stamp, stamp_of
from ilastik_lazy.storage.isolation import ask_hdf5

__all__ = ["FORMAT", "found_images", "images", "open_image", "open_images", "recognises"]

# Cut-outs of single objects beside the tables of ilastik are not what "the image" means.
_CUT_OUTS = re.compile(r"^images/")
_EMBEDDED = "Input Data/local_data/"
# Links from file to file to file.
_MOST_FILES = 8

_Found = DatasetFacts | bdv.FoundLevel | imaris.FoundLevel


def recognises(location: Location, options: OpenOptions) -> bool:
    """Whether the file is HDF5, by its name or its first bytes."""
    if not os.path.isfile(location.path):
        return False
    return location.suffix in HDF5_SUFFIXES or has_signature(location.path)


def images(location: Location, options: OpenOptions) -> list[str]:
    """List internal paths of the images in a file, the likeliest first.

    For a project, list the images embedded in it.  Cut-outs beside object tables are left out, unless there is
    nothing else.
    """
    return ask_hdf5(options.trust, location.path, _images, location, options.in_child)


def _images(location: Location, options: OpenOptions) -> list[str]:
    with open_hdf5(location.path) as file:
        layout = _pyramids_of(file)
        return _listed(file, layout, layout.setups_in(file, options.limits), options)


def _pyramids_of(file: h5py.File) -> ModuleType:
    """Return the module of the layout in which the file may keep images at several resolutions."""
    return imaris if imaris.is_image(file) else bdv


def _listed(
    file: h5py.File, layout: ModuleType, setups: list[bdv.Setup] | list[imaris.Image], options: OpenOptions
) -> list[str]:
    """Paths of the images; where other files may be referred to, an export that is a link into one is the first."""
    if setups:
        levels: list[str] = layout.levels_of(setups)
        return levels
    paths = [entry.path for entry in _main_entries(file, options.limits)]
    is_linked = isinstance(link_of(file["/"], "exported_data"), h5py.ExternalLink)
    return ["exported_data", *paths] if is_linked and options.external_roots else paths


def _main_entries(file: h5py.File, limits: Limits) -> list[DatasetEntry]:
    entries = image_entries(file, limits)
    if _is_project(file):
        # Everything else in it are settings, labels in pieces, and caches.
        return [entry for entry in entries if entry.path.startswith(_EMBEDDED)]
    chosen = [entry for entry in entries if not _CUT_OUTS.search(entry.path)] or entries
    return sorted(chosen, key=lambda entry: (entry.path != "exported_data", entry.path))


def _is_project(file: h5py.File) -> bool:
    return "workflowName" in file and "Input Data" in file


def open_image(location: Location, options: OpenOptions) -> ArraySource:
    """Source of one dataset; only metadata are read.

    Parameters
    ----------
    location
        The file; without an internal path, ``exported_data`` or the only image is taken.
    options
        Its axes are those of the image where the caller knows better than the file.

    Raises
    ------
    DatasetNotFoundError
        There is no such dataset, or several and none called ``exported_data``.
    MetadataError, ExternalReferenceError, UnsupportedFilterError, LimitExceededError
    """
    return open_images(location, [location.internal_path], options)[0]


def open_images(
    location: Location, paths: Sequence[str | None] | None, options: OpenOptions, xml: str | None = None
) -> list[ArraySource]:
    """Sources of several datasets of one file; a path of None stands for the only image; without paths, all of them.

    `xml` is that of BigDataViewer where the caller named it; otherwise the one beside the file is used.
    """
    stamp = stamp_of(location.path)
    arguments = (location, stamp, None if paths is None else list(paths), options.in_child)
    found = ask_hdf5(options.trust, location.path, found_images, *arguments)

    def made(one: DatasetFacts) -> ArraySource:
        # Among others it is listed, and the error comes when it is read.
        if paths is not None and len(paths) == 1:
            require_plugins(one.pipeline.of_plugins, one.location, options.trust)
        return source_from(one, location.path, stamp, options)

    def opened(one: _Found) -> ArraySource:
        if isinstance(one, DatasetFacts):
            return made(one)
        members, axes = list(map(made, one.members)), options.axes_of(one.name)
        if isinstance(one, imaris.FoundLevel):
            return imaris.level_source(location, one, members, axes)
        return bdv.level_source(location, one.setup, one.level, members, axes, xml)

    return list(map(opened, found))


def found_images(
    location: Location, stamp: Stamp, paths: Sequence[str | None] | None, options: OpenOptions
) -> tuple[_Found, ...]:
    """Find what `open_images` opens, and where arrays without chunks begin; the file is opened once."""
    with open_hdf5(location.path) as file:
        layout = _pyramids_of(file)
        setups = layout.setups_in(file, options.limits) if paths is None or any(map(layout.is_level, paths)) else []
        if paths is None:
            paths = _listed(file, layout, setups, options) or [None]
        found: list[_Found] = []
        for here in map(location.at, paths):
            if not (setups and layout.is_level(here.internal_path)):
                found.append(_found_in(file, here, stamp, options))
                continue
            setup, level = layout.chosen(here, setups)
            volume = replace(options, axes="zyx")
            members = [_found_in(file, here.at(path), stamp, volume) for path in setup.paths(level)]
            found.append(layout.FoundLevel(setup, level, tuple(members)))
    return tuple(found)


def _found_in(
    file: h5py.File, location: Location, stamp: Stamp, options: OpenOptions, hops: int = _MOST_FILES
) -> DatasetFacts:
    """One dataset of an open file; one that is a link into another file leads on, `hops` times at most."""
    roots = options.external_roots
    here = location.at(location.internal_path or _only_image(file, location.path, options.limits))
    linked = object_at(file, here.internal_path or "") if roots else None
    if not isinstance(linked, LinkedFile):
        return found_at(file, described(file, here, stamp, options), roots)
    if hops == 0:
        raise ExternalReferenceError(f"{here} runs through links of more than {_MOST_FILES} files")
    target = Location(allowed_file(str(here), linked.path, here.path, roots), linked.internal_path.strip("/"))
    its_stamp = stamp_of(target.path)
    with open_hdf5(target.path) as other:
        found = _found_in(other, target, its_stamp, options, hops - 1)
    return replace(found, others=((here.path, stamp), *found.others))


def _only_image(file: h5py.File, path: str, limits: Limits) -> str:
    if file.get("exported_data", getlink=True) is not None:
        return "exported_data"
    entries = _main_entries(file, limits)
    if not entries and _is_project(file):
        raise DatasetNotFoundError(
            f"{path} is a project, and no image is embedded in it: "
            + remedy("open_datatree() opens its images and labels", "ilastik-lazy info shows its images and labels")
            + f"; to name the classes of an export, open the export with {option('project', 'x.ilp')}"
        )
    if len(entries) > 1 and all(_CUT_OUTS.search(entry.path) for entry in entries):
        raise DatasetNotFoundError(
            f"{path} holds a table of objects; its {len(entries)} images are cut-outs of single objects: "
            f"name one with {option('internal_path', entries[0].path)}"
        )
    shown = [f"{entry.path} {entry.shape} {entry.dtype}" for entry in entries[:8]]
    return only_image(path, [entry.path for entry in entries], shown)


FORMAT = Format("HDF5", recognises, images, open_image, open_together=open_images)
