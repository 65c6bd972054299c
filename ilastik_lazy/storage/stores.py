"""Where a conversion writes: named bytes, each of which is there as a whole or not at all.

A key is a path below the place, with ``/``.  The same few operations do for a folder and for a bucket.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ilastik_lazy.errors import DestinationBusyError, DestinationExistsError, option
from ilastik_lazy.storage import folders
from ilastik_lazy.storage.files import make_directories, write_atomically, writing
from ilastik_lazy.storage.heartbeat import HeartbeatLock

__all__ = ["LAST_ROOTS", "LOCK", "PLAN", "ROOTS", "WORK", "LocalStore", "Lock", "Store"]

WORK = ".ilz"
"""Folder in an unfinished image: plan, journal, lock, temporary files."""

LOCK = f"{WORK}/lock"
PLAN = f"{WORK}/plan.json"

ROOTS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""Metadata by which a folder is a Zarr."""

LAST_ROOTS = ("zarr.json", ".zattrs")
"""Those that are written last: what is in them makes it an image."""


class Lock(Protocol):
    """That no other process writes to a place; gone with the process."""

    def release(self) -> None: ...

    def require(self, *, ask: bool = False) -> None:
        """Raise `DestinationBusyError` if it was lost; `ask` looks, however long ago it was last looked at."""


class Store(Protocol):
    """A place for one image.  Safe to share between threads; a pickled copy writes to the same place."""

    @property
    def place(self) -> str:
        """Path or URL."""

    def names(self, folder: str = "") -> list[str] | None:
        """What is directly in a folder of the place; None if there is no such folder.

        Raises
        ------
        DestinationExistsError
            The place is a file.
        """

    def make(self) -> bool:
        """Make the place; False if it is there."""

    def put(self, key: str, parts: Sequence[bytes]) -> int:
        """Write `parts` under `key`, durably and all at once; returns their bytes."""

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under a new `key`; False if there is something."""

    def take_over(self, key: str, data: bytes, seen: bytes) -> bool:
        """Write `data` under `key` if what is there is `seen`: of several that try, exactly one is told True."""

    def renew(self, key: str, data: bytes, seen: bytes) -> bool:
        """The same for whoever owns `seen`: at no moment is there nothing under `key`."""

    def add_line(self, key: str, line: bytes) -> None:
        """Add a line to what lies under `key`, or below it."""

    def get(self, key: str) -> bytes | None: ...

    def size(self, key: str) -> int | None: ...

    def keys(self, prefix: str) -> list[str]:
        """Keys below `prefix`, in order."""

    def delete(self, prefix: str) -> None:
        """Delete what lies under `prefix` and below it."""

    def prune(self, folder: str) -> None:
        """Delete a folder, or the place itself, if nothing is in it."""

    def sync(self) -> None:
        """Make durable what was written, so that it is there after a power failure too."""

    def lock(self, *, patient: bool = False) -> Lock:
        """Take the place; `patient` waits to see whether an owner that cannot be asked is alive.

        Raises
        ------
        DestinationBusyError
            Another process has it.
        """

    def beside(self) -> Store | None:
        """A place for an image that replaces the one here; None where images cannot be exchanged."""

    def keep(self, key: str, other: Store) -> None:
        """Have here, too, what lies under `key` in `other`, a place that `beside` relates to this one.

        Raises
        ------
        DestinationError
            A file here has the name of a folder there, or the reverse.
        """

    def replace_by(self, new: Store) -> None:
        """Put what `beside` gave in this place, and what is here in that one, at once."""


@dataclass(frozen=True, slots=True)
class _LocalLock:
    fd: int

    def release(self) -> None:
        folders.release_lock(self.fd)

    def require(self, *, ask: bool = False) -> None:
        """Do nothing: only its owner can give it back."""


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A folder."""

    path: str

    @property
    def place(self) -> str:
        return self.path

    def _path(self, key: str) -> str:
        return os.path.join(self.path, *key.split("/"))

    def names(self, folder: str = "") -> list[str] | None:
        path = self._path(folder) if folder else self.path
        if os.path.isdir(path):
            with writing(path):
                return os.listdir(path)
        if not folder and os.path.lexists(path):
            raise DestinationExistsError(
                f"something is at {self.path} that is no folder, so it is not replaced (not with "
                f"{option('overwrite', True)} either): remove it yourself, or choose another name"
            )
        return None

    def make(self) -> bool:
        with writing(self.path):
            make_directories(os.path.dirname(self.path))
            try:
                # Atomic: of two conversions to the same target one makes it.
                os.mkdir(self.path)
            except FileExistsError:
                return False
            return True

    def put(self, key: str, parts: Sequence[bytes]) -> int:
        path, temporary = self._path(key), self._path(f"{WORK}/tmp")
        with writing(path):
            make_directories(temporary)
            make_directories(os.path.dirname(path))
            return write_atomically(path, parts, temporary=temporary)

    def create(self, key: str, data: bytes) -> bool:
        with writing(self._path(key)):
            return folders.create_exclusively(self._path(key), data)

    def take_over(self, key: str, data: bytes, seen: bytes) -> bool:
        with writing(self._path(key)):
            return folders.take_over(self._path(key), data, seen)

    def renew(self, key: str, data: bytes, seen: bytes) -> bool:
        return self.put(key, [data]) > 0

    def add_line(self, key: str, line: bytes) -> None:
        with writing(self._path(key)):
            make_directories(os.path.dirname(self._path(key)))
            folders.append_line(self._path(key), line)

    def get(self, key: str) -> bytes | None:
        with writing(self._path(key)):
            return folders.read_whole(self._path(key))

    def size(self, key: str) -> int | None:
        try:
            return os.stat(self._path(key)).st_size
        except FileNotFoundError:
            return None

    def keys(self, prefix: str) -> list[str]:
        return [posixpath.join(prefix, name) for name in folders.files_below(self._path(prefix))]

    def delete(self, prefix: str) -> None:
        folders.remove_tree(self._path(prefix) if prefix else self.path)

    def prune(self, folder: str) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self._path(folder) if folder else self.path)

    def sync(self) -> None:
        with writing(self.path):
            folders.sync_folders(self.path)

    def lock(self, *, patient: bool = False) -> Lock:
        path = self._path(LOCK)
        with writing(path):
            make_directories(os.path.dirname(path))
            try:
                fd = folders.hold_lock(path)
            except NotImplementedError:
                # Lustre without `flock`, some network file systems.
                return HeartbeatLock(self, f"{LOCK}-record", patient=patient)
        if fd is None:
            raise DestinationBusyError(
                f"another conversion is writing to {self.path}: wait for it, or choose another target"
            )
        return _LocalLock(fd)

    def beside(self) -> LocalStore | None:
        if os.path.ismount(self.path):
            return None  # its name belongs to the system, and what is beside it lies on another disk
        return LocalStore(os.path.join(os.path.dirname(self.path), f".{os.path.basename(self.path)}.ilz-new"))

    def keep(self, key: str, other: Store) -> None:
        old, temporary = os.path.join(other.place, *key.split("/")), self._path(f"{WORK}/tmp")
        with writing(self._path(key)):
            make_directories(temporary)
            make_directories(os.path.dirname(self._path(key)))
            folders.keep_tree(old, self._path(key), temporary=temporary)

    def replace_by(self, new: Store) -> None:
        with writing(self.path):
            folders.exchange(new.place, self.path)
