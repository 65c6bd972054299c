"""The label images below an image: where they lie, and the list in ``labels`` by which readers find them.

https://ngff.openmicroscopy.org/0.5/#labels-md.  A label image is a conversion of its own in ``labels/NAME``, and is
listed when it is whole.  What other programs have put into ``labels``, and into its list, stays.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import zarr

from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import ArgumentError, DestinationBusyError, DestinationError, option
from ilastik_lazy.formats.location import checked_target
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.storage.object_store import ObjectFolder, is_url
from ilastik_lazy.storage.stores import ROOTS, WORK, Lock, Store
from ilastik_lazy.writers.ome_zarr.commit.members import image_attributes, root_of
from ilastik_lazy.writers.ome_zarr.commit.states import is_begun, is_image
from ilastik_lazy.writers.ome_zarr.commit.target import is_unfinished, open_store
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Version

__all__ = ["ImageAbove", "image_above", "labels_below", "lacks_labels"]

_LABELS = "labels"
# Another process holds the lock for two writes of a small file.
_MOST_SECONDS, _PAUSE = 30.0, 0.05


@dataclass(frozen=True, slots=True)
class ImageAbove:
    """An image that label images belong to."""

    place: str
    """Path or URL."""

    spec: ArraySpec
    """That of its full resolution."""

    version: Version
    levels: int
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, place: str, plan: Plan, storage_options: Mapping[str, Any] | None) -> ImageAbove:
        """Return an image that will be written."""
        return cls(place.replace(os.sep, "/"), plan.spec, plan.version, len(plan.levels), storage_options)

    def target(self, name: str) -> str:
        """Return the place of the label image `name`.

        Raises
        ------
        ArgumentError
            It cannot be the name of a folder.
        """
        if not name or name.startswith(".") or {"/", "\\"} & set(name) or name in ROOTS or not name.isprintable():
            raise ArgumentError(f"{name!r} cannot be the name of a label image: choose one word, such as 'cells'")
        return f"{self.place}/{_LABELS}/{name}"

    def listed(self) -> list[str]:
        """Return the names in the list."""
        return _names_in(_document(open_store(f"{self.place}/{_LABELS}", self.storage_options), self.version))

    def add(self, name: str) -> None:
        """Add `name` to the list, unless it is there; several processes may do so at once.

        Raises
        ------
        DestinationError
            The list that is there cannot be read, so that it is not replaced.
        """
        store = open_store(f"{self.place}/{_LABELS}", self.storage_options)
        if name in self.listed() and WORK not in (store.names() or ()):
            return
        lock = _locked(store)
        try:
            self._list(store, name)
            self._consolidate()
            # The lock goes last: whoever takes it next writes temporary files beside it.
            store.delete(f"{WORK}/tmp")
            store.delete(WORK)
        finally:
            lock.release()

    def _list(self, store: Store, name: str) -> None:
        document = _document(store, self.version)
        if name in (listed := _names_in(document)):
            return
        listed.append(name)
        if self.version == "0.4":
            if store.get(".zgroup") is None:
                store.put(".zgroup", [json.dumps({"zarr_format": 2}).encode()])
            document[_LABELS] = listed
        else:
            attributes = document.get("attributes", {})
            ome = {"version": "0.5"} | attributes.get("ome", {}) | {_LABELS: listed}
            document = {"zarr_format": 3, "node_type": "group"} | document
            document["attributes"] = attributes | {"ome": ome}
        store.put(_key(self.version), [json.dumps(document, indent=2).encode()])

    def _consolidate(self) -> None:
        """Renew consolidated metadata, if the image has some: programs that read them look for labels nowhere else."""
        store = open_store(self.place, self.storage_options)
        root = root_of(store, store.names() or ())
        if not root.get("consolidated_metadata") and ".zmetadata" not in (store.names() or ()):
            return
        path = ""
        where: Any = self.place
        if is_url(self.place):
            where, path = ObjectFolder.parse(self.place, self.storage_options).zarr_store()
            where = where.with_read_only(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(where, path=path or None, zarr_format=2 if self.version == "0.4" else 3)


def image_above(
    target: str | os.PathLike[str], storage_options: Mapping[str, Any] | None
) -> tuple[ImageAbove, str] | None:
    """Return the image that a target ``IMAGE/labels/NAME`` belongs to, and the name; None for other targets.

    Raises
    ------
    ArgumentError
        The target is ``IMAGE/labels`` itself.
    DestinationError
        The image is unfinished.
    """
    text = checked_target(target)
    if not is_url(text):
        text = os.path.abspath(os.path.expanduser(text)).replace(os.sep, "/")
    above, _, name = text.rstrip("/").rpartition("/")
    if name == _LABELS and _version_at(above, storage_options) is not None:
        raise ArgumentError(
            f"{text} holds label images by their names: choose a target in it, such as {text.rstrip('/')}/cells"
        )
    place, _, folder = above.rpartition("/")
    if folder != _LABELS or (version := _version_at(place, storage_options)) is None:
        return None
    store = open_store(place, storage_options)
    multiscales = image_attributes(root_of(store, store.names() or ()))["multiscales"]
    spec = as_source(place, storage_options).spec
    found = ImageAbove(place, spec, version, len(multiscales[0]["datasets"]), storage_options)
    found.target(name)
    return found, name


def _version_at(place: str, storage_options: Mapping[str, Any] | None) -> Version | None:
    """Return the version of the image at a place; None if there is none."""
    if not place or place.endswith(("/", ":")):
        return None
    store = open_store(place, storage_options)
    names = [] if not is_url(place) and not os.path.isdir(place) else store.names() or []
    if is_begun(names):
        raise DestinationError(f"{place} is an unfinished conversion: continue it first, with {option('resume', True)}")
    if "multiscales" not in image_attributes(root_of(store, names)):
        return None
    return "0.5" if "zarr.json" in names else "0.4"


def lacks_labels(target: str, names: Collection[str], storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether there is an image at `target`, or a part of one, without some of the label images `names`."""
    if not names or open_store(target, storage_options).names() is None:
        return False
    if is_unfinished(target, storage_options) or (version := _version_at(target, storage_options)) is None:
        return True
    return not set(names) <= set(_names_in(_document(open_store(f"{target}/{_LABELS}", storage_options), version)))


def labels_below(place: str) -> tuple[Version, list[str], list[str]] | None:
    """Return the version of an image, the names that its list of labels holds, and those of label images that it lacks.

    None if there is no image in the folder, or nothing in its ``labels``.
    """
    version = _version_at(place, None)
    store = open_store(f"{place}/{_LABELS}", None)
    if version is None or (names := store.names()) is None:
        return None
    listed = _names_in(_document(store, version))
    others = {
        name: open_store(f"{place}/{_LABELS}/{name}", None) for name in sorted({*names} - {*listed, *ROOTS, WORK})
    }
    folders = {name: store for name, store in others.items() if os.path.isdir(store.place)}
    return version, listed, [name for name, each in folders.items() if is_image(each, each.names() or ())]


def _key(version: Version) -> str:
    return ".zattrs" if version == "0.4" else "zarr.json"


def _document(store: Store, version: Version) -> dict[str, Any]:
    """Return the metadata of the group of labels; empty if there are none."""
    try:
        found = json.loads(store.get(_key(version)) or b"{}")
        _names_in(found)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DestinationError(
            f"{store.place}/{_key(version)} is no list of label images, so it is not changed: correct it, or remove it"
        ) from error
    return cast("dict[str, Any]", found)


def _names_in(document: Mapping[str, Any]) -> list[str]:
    """Return the list in a document; empty if it has none."""
    attributes = document.get("attributes", document)
    found = attributes.get("ome", attributes).get(_LABELS, [])
    if not isinstance(found, list):
        raise TypeError(f"expected a list, not {found!r}")
    return [str(name) for name in found]


def _locked(store: Store) -> Lock:
    """Lock the list; wait while another process writes it."""
    end = time.monotonic() + _MOST_SECONDS
    while True:
        try:
            return store.lock(patient=True)
        except DestinationError as error:
            # Or its folder was removed meanwhile.
            is_busy = isinstance(error, DestinationBusyError) or isinstance(error.__cause__, FileNotFoundError)
            if not is_busy or time.monotonic() > end:
                raise
        time.sleep(_PAUSE)
