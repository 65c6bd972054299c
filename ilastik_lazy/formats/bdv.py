"""BigDataViewer's XML opened by its own name: the HDF5 or N5 that it describes, with its names and voxel sizes.

Each level of each setup is one image over all time points, ``s00/scale0``, also in an N5, where the time points of a
setup are ``setup0/timepoint3/s0``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import DatasetNotFoundError, MetadataError
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.hdf5 import bdv
from ilastik_lazy.formats.hdf5 import images as images_in_hdf5
from ilastik_lazy.formats.hdf5 import open_images as open_in_hdf5
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.spim_data import data_of, names_of_setups, read_spim_data
from ilastik_lazy.formats.n5 import attributes_of
from ilastik_lazy.formats.n5 import images as images_in_n5
from ilastik_lazy.formats.n5 import open_image as open_in_n5
from ilastik_lazy.formats.named_image import no_such_image, only_image
from ilastik_lazy.formats.suffixes import XML_SUFFIXES
from ilastik_lazy.storage.files import opened, read_up_to

__all__ = ["FORMAT", "images", "open_image", "open_images", "recognises"]

_HEAD_BYTES = 4096
_IN_N5 = re.compile(r"setup(\d{1,6})/timepoint(\d{1,9})/s(\d{1,2})")


def recognises(location: Location, options: OpenOptions) -> bool:
    """Return whether the file is an XML of BigDataViewer."""
    if location.suffix not in XML_SUFFIXES or not os.path.isfile(location.path):
        return False
    with opened(location.path) as fd:
        return b"<SpimData" in read_up_to(fd, _HEAD_BYTES, 0, location.path)


def images(location: Location, options: OpenOptions) -> list[str]:
    """List the finest level of each setup, then the others."""
    data = _data(location, options)
    return bdv.levels_of(_setups_in_n5(data, options)) if os.path.isdir(data.path) else images_in_hdf5(data, options)


def open_image(location: Location, options: OpenOptions) -> ArraySource:
    """Open one level of a setup, which may also be named as in the XML."""
    return open_images(location, [location.internal_path], options)[0]


def open_images(location: Location, paths: Sequence[str | None] | None, options: OpenOptions) -> list[ArraySource]:
    """Open several of them; a path of None stands for the only setup, without paths all are opened."""
    data, names = _data(location, options), names_of_setups(read_spim_data(location.path))
    if paths is None:
        paths = images(location, options)
    elif None in paths:
        finest = [path for path in images(location, options) if path.endswith("/scale0")]
        shown = [f"{path} {names.get(int(path[1:-7]), '')}".rstrip() for path in finest]
        what = f"{len(finest)} setups of BigDataViewer"
        only_image(location.path, finest, shown, what=what, together="open_datatree()")
    own: dict[str, list[str]] = {}
    for number, name in names.items():
        own.setdefault(name, []).append(f"s{number:02}")
    paths = [_path_of(path, own, location.path) for path in paths]
    if unknown := next((path for path in paths if not bdv.is_level(path)), None):
        raise no_such_image(f"setup {unknown!a}", location.path, [*own, *images(location, options)])
    if not os.path.isdir(data.path):
        return open_in_hdf5(data, paths, options, location.path)
    setups = _setups_in_n5(data, options)
    return [_level_in_n5(data.at(path), setups, options, location.path) for path in paths]


def _path_of(named: str | None, own: Mapping[str, Sequence[str]], where: str) -> str | None:
    """Return the path of a setup that may be named as in the XML, where several may have one name."""
    if named is None or bdv.is_level(named) or named not in own:
        return named
    if len(own[named]) > 1:
        raise DatasetNotFoundError(
            f"{where} has {len(own[named])} setups called {named!a}: name one of {', '.join(own[named])}"
        )
    return own[named][0]


def _data(location: Location, options: OpenOptions) -> Location:
    return Location(data_of(read_spim_data(location.path), location.path, options.external_roots))


def _setups_in_n5(data: Location, options: OpenOptions) -> list[bdv.Setup]:
    """Return the setups in an N5 of BigDataViewer."""
    found: dict[int, tuple[set[int], set[int]]] = {}
    for match in filter(None, map(_IN_N5.fullmatch, images_in_n5(data, options))):
        setup, time, level = map(int, match.groups())
        times, levels = found.setdefault(setup, (set(), set()))
        times.add(time)
        levels.add(level)
    if not found:
        raise DatasetNotFoundError(f"{data.path} holds no setup of BigDataViewer, such as setup0/timepoint0/s0")
    return [
        bdv.Setup(
            f"s{setup:02}", _factors(data, setup, len(levels), options), tuple(f"t{time:05}" for time in sorted(times))
        )
        for setup, (times, levels) in sorted(found.items())
    ]


def _factors(data: Location, setup: int, levels: int, options: OpenOptions) -> tuple[tuple[float, float, float], ...]:
    folder = os.path.join(data.path, f"setup{setup}")
    table = attributes_of(folder, data.path, options).get("downsamplingFactors", [[1, 1, 1]])
    try:
        factors = tuple((float(z), float(y), float(x)) for x, y, z in table)
    except (TypeError, ValueError, OverflowError):
        factors = ()
    if len(factors) != levels or not all(1 <= factor < 1e9 for each in factors for factor in each):
        raise MetadataError(
            f"{folder}: downsamplingFactors is {ascii(table)[:60]}: expected three numbers from 1 on for each of "
            f"{levels} levels"
        )
    return factors


def _level_in_n5(data: Location, setups: list[bdv.Setup], options: OpenOptions, xml: str) -> ArraySource:
    setup, level = bdv.chosen(data, setups)
    volume = replace(options, axes="zyx", axes_by_name=())
    members = [
        open_in_n5(data.at(f"setup{int(setup.name[1:])}/timepoint{int(time[1:])}/s{level}"), volume)
        for time in setup.times
    ]
    return bdv.level_source(data, setup, level, members, options.axes_of(f"{setup.name}/scale{level}"), xml)


FORMAT = Format("BigDataViewer", recognises, images, open_image, open_together=open_images)
