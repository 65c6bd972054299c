"""Imaris' HDF5 (``.ims``, version 5.5): one image t c z y x at several resolutions.

``DataSet/ResolutionLevel 1/TimePoint 0/Channel 2/Data`` is channel 2 of time point 0 at level 1, z y x, padded to whole
chunks; ``ImageSizeX``, ``ImageSizeY`` and ``ImageSizeZ`` of its group state the size without the padding.  Attributes
are texts, one array element for each letter: https://imaris.oxinst.com/support/imaris-file-format.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import h5py
import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import full_unit_name
from ilastik_lazy.core.views.stacked import stack_of
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.window import windowed
from ilastik_lazy.errors import LimitExceededError, MetadataError, option
from ilastik_lazy.formats.hdf5.attributes import raw_attribute
from ilastik_lazy.formats.hdf5.dataset_facts import DatasetFacts
from ilastik_lazy.formats.hdf5.file import link_of, names_in
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.named_image import no_such_image
from ilastik_lazy.warning import warn

__all__ = ["FoundLevel", "Image", "chosen", "is_image", "is_level", "level_source", "levels_of", "setups_in"]

_LEVEL = re.compile(r"scale(\d{1,2})")
_FIRST = ("DataSet", "ResolutionLevel 0", "TimePoint 0", "Channel 0")
_MOST_LEVELS = 32
_UNNAMED = "(name not specified)"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Image:
    """What the file states about its image."""

    sizes: tuple[tuple[int, int, int], ...]
    """Size of each level without padding, z y x."""
    times: int
    channels: int
    extents: tuple[tuple[float, float], ...]
    """Where the image begins and ends, z y x; empty where unknown."""
    unit: str
    channel_names: tuple[str, ...]
    channel_colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        """Check the numbers, which a child process that was misled may have sent."""
        if min(self.times, self.channels, *(length for size in self.sizes for length in size)) < 1:
            raise ValueError("the image is empty")

    def paths(self, level: int) -> list[str]:
        """Return the paths of the datasets of one level, the channels of each time point together."""
        places = [(time, channel) for time in range(self.times) for channel in range(self.channels)]
        return [f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}/Data" for t, c in places]

    def axes(self, level: int) -> tuple[Axis, ...]:
        """Return the axes z y x of one level: all levels share the extents."""
        if not self.extents:
            return tuple(map(Axis, "zyx"))
        steps = [(stop - start) / n for (start, stop), n in zip(self.extents, self.sizes[level], strict=True)]
        placed = zip("zyx", steps, self.extents, strict=True)
        return tuple(Axis(name, step, start + step / 2, self.unit) for name, step, (start, _) in placed)


@dataclass(frozen=True, slots=True)
class FoundLevel:
    """One level of the image, and the datasets that it is made of."""

    setup: Image
    level: int
    members: tuple[DatasetFacts, ...]

    def __post_init__(self) -> None:
        """Check the numbers, as `Image` does."""
        image = self.setup
        if not 0 <= self.level < len(image.sizes) or len(self.members) != image.times * image.channels:
            raise ValueError(f"the image has no level {self.level}")

    @property
    def name(self) -> str:
        """Its internal path."""
        return f"scale{self.level}"


def is_image(file: h5py.File) -> bool:
    """Whether the file has the groups of Imaris; no link is followed."""
    return _group(file, *_FIRST) is not None


def setups_in(file: h5py.File, limits: Limits) -> list[Image]:
    """Return the image of a file for which `is_image` holds.

    Raises
    ------
    MetadataError
        A size is missing, makes no sense, or is larger than the dataset.
    """
    path = file.filename
    levels = _count(file, "ResolutionLevel", limits, "DataSet")
    times = _count(file, "TimePoint", limits, *_FIRST[:2])
    channels = _count(file, "Channel", limits, *_FIRST[:3])
    if levels > _MOST_LEVELS or times * channels > limits.members:
        raise LimitExceededError(f"{path} states {levels} levels, {times} time points and {channels} channels")
    info = _group(file, "DataSetInfo", "Image")
    sizes = tuple(_size_of_level(file, level, channels, info) for level in range(levels))
    stated = _texts(info, "XYZT")
    shown = dict(zip("ZYXT", (*sizes[0], times), strict=True))
    if other := [f"{name}={text}" for name, text in stated.items() if text.strip() != str(shown[name])]:
        sizes_used = ", ".join(f"{name}={shown[name]}" for name in stated)
        warn(f"{path}: DataSetInfo/Image states {ascii(', '.join(other))[1:81]}, but the data have {sizes_used}")
    groups = [_group(file, "DataSetInfo", f"Channel {channel}") for channel in range(channels)]
    names = [_texts(group, ["Name"]).get("Name", "") for group in groups]
    colors = [_texts(group, ["Color"]).get("Color") for group in groups]
    return [
        Image(
            sizes,
            times,
            channels,
            _or_warned(lambda: _extents(info, path)),
            full_unit_name(_texts(info, ["Unit"]).get("Unit", "")),
            tuple(names) if all(names) and set(names) != {_UNNAMED} else (),
            _or_warned(lambda: tuple(_color(text, path) for text in colors if text is not None))
            if None not in colors
            else (),
        )
    ]


def is_level(internal_path: str | None) -> bool:
    """Whether a path may be that of a level: ``scale0``, or none."""
    return internal_path is None or _LEVEL.fullmatch(internal_path) is not None


def levels_of(images: list[Image]) -> list[str]:
    """Return the internal paths ``scale0``, ``scale1``, ... of the levels, the finest first."""
    return [f"scale{level}" for image in images for level in range(len(image.sizes))]


def chosen(location: Location, images: list[Image]) -> tuple[Image, int]:
    """Return the image and the level that `location` names; without a name, the finest."""
    named = _LEVEL.fullmatch(location.internal_path or "scale0")
    if named and int(named[1]) < len(images[0].sizes):
        return images[0], int(named[1])
    raise no_such_image(repr(location.internal_path), location.path, levels_of(images))


def level_source(location: Location, found: FoundLevel, members: list[ArraySource], axes: str | None) -> ArraySource:
    """Make one source of the sources of all channels and time points, without their padding."""
    image = found.setup
    inside = Location(location.path, found.name)
    for member in members:
        _require_room(member.spec, image.sizes[found.level])
    by_time = [stack_of(members[k : k + image.channels], "c") for k in range(0, len(members), image.channels)]
    padded = stack_of(by_time, "t")
    whole = windowed(padded, tuple(slice(0, n) for n in (*padded.spec.shape[:2], *image.sizes[found.level])))
    if axes is not None and len(axes) != whole.spec.ndim:
        raise MetadataError(f"{location} has the axes tczyx: {option('axes', axes)} names {len(axes)}")
    placed = (*whole.spec.axes[:2], *image.axes(found.level))
    names = tuple(axes or whole.spec.dims)
    access = members[0].spec.storage.access
    spec = replace(
        whole.spec,
        name=found.name,
        axes=tuple(a if a.name == name else Axis(name) for a, name in zip(placed, names, strict=True)),
        storage=replace(whole.spec.storage, location=str(inside), path=location.path, access=access),
        channel_names=image.channel_names if names[1] == "c" else (),
        channel_colors=image.channel_colors if names[1] == "c" else (),
    )
    return DescribedSource(spec, whole)


def _require_room(spec: ArraySpec, size: tuple[int, int, int]) -> None:
    """Raise unless the dataset, with its padding, is as large as the image."""
    if any(n > length for n, length in zip(size, spec.shape, strict=True)):
        raise MetadataError(
            f"{spec.storage.location} has shape {spec.shape}, too small for the image size {size} that its file states"
        )


def _group(node: h5py.Group, *names: str) -> h5py.Group | None:
    """Return the group at a path; None where there is none, or a link would have to be followed."""
    for name in names:
        if not isinstance(node, h5py.Group) or not isinstance(link_of(node, name), h5py.HardLink):
            return None
        node = node[name]
    return node if isinstance(node, h5py.Group) else None


def _count(file: h5py.File, what: str, limits: Limits, *above: str) -> int:
    """Count the groups ``what 0``, ``what 1``, ... of a group."""
    group = _group(file, *above)
    if group is None or len(group) > limits.members:
        raise LimitExceededError(f"{file.filename}: {'/'.join(above)} has more than {limits.members} members")
    numbers = sorted(int(found[1]) for name in names_in(group) if (found := re.fullmatch(rf"{what} (\d{{1,9}})", name)))
    if missing := set(range(len(numbers))) - set(numbers):
        raise MetadataError(f"{file.filename}: {'/'.join(above)} holds {len(numbers)} of {what}, not {min(missing)}")
    return len(numbers)


def _size_of_level(file: h5py.File, level: int, channels: int, info: h5py.Group | None) -> tuple[int, int, int]:
    """Return the size z y x of one level, on which all channels must agree."""
    found: set[tuple[int, int, int]] = set()
    for channel in range(channels):
        where = ("DataSet", f"ResolutionLevel {level}", "TimePoint 0", f"Channel {channel}")
        texts = _texts(_group(file, *where), [f"ImageSize{name}" for name in "ZYX"])
        # Old writers state the size of the finest level alone, for all channels.
        texts = texts or (_texts(info, "ZYX") if level == 0 else {})
        if len(texts) != 3 or not all(re.fullmatch(r"\s*0*[1-9]\d{0,11}\s*", text) for text in texts.values()):
            stated = ascii(", ".join(f"{name}={text}" for name, text in texts.items()))[1:81] or "nothing"
            padded = option("internal_path", "/".join((*where, "Data")))
            raise MetadataError(
                f"{file.filename}: {'/'.join(where)} states {stated} for its ImageSizeX, ImageSizeY and ImageSizeZ, so "
                f"that its padding is not known: open the padded array with {padded}"
            )
        z, y, x = (int(text) for text in texts.values())
        found.add((z, y, x))
    if len(found) > 1:
        raise MetadataError(f"{file.filename}: channels of ResolutionLevel {level} have several sizes: {sorted(found)}")
    return found.pop()


def _texts(group: h5py.Group | None, names: list[str] | str) -> dict[str, str]:
    """Return those of the attributes `names` that are there, as texts."""
    found = {}
    for name in names if group is not None else ():
        value = raw_attribute(group, name, Limits())
        if isinstance(value, np.ndarray) and value.dtype.kind == "S":
            data = b"".join(value.ravel().tolist())
            try:
                value = data.decode("utf-8")
            except UnicodeDecodeError:
                value = data.decode("latin-1")
        if value is not None:
            found[name] = str(value)
    return found


def _extents(info: h5py.Group | None, path: str) -> tuple[tuple[float, float], ...]:
    texts = _texts(info, [f"Ext{end}{axis}" for axis in (2, 1, 0) for end in ("Min", "Max")])
    try:
        numbers = [float(text) for text in texts.values()]
    except ValueError:
        numbers = []
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) != 6 or not all(abs(start) < 1e30 and 1e-30 < stop - start < 1e30 for start, stop in pairs):
        stated = ascii(", ".join(f"{name}={text}" for name, text in texts.items()))[1:121] or "no extents"
        raise MetadataError(f"{path}: DataSetInfo/Image states {stated}: voxel sizes are taken as unknown")
    return pairs


def _color(text: str, path: str) -> tuple[int, int, int]:
    try:
        parts = [float(part) for part in text.split()]
    except ValueError:
        parts = []
    if len(parts) != 3 or not all(math.isfinite(part) and 0 <= part <= 1 for part in parts):
        raise MetadataError(f"{path}: a channel has the colour {ascii(text)[:40]}, not three numbers up to 1: ignored")
    red, green, blue = (round(part * 255) for part in parts)
    return red, green, blue


def _or_warned(make: Callable[[], tuple[_T, ...]]) -> tuple[_T, ...]:
    try:
        return make()
    except MetadataError as error:
        warn(str(error))
        return ()
