"""Dimension scales of HDF5: the names and coordinates of the dimensions, as netCDF-4, h5netcdf and xarray write them.

https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html#netcdf_4_spec.  A scale is an array
beside the image, to which ``DIMENSION_LIST`` refers.  h5py's own functions for it (``dataset.dims``) crash on
labels of fixed length, so that attribute is read as what it is.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.options import Limits
from ilastik_lazy.errors import FormatError, MetadataError
from ilastik_lazy.formats.hdf5.attributes import decorating_text, path_of
from ilastik_lazy.formats.hdf5.file import H5PY_ERRORS, is_from_h5py, link_of
from ilastik_lazy.formats.hdf5.layout import pipeline_of
from ilastik_lazy.formats.metadata.settled_axes import Along, require_unpacked
from ilastik_lazy.formats.metadata.values import check_chunks

__all__ = ["coordinate_beside", "dimension_scales"]

_MOST_TEXTS = 10_000
# netCDF's mark of a dimension that has a length and no positions.
_WITHOUT_POSITIONS = "This is a netCDF dimension but not a netCDF variable"


def dimension_scales(dataset: h5py.Dataset, limits: Limits) -> tuple[tuple[str, ...], tuple[Along | None, ...]]:
    """Return the names of the dimensions that have scales, and what these say of them; nothing where there are none.

    A dimension whose scales cannot be followed has an empty name, and an `Along` that says why.
    """
    try:
        lists = _references(dataset)
    except H5PY_ERRORS as error:
        if not is_from_h5py(error):
            raise
        return (), tuple(
            Along(f"{dataset.file.filename}: DIMENSION_LIST of {dataset.name!a}", problem=f"it is damaged ({error})")
            for _ in dataset.shape
        )
    if lists is None:
        return (), ()
    found = [
        _scale_of(dataset, references, length, limits) for references, length in zip(lists, dataset.shape, strict=True)
    ]
    return tuple(name for name, _ in found), tuple(along for _, along in found)


def coordinate_beside(dataset: h5py.Dataset, name: str, limits: Limits) -> Along | None:
    """Return a coordinate of the dataset that is no scale, as xarray writes it; None where it states none."""
    if name not in (decorating_text(dataset, "coordinates") or "").split():
        return None
    group = dataset.parent
    where = f"{dataset.file.filename}/{path_of(group).strip('/')}/{name}"
    try:
        found = group[name] if isinstance(link_of(group, name), h5py.HardLink) else None
        return Along(where, _values(found, limits)) if isinstance(found, h5py.Dataset) and found.ndim < 2 else None
    except (FormatError, *H5PY_ERRORS) as error:
        if not (isinstance(error, FormatError) or is_from_h5py(error)):
            raise
        return Along.unreadable(where, error)


def _references(dataset: h5py.Dataset) -> list[Any] | None:
    """Return the references of each dimension, in an attribute of the type that the specification has."""
    if "DIMENSION_LIST" not in dataset.attrs:
        return None
    attribute = h5py.h5a.open(dataset.id, b"DIMENSION_LIST")
    kind = h5py.check_vlen_dtype(attribute.dtype)
    if attribute.shape != (dataset.ndim,) or kind is None or h5py.check_ref_dtype(kind) is not h5py.Reference:
        return None
    return list(dataset.attrs["DIMENSION_LIST"])


def _scale_of(dataset: h5py.Dataset, references: Any, length: int, limits: Limits) -> tuple[str, Along | None]:
    where = f"{dataset.file.filename}: scale of {dataset.name!a}"
    named = ""
    for reference in references:
        try:
            scale = dataset.file[reference] if reference else None
            if not isinstance(scale, h5py.Dataset):
                continue
            where = f"{dataset.file.filename}/{path_of(scale).strip('/')}"
            named = named or _name_of(scale)
            if scale.shape != (length,) or (decorating_text(scale, "NAME") or "").startswith(_WITHOUT_POSITIONS):
                continue
            values = _values(scale, limits)
        except (FormatError, *H5PY_ERRORS) as error:
            if not (isinstance(error, FormatError) or is_from_h5py(error)):
                raise
            return named, Along.unreadable(where, error)
        unit, calendar = (decorating_text(scale, name) for name in ("units", "calendar"))
        return named, Along(where, values, unit, calendar=calendar)
    return named, None


def _name_of(scale: h5py.Dataset) -> str:
    """Return the last part of its path, or its attribute ``NAME`` if only that is the name of an axis."""
    path = path_of(scale).rsplit("/", 1)[-1].removeprefix("_nc4_non_coord_")
    own = decorating_text(scale, "NAME") or ""
    return own if len(own) == 1 and len(path) != 1 else path


def _values(scale: h5py.Dataset, limits: Limits) -> np.ndarray[Any, Any]:
    where = f"{scale.file.filename}/{path_of(scale).strip('/')}"
    if scale.is_virtual or scale.external:
        raise MetadataError(f"{where} keeps its values elsewhere")
    require_unpacked(where, scale.attrs)
    if pipeline_of(scale).of_plugins:
        raise MetadataError(f"{where} is compressed in a way that cannot be decoded here")
    check_chunks(where, scale.shape, scale.chunks or scale.shape, max(1, scale.dtype.itemsize), limits)
    is_text = h5py.check_string_dtype(scale.dtype) is not None
    if is_text and scale.size > _MOST_TEXTS:
        raise MetadataError(f"{where} holds {scale.size:,} texts")
    if scale.dtype.kind not in "biuf" and not is_text:
        raise MetadataError(f"{where} holds {str(scale.dtype)[:60]}")
    values: np.ndarray[Any, Any] = scale.asstr(errors="replace")[...] if is_text else scale[...]
    return values
