"""A lock for places where the system has none: a small object that its owner renews and others watch.

No clocks are compared: a lock is stale if its owner is a process of this machine that has ended, or if it does
not change for three beats.  A stale lock is replaced only if its content is still what was read, so that exactly one
of several processes takes it over.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from typing import Protocol

from ilastik_lazy.errors import DestinationBusyError, DestinationError, SourceError
from ilastik_lazy.storage.system import IS_WINDOWS

__all__ = ["HeartbeatLock"]

_BEAT = 10.0
_STALE = 3 * _BEAT
# On servers that check no conditions the last writer wins; the others see it after this time.
_SETTLE = 0.5


class _Place(Protocol):
    @property
    def place(self) -> str: ...
    def create(self, key: str, data: bytes) -> bool: ...
    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, parts: list[bytes]) -> int: ...
    def take_over(self, key: str, data: bytes, seen: bytes) -> bool: ...
    def renew(self, key: str, data: bytes, seen: bytes) -> bool: ...
    def delete(self, prefix: str) -> None: ...


class HeartbeatLock:
    """The object at `key` of `store`, renewed by a thread until `release`.

    Parameters
    ----------
    patient
        Watch a lock of another machine for 30 s, to find out whether its owner is alive.
    is_checked
        Whether the store supports conditional writes; otherwise the lock is written, and read again after a
        while.

    Raises
    ------
    DestinationBusyError
        The owner is alive, or may be.
    """

    def __init__(self, store: _Place, key: str, *, patient: bool, is_checked: bool = True) -> None:
        self._store, self._key, self._is_checked = store, key, is_checked
        self._id, self._count = uuid.uuid4().hex, 0
        self._ended, self._lost = threading.Event(), threading.Event()
        self._seen = time.monotonic()
        # A server that checks no conditions would overwrite the lock of another process.
        is_free = is_checked or store.get(key) is None
        # If the answer to a request was lost, the second attempt finds the record of the first.
        if not (is_free and self._write(None)) and self._owner() != self._id:
            stale = self._stale(patient)
            if not self._write(stale) and self._owner() != self._id:
                raise self._busy()
        self._thread = threading.Thread(target=self._beat, name="ilastik_lazy lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Release the lock."""
        self._ended.set()
        self._thread.join()
        if self._owner() == self._id:
            self._store.delete(self._key)

    def require(self, *, ask: bool = False) -> None:
        """Raise `DestinationBusyError` if another process has taken over, after this one was stopped for a while.

        Parameters
        ----------
        ask
            Read the lock now; by default it is read only after a time that makes it stale to others.
        """
        if ask or time.monotonic() - self._seen > _STALE:
            self._look()
        if self._lost.is_set():
            raise DestinationBusyError(
                f"another conversion has taken over {self._store.place}, because this one did not respond for "
                f"{_STALE:.0f} s: wait for it, or choose another target"
            )

    def _look(self) -> bytes:
        record = self._store.get(self._key) or b""
        # If there is no lock, its new owner has already finished.
        if _fields(record).get("id") != self._id:
            self._lost.set()
        self._seen = time.monotonic()
        return record

    def _write(self, seen: bytes | None) -> bool:
        """Replace the record `seen` by our own, and return whether we have the lock."""
        record = self._record()
        if not self._is_checked:
            self._store.put(self._key, [record])
            time.sleep(_SETTLE)
            return self._owner() == self._id
        return self._store.create(self._key, record) if seen is None else self._store.take_over(self._key, record, seen)

    def _record(self) -> bytes:
        self._count += 1
        record = {"id": self._id, "host": socket.gethostname(), "pid": os.getpid(), "beat": self._count}
        return json.dumps(record).encode()

    def _owner(self) -> object:
        return _fields(self._store.get(self._key)).get("id")

    def _stale(self, patient: bool) -> bytes | None:
        """Return the record of an owner that has ended; None if it is gone."""
        seen = self._store.get(self._key)
        found = _fields(seen)
        # On Windows `os.kill` would interrupt the owner instead of asking for it: there, its beats are watched.
        if found.get("host") == socket.gethostname() and not IS_WINDOWS:
            if _is_running(found.get("pid")):
                raise self._busy()
            return seen
        if not patient:
            raise self._busy()
        end = time.monotonic() + _STALE
        while time.monotonic() < end:
            time.sleep(_BEAT / 10)
            if self._store.get(self._key) != seen:
                raise self._busy()
        return seen

    def _busy(self) -> DestinationBusyError:
        return DestinationBusyError(
            f"another conversion is writing to {self._store.place}: wait for it, or choose another target"
        )

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            try:
                seen = self._look()
                if self._lost.is_set():
                    return
                self._store.renew(self._key, self._record(), seen)
            except (DestinationError, SourceError):
                continue  # a short network failure; a longer one makes writing fail


def _fields(record: bytes | None) -> dict[str, object]:
    try:
        found = json.loads(record) if record is not None else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_running(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
