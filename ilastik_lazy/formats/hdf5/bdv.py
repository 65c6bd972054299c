"""BigDataViewer's HDF5: each setup at several resolutions, its time points as one array.

``t00003/s01/2/cells`` is time point 3 of setup 1 at level 2, z y x; ``s01/resolutions`` holds the factors of
the levels, x y z.  Voxel sizes are in the ``.xml`` file beside it, which is read only from the same folder and under
the same name.  https://imagej.net/plugins/bdv/ has no page on the layout: it is
bdv.img.hdf5.Util of https://github.com/bigdataviewer/bigdataviewer-core.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

import h5py
import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.packing import Packing
from ilastik_lazy.core.views.stacked import stack_of
from ilastik_lazy.core.views.unpacked import unpacked
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.errors import LimitExceededError, MetadataError, option
from ilastik_lazy.formats.hdf5.dataset_facts import DatasetFacts
from ilastik_lazy.formats.hdf5.file import dataset_at, link_of, names_in
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.spim_data import ViewSetup, read_spim_data, setup_in
from ilastik_lazy.formats.named_image import no_such_image, only_image
from ilastik_lazy.warning import warn

__all__ = ["FoundLevel", "Setup", "chosen", "is_level", "level_source", "levels_of", "setups_in"]

# Python makes no number of more than 4300 digits.
_SETUP = re.compile(r"s\d{2,9}")
_TIME = re.compile(r"t\d{5,9}")
_OURS = re.compile(r"(s\d{2,9})(?:/scale(\d{1,2}))?")
_MOST_LEVELS = 32


@dataclass(frozen=True, slots=True)
class Setup:
    """One angle, channel or tile."""

    name: str
    factors: tuple[tuple[float, float, float], ...]
    """Size of a voxel of each level, in voxels of the setup, z y x."""
    times: tuple[str, ...]
    """Time points that hold it."""

    def __post_init__(self) -> None:
        """Check the names, which a child process that was misled may have sent."""
        if not (self.times and all(map(_TIME.fullmatch, self.times)) and _SETUP.fullmatch(self.name)):
            raise ValueError(f"{self.name!a} is not a setup")

    def paths(self, level: int) -> list[str]:
        """Return the paths of the datasets of one level, one for each time point."""
        return [f"{time}/{self.name}/{level}/cells" for time in self.times]


@dataclass(frozen=True, slots=True)
class FoundLevel:
    """One level of a setup, and the datasets that it is made of."""

    setup: Setup
    level: int
    members: tuple[DatasetFacts, ...]

    def __post_init__(self) -> None:
        """Check the numbers, as `Setup` does."""
        if not 0 <= self.level < len(self.setup.factors) or len(self.members) != len(self.setup.times):
            raise ValueError(f"{self.setup.name} has no level {self.level}")

    @property
    def name(self) -> str:
        """Its internal path."""
        return f"{self.setup.name}/scale{self.level}"


def setups_in(file: h5py.File, limits: Limits) -> list[Setup]:
    """Return the setups in a file of BigDataViewer; none in any other file."""
    names = sorted(names_in(file)) if len(file) <= limits.members else []
    times = {name: file[name] for name in names if _TIME.fullmatch(name) and _is_member(file, name)}
    found = []
    for name in filter(_SETUP.fullmatch, names):
        there = tuple(time for time, group in times.items() if _is_member(group, name))
        if there and _is_member(file, name):
            found.append(Setup(name, _factors(file, name, file.filename), there))
    return found


def _is_member(group: h5py.Group | h5py.Dataset, name: str) -> bool:
    """Whether something of this name lies in the group itself: no link is followed."""
    return isinstance(group, h5py.Group) and isinstance(link_of(group, name), h5py.HardLink)


def is_level(internal_path: str | None) -> bool:
    """Whether a path may be that of a level: ``s00/scale0``, ``s00``, or none."""
    return internal_path is None or _OURS.fullmatch(internal_path) is not None


def levels_of(setups: list[Setup]) -> list[str]:
    """Return the internal paths ``s00/scale0``, ``s01/scale0``, ... of the finest levels, then of the others."""
    return sorted(_levels(setups), key=lambda path: not path.endswith("/scale0"))


def _levels(setups: list[Setup]) -> list[str]:
    return [f"{setup.name}/scale{level}" for setup in setups for level in range(len(setup.factors))]


def _factors(file: h5py.File, setup: str, path: str) -> tuple[tuple[float, float, float], ...]:
    table = dataset_at(file, f"{setup}/resolutions")
    if (
        table.ndim != 2
        or table.shape[1] != 3
        or not 0 < table.shape[0] <= _MOST_LEVELS
        or table.dtype.kind not in "iuf"
    ):
        raise MetadataError(f"{path}/{setup}/resolutions is not a table of up to {_MOST_LEVELS} levels: {table.shape}")
    values = table[...].astype(float)
    if not ((values >= 1) & (values < 1e9)).all():
        raise MetadataError(
            f"{path}/{setup}/resolutions holds {values.min()} to {values.max()}: expected factors from 1 on"
        )
    return tuple((z, y, x) for x, y, z in values.tolist())


def level_source(
    location: Location,
    setup: Setup,
    level: int,
    members: list[ArraySource],
    axes: str | None,
    xml: str | None = None,
) -> ArraySource:
    """Make one source of the sources of all time points.

    Positions are those inside the setup: the registrations in the XML, which place setups, are not read.

    Parameters
    ----------
    location
        The file or folder of the data.
    xml
        The XML that describes the data; by default the one beside them.
    """
    first, last = setup.times[0], setup.times[-1]
    if int(last[1:]) - int(first[1:]) >= len(members):
        warn(
            f"{location.path}: {setup.name} lacks time points between {first} and {last}: "
            f"the axis t numbers the {len(members)} that are there"
        )
    view = _described(location.path, setup, xml)
    placed = _placed_axes(view, setup, level)
    stacked = stack_of([_member(source, placed) for source in members], "t")
    names = tuple(axes) if axes is not None else stacked.spec.dims
    if axes is not None and len(axes) != stacked.spec.ndim:
        raise MetadataError(f"{location} has the axes tzyx: {option('axes', axes)} names {len(axes)}")
    named = [axis if axis.name == name else Axis(name) for axis, name in zip(stacked.spec.axes, names, strict=True)]
    inside = Location(xml or location.path, f"{setup.name}/scale{level}")
    storage = replace(stacked.spec.storage, location=str(inside), path=location.path)
    spec = replace(stacked.spec, name=view.name or setup.name, axes=tuple(named), storage=storage, remarks=view.remarks)
    return replace(stacked, spec=spec)


def chosen(location: Location, setups: list[Setup]) -> tuple[Setup, int]:
    """Return the setup and the level that `location` names.

    Raises
    ------
    DatasetNotFoundError
        There is no such level, or several setups and none was named.
    """
    known = _levels(setups)
    if location.internal_path is None:
        finest, what = [f"{setup.name}/scale0" for setup in setups], f"{len(setups)} setups of BigDataViewer"
        only_image(location.path, finest, known, what=what, together="open_datatree()")
        return setups[0], 0
    named = _OURS.fullmatch(location.internal_path)
    for setup in setups:
        if named and setup.name == named[1] and int(named[2] or 0) < len(setup.factors):
            return setup, int(named[2] or 0)
    raise no_such_image(repr(location.internal_path), location.path, known)


def _member(source: ArraySource, axes: tuple[Axis, ...]) -> ArraySource:
    """Make the source of one time point: BigDataViewer stores unsigned 16-bit numbers as signed ones."""
    spec = replace(source.spec, axes=axes, name="cells")
    if spec.dtype == np.int16:
        spec = replace(spec, packing=Packing(spec.dtype, np.dtype(np.uint16), sign="true"))
    return unpacked(DescribedSource(spec, source))


def _described(path: str, setup: Setup, xml: str | None) -> ViewSetup:
    """Return what the XML says of a setup; what makes no sense is warned of, and left out.

    Without `xml`, it is the XML beside the file that has the same name, if it describes this file.
    """
    own, beside = os.path.basename(path), xml or os.path.splitext(path)[0] + ".xml"
    if xml is None and (os.path.islink(beside) or not os.path.isfile(beside)):
        return ViewSetup()
    try:
        root = read_spim_data(beside)
        if xml is None and (root.findtext(".//ImageLoader/hdf5") or own).strip() != own:
            return ViewSetup()  # of another file
        return setup_in(root, int(setup.name[1:]), beside)
    except (MetadataError, LimitExceededError) as error:
        warn(f"{error}: voxel sizes are taken as unknown")
        return ViewSetup(remarks=(str(error),))


def _placed_axes(view: ViewSetup, setup: Setup, level: int) -> tuple[Axis, ...]:
    """Return the axes z y x of one level.

    Voxels of the level are larger by its factor, and the centre of the first one lies inside the first voxel.
    """
    if view.sizes is None:
        return tuple(Axis(name, None, 0.0, view.unit) for name in "zyx")
    factors, finest = setup.factors[level], setup.factors[0]
    return tuple(
        Axis(name, size * factor, size * (factor - first) / 2, view.unit)
        for name, size, factor, first in zip("zyx", view.sizes, factors, finest, strict=True)
    )
