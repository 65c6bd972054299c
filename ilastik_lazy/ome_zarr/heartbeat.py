"""A lock where the system has none: a small object that its owner renews, and that others watch.

No clocks are compared: a lock is stale when its owner is a process of this machine that has ended, or when
it does not change for three of its beats.
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

__all__ = ["HeartbeatLock"]

_BEAT = 10.0
_STALE = 3 * _BEAT
# Of two that find a stale lock at the same moment, the later one wins; the earlier sees it after this time.
_SETTLE = 0.5


class _Place(Protocol):
    @property
    def place(self) -> str: ...
    def create(self, key: str, data: bytes) -> bool: ...
    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, parts: list[bytes]) -> int: ...
    def delete(self, prefix: str) -> None: ...


class HeartbeatLock:
    """The object at `key` of `store`, renewed by a thread until `release`.

    Parameters
    ----------
    patient
        Watch a lock of another machine for 30 s, to see whether its owner is alive.

    Raises
    ------
    DestinationBusyError
        Its owner is alive, or may be.
    """

    def __init__(self, store: _Place, key: str, *, patient: bool) -> None:
        self._store, self._key = store, key
        self._id, self._count = uuid.uuid4().hex, 0
        self._ended, self._lost = threading.Event(), threading.Event()
        self._seen = time.monotonic()
        if not store.create(key, self._record()) and self._owner() != self._id:
            self._wait_until_stale(patient)
            store.delete(key)
            store.create(key, self._record())
            time.sleep(_SETTLE)
            if self._owner() != self._id:
                raise self._busy()
        self._thread = threading.Thread(target=self._beat, name="ilastik_lazy lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give the place back."""
        self._ended.set()
        self._thread.join()
        if self._owner() == self._id:
            self._store.delete(self._key)

    def require(self, *, ask: bool = False) -> None:
        """Raise `DestinationBusyError` if another process has taken over, as of one that was stopped for a while.

        Parameters
        ----------
        ask
            Look at the lock; else it is looked at only after a time that makes it stale to others.
        """
        if ask or time.monotonic() - self._seen > _STALE:
            self._look()
        if self._lost.is_set():
            raise DestinationBusyError(
                f"another conversion has taken over {self._store.place}, since this one was silent for "
                f"{_STALE:.0f} s: wait for it, or choose another target"
            )

    def _look(self) -> None:
        # Where there is no lock at all, its new owner has finished already.
        if self._owner() != self._id:
            self._lost.set()
        self._seen = time.monotonic()

    def _record(self) -> bytes:
        self._count += 1
        record = {"id": self._id, "host": socket.gethostname(), "pid": os.getpid(), "beat": self._count}
        return json.dumps(record).encode()

    def _owner(self) -> object:
        return _fields(self._store.get(self._key)).get("id")

    def _wait_until_stale(self, patient: bool) -> None:
        seen = self._store.get(self._key)
        found = _fields(seen)
        if found.get("host") == socket.gethostname():
            if _is_running(found.get("pid")):
                raise self._busy()
            return
        if not patient:
            raise self._busy()
        end = time.monotonic() + _STALE
        while time.monotonic() < end:
            time.sleep(_BEAT / 10)
            if self._store.get(self._key) != seen:
                raise self._busy()

    def _busy(self) -> DestinationBusyError:
        return DestinationBusyError(
            f"another conversion is writing to {self._store.place}: wait for it, or choose another target"
        )

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            try:
                self._look()
                if self._lost.is_set():
                    return
                self._store.put(self._key, [self._record()])
            except (DestinationError, SourceError):
                continue  # a line that is down for a moment; the units that are written meanwhile will tell


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
