"""Define where a conversion writes: named bytes, each of which is there as a whole or not at all.

A key is a path below the place, with ``/``.  A folder and a bucket have the same few operations.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ilastik_lazy.errors import DestinationBusyError, DestinationExistsError, option
from ilastik_lazy.storage import folders
from ilastik_lazy.storage.files import make_directories, write_atomically, writing
from ilastik_lazy.storage.locks import HeartbeatLock

__all__ = ["LAST_ROOTS", "LOCK", "PLAN", "ROOTS", "WORK", "LocalStore", "Lock", "ReadableStore", "Store", "lock_of"]

WORK = ".ilz"
"""Folder in an unfinished image: plan, journal, lock, temporary files."""

LOCK = f"{WORK}/lock"
PLAN = f"{WORK}/plan.json"

ROOTS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""Metadata files that make a folder a Zarr."""

LAST_ROOTS = ("zarr.json", ".zattrs")
"""Metadata files that are written last, and make it an image."""

_LOOKING = 2.0
"""Seconds; a look takes a few milliseconds."""


class Lock(Protocol):
    """Exclusive right to write to a place; it ends with the process."""

    def release(self) -> None: ...

    def require(self, *, ask: bool = False) -> None:
        """Raise `DestinationBusyError` if it was lost; with `ask`, check even if it was checked just now."""


class ReadableStore(Protocol):
    """A place that holds one image: a folder, a bucket, or an archive."""

    @property
    def place(self) -> str:
        """Path or URL."""

    def names(self, folder: str = "") -> list[str] | None:
        """List what is directly in a folder of the place; return None if there is no such folder.

        Raises
        ------
        DestinationExistsError
            The place is a file.
        """

    def get(self, key: str) -> bytes | None: ...

    def size(self, key: str) -> int | None: ...


class Store(ReadableStore, Protocol):
    """A place for one image.  Safe to share between threads; a pickled copy writes to the same place."""

    def make(self) -> bool:
        """Make the place; return False if it exists."""

    def put(self, key: str, parts: Sequence[bytes], *, synced: bool = True) -> int:
        """Write `parts` under `key`, all at once, and return the number of bytes.

        Parameters
        ----------
        synced
            Whether it survives a power failure from now on, or only from the next `sync` that names `key`.
        """

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under a new `key`; return False if the key exists."""

    def take_over(self, key: str, data: bytes, seen: bytes) -> bool:
        """Replace `seen` under `key` by `data`; of several callers, exactly one gets True."""

    def renew(self, key: str, data: bytes, seen: bytes) -> bool:
        """Do the same as the owner of `seen`: at no moment is `key` missing."""

    def add_line(self, key: str, line: bytes) -> None:
        """Append a line to `key`, or add an object with it below `key`."""

    def keys(self, prefix: str) -> list[str]:
        """List the keys below `prefix`, in order."""

    def delete(self, prefix: str) -> None:
        """Delete `prefix` and everything below it."""

    def prune(self, folder: str) -> None:
        """Delete a folder, or the place itself, if it is empty."""

    def sync(self, keys: Collection[str]) -> None:
        """Make what was written survive a power failure; `keys` are all that were not `synced` when they were put."""

    def lock(self, *, patient: bool = False) -> Lock:
        """Take the place; with `patient`, wait to see whether an owner on another machine is alive.

        Raises
        ------
        DestinationBusyError
            Another process holds it.
        """

    def beside(self) -> Store | None:
        """Return a place for an image that will replace this one; None if images cannot be exchanged."""

    def keep(self, key: str, other: Store) -> None:
        """Link or copy what lies under `key` in `other`, the place beside this one, to here.

        Raises
        ------
        DestinationError
            A file here has the name of a folder there, or the reverse.
        """

    def replace_by(self, new: Store) -> None:
        """Exchange this place and `new`, the place beside it, at once."""


@dataclass(frozen=True, slots=True)
class _LocalLock:
    fd: int

    def release(self) -> None:
        folders.release_lock(self.fd)

    def require(self, *, ask: bool = False) -> None:
        """Do nothing: only its owner can release it."""


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
                f"{self.path} exists and is not a folder, so it is not replaced, even with "
                f"{option('overwrite', True)}: remove it, or choose another name"
            )
        return None

    def make(self) -> bool:
        with writing(self.path):
            make_directories(os.path.dirname(self.path))
            try:
                # Atomic: one of two conversions to the same target succeeds.
                os.mkdir(self.path)
            except FileExistsError:
                return False
            return True

    def put(self, key: str, parts: Sequence[bytes], *, synced: bool = True) -> int:
        path, temporary = self._path(key), self._path(f"{WORK}/tmp")
        with writing(path):
            make_directories(temporary)
            make_directories(os.path.dirname(path))
            return write_atomically(path, parts, temporary=temporary, synced=synced)

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

    def sync(self, keys: Collection[str]) -> None:
        with writing(self.path):
            folders.sync_tree(self.path, map(self._path, keys))

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
            return None  # a mount point cannot be renamed, and its neighbours lie on another disk
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


def lock_of(store: Store, *, patient: bool, is_made: bool) -> Lock:
    """Take the lock of a store (see `Store.lock`); `is_made` says whether this process has made the store.

    Others that found it before it was locked, and will be refused, may hold the lock for as long as they look.
    """
    end = time.monotonic() + _LOOKING
    while True:
        try:
            return store.lock(patient=patient)
        except DestinationBusyError:
            if not is_made or time.monotonic() > end:
                raise
        time.sleep(0.01)
