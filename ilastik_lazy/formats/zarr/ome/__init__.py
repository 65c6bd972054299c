"""Parse OME-Zarr metadata of an image: its levels, the positions of their voxels, names and colours.

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
from ilastik_lazy.formats.zarr.ome.classes import Color, channels_in, classes_in

__all__ = ["MOST_LEVELS", "Multiscale", "check_inside", "ome_content", "parse_multiscales"]

# A pyramid of 100 levels would start at 2**99 voxels.
MOST_LEVELS = 100
_TYPES = {"channel": "c", "time": "t"}
_ENCODED = re.compile("%(2e|2f|5c|00)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Placement:
    """Scale and translation of each axis; an invalid scale is None."""

    scale: tuple[float | None, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image at one or several resolutions, in the order of its datasets."""

    name: str
    axis_names: tuple[str, ...]
    units: tuple[str, ...]
    """Unit of each axis, in full words; empty if unknown."""
    paths: tuple[str, ...]
    """Path of each level's array, relative to the group."""
    placements: tuple[_Placement, ...]
    channel_names: tuple[str, ...] = ()
    """Names of the channels; in a label image, of the values 1, 2, ..."""
    channel_colors: tuple[Color, ...] = ()
    is_labels: bool = False
    """Whether the values are labels, as ``image-label`` says."""
    problems: tuple[str, ...] = ()
    """Warnings about invalid positions, which are taken as unknown."""

    @property
    def voxel_volumes(self) -> tuple[float, ...]:
        """Product of the scales of each level; empty if these do not distinguish the levels."""
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
        """Return the axes of one level, in storage order; a translation is the position of the first voxel's centre.

        OME-Zarr cannot state that a voxel size is unknown: writers put 1 there.  An axis is known if, at the finest
        level, it has a scale other than 1, a translation other than 0, or a unit.  An axis that is unknown there is
        unknown at all levels: the 2, 4, ... of coarser levels are factors.

        Parameters
        ----------
        unset
            Names of axes of unknown size although they have a unit: ilastik's ``axistags`` have resolution 0 there.
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
    """Return `path` if it stays inside the folder that it belongs to.

    Raises
    ------
    UnsafePathError
        It is absolute, a URL, contains ``..``, or a percent-encoded form of these.
    """
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or not part.isprintable() for part in parts)
    if odd or "\\" in path or ":" in parts[0] or _ENCODED.search(path):
        raise UnsafePathError(f"{where}: the path {ascii(path)[:80]} could lead out of the store: refused")
    return path


def ome_content(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what OME-Zarr states in the attributes of a group: in ``ome`` from 0.5 on, before that at the top."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def parse_multiscales(attributes: Mapping[str, Any], where: str) -> tuple[Multiscale, ...]:
    """Parse the multiscales in the attributes of a group; return none if it has no such metadata.

    Parameters
    ----------
    attributes
        Attributes of the group, with ``multiscales`` (to 0.4) or ``ome`` (0.5).
    where
        The group, for messages.

    Raises
    ------
    MetadataError
        The metadata are invalid.
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
        raise MetadataError(f"{where}: multiscales is {ascii(entries)[:60]}, expected a list of objects")
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
            raise MetadataError(f"{where}: the path of a dataset is {ascii(path)[:40]}, expected text")
        paths.append(check_inside(path.removesuffix("/"), where))
    names, units = _axes_in(entry, where)
    problems: list[str] = []
    # The transformations of the dataset come first, then those of the multiscale.
    stated = [[holder.get("coordinateTransformations") for holder in (dataset, entry)] for dataset in datasets]
    placements = [_composed(transforms, len(names), problems) for transforms in stated]
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
    """Return names and units of the axes."""
    if "coordinateSystems" in entry:
        raise MetadataError(
            f"{where} is OME-Zarr 0.6 or later (coordinateSystems), which is not supported: write it as 0.5"
        )
    axes = entry.get("axes", list("tczyx"))  # Versions 0.1 and 0.2 have these five, unstated.
    if not isinstance(axes, list) or not axes:
        raise MetadataError(f"{where}: axes is {ascii(axes)[:60]}, expected a list")
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
            f"{where}: the axes are {ascii(names)[:80]}, expected t, z, y, x, c, each at most once: "
            f"pass {option('axes')} with one letter of 'tzyxc' per dimension"
        )
    return tuple(names), tuple(units)


def _composed(stated: list[object], count: int, problems: list[str]) -> _Placement:
    """Compose lists of transformations of `count` axes; take invalid ones as unknown, and add them to `problems`."""
    unknown = _Placement((None,) * count, (0.0,) * count)
    scale, translation, is_scaled = [1.0] * count, [0.0] * count, False
    present = [listed for listed in stated if listed is not None]
    for transform in (t for listed in present for t in (listed if isinstance(listed, list) else [listed])):
        found = transform if isinstance(transform, dict) else {}
        kind = found.get("type")
        is_scaled = is_scaled or kind in ("scale", "identity")
        if kind == "identity":
            continue
        numbers = _numbers(found.get(kind), count) if kind in ("scale", "translation") else None
        if numbers is None:
            problems.append(f"the transformation {ascii(transform)[:80]} is not understood: positions are unknown")
            return unknown
        if kind == "scale":
            scale = [s * factor for s, factor in zip(scale, numbers, strict=True)]
            translation = [t * factor for t, factor in zip(translation, numbers, strict=True)]
        else:
            translation = [t + offset for t, offset in zip(translation, numbers, strict=True)]
    # A light year is 1e16 m, an atom 1e-10 m: a step far beyond these overflows, or is a mistake.
    is_valid = [1e-30 < s < 1e30 and abs(t) < 1e30 for s, t in zip(scale, translation, strict=True)]
    if not all(is_valid):
        problems.append(f"scale {scale} and translation {translation}: invalid ones are taken as unknown")
    if not is_scaled:
        return unknown  # a unit alone does not imply voxels of size 1, and voxels of coarser levels are larger
    return _Placement(
        tuple(s if valid else None for s, valid in zip(scale, is_valid, strict=True)),
        tuple(t if valid else 0.0 for t, valid in zip(translation, is_valid, strict=True)),
    )


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return None
    try:
        return tuple(float(v) for v in value)
    except OverflowError:
        return None
