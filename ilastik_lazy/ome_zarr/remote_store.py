"""A bucket as the place of an image: each object is written in one request, so it is whole or not there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ilastik_lazy.errors import DestinationExistsError, SourceNotFoundError
from ilastik_lazy.object_store import ObjectFolder
from ilastik_lazy.ome_zarr.heartbeat import HeartbeatLock
from ilastik_lazy.ome_zarr.stores import LOCK, Lock, Store

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
        return True  # a prefix is there as soon as something has it; the lock tells who is first

    def put(self, key: str, parts: Sequence[bytes]) -> int:
        data = b"".join(parts)
        self.folder.put(key, data)
        return len(data)

    def create(self, key: str, data: bytes) -> bool:
        try:
            self.folder.put(key, data, create=True)
        except DestinationExistsError:
            return False
        return True

    def add_line(self, key: str, line: bytes) -> None:
        # An object cannot grow: each line is one of its own.
        self.folder.put(f"{key}/{uuid.uuid4().hex}", line + b"\n")

    def get(self, key: str) -> bytes | None:
        try:
            return self.folder.get(key)
        except SourceNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        try:
            return self.folder.size(key)
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
        """Do nothing: a folder is there as long as something is in it."""

    def sync(self) -> None:
        """Do nothing: what a bucket has answered to, it keeps."""

    def lock(self, *, patient: bool = False) -> Lock:
        return HeartbeatLock(self, LOCK, patient=patient)

    def beside(self) -> Store | None:
        return None

    def keep(self, key: str, other: Store) -> None:
        raise NotImplementedError(f"objects cannot be linked: {self.place}")

    def replace_by(self, new: Store) -> None:
        raise NotImplementedError(f"objects cannot be exchanged: {self.place}")
