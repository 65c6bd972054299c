"""A target that is one file (``.ozx``, ``.zarr.zip``): converted into a folder beside it, then packed.

An archive cannot be written in parallel, nor resumed; the folder can.  The order of entries and the comment follow
RFC-9, https://ngff.openmicroscopy.org/rfc/9/: metadata first, from the root down, and nothing compressed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ilastik_lazy.errors import (
    ArgumentError,
    DestinationBusyError,
    DestinationExistsError,
    FormatError,
    ResumeMismatchError,
    UnsafeFileError,
    option,
    remedy,
)
from ilastik_lazy.formats.location import checked_path
from ilastik_lazy.storage.archives.archive import Archive
from ilastik_lazy.storage.archives.archive_store import ArchiveStore
from ilastik_lazy.storage.archives.packing import pack_folder
from ilastik_lazy.storage.new_file import remove_litter
from ilastik_lazy.storage.object_store import is_url
from ilastik_lazy.storage.stores import ROOTS, WORK, LocalStore, lock_of
from ilastik_lazy.writers.ome_zarr.commit.manifest import Manifest, as_json, difference, noted_units, read_manifest
from ilastik_lazy.writers.ome_zarr.commit.members import arrays_of

__all__ = ["ZipTarget", "is_zip_target", "refuse_inside_files"]

_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def is_zip_target(target: str | os.PathLike[str]) -> bool:
    """Whether a target becomes one file.

    >>> [is_zip_target(name) for name in ("a.ozx", "a.ome.zarr.zip", "a.zarr", "a.zip")]
    [True, True, False, False]
    """
    return os.fsdecode(target).lower().endswith((".ozx", ".zarr.zip"))


@dataclass(frozen=True, slots=True)
class ZipTarget:
    """One file that a conversion makes."""

    path: str
    version: str

    @classmethod
    def of(cls, target: str | os.PathLike[str], version: str) -> ZipTarget | None:
        """Return the target if it is one file, None if it is a folder.

        Raises
        ------
        ArgumentError
            It is in a bucket, or would hold another version of OME-Zarr than its name says.
        """
        if not is_zip_target(text := checked_path(target, "the target")):
            return None
        if is_url(text):
            raise ArgumentError(f"{text}: one file is written on a local disk: convert to a local name, and upload it")
        if text.lower().endswith(".ozx") and version != "0.5":
            raise ArgumentError(
                f"{text}: .ozx holds OME-Zarr 0.5 or later: leave out {option('version')}, or call it .ome.zarr.zip"
            )
        path = os.path.abspath(os.path.expanduser(text))
        if os.path.isdir(path):
            raise DestinationExistsError(f"{path} is a folder: choose another name")
        return cls(path, version)

    @property
    def folder(self) -> str:
        """Where the image is built."""
        return os.path.join(os.path.dirname(self.path), f".{os.path.basename(self.path)}.ilz-folder.zarr")

    @property
    def is_packed(self) -> bool:
        """Whether nothing is left to pack: an earlier run has made the file."""
        return not os.path.isdir(self.folder)

    def require_labels(self, names: Collection[str]) -> None:
        """Raise `ResumeMismatchError` unless the file holds these label images: none can be added to it."""
        store = ArchiveStore(Archive.at(self.path))
        if missing := [name for name in names if not set(ROOTS) & set(store.names(f"labels/{name}") or ())]:
            raise ResumeMismatchError(
                f"{self.path} is complete, and has no label image {missing[0]!r}: remove it, and convert it anew"
            )

    def finished(self, settings: Mapping[str, Any], *, overwrite: bool, resume: bool) -> Manifest | None:
        """Return the manifest of the archive if an earlier run has made it; None if it is to be written.

        Raises
        ------
        DestinationExistsError
            Something is there that may not be replaced.
        ResumeMismatchError
            The archive was made with other settings.
        """
        if not os.path.lexists(self.path):
            return None
        plan = json.loads(json.dumps(settings))
        store = ArchiveStore(Archive.at(self.path))
        try:
            names, manifest = store.names() or [], read_manifest(store)
        except (FormatError, UnsafeFileError):
            names, manifest = [], None
        is_same = manifest is not None and manifest.get("plan") == plan and noted_units(manifest) is not None
        if resume and is_same:
            LocalStore(self.folder).delete("")
            remove_litter(os.path.dirname(self.path))
            return manifest
        if resume and not overwrite and manifest is not None:
            found = difference(as_json(manifest.get("plan")), plan)
            raise ResumeMismatchError(
                f"{self.path} was made with {found}: choose another name, or replace it with "
                f"{option('overwrite', True)}"
            )
        if not overwrite:
            raise DestinationExistsError(
                f"{self.path} exists: choose another name, or replace it with {option('overwrite', True)}"
            )
        if not set(ROOTS) & set(names):
            raise DestinationExistsError(
                f"{self.path} is not a Zarr in one file, so it is not replaced, even with {option('overwrite', True)}: "
                "remove it yourself, or choose another name"
            )
        own = {*ROOTS, ".zmetadata", *(path.partition("/")[0] for path in arrays_of(store))}
        if others := sorted(set(names) - own):
            raise DestinationExistsError(
                f"{self.path} also holds {', '.join(others)[:100]}, which would be lost: choose another name, or "
                "remove it yourself"
            )
        return None

    def pack(self, *, overwrite: bool) -> None:
        """Pack the complete image in the folder, and remove the folder.

        Raises
        ------
        DestinationBusyError
            Another process does the same.
        DestinationExistsError
            Another process has made a file there meanwhile.
        """
        store = LocalStore(self.folder)
        held = lock_of(store, patient=False, is_made=True)
        try:
            keys = sorted((key for key in store.keys("") if not key.startswith(f"{WORK}/")), key=_packing_order)
            if not keys or keys[0] not in ROOTS:
                store.delete("")
                raise DestinationBusyError(f"another conversion has just packed {self.path}")
            noted = {"ome": {"version": self.version, "zipFile": {"centralDirectory": {"jsonFirst": True}}}}
            comment = b"" if self.version == "0.4" else json.dumps(noted).encode()
            pack_folder(self.folder, keys, self.path, comment=comment, overwrite=overwrite)
            store.delete("")
        finally:
            held.release()


def _packing_order(key: str) -> tuple[bool, int, int, str]:
    """Put metadata first, from the root down: a reader finds them at the beginning of the directory.

    >>> sorted(["s0/c/0", "s0/zarr.json", "zarr.json"], key=_packing_order)
    ['zarr.json', 's0/zarr.json', 's0/c/0']
    """
    name = key.rpartition("/")[2]
    is_metadata = name in _METADATA
    return not is_metadata, key.count("/"), _METADATA.index(name) if is_metadata else 0, key


def refuse_inside_files(target: str) -> None:
    """Raise an error if a target lies in a file, such as an archive, which nothing can be added to."""
    for above in _parents(os.path.abspath(os.path.expanduser(target))):
        if not os.path.isfile(above):
            continue
        if is_zip_target(above):
            raise ArgumentError(
                f"{target} lies in {above}, one file, to which nothing can be added: "
                + remedy("convert it with its labels to a folder, such as 'new.zarr'", "convert to a folder, new.zarr")
            )
        others = remedy("", ", or pass --out-dir if it is one of many FILEs")
        raise DestinationExistsError(f"{target} would lie in {above}, which is a file: choose another name{others}")


def _parents(path: str) -> list[str]:
    found = []
    while (above := os.path.dirname(path)) != path:
        found.append(path := above)
    return found
