"""BigDataViewer's HDF5: each setup at several resolutions, its time points as one array.

``t00003/s01/2/cells`` is time point 3 of setup 1 at level 2, z y x; ``s01/resolutions`` holds the factors of
the levels, x y z.  Voxel sizes stand in the ``.xml`` beside it, which is looked at only where it lies
in the same folder and has the same name.  https://imagej.net/plugins/bdv/ has no page on the layout: it is
bdv.img.hdf5.Util of https://github.com/bigdataviewer/bigdataviewer-core.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.limits import Limits
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import full_unit_name
from ilastik_lazy.core.views.stacked import stack_of
from ilastik_lazy.core.views.view import View
from ilastik_lazy.errors import (
    DatasetNotFoundError,
    IlastikLazyError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    option,
    remedy,
)
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.hdf5 import open_images as open_datasets
from ilastik_lazy.formats.hdf5.file import dataset_at, names_in, open_hdf5
from ilastik_lazy.formats.hdf5.untrusted import trusting
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.xml_text import MOST_XML, parse_xml
from ilastik_lazy.storage.files import opened, read_exactly, read_up_to, stamp_of
from ilastik_lazy.storage.isolation import in_child

__all__ = ["FORMAT", "UnsignedSource", "images", "open_image", "recognises"]

_SETUP = re.compile(r"s\d{2,}")
_TIME = re.compile(r"t\d{5,}")
_OURS = re.compile(r"(s\d{2,})(?:/scale(\d{1,2}))?")
_MOST_LEVELS = 32
_START_BYTES = 2**20
# Words for a voxel size that nobody has measured.
_NO_UNITS = ("", "pixel", "pixels", "px", "voxel")


def _is_asked_for(location: Location) -> bool:
    """Whether the name is one of HDF5, and no single time point is named in it."""
    if location.suffix not in (".h5", ".hdf5", ".hdf") or not os.path.isfile(location.path):
        return False
    return location.internal_path is None or _OURS.fullmatch(location.internal_path) is not None


def _may_be(location: Location) -> bool:
    """Whether the file may be a BigDataViewer's, as far as can be seen without the HDF5 library."""
    # Names of the root's members stand near the start of most files: a process is only started for these.
    with opened(location.path) as fd:
        start = read_up_to(fd, _START_BYTES, 0, location.path)
    return re.search(rb"t\d{5}\W", start) is not None and re.search(rb"s\d{2}\W", start) is not None


def recognises(location: Location, limits: Limits) -> bool:
    """Whether the file is a BigDataViewer's, and no single time point is asked for."""
    if not _is_asked_for(location):
        return False
    try:
        if limits.trust == "untrusted":
            function = "formats.hdf5.bdv:recognises"
            return _may_be(location) and bool(in_child(location.path, function, bool, location, trusting(limits)))
        with open_hdf5(location.path) as file:
            # `getlink` follows nothing.
            return all(isinstance(file.get(name, getlink=True), h5py.HardLink) for name in ("s00", "t00000")) or (
                any(map(_SETUP.fullmatch, names_in(file))) and any(map(_TIME.fullmatch, names_in(file)))
            )
    except IlastikLazyError:
        return False  # `hdf5` says what is wrong


@dataclass(frozen=True, slots=True)
class _Setup:
    """One angle, channel or tile."""

    name: str
    factors: tuple[tuple[float, float, float], ...]
    """Of each level, z y x."""
    times: tuple[str, ...]
    """Time points that hold it."""


def images(location: Location, limits: Limits) -> list[str]:
    """Internal paths ``s00/scale0``, ``s01/scale0``, ... of the finest levels, then of the others."""
    return sorted(_levels(_setups(location, limits)), key=lambda path: not path.endswith("/scale0"))


def _levels(setups: list[_Setup]) -> list[str]:
    return [f"{setup.name}/scale{level}" for setup in setups for level in range(len(setup.factors))]


def _setups(location: Location, limits: Limits) -> list[_Setup]:
    if limits.trust == "untrusted":
        function, result = "formats.hdf5.bdv:_setups", list[_Setup]
        told: list[_Setup] = in_child(location.path, function, result, location, trusting(limits))
        return told
    with open_hdf5(location.path) as file:
        names = names_in(file)
        if len(names) > limits.members:
            raise LimitExceededError(f"{location.path} has {len(names)} groups, more than {limits.members}")
        times = sorted(filter(_TIME.fullmatch, names))
        found = []
        for name in sorted(filter(_SETUP.fullmatch, names)):
            factors = _factors(file, name, location.path)
            there = tuple(time for time in times if isinstance(file.get(f"{time}/{name}", getlink=True), h5py.HardLink))
            if there:
                found.append(_Setup(name, factors, there))
    return found


def _factors(file: h5py.File, setup: str, path: str) -> tuple[tuple[float, float, float], ...]:
    table = dataset_at(file, f"{setup}/resolutions")
    if (
        table.ndim != 2
        or table.shape[1] != 3
        or not 0 < table.shape[0] <= _MOST_LEVELS
        or table.dtype.kind not in "iuf"
    ):
        raise MetadataError(f"{path}/{setup}/resolutions is no table of up to {_MOST_LEVELS} levels: {table.shape}")
    values = table[...].astype(float)
    if not ((values >= 1) & (values < 1e9)).all():
        raise MetadataError(f"{path}/{setup}/resolutions holds {values.min()} to {values.max()}: no factors of levels")
    return tuple((z, y, x) for x, y, z in values.tolist())


def open_image(location: Location, axes: str | None, limits: Limits) -> ArraySource:
    """Source of one level of one setup, over all time points; only metadata are read.

    Where a setup lies beside the others (the registrations in the XML) is not told: positions are its own.

    Raises
    ------
    DatasetNotFoundError
        There is no such level, or several setups and none was named.
    MetadataError, UnsupportedFilterError, LimitExceededError, ExternalReferenceError
    """
    setups = _setups(location, limits)
    setup, level = _chosen(location, setups)
    paths = [f"{time}/{setup.name}/{level}/cells" for time in setup.times]
    if int(setup.times[-1][1:]) - int(setup.times[0][1:]) >= len(paths):
        warnings.warn(
            f"{location.path}: {setup.name} lacks time points between {setup.times[0]} and {setup.times[-1]}: "
            f"the axis t numbers the {len(paths)} that are there",
            MetadataWarning,
            stacklevel=2,
        )
    placed, remarks = _placed_axes(location.path, setup, level)
    members = [_member(source, placed) for source in open_datasets(location, paths, "zyx", limits)]
    stacked = stack_of(members, "t")
    names = tuple(axes) if axes is not None else stacked.spec.dims
    if axes is not None and len(axes) != stacked.spec.ndim:
        raise MetadataError(f"{location} has the axes tzyx: {option('axes', axes)} names {len(axes)}")
    found = [axis if axis.name == name else Axis(name) for axis, name in zip(stacked.spec.axes, names, strict=True)]
    inside = Location(location.path, f"{setup.name}/scale{level}")
    storage = replace(stacked.spec.storage, location=str(inside), path=location.path)
    spec = replace(stacked.spec, name=setup.name, axes=tuple(found), storage=storage, remarks=remarks)
    return replace(stacked, spec=spec)


def _chosen(location: Location, setups: list[_Setup]) -> tuple[_Setup, int]:
    known = ", ".join(_levels(setups))[:200]
    if location.internal_path is None:
        if len(setups) == 1:
            return setups[0], 0
        raise DatasetNotFoundError(
            f"{location.path} holds {len(setups)} setups of BigDataViewer: {known}; name one with "
            f"{option('internal_path', 's00/scale0')}{remedy(', or open all with open_datatree()')}"
        )
    named = _OURS.fullmatch(location.internal_path)
    for setup in setups:
        if named and setup.name == named[1] and int(named[2] or 0) < len(setup.factors):
            return setup, int(named[2] or 0)
    raise DatasetNotFoundError(f"no {location.internal_path!r} in {location.path}; it holds {known}")


def _member(source: ArraySource, axes: tuple[Axis, ...]) -> ArraySource:
    """One time point: the 16 bits that BigDataViewer stores as signed numbers are unsigned ones."""
    spec = replace(source.spec, axes=axes, name="cells")
    if spec.dtype == np.int16:
        spec = replace(spec, dtype=np.dtype(np.uint16))
    return UnsignedSource(spec, source)


@dataclass(frozen=True, slots=True)
class UnsignedSource(View):
    """Numbers whose bits are to be read as those of the spec's dtype."""

    spec: ArraySpec
    source: ArraySource

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`)."""
        return self.source.read(region).view(self.spec.dtype)


def _placed_axes(path: str, setup: _Setup, level: int) -> tuple[tuple[Axis, ...], tuple[str, ...]]:
    """Axes z y x of one level: its voxels are factor times larger, and its first centre lies inside the first.

    Beside them, what of the voxel size makes no sense.
    """
    try:
        sizes, unit = _voxel_size(path, int(setup.name[1:]))
    except (MetadataError, LimitExceededError) as error:
        warnings.warn(f"{error}: voxel sizes are taken as unknown", MetadataWarning, stacklevel=2)
        return tuple(map(Axis, "zyx")), (str(error),)
    if sizes is None:
        return tuple(Axis(name, None, 0.0, unit) for name in "zyx"), ()
    factors, finest = setup.factors[level], setup.factors[0]
    return tuple(
        Axis(name, size * factor, size * (factor - first) / 2, unit)
        for name, size, factor, first in zip("zyx", sizes, factors, finest, strict=True)
    ), ()


def _voxel_size(path: str, setup: int) -> tuple[tuple[float, ...] | None, str]:
    """Sizes z y x of a voxel, and their unit, as the XML beside the file says."""
    beside = os.path.splitext(path)[0] + ".xml"
    if os.path.islink(beside) or not os.path.isfile(beside):
        return None, ""
    return _size_in(beside, os.path.basename(path), setup)


def _size_in(path: str, own_name: str, setup: int) -> tuple[tuple[float, ...] | None, str]:
    stamp = stamp_of(path)
    if stamp.size > MOST_XML:
        raise LimitExceededError(f"{path} has {stamp.size} bytes, more than {MOST_XML}")
    with opened(path, stamp) as fd:
        data = read_exactly(fd, stamp.size, 0, path)
    try:
        root = parse_xml(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise MetadataError(f"{path} is not in UTF-8") from error
    if (root.findtext(".//ImageLoader/hdf5") or own_name).strip() != own_name:
        return None, ""  # of another file
    for element in root.iter("ViewSetup"):
        if (element.findtext("id") or "").strip() != str(setup):
            continue
        unit = (element.findtext("voxelSize/unit") or "").strip()
        text = (element.findtext("voxelSize/size") or "").split()
        if unit.lower() in _NO_UNITS:
            return None, ""
        try:
            sizes = tuple(float(size) for size in reversed(text))
        except ValueError:
            sizes = ()
        if len(sizes) != 3 or not all(1e-30 < size < 1e30 for size in sizes):
            raise MetadataError(f"{path}: the voxel size of setup {setup} is {ascii(text)[:60]}, not three numbers")
        return sizes, full_unit_name(unit)
    return None, ""


FORMAT = Format("BigDataViewer", recognises, images, open_image)
