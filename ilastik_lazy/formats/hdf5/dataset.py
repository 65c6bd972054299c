"""Describe one HDF5 dataset as an image: its axes, its attributes, and the way its chunks are read.

Chunked data with known filters are read past h5py (`chunks.direct`); everything else goes through h5py, correct and
slower, and `Storage.access` says so.
"""

from __future__ import annotations

import contextlib
import typing
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.axes import matlab_axes
from ilastik_lazy.core.classes import COLORS, flag_colors, flag_names
from ilastik_lazy.core.kinds import WHOLE_NUMBERS, kind_from_name
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySpec, Kind, Storage
from ilastik_lazy.core.views.packing import PACKING_ATTRIBUTES, Packing
from ilastik_lazy.errors import LimitExceededError, MetadataError, option
from ilastik_lazy.formats.hdf5.attributes import (
    decorating_text,
    plain_attribute,
    raw_attribute,
    text_attribute,
    texts_attribute,
)
from ilastik_lazy.formats.hdf5.chunks.absent import warn_of_absent_chunks
from ilastik_lazy.formats.hdf5.dataset_facts import DatasetFacts
from ilastik_lazy.formats.hdf5.dimension_scales import coordinate_beside, dimension_scales
from ilastik_lazy.formats.hdf5.file import dataset_at
from ilastik_lazy.formats.hdf5.layout import UNKNOWN_LAYOUT, check_array, layout_of, pipeline_of, why_not_direct
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.settled_axes import CONVENTIONS, Settled, settled_axes
from ilastik_lazy.formats.metadata.values import channel_count, drange_from, packing_of, pieces
from ilastik_lazy.storage.files import Stamp
from ilastik_lazy.warning import warn

__all__ = ["described"]


def described(file: h5py.File, location: Location, stamp: Stamp, options: OpenOptions) -> DatasetFacts:
    """Describe the dataset at `location`; a link into another file is refused."""
    assert location.internal_path is not None
    axes, limits = options.axes_of(location.internal_path), options.limits
    dataset = dataset_at(file, location.internal_path, refuse_external=not options.external_roots)
    check_array(dataset, location, limits)
    pipeline = pipeline_of(dataset)
    layout = layout_of(dataset)
    trouble = why_not_direct(dataset, pipeline, layout, location.path)
    warn_of_absent_chunks(dataset, location, trouble is None)
    # Without h5py's metadata, and in native byte order as `=`: netCDF4 distinguishes it from `<`.
    dtype = np.dtype(dataset.dtype.str)
    settled = _axes_of_dataset(dataset, location, axes, limits)
    kind = _kind_of(dataset, location, dtype, settled)
    flags = _flags_of(dataset, limits) if kind in WHOLE_NUMBERS else {}
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
        likelier_axes=settled.likelier,
        # In an image of classes they would be taken for those of the values.
        channel_names=flag_names(flags) if kind in WHOLE_NUMBERS else settled.channel_names,
        channel_colors=flag_colors(flags) if kind in WHOLE_NUMBERS else settled.channel_colors,
        kind=kind,
        drange=_drange_of(dataset, location),
        display_mode=_optional_text(dataset, "display_mode", limits) or "",
        packing=_packing_of(dataset, location, dtype, limits),
        remarks=settled.remarks,
    )
    is_indexed = layout == "chunked" and trouble not in (None, UNKNOWN_LAYOUT)
    is_checkable = is_indexed and pipeline.is_checkable and dataset.id.get_type().get_size() == dtype.itemsize
    return DatasetFacts(spec, location, stamp, pipeline, dataset.fillvalue, trouble is None, is_indexed, is_checkable)


def _axes_of_dataset(dataset: h5py.Dataset, location: Location, axes: str | None, limits: Limits) -> Settled:
    try:
        axistags = text_attribute(dataset, "axistags", limits)
    except MetadataError as error:
        if axes is None:
            raise MetadataError(f"{error}; pass {option('axes')} with one letter of 'tzyxc' per dimension") from error
        axistags = None
    stated = {name: plain_attribute(dataset, name, limits) for name in CONVENTIONS}
    stated |= {"axistags": axistags, "axis_units": _optional_text(dataset, "axis_units", limits)}
    labels, (scales, beside) = _dimension_labels(dataset, limits), dimension_scales(dataset, limits)
    is_labelled = any(labels)
    return settled_axes(
        location, dataset.shape, axes, stated,
        dims=labels if is_labelled else scales, dims_from="DIMENSION_LABELS" if is_labelled else "dimension scales",
        beside=beside, colors=coordinate_beside(dataset, COLORS, limits) if beside else None,
        channel=coordinate_beside(dataset, "c", limits) if beside else None,
        likelier=matlab_axes(dataset.shape) if "MATLAB_class" in dataset.attrs else "",
    )  # fmt: skip


def _kind_of(dataset: h5py.Dataset, location: Location, dtype: np.dtype[Any], settled: Settled) -> Kind | None:
    """Return what the numbers mean: from the attribute that xarray writes, or the name of the file."""
    noted = decorating_text(dataset, "ilastik_kind")
    if noted in typing.get_args(Kind) and (noted not in WHOLE_NUMBERS or dtype.kind in "iu"):
        return typing.cast("Kind", noted)
    return kind_from_name(location.path, dtype, channel_count(settled.axes, dataset.shape))


def _flags_of(dataset: h5py.Dataset, limits: Limits) -> dict[str, Any]:
    """Return CF's names and colours of values, as far as they can be read."""
    found = {"flag_values": plain_attribute(dataset, "flag_values", limits)}
    for name in ("flag_meanings", "flag_colors"):
        with contextlib.suppress(MetadataError, LimitExceededError):
            texts = texts_attribute(dataset, name, limits)
            found[name] = texts[0] if len(texts) == 1 else list(texts)
    return found


def _dimension_labels(dataset: h5py.Dataset, limits: Limits) -> tuple[str, ...]:
    """Return the labels of HDF5's dimension API, empty texts included; () where there are none.

    The attribute is read as what it is: `H5DSget_label`, which `dataset.dims` calls, takes texts of fixed length
    for addresses, and crashes.
    """
    try:
        return texts_attribute(dataset, "DIMENSION_LABELS", limits)
    except (MetadataError, LimitExceededError) as error:
        warn(f"{error}: ignored")
        return ()


def _optional_text(dataset: h5py.Dataset, name: str, limits: Limits) -> str | None:
    """Return the text of an optional attribute; warn if it is malformed."""
    try:
        return text_attribute(dataset, name, limits)
    except (MetadataError, LimitExceededError) as error:
        warn(f"{error}: ignored")
        return None


def _packing_of(dataset: h5py.Dataset, location: Location, stored: np.dtype[Any], limits: Limits) -> Packing | None:
    found = {name: raw_attribute(dataset, name, limits) for name in PACKING_ATTRIBUTES if name in dataset.attrs}
    return packing_of(location, found, stored)


def _drange_of(dataset: h5py.Dataset, location: Location) -> tuple[float, float] | None:
    value = dataset.attrs.get("drange")
    return drange_from(value.tolist() if isinstance(value, np.ndarray) else value, location)
