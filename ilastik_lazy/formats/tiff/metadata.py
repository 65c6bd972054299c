"""Axes, voxel sizes and channels that a TIFF states: in OME-XML, in notes of ImageJ, in axis letters of tifffile.

Pure functions of text and numbers.  OME: https://docs.openmicroscopy.org/ome-model/6.3.1/ome-tiff/specification.html,
ImageJ: ``FileSaver.getDescriptionString`` (https://github.com/imagej/ImageJ/blob/master/ij/io/FileSaver.java).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from ilastik_lazy.core.axes import AXIS_NAMES
from ilastik_lazy.core.classes import RGB
from ilastik_lazy.core.units import full_unit_name
from ilastik_lazy.errors import ExternalReferenceError, LimitExceededError, MetadataError
from ilastik_lazy.formats.metadata.xml_text import parse_xml

__all__ = ["Notes", "axis_letters", "check_ome", "imagej_notes", "ome_notes", "parse_ome"]

# tifffile makes a list as long as the XML states, before it looks for pages.
_MOST_PLANES = 10_000_000

_STRINGIFIED = re.compile(r"""^\(\s*(['"])(.*?)\1\s*,?\s*\)$""")
# Attributes of OME and their default units; words of OME for "no unit".
_OME_SIZES = {
    "x": ("PhysicalSizeX", "µm"),
    "y": ("PhysicalSizeY", "µm"),
    "z": ("PhysicalSizeZ", "µm"),
    "t": ("TimeIncrement", "s"),
}
_WHITE = (255, 255, 255)
_OME_UNITLESS = ("pixel", "reference frame")


@dataclass(frozen=True, slots=True)
class Notes:
    """Metadata of one image beyond its shape."""

    steps: Mapping[str, float] = field(default_factory=dict)
    """Distance between neighbouring elements, for each axis for which it is stated."""

    units: Mapping[str, str] = field(default_factory=dict)
    """Full names, such as ``micrometer``."""

    origins: Mapping[str, float] = field(default_factory=dict)
    """Positions of the first voxel, in files of this package: in others they are positions of the stage."""

    channel_names: tuple[str, ...] = ()
    channel_colors: tuple[RGB, ...] = ()
    problems: tuple[str, ...] = ()
    """Statements that were ignored, and why."""


def axis_letters(letters: str) -> tuple[str, ...] | None:
    """Translate axis letters of tifffile by the rules of ilastik; None if tifffile does not know an axis.

    Raises
    ------
    MetadataError
        A letter is not an image axis, or occurs twice.

    Examples
    --------
    >>> axis_letters("IYXS"), axis_letters("QYX")
    (('t', 'y', 'x', 'c'), None)
    """
    names = letters.lower().replace("s", "c")
    # The replacement is literal in lazyflow's opTiffReader: t if it is free, else z, else c.
    for free in "tzc":
        if "i" in names and free not in names:
            names = names.replace("i", free)
    if "q" in names:
        return None
    if len(set(names)) != len(names) or not set(names) <= set(AXIS_NAMES):
        raise MetadataError(f"its axes are {letters!r} to tifffile, which do not fit t, z, y, x, c")
    return tuple(names)


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


class _Collected:
    """Steps and units while they are collected; `notes` returns the result."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self.origins: dict[str, float] = {}
        self.problems: list[str] = []

    def step(self, axis: str, value: object) -> None:
        """Add a step.  0 means "not set"; anything else that is not a positive number is recorded as a problem."""
        if value is None or (number := _number(value)) == 0:
            return
        if number is None or not 1e-30 < number < 1e30:
            shown = ascii(value)[:40]
            self.problems.append(f"axis {axis!r} has step {shown}: not a positive number, treated as unknown")
            return
        self.steps[axis] = number

    def unit(self, axis: str, text: object) -> None:
        if isinstance(text, str) and (unit := full_unit_name(_plain(text))):
            self.units[axis] = unit

    def notes(self, channel_names: Sequence[str] = (), channel_colors: Sequence[RGB] = ()) -> Notes:
        names, colors = tuple(channel_names), tuple(channel_colors)
        return Notes(self.steps, self.units, self.origins, names, colors, tuple(self.problems))


def _plain(text: str) -> str:
    """Return ``cm`` for ``"('cm',)"``, which older versions of ilastik wrote."""
    text = text.strip()[:200]
    found = _STRINGIFIED.match(text)
    return found[2] if found else text


def parse_ome(text: str) -> ElementTree.Element:
    """Return the root of an OME-XML text (see `parse_xml`)."""
    return parse_xml(text, "its OME-XML")


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def check_ome(root: ElementTree.Element, own_name: str) -> None:
    """Refuse planes in other files, which tifffile would open, and numbers that it would allocate lists for.

    Raises
    ------
    ExternalReferenceError
        Planes or metadata lie in other files.
    LimitExceededError
        The XML states more planes than any file has.
    """
    uuid = root.get("UUID")
    for element in root.iter():
        tag = _tag(element)
        if tag == "Pixels":
            _check_count(math.prod(_whole(element, f"Size{axis}", 1) for axis in "TZC"))
        elif tag == "TiffData":
            for name, value in element.attrib.items():
                if name in ("IFD", "NumPlanes", "PlaneCount") or name.startswith("First"):
                    _check_count(_whole(element, name, value))
        elif tag.startswith("Along"):
            bounds = [_number(element.get(name, default)) for name, default in (("End", 0), ("Start", 0), ("Step", 1))]
            if None in bounds or not bounds[2] or not abs((bounds[0] - bounds[1]) / bounds[2]) < _MOST_PLANES:  # type: ignore[operator]
                raise LimitExceededError("its OME-XML has a modulo annotation with invalid bounds")
        elif tag == "BinaryOnly":
            raise ExternalReferenceError(
                f"its metadata lie in {ascii(element.get('MetadataFile', ''))[:80]}, and other files are not opened"
            )
        elif tag == "UUID" and element.text != uuid:
            other = element.get("FileName", "")
            if uuid is not None or other.lower() != own_name.lower():
                raise ExternalReferenceError(
                    f"it is one of several files of an OME-TIFF: planes lie in {ascii(other)[:80]}; "
                    "other files are not opened: stack the files, or save them as one"
                )


def _whole(element: ElementTree.Element, name: str, default: object) -> int:
    number = _number(element.get(name, str(default)))
    if number is None or not math.isfinite(number) or number < 0:
        raise MetadataError(f"its OME-XML has {name}={ascii(element.get(name))[:40]}: expected a whole number")
    return int(number)


def _check_count(count: int) -> None:
    if count > _MOST_PLANES:
        raise LimitExceededError(f"its OME-XML states {count} planes, more than {_MOST_PLANES}")


def ome_notes(root: ElementTree.Element, index: int, name: str) -> Notes:
    """Return the notes of the image at `index`, named `name`, from OME-XML of any schema."""
    images = [image for image in root if _tag(image) == "Image"]
    if index >= len(images) or images[index].get("Name", "") != name:
        # tifffile leaves out images without planes.
        images = [image for image in images if image.get("Name", "") == name]
        index = 0
    pixels = [child for image in images[index : index + 1] for child in image if _tag(child) == "Pixels"]
    found = _Collected()
    names, colors = [], []
    for element in pixels[:1]:
        for axis, (attribute, default) in _OME_SIZES.items():
            found.step(axis, element.get(attribute))
            unit = element.get(f"{attribute}Unit", default if axis in found.steps else "")
            found.unit(axis, "" if unit in _OME_UNITLESS else unit)
        planes = [plane for plane in element if _tag(plane) == "Plane"]
        for plane in planes[:1] if root.get("Creator", "").startswith("ilastik_lazy ") else ():
            for axis in "xyz":
                at = _number(plane.get(f"Position{axis.upper()}"))
                found.origins |= {axis: at} if at is not None and math.isfinite(at) else {}
        channels = [channel for channel in element if _tag(channel) == "Channel"]
        names = [channel.get("Name", "") for channel in channels]
        colors = [_color(channel.get("Color", "")) for channel in channels]
    # Where no colour was chosen, programs write white for all channels.
    are_known = any(color != _WHITE for color in colors)
    return found.notes(names if all(names) else (), [c for c in colors if c] if all(colors) and are_known else ())


def _color(text: str) -> RGB | None:
    """Read a colour of OME: red, green, blue and opacity in a signed number of 32 bits."""
    if not re.fullmatch(r"-?\d{1,10}", text) or not -(2**31) <= int(text) < 2**31:
        return None
    red, green, blue, _ = int(text).to_bytes(4, "big", signed=True)
    return red, green, blue


def imagej_notes(notes: Mapping[str, Any], x_resolution: object, y_resolution: object) -> Notes:
    """Return the notes of a file by ImageJ, or by a program that writes like it.

    Parameters
    ----------
    notes
        The lines ``name=value`` of the description.
    x_resolution, y_resolution
        Values of the tags ``XResolution`` and ``YResolution``: pixels per unit, as numerator and denominator.

    Examples
    --------
    >>> imagej_notes({"unit": "cm"}, (200000, 1000000), (0, 0)).steps
    {'x': 5.0}
    """
    found = _Collected()
    for axis, resolution in (("x", x_resolution), ("y", y_resolution)):
        step = _inverted(resolution)
        # tifffile writes 1/1 if it has no resolution; without a unit, 1 is not used.
        if not (step == 1 and "unit" not in notes):
            found.step(axis, step)
    found.step("z", notes.get("spacing"))
    found.step("t", notes.get("finterval"))
    unit = notes.get("unit", "")
    found.unit("x", unit)
    # ilastik#3091: `yunit` and `zunit` are written only where they differ from `unit`; `tunit` where it is not "sec".
    found.unit("y", notes.get("yunit", unit))
    found.unit("z", notes.get("zunit", unit))
    found.unit("t", notes.get("tunit", "sec" if "t" in found.steps else ""))
    return found.notes()


def _inverted(resolution: object) -> object:
    """Return denominator over numerator; None if one of them is 0, which means "not known"."""
    if not isinstance(resolution, Sequence) or len(resolution) != 2:
        return None
    numerator, denominator = (_number(part) for part in resolution)
    return denominator / numerator if numerator and denominator else None
