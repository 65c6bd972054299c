"""What OME-Zarr metadata say of an image: its levels, where their voxels lie, names and colours.

Pure parsing of the JSON of versions 0.1 to 0.5 (https://ngff.openmicroscopy.org/0.5/index.html);
nothing here opens a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ilastik_lazy.core.axes import AXIS_NAMES, Axis
from ilastik_lazy.core.units import full_unit_name
from ilastik_lazy.errors import LimitExceededError, MetadataError, UnsafePathError, option
from ilastik_lazy.formats.zarr.ome_classes import Color, channels_in, classes_in

__all__ = ["MOST_LEVELS", "Multiscale", "check_inside", "parse_multiscales"]

# A pyramid of 100 levels would start at 2**99 voxels.
MOST_LEVELS = 100
_TYPES = {"channel": "c", "time": "t"}
_ENCODED = re.compile("%(2e|2f|5c|00)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Placement:
    """Scale and translation of each axis, as far as they were composed; a scale that makes no sense is None."""

    scale: tuple[float | None, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image at one or several resolutions, in the order of its datasets."""

    name: str
    axis_names: tuple[str, ...]
    units: tuple[str, ...]
    """Of each axis, in full words; empty where unknown."""
    paths: tuple[str, ...]
    """Of each level's array, relative to the group that holds the metadata."""
    placements: tuple[_Placement, ...]
    channel_names: tuple[str, ...] = ()
    """Of the channels; of a label image, of the values 1, 2, ..."""
    channel_colors: tuple[Color, ...] = ()
    is_labels: bool = False
    """Whether the values are labels, as ``image-label`` says."""
    problems: tuple[str, ...] = ()
    """What of the positions makes no sense and is taken as unknown, for warnings of whoever uses them."""

    @property
    def voxel_volumes(self) -> tuple[float, ...]:
        """Product of the scales of each level; empty where these do not tell the levels apart."""
        known = [tuple(s for s in place.scale if s is not None) for place in self.placements]
        volumes = tuple(math.prod(scale) for scale in known if len(scale) == len(self.axis_names))
        return volumes if len(volumes) == len(known) and len(set(volumes)) > 1 else ()

    def sorted_by(self, keys: Sequence[float]) -> Multiscale:
        """Return the levels in the order of `keys`; equal ones keep their order."""
        order = sorted(range(len(self.paths)), key=keys.__getitem__)
        return replace(
            self,
            paths=tuple(self.paths[level] for level in order),
            placements=tuple(self.placements[level] for level in order),
        )

    def axes_of_level(self, level: int, unset: Collection[str] = ()) -> tuple[Axis, ...]:
        """Axes of one level, in storage order; their translation is the position of the first voxel's centre.

        OME-Zarr has no way to say that a voxel size is not known: writers put 1 there.  So an axis
        counts as known if, at the finest level, it has a scale other than 1, a translation other than 0,
        or a unit.  What is not known there is not known at coarser levels, whose 2, 4, ... are factors.

        Parameters
        ----------
        unset
            Names of axes whose size the writer did not know although it gave them a unit: ilastik's
            ``axistags`` have resolution 0 there.
        """
        finest, here = self.placements[0], self.placements[level]
        axes = []
        for i, (name, unit) in enumerate(zip(self.axis_names, self.units, strict=True)):
            if name == "c":
                axes.append(Axis("c"))
                continue
            is_known = finest.scale[i] != 1 or finest.translation[i] != 0 or (unit != "" and name not in unset)
            if is_known:
                axes.append(Axis(name, here.scale[i], here.translation[i], unit))
            else:
                axes.append(Axis(name, None, 0.0, unit))
        return tuple(axes)


def check_inside(path: str, where: str) -> str:
    """`path` if its parts stay inside the folder that it belongs to.

    Raises
    ------
    UnsafePathError
        It is absolute, a URL, climbs with ``..``, or hides one of these behind percent signs.
    """
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or not part.isprintable() for part in parts)
    if odd or "\\" in path or ":" in parts[0] or _ENCODED.search(path):
        raise UnsafePathError(f"{where}: the path {ascii(path)[:80]} could lead out of the store and is not followed")
    return path


def parse_multiscales(attributes: Mapping[str, Any], where: str) -> tuple[Multiscale, ...]:
    """All multiscales of a group's attributes; none where it has no such metadata.

    Parameters
    ----------
    attributes
        Of the group, as stored: ``multiscales`` (to 0.4), or ``ome`` (0.5).
    where
        The group, for messages.

    Raises
    ------
    MetadataError
        The metadata are there, and make no sense.
    UnsafePathError
        A dataset lies outside the group.
    LimitExceededError
        There are more than `MOST_LEVELS` levels.
    """
    ome = attributes.get("ome")
    content = ome if isinstance(ome, Mapping) and "multiscales" in ome else attributes
    if "multiscales" not in content:
        return ()
    entries = content["multiscales"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise MetadataError(f"{where}: multiscales is no list of objects")
    return tuple(_parse_one(entry, content, where) for entry in entries[:MOST_LEVELS])


def _parse_one(entry: Mapping[str, Any], content: Mapping[str, Any], where: str) -> Multiscale:
    datasets = entry.get("datasets")
    if not isinstance(datasets, list) or not datasets or not all(isinstance(d, dict) for d in datasets):
        raise MetadataError(f"{where}: a multiscales entry has no list of datasets")
    if len(datasets) > MOST_LEVELS:
        raise LimitExceededError(f"{where}: {len(datasets)} levels, more than {MOST_LEVELS}")
    paths = []
    for dataset in datasets:
        path = dataset.get("path")
        if not isinstance(path, str):
            raise MetadataError(f"{where}: the path of a dataset is {ascii(path)[:40]}, no text")
        paths.append(check_inside(path.removesuffix("/"), where))
    names, units = _axes_in(entry, where)
    common = entry.get("coordinateTransformations")
    placements = []
    problems: list[str] = []
    for dataset in datasets:
        start = _Placement((1.0,) * len(names), (0.0,) * len(names))
        # The dataset's come first, the multiscale's after them: its translation is not scaled again.
        own = _composed(start, dataset.get("coordinateTransformations"), problems)
        place = _composed(own, common, problems)
        if not _states_scale(dataset.get("coordinateTransformations")) and not _states_scale(common):
            # A unit alone does not make voxels of 1, and those of a coarser level are larger than of the finest.
            place = _Placement((None,) * len(names), (0.0,) * len(names))
        placements.append(place)
    labels = content.get("image-label")
    is_labels = isinstance(labels, Mapping)
    classes, colors = classes_in(labels) if isinstance(labels, Mapping) else channels_in(content, entry)
    name = entry.get("name")
    return Multiscale(
        name=name if isinstance(name, str) else "",
        axis_names=names,
        units=units,
        paths=tuple(paths),
        placements=tuple(placements),
        channel_names=classes,
        channel_colors=colors,
        is_labels=is_labels,
        problems=tuple(f"{where}: {problem}" for problem in dict.fromkeys(problems)),
    )


def _axes_in(entry: Mapping[str, Any], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units of the axes."""
    if "coordinateSystems" in entry:
        raise MetadataError(f"{where}: is OME-Zarr 0.6 or later, of which the positions are not understood yet")
    axes = entry.get("axes", list("tczyx"))  # Versions 0.1 and 0.2 have these five, and say so nowhere.
    if not isinstance(axes, list) or not axes:
        raise MetadataError(f"{where}: axes is no list")
    names, units = [], []
    for axis in axes:
        if isinstance(axis, str):  # Version 0.3.
            axis = {"name": axis}
        if not isinstance(axis, dict) or not isinstance(axis.get("name"), str):
            raise MetadataError(f"{where}: an axis has no name: {ascii(axis)[:60]}")
        name, unit = axis["name"].lower(), axis.get("unit")
        if name not in AXIS_NAMES:
            name = _TYPES.get(str(axis.get("type")), _TYPES.get(name, name))
        names.append(name)
        units.append(full_unit_name(unit) if isinstance(unit, str) else "")
    if len(set(names)) < len(names) or not set(names) <= set(AXIS_NAMES):
        raise MetadataError(
            f"{where}: the axes {ascii(names)[:80]} are not out of t, z, y, x, c, each once: "
            f"pass {option('axes')} with one letter of 'tzyxc' a dimension"
        )
    return tuple(names), tuple(units)


def _composed(place: _Placement, transforms: object, problems: list[str]) -> _Placement:
    """`place`, with each of `transforms` applied to it in turn; what makes no sense is added to `problems`."""
    if transforms is None:
        return place
    if not isinstance(transforms, list) or not all(isinstance(t, dict) for t in transforms):
        return _unknown(place, "coordinateTransformations is no list of objects", problems)
    for transform in transforms:
        kind = transform.get("type")
        if kind == "identity":
            continue
        numbers = _numbers(transform.get(kind) if kind in ("scale", "translation") else None, len(place.scale))
        if numbers is None:
            return _unknown(place, f"the transformation {ascii(transform)[:80]} is not understood", problems)
        place = (_scaled if kind == "scale" else _moved)(place, numbers, problems)
    return place


def _states_scale(transforms: object) -> bool:
    stated = transforms if isinstance(transforms, list) else []
    return any(isinstance(t, dict) and t.get("type") in ("scale", "identity") for t in stated)


def _unknown(place: _Placement, why: str, problems: list[str]) -> _Placement:
    problems.append(f"{why}: positions are taken as unknown")
    return _Placement((None,) * len(place.scale), (0.0,) * len(place.scale))


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return None
    try:
        return tuple(float(v) for v in value)
    except OverflowError:
        return None


def _scaled(place: _Placement, by: tuple[float, ...], problems: list[str]) -> _Placement:
    scale: list[float | None] = []
    translation = []
    for s, t, factor in zip(place.scale, place.translation, by, strict=True):
        # A light year is 1e16 m, an atom 1e-10 m: beyond these a step overflows, or is a mistake.
        product = None if s is None else s * factor
        if product is not None and not 1e-30 < product < 1e30:
            problems.append(f"the scale {factor} makes no sense: taken as unknown")
            product = None
        scale.append(product)
        translation.append(0.0 if product is None else t * factor)
    return _Placement(tuple(scale), tuple(translation))


def _moved(place: _Placement, by: tuple[float, ...], problems: list[str]) -> _Placement:
    moved = tuple(t + offset for t, offset in zip(place.translation, by, strict=True))
    if not all(math.isfinite(t) and abs(t) < 1e30 for t in moved):
        return _unknown(place, f"the translation {by} makes no sense", problems)
    return _Placement(place.scale, tuple(0.0 if s is None else t for s, t in zip(place.scale, moved, strict=True)))
