"""The metadata of a served image: those that `to_ome_zarr` writes, those of its label images, and all in one place.

Readers cannot list folders over HTTP: what lies in a group they learn from its consolidated metadata alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ilastik_lazy.lazy.attributes import attributes_of
from ilastik_lazy.writers.ome_zarr.metadata.attributes import ome_attributes
from ilastik_lazy.writers.ome_zarr.metadata.documents import metadata_documents
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Version

__all__ = ["documents_of"]


def documents_of(
    plan: Plan,
    name: str,
    labels: Mapping[str, Plan],
    version: Version,
    measured: Sequence[tuple[float, float]] | None = None,
    stored: Collection[str] = (),
) -> dict[str, bytes]:
    """Return all metadata of an image and its label images, and their coordinates, by key.

    Parameters
    ----------
    labels
        Plans of the label images by their names.
    version
        Version of OME-Zarr.
    measured
        Range of values of each channel, for their contrast; None where it is not known.
    stored
        Names of label images, empty for the image itself, of which levels are stored: how they were made is not known.
    """
    made = _of_one(replace(plan, version=version), name, measured, is_stored="" in stored)
    for label, below in labels.items():
        found = _of_one(replace(below, version=version), label, is_below=True, is_stored=label in stored)
        made |= {f"labels/{label}/{key}": document for key, document in found.items()}
    if labels:
        made |= _group("labels", {"labels": list(labels)}, version)
    return _consolidated(made, version)


def _of_one(
    plan: Plan,
    name: str,
    measured: Sequence[tuple[float, float]] | None = None,
    *,
    is_below: bool = False,
    is_stored: bool,
) -> dict[str, bytes]:
    attributes = ome_attributes(plan, name, measured=measured, is_below=is_below)
    if is_stored:
        for key in ("type", "metadata"):
            del attributes["multiscales"][0][key]
    return metadata_documents(plan, attributes, attributes_of(plan.spec))


def _group(path: str, attributes: dict[str, Any], version: Version) -> dict[str, bytes]:
    if version == "0.4":
        return {f"{path}/.zgroup": _text({"zarr_format": 2}), f"{path}/.zattrs": _text(attributes)}
    ome = {"ome": {"version": version} | attributes}
    return {f"{path}/zarr.json": _text({"zarr_format": 3, "node_type": "group", "attributes": ome})}


def _consolidated(documents: Mapping[str, bytes], version: Version) -> dict[str, bytes]:
    """Add to each group the metadata of all that lies in it, as zarr-python writes them."""
    made = dict(documents)
    known = {key: json.loads(data) for key, data in documents.items() if _is_metadata(key)}
    groups = [
        key.removesuffix(name).rstrip("/")
        for key, document in known.items()
        for name in (".zgroup", "zarr.json")
        if key.endswith(name) and document.get("node_type", "group") == "group"
    ]
    for group in groups:
        above = f"{group}/" if group else ""
        inside = {key.removeprefix(above): value for key, value in known.items() if key.startswith(above)}
        if version == "0.4":
            made[f"{above}.zmetadata"] = _text({"zarr_consolidated_format": 1, "metadata": inside})
        else:
            itself = inside.pop("zarr.json")
            inside = {key.removesuffix("/zarr.json"): value for key, value in inside.items()}
            together = {"kind": "inline", "must_understand": False, "metadata": inside}
            made[f"{above}zarr.json"] = _text(itself | {"consolidated_metadata": together})
    return made


def _is_metadata(key: str) -> bool:
    return key.rsplit("/", 1)[-1] in ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def _text(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()
