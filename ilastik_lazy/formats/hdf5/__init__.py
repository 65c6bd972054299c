"""Images in HDF5 files: ilastik's exports, data embedded in projects, anybody's arrays.

Chunked data with known filters are read past h5py (`hdf5_direct`); everything else goes through
h5py here, correct and slower, and `Storage.access` says so.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.kinds import WHOLE_NUMBERS, kind_from_name
from ilastik_lazy.core.limits import Limits
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.core.views.packing import PACKING_ATTRIBUTES, Packing
from ilastik_lazy.errors import (
    DatasetNotFoundError,
    ExternalReferenceError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    option,
)
from ilastik_lazy.formats.conventions import CONVENTIONS, Settled, settled_axes
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.hdf5.attributes import plain_attribute, raw_attribute, text_attribute, texts_attribute
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.hdf5.chunks.index import COUNTED_AT_OPENING, incomplete_message
from ilastik_lazy.formats.hdf5.external import Found, allowed_file, found_at, source_from
from ilastik_lazy.formats.hdf5.file import (
    DatasetEntry,
    LinkedFile,
    dataset_at,
    image_entries,
    link_of,
    object_at,
    open_hdf5,
)
from ilastik_lazy.formats.hdf5.layout import UNKNOWN_LAYOUT, check_array, layout_of, pipeline_of, why_not_direct
from ilastik_lazy.formats.hdf5.library import H5pySource
from ilastik_lazy.formats.hdf5.scales import dimension_scales
from ilastik_lazy.formats.hdf5.superblock import has_signature
from ilastik_lazy.formats.hdf5.untrusted import images_by_child, open_images_by_child
from ilastik_lazy.formats.location import Location, only_image
from ilastik_lazy.formats.metadata import channel_count, drange_from, packing_of, pieces
from ilastik_lazy.storage.files import Stamp, stamp_of

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
                source = _source_of(file, here, stamp, axes, limits)
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


def _source_of(
    file: h5py.File, location: Location, stamp: Stamp, axes: str | None, limits: Limits
) -> DirectHdf5Source | H5pySource:
    assert location.internal_path is not None
    dataset = dataset_at(file, location.internal_path, refuse_external=not limits.external_roots)
    check_array(dataset, location, limits)
    pipeline = pipeline_of(dataset, location)
    layout = layout_of(dataset)
    trouble = why_not_direct(dataset, pipeline, layout, location.path)
    _warn_of_absent_chunks(dataset, location, trouble is None)
    # Without h5py's notes, and `=` for `<` on a machine that has it so: netCDF4 tells them apart.
    dtype = np.dtype(dataset.dtype.str)
    settled = _axes_of_dataset(dataset, location, axes, limits)
    kind = kind_from_name(location.path, dtype, channel_count(settled.axes, dataset.shape))
    spec = ArraySpec(
        name=location.internal_path.rsplit("/", 1)[-1] if location.internal_path else "",
        shape=dataset.shape,
        dtype=dtype,
        axes=settled.axes,
        chunks=dataset.chunks or pieces(dataset.shape, dtype.itemsize),
        storage=Storage(
            str(location),
            location.path,
            layout,
            pipeline.name,
            "direct" if trouble is None else f"h5py ({trouble})",
            buffers=pipeline.buffers,
        ),
        axes_guessed=settled.guessed,
        # In an image of classes they would be taken for those of the values.
        channel_names=() if kind in WHOLE_NUMBERS else settled.channel_names,
        kind=kind,
        drange=_drange_of(dataset, location),
        display_mode=_optional_text(dataset, "display_mode", limits) or "",
        packing=_packing_of(dataset, location, dtype, limits),
        remarks=settled.remarks,
    )
    direct = DirectHdf5Source(spec, location, stamp, pipeline, dataset.fillvalue)
    if trouble is None:
        return direct
    is_indexed = layout == "chunked" and trouble != UNKNOWN_LAYOUT
    is_checkable = is_indexed and pipeline.is_checkable and dataset.id.get_type().get_size() == dtype.itemsize
    return H5pySource(spec, location, stamp, direct if is_checkable else None, is_indexed)


def _warn_of_absent_chunks(dataset: h5py.Dataset, location: Location, is_direct: bool) -> None:
    """Chunks that were never written read as fill value, which nobody would notice."""
    if dataset.chunks is None:
        return
    count = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    # A direct source counts those of a larger file when it reads their index.
    if is_direct and count > COUNTED_AT_OPENING:
        return
    if (absent := count - dataset.id.get_num_chunks()) > 0:
        warnings.warn(incomplete_message(location, absent, count), IncompleteSourceWarning, stacklevel=2)


def _axes_of_dataset(dataset: h5py.Dataset, location: Location, axes: str | None, limits: Limits) -> Settled:
    try:
        axistags = text_attribute(dataset, "axistags", limits)
    except MetadataError as error:
        if axes is None:
            raise MetadataError(f"{error}; pass {option('axes')} with one letter of 'tzyxc' a dimension") from error
        axistags = None
    stated = {name: plain_attribute(dataset, name, limits) for name in CONVENTIONS}
    stated |= {"axistags": axistags, "axis_units": _optional_text(dataset, "axis_units", limits)}
    labels, (scales, beside) = _dimension_labels(dataset, limits), dimension_scales(dataset, limits)
    is_labelled = any(labels)
    return settled_axes(
        location, dataset.shape, axes, stated,
        dims=labels if is_labelled else scales, dims_from="DIMENSION_LABELS" if is_labelled else "dimension scales",
        beside=beside,
    )  # fmt: skip


def _dimension_labels(dataset: h5py.Dataset, limits: Limits) -> tuple[str, ...]:
    """Labels of HDF5's dimension API, empty texts included; () where there are none.

    The attribute is read as what it is: `H5DSget_label`, which `dataset.dims` calls, takes texts of fixed length
    for addresses, and crashes.
    """
    try:
        return texts_attribute(dataset, "DIMENSION_LABELS", limits)
    except (MetadataError, LimitExceededError) as error:
        warnings.warn(f"{error}: ignored", MetadataWarning, stacklevel=2)
        return ()


def _optional_text(dataset: h5py.Dataset, name: str, limits: Limits) -> str | None:
    """Text of an attribute that only decorates: what is wrong with it is a warning."""
    try:
        return text_attribute(dataset, name, limits)
    except (MetadataError, LimitExceededError) as error:
        warnings.warn(f"{error}: ignored", MetadataWarning, stacklevel=2)
        return None


def _packing_of(dataset: h5py.Dataset, location: Location, stored: np.dtype[Any], limits: Limits) -> Packing | None:
    found = {name: raw_attribute(dataset, name, limits) for name in PACKING_ATTRIBUTES if name in dataset.attrs}
    return packing_of(location, found, stored)


def _drange_of(dataset: h5py.Dataset, location: Location) -> tuple[float, float] | None:
    value = dataset.attrs.get("drange")
    return drange_from(value.tolist() if isinstance(value, np.ndarray) else value, location)


FORMAT = Format("HDF5", recognises, images, open_image, open_together=open_images)
