"""Plates of high-content screening: their wells, and the fields of view in each, by the metadata alone.

https://ngff.openmicroscopy.org/0.5/index.html#plate-md
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.errors import LimitExceededError, MetadataError
from ilastik_lazy.formats.metadata.json_text import parse_json_object
from ilastik_lazy.formats.zarr.ome import check_inside, ome_content
from ilastik_lazy.formats.zarr.tree import Node

__all__ = ["Plate", "plate_in"]

_JSON_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Plate:
    """The fields of view of a plate, or of one well."""

    name: str
    """What the plate is called; empty if it has no name."""
    wells: Mapping[str, tuple[str, ...]]
    """Paths of the fields in each well, by the path of the well: ``{"A/1": ("0", "1")}``; "" is a well opened alone."""
    missing: tuple[str, ...] = ()
    """Wells that the plate lists, and that are not there."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Internal paths of all fields."""
        return tuple(f"{well}/{field}".lstrip("/") for well, fields in self.wells.items() for field in fields)

    @property
    def what(self) -> str:
        """The plate or well in words."""
        fields = counted(len(self.fields), "field") + " of view"
        return f"a well with {fields}" if "" in self.wells else f"a plate with {fields} in {self.count}"

    @property
    def count(self) -> str:
        """How many wells there are, in words."""
        return counted(len(self.wells), "well")


def plate_in(group: Node, limits: Limits) -> Plate | None:
    """Return the plate or the well that a group is; None if it is neither, or lists no fields.

    The metadata of all wells are loaded, and nothing of the fields.

    Raises
    ------
    MetadataError, UnsafePathError
        A path makes no sense, or leads out of the group.
    LimitExceededError
        The plate lists more wells than `limits` allow members.
    """
    content = ome_content(group.attributes)
    if isinstance(well := content.get("well"), Mapping):
        found = Plate("", {"": tuple(_paths(well.get("images"), group.path))})
        return found if found.fields else None
    plate = content.get("plate")
    if not isinstance(plate, Mapping):
        return None
    listed = list(_paths(plate.get("wells"), group.path))
    if len(listed) > limits.members:
        raise LimitExceededError(f"{group.path} lists {len(listed)} wells, more than {limits.members}")
    files = [os.path.join(group.path, well, ".zattrs" if group.version == 2 else "zarr.json") for well in listed]
    for file in files:
        group.files.check_links(os.path.dirname(file))
    wells = {
        well: tuple(_fields(loaded[0], group.version, file))
        for well, file, loaded in zip(listed, files, group.files.load(files, _JSON_BYTES), strict=True)
        if isinstance(loaded, tuple)
    }
    name = plate.get("name")
    missing = tuple(well for well in listed if well not in wells)
    made = Plate(name if isinstance(name, str) else "", wells, missing)
    return made if made.fields else None


def _fields(document: bytes, version: int, path: str) -> Iterator[str]:
    found = parse_json_object(document, path)
    attributes = found if version == 2 else found.get("attributes", {})
    well = ome_content(attributes).get("well") if isinstance(attributes, Mapping) else None
    return _paths(well.get("images") if isinstance(well, Mapping) else None, os.path.dirname(path))


def _paths(entries: Any, where: str) -> Iterator[str]:
    """Return the paths in a list of wells or of fields, each once."""
    return iter(dict.fromkeys(_listed(entries, where)))


def _listed(entries: Any, where: str) -> Iterator[str]:
    for entry in entries if isinstance(entries, list) else []:
        path = entry.get("path") if isinstance(entry, Mapping) else None
        if not isinstance(path, str):
            raise MetadataError(f"{where} lists a well or field without a path: {ascii(entry)[:60]}")
        yield check_inside(path, where)
