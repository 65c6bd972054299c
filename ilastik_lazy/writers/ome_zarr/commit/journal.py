"""The journal of a conversion: one line for each unit, written after the unit itself.

A unit is a shard, or the chunks that one task writes in its place.  A file alone proves nothing: it may be
cut off, or belong to another conversion.  A line of the journal with the right length and checksum is proof.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import google_crc32c

from ilastik_lazy.storage.stores import WORK, Store
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics

__all__ = ["JOURNALS", "Journal", "Unit", "checksum", "read_journals"]

JOURNALS = f"{WORK}/journal"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit that is written."""

    name: str
    """Level and position in its grid of shards, such as ``0/3.2.1``."""

    nbytes: int
    crc32c: int
    """Checksum of all its bytes, in the order of its files."""

    statistics: Statistics | None = None
    """Statistics of its voxels; only for level 0."""

    masked: tuple[str, ...] = ()
    """Errors of the chunks of the source that could not be decoded, and are filled."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, without empty ones."""
        found: dict[str, Any] = {"unit": self.name, "bytes": self.nbytes, "crc32c": self.crc32c}
        if self.statistics is not None:
            found["statistics"] = self.statistics.as_json()
        return found | ({"masked": list(self.masked)} if self.masked else {})

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Unit:
        statistics = found.get("statistics")
        return cls(
            str(found["unit"]), int(found["bytes"]), int(found["crc32c"]),
            None if statistics is None else Statistics.from_json(statistics), tuple(found.get("masked", ())),
        )  # fmt: skip


def checksum(parts: Iterable[bytes], value: int = 0) -> int:
    """CRC-32C of `parts` one after the other, continued from `value`."""
    for part in parts:
        value = google_crc32c.extend(value, part)
    return int(value)


@dataclass(frozen=True, slots=True)
class Journal:
    """The lines of one writer; each has its own file, since several processes may write one image."""

    store: Store
    key: str = field(default_factory=lambda: f"{JOURNALS}/{uuid.uuid4().hex}.jsonl")

    def add(self, unit: Unit) -> None:
        """Note that `unit` is written."""
        self.store.add_line(self.key, json.dumps(unit.as_json(), separators=(",", ":")).encode())


def read_journals(store: Store) -> dict[str, Unit]:
    """Read all units that any writer has noted, by name; an incomplete line is ignored."""
    units: dict[str, Unit] = {}
    for key in store.keys(JOURNALS):
        for line in (store.get(key) or b"").split(b"\n")[:-1]:
            try:
                unit = Unit.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):
                # After a crash of the machine a line may be garbage; its unit is written again.
                continue
            units[unit.name] = unit
    return units
