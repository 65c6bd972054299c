"""Count the bytes that are done, and report them to the caller."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Counter", "Progress"]

Progress = Callable[[int, int], None]
"""Called with the bytes that are done, and all bytes."""


class Counter:
    """Adds up bytes, and reports them at the start and after each addition; not for several threads."""

    def __init__(self, total: int, progress: Progress | None, done: int = 0) -> None:
        self._done, self._total, self._progress = done, total, progress
        self.add(0)

    def add(self, nbytes: int) -> None:
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done, self._total)
