"""Let the n-th system call on files fail, for each n, or for one call of each kind.

Calls that the same lines of the package make are of one kind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import ilastik_lazy
from tests.support.open_files import path_of

READING = ("open", "pread", "preadv", "fstat", "stat", "lstat", "listdir", "scandir", "readv", "read", "dup2")
WRITING = (
    "write", "pwrite", "pwritev", "fsync", "fdatasync", "rename", "replace", "mkdir", "unlink", "remove", "rmdir",
    "link", "ftruncate",
)  # fmt: skip
CALLS = READING + WRITING
ERRORS = {"EIO": errno.EIO, "ESTALE": errno.ESTALE, "EINTR": errno.EINTR, "ENOSPC": errno.ENOSPC}
LONG = "ILASTIK_LAZY_LONG" in os.environ
_PACKAGE = str(Path(ilastik_lazy.__file__).parent) + os.sep


def lines_of(frame: FrameType | None) -> tuple[str, ...]:
    """Lines of the package that lead to `frame`: what a system call is for."""
    lines = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(_PACKAGE):
            lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(lines)


def one_of_each(kinds: Sequence[Any], *, last: bool = False) -> list[int]:
    """Number, from 1, of the first or of the last call of each kind."""
    numbered = list(enumerate(kinds, 1))
    return sorted({kind: number for number, kind in (numbered if last else reversed(numbered))}.values())


@dataclass
class Faults:
    """Counts the calls on files below `folder`, and fails those that `fails` says."""

    folder: Path
    error: int | None
    """What is raised; None returns half of what was asked for."""
    fails: Callable[[int], bool] = lambda number: False
    calls: tuple[str, ...] = CALLS
    count: int = 0
    seen: list[str] = field(default_factory=list)
    kinds: list[tuple[str, ...]] = field(default_factory=list)
    is_on: bool = False

    def numbers(self, *, last: bool = False) -> list[int]:
        """Calls to fail one after the other: one of each kind that was seen, or with ILASTIK_LAZY_LONG=1 all."""
        return list(range(1, self.count + 1)) if LONG else one_of_each(self.kinds, last=last)

    def _concerns(self, place: Any) -> bool:
        if not self.is_on:
            return False
        if isinstance(place, int):
            try:
                place = path_of(place)
            except OSError:
                return False
        return isinstance(place, str | bytes | os.PathLike) and os.fsdecode(place).startswith(str(self.folder))

    def wrap(self, name: str) -> Callable[..., Any]:
        real = _REAL[name]

        def call(*arguments: Any, **options: Any) -> Any:
            if not arguments or not self._concerns(arguments[0]):
                return real(*arguments, **options)
            self.count += 1
            self.seen.append(name)
            self.kinds.append((name, *lines_of(sys._getframe())))
            if not self.fails(self.count):
                return real(*arguments, **options)
            if self.error is None:
                return _short(real, name, arguments, options)
            raise OSError(self.error, os.strerror(self.error))

        return call


_REAL: dict[str, Any] = {name: getattr(os, name) for name in CALLS}


def _short(real: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The same call, for about half of the bytes."""
    if name in ("pread", "read"):
        fd, size, *rest = arguments
        return real(fd, max(1, size // 2), *rest)
    if name == "preadv":
        fd, (view,), *rest = arguments
        return real(fd, [memoryview(view)[: max(1, len(view) // 2)]], *rest)
    if name in ("write", "pwrite"):
        fd, data, *rest = arguments
        view = memoryview(data).cast("B")
        return real(fd, view[: max(1, len(view) // 2)], *rest)
    return real(*arguments, **options)


@contextlib.contextmanager
def injected(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The calls of module `os` go through `faults`."""
    with monkeypatch.context() as patching:
        for name in faults.calls:
            patching.setattr(os, name, faults.wrap(name))
        faults.is_on = True
        try:
            yield faults
        finally:
            faults.is_on = False


def once(number: int) -> Callable[[int], bool]:
    return lambda count: count == number


def from_then_on(number: int) -> Callable[[int], bool]:
    return lambda count: count >= number


def always(_: int) -> bool:
    return True
