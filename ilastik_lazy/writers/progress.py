"""Count the bytes that are done, and report them to the caller."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Counter", "Progress"]

Progress = Callable[[int, int], None]
"""Called with the bytes that are done, and all bytes."""


class Counter:
    """Adds up bytes, and reports them at the start and after each addition; not for several threads.

    Without a number of bytes that were `done` before, the first report is that of the first addition.
    """

    def __init__(self, total: int, progress: Progress | None, done: int | None = 0) -> None:
        self._done, self._total, self._progress = done or 0, total, progress
        if done is not None:
            self.add(0)

    def add(self, nbytes: int) -> None:
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done, self._total)
