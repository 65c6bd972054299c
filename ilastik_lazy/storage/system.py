"""What Windows does otherwise than POSIX, in one place; on POSIX `positioned` is the module `os` itself.

Windows has no `pread`, cannot sync a folder, renames and removes no file that is open, and cannot limit a process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

__all__ = ["BINARY", "IS_WINDOWS", "can_limit_children", "file_id", "positioned"]

IS_WINDOWS = os.name == "nt"

BINARY = getattr(os, "O_BINARY", 0)
"""For `os.open`: without it, Windows translates line ends."""


class _Positioned(Protocol):
    def pread(self, fd: int, length: int, offset: int, /) -> bytes: ...
    def preadv(self, fd: int, buffers: Sequence[memoryview], offset: int, /) -> int: ...
    def pwrite(self, fd: int, data: memoryview, offset: int, /) -> int: ...


class _Seeking:
    """The same calls by seeking: each descriptor must be used by one thread only, which holds for `files.opened`."""

    @staticmethod
    def pread(fd: int, length: int, offset: int, /) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)

    @staticmethod
    def preadv(fd: int, buffers: Sequence[memoryview], offset: int, /) -> int:
        (target,) = buffers
        data = _Seeking.pread(fd, len(target), offset)
        target[: len(data)] = data
        return len(data)

    @staticmethod
    def pwrite(fd: int, data: memoryview, offset: int, /) -> int:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)


positioned: _Positioned = os if all(hasattr(os, name) for name in ("pread", "preadv", "pwrite")) else _Seeking()


def file_id(status: os.stat_result) -> tuple[int, int]:
    """Return device and inode; zeros on Windows, where `stat` and `fstat` may state different ones for one file."""
    return (0, 0) if IS_WINDOWS else (status.st_dev, status.st_ino)


def can_limit_children() -> bool:
    """Return whether a process can be given less memory and time."""
    try:
        import resource  # noqa: F401
    except ImportError:
        return False
    return True
