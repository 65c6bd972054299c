"""Keep what is known of files in memory, made once for each, up to a number of bytes.

A stack may be thousands of files with a small index each, or a few with a large one: counting them fits neither.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["ByteCache"]

_T = TypeVar("_T")


class _Entry(Generic[_T]):
    """A value, or none yet."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[_T] = []
        self.nbytes = 0


class ByteCache(Generic[_T]):
    """Values by key; those that were used longest ago go first.

    Parameters
    ----------
    size_of
        Bytes of a value.
    most
        Bytes of all values; the one that was made last is kept in any case.

    Examples
    --------
    >>> kept = ByteCache(len, most=10)
    >>> kept.get("a", lambda: "made once"), kept.get("a", lambda: "made again")
    ('made once', 'made once')
    """

    def __init__(self, size_of: Callable[[_T], int], most: int = 256 * 2**20) -> None:
        self._size_of, self._most = size_of, most
        self._lock, self._held = threading.Lock(), 0
        self._entries: OrderedDict[Hashable, _Entry[_T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the value of `key`, made by one thread however many ask."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        if entry.made:
            return entry.made[0]
        with entry.lock:
            if not entry.made:
                try:
                    entry.made.append(make())
                except BaseException:
                    with self._lock:
                        if self._entries.get(key) is entry:
                            del self._entries[key]
                    raise
                self._count(key, entry)
        return entry.made[0]

    def known(self, key: Hashable) -> _T | None:
        """The value of `key` if it is made; None otherwise."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.made[0] if entry is not None and entry.made else None

    def _count(self, key: Hashable, entry: _Entry[_T]) -> None:
        """Add a value that was just made, and drop the oldest ones where there are too many bytes."""
        nbytes = self._size_of(entry.made[0])
        with self._lock:
            if self._entries.get(key) is entry:
                entry.nbytes = nbytes
                self._held += nbytes
            while self._held > self._most and (oldest := next(iter(self._entries))) != key:
                self._held -= self._entries.pop(oldest).nbytes

    def drop(self, key: Hashable) -> None:
        """Forget the value of `key`."""
        with self._lock:
            if (entry := self._entries.pop(key, None)) is not None:
                self._held -= entry.nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._held = 0
