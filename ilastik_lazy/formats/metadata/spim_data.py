"""BigDataViewer's XML: where the data lie, what the setups are called, and how large their voxels are.

https://imagej.net/plugins/bdv/#bdv-xml-format
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ilastik_lazy.core.units import full_unit_name
from ilastik_lazy.errors import (
    LimitExceededError,
    MetadataError,
    SourceNotFoundError,
    UnknownFormatError,
    UnsafePathError,
    folder_option,
)
from ilastik_lazy.formats.metadata.xml_text import MOST_XML, parse_xml
from ilastik_lazy.storage.allowed import is_below
from ilastik_lazy.storage.files import opened, read_exactly, stamp_of

__all__ = ["ViewSetup", "data_of", "names_of_setups", "read_spim_data", "setup_in"]

_NUMBER = re.compile(r"\s*\d{1,9}\s*")


@dataclass(frozen=True, slots=True)
class ViewSetup:
    """What the XML states of one angle, channel or tile."""

    name: str = ""
    sizes: tuple[float, ...] | None = None
    """Sizes z y x of a voxel."""
    unit: str = ""
    remarks: tuple[str, ...] = ()


def read_spim_data(path: str) -> Element:
    """Read the XML at `path` (see `parse_xml`)."""
    stamp = stamp_of(path)
    if stamp.size > MOST_XML:
        raise LimitExceededError(f"{path} has {stamp.size} bytes, more than {MOST_XML}")
    with opened(path, stamp) as fd:
        data = read_exactly(fd, stamp.size, 0, path)
    try:
        return parse_xml(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise MetadataError(f"{path} is not in UTF-8") from error


def data_of(root: Element, path: str, roots: tuple[str, ...]) -> str:
    """Return the HDF5 file or the N5 folder that the XML at `path` describes.

    It is followed only below the folder of the XML, or below `roots`; where the path in the XML is that of another
    place, the file of this name beside the XML is taken.

    Raises
    ------
    UnknownFormatError
        The data are in another format.
    UnsafePathError
        The data lie elsewhere; nothing there was opened.
    SourceNotFoundError
        There are no such data.
    """
    loader = root.find(".//ImageLoader")
    kind = (loader.get("format") or "").removeprefix("bdv.") if loader is not None else ""
    stated = (loader.findtext(kind) or "").strip() if loader is not None and kind in ("hdf5", "n5") else ""
    if not stated or not stated.isprintable():
        raise UnknownFormatError(
            f"{path} describes data in the format {kind or 'unknown'!a}: only HDF5 (bdv.hdf5) and N5 (bdv.n5) are "
            "opened through the XML; open the data themselves"
        )
    folder = os.path.realpath(os.path.dirname(path))
    stated = stated.replace("\\", "/")
    base = (root.findtext("BasePath") or ".").strip()
    named = os.path.normpath(os.path.join(folder, base, stated))
    beside = os.path.join(folder, os.path.basename(stated.rstrip("/")))
    is_out = False
    for place in dict.fromkeys((named, beside)):
        real = os.path.realpath(place)
        if not is_below(real, (folder, *roots)):
            is_out = True
        elif real != folder and os.path.exists(real):
            return real
    if is_out:
        raise UnsafePathError(
            f"{path} describes {stated[:80]!a}, which is not below its folder: put the data beside it, or pass "
            f"{folder_option('allow_external')} with the folder that holds them"
        )
    raise SourceNotFoundError(f"{path} describes {stated[:80]!a}, which does not exist: put the data beside it")


def names_of_setups(root: Element) -> dict[int, str]:
    """Return the names of the setups by their numbers, as far as they have one."""
    found = ((element.findtext("id"), element.findtext("name")) for element in root.iter("ViewSetup"))
    # Python makes no number of thousands of digits.
    return {int(number): name.strip() for number, name in found if number and name and _NUMBER.fullmatch(number)}


def setup_in(root: Element, setup: int, path: str) -> ViewSetup:
    """Return what the XML at `path` states of a setup.

    Raises
    ------
    MetadataError
        The voxel size makes no sense.
    """
    for element in root.iter("ViewSetup"):
        if (element.findtext("id") or "").strip() != str(setup):
            continue
        name = (element.findtext("name") or "").strip()
        unit = full_unit_name(element.findtext("voxelSize/unit") or "")
        text = (element.findtext("voxelSize/size") or "").split()
        if not unit:
            return ViewSetup(name)  # not measured
        try:
            sizes = tuple(float(size) for size in reversed(text))
        except ValueError:
            sizes = ()
        if len(sizes) != 3 or not all(1e-30 < size < 1e30 for size in sizes):
            raise MetadataError(f"{path}: the voxel size of setup {setup} is {ascii(text)[:60]}, not three numbers")
        return ViewSetup(name, sizes, unit)
    return ViewSetup()
