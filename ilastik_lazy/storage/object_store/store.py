"""Write an image to a bucket: each object is written in one request, so it is there as a whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ilastik_lazy.errors import DestinationError, DestinationExistsError, LockingWarning, SourceNotFoundError
from ilastik_lazy.storage.locks import HeartbeatLock
from ilastik_lazy.storage.object_store import ObjectFolder
from ilastik_lazy.storage.object_store.backend import ObjectState
from ilastik_lazy.storage.stores import LOCK, WORK, Lock, Store
from ilastik_lazy.warning import warn

__all__ = ["RemoteStore"]


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """A prefix of a bucket (see `Store`)."""

    folder: ObjectFolder

    @property
    def place(self) -> str:
        return self.folder.url

    def names(self, folder: str = "") -> list[str] | None:
        folders, objects = self.folder.children(folder)
        return [*folders, *objects] or None

    def make(self) -> bool:
        return True  # a prefix exists with its first object; the lock decides who is first

    def put(self, key: str, parts: Sequence[bytes], *, synced: bool = True) -> int:
        data = b"".join(parts)
        self.folder.put(key, data)
        return len(data)

    def create(self, key: str, data: bytes) -> bool:
        try:
            self.folder.put(key, data, create=True)
        except DestinationExistsError:
            return False
        return True

    def take_over(self, key: str, data: bytes, seen: bytes) -> bool:
        try:
            found, state = self.folder.fetch(key)
        except SourceNotFoundError:
            return False
        return found == seen and _put_if(self.folder, key, data, state)

    def renew(self, key: str, data: bytes, seen: bytes) -> bool:
        return self.take_over(key, data, seen)

    def add_line(self, key: str, line: bytes) -> None:
        # An object cannot grow: write one for each line.
        self.folder.put(f"{key}/{uuid.uuid4().hex}", line + b"\n")

    def get(self, key: str) -> bytes | None:
        try:
            return self.folder.get(key)
        except SourceNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        try:
            return self.folder.state(key).size
        except SourceNotFoundError:
            return None

    def keys(self, prefix: str) -> list[str]:
        return sorted(self.folder.list(prefix))

    def delete(self, prefix: str) -> None:
        for key in self.keys(prefix):
            self.folder.delete(key)
        if prefix:
            self.folder.delete(prefix)

    def prune(self, folder: str) -> None:
        """Do nothing: a folder exists as long as it holds an object."""

    def sync(self, keys: Collection[str]) -> None:
        """Do nothing: a bucket keeps what it has confirmed."""

    def lock(self, *, patient: bool = False) -> Lock:
        is_checked = _checks_conditions(self.folder)
        if not is_checked:
            warn(
                f"{self.place}: the server does not check conditions of a PUT (If-None-Match, If-Match): two "
                "conversions that start at the same moment may both write for some seconds, so start only one",
                LockingWarning,
            )
        return HeartbeatLock(self, LOCK, patient=patient, is_checked=is_checked)

    def beside(self) -> Store | None:
        return None

    def keep(self, key: str, other: Store) -> None:
        raise NotImplementedError(f"objects cannot be linked: {self.place}")

    def replace_by(self, new: Store) -> None:
        raise NotImplementedError(f"objects cannot be exchanged: {self.place}")


def _put_if(folder: ObjectFolder, key: str, data: bytes, state: ObjectState | None) -> bool:
    """Write an object if it is in `state`, None for a missing one; return whether the server has written it."""
    try:
        folder.put(key, data, create=state is None, replacing=state)
    except DestinationExistsError:
        return False
    return True


def _checks_conditions(folder: ObjectFolder) -> bool:
    """Return whether the server refuses to create an existing object, and to replace a changed one."""
    key = f"{WORK}/probe-{uuid.uuid4().hex}"
    try:
        _put_if(folder, key, b"1", None)
        if _put_if(folder, key, b"1", None):
            return False
        _, first = folder.fetch(key)
        try:
            _put_if(folder, key, b"2", first)
            return bool(first.tag) and not _put_if(folder, key, b"3", first)
        except DestinationError:
            return False  # the server does not support conditions
    finally:
        folder.delete(key)
