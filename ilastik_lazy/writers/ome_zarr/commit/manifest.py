"""The manifest of a conversion: its plan, and the checksums of all units."""

from __future__ import annotations

import json
from typing import Any

from ilastik_lazy.errors import option
from ilastik_lazy.storage.stores import ReadableStore
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit

__all__ = ["MANIFEST", "Manifest", "as_json", "difference", "is_json", "noted_units", "read_manifest"]

MANIFEST = "scale0/image/.ilz-manifest.json"
"""What was written, from what, and the checksum of each unit; stays in the finished image.

It is inside an array, since zarr-python warns of each file in a group that is not a member.
"""

Manifest = dict[str, Any]
"""``plan`` (see `Plan.settings`, and the source's version) and ``units`` by name: bytes and checksum."""


_MEANINGS = {
    "metadata": "other names, colours, positions or properties",
    "token": "another computation, or an older version of the files that it reads",
    "unversioned": "a source without a version, so that changes since then cannot be detected",
    "version": "another version of the source, which was written to or copied since",
}
"""Texts for settings whose values mean nothing to people."""


def read_manifest(store: ReadableStore) -> Manifest | None:
    """The manifest of a finished image; None if it has none that can be read."""
    try:
        manifest = json.loads(store.get(MANIFEST) or b"")
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("units"), dict) else None


def noted_units(manifest: Manifest) -> dict[str, Unit] | None:
    """The units of an image by name; None if the manifest is damaged."""
    try:
        return {name: Unit(name, int(size), int(crc)) for name, (size, crc) in manifest["units"].items()}
    except (TypeError, ValueError):
        return None


def as_json(value: Any) -> bytes:
    """Plain values as JSON, the same for equal values."""
    return json.dumps(value, sort_keys=True).encode()


def is_json(data: bytes) -> bool:
    """Whether `data` is JSON."""
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def difference(text: bytes, plan: dict[str, Any]) -> str:
    """Describe the first setting that differs, for people."""
    try:
        begun = json.loads(text)
    except ValueError:
        return "a plan that cannot be read"
    if not isinstance(begun, dict):
        return "a plan that cannot be read"
    for name in sorted(begun.keys() | plan.keys()):
        if begun.get(name) != plan.get(name):
            if name == "levels":
                *some, last = map(option, ("levels", "codec", "memory", "workers"))
                return f"other levels or shards, which {', '.join(some)} and {last} decide"
            if name in _MEANINGS:
                return _MEANINGS[name]
            return f"another {name}: {str(begun.get(name))[:100]}, now {str(plan.get(name))[:100]}"
    return "another plan"
