"""All system calls on files, in one place, so that a test can make each of them fail.

Reading calls `pread` (on Windows what `system` has for it) until every byte is there.  After an error of a network
file system (EIO, or ESTALE when a server was restarted) it opens the file anew and tries again.  Writing uses a
temporary file, fsync and a rename, so that a reader sees either the old bytes or the new ones.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from functools import partial
from typing import TypeVar

from ilastik_lazy.errors import (
    DestinationError,
    FormatError,
    SourceChangedError,
    SourceError,
    SourceIOError,
    SourceNotFoundError,
)
from ilastik_lazy.storage.system import BINARY, IS_WINDOWS, file_id, positioned

__all__ = [
    "Stamp",
    "make_directories",
    "opened",
    "read_exactly",
    "read_into",
    "read_up_to",
    "require_unchanged",
    "stamp_of",
    "sync_directory",
    "unchanged",
    "write_atomically",
    "write_new",
    "writing",
]

# Without O_NONBLOCK opening a named pipe would block forever.
_READING = os.O_RDONLY | BINARY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

_TRANSIENT = (errno.EIO, errno.ESTALE, errno.EINTR)
_ATTEMPTS = 3
PAUSE_SECONDS = 0.05
"""Pause before the second attempt; the pause before the third is four times as long."""

_T = TypeVar("_T")


def _tried(call: Callable[[], _T], what: str, fd: int | None = None, path: str = "") -> _T:
    """Return the result of `call`; after a transient error, open `path` anew as `fd` and try again.

    Raises
    ------
    SourceIOError, FileNotFoundError
    """
    for attempt in range(_ATTEMPTS):
        try:
            if attempt and fd is not None:
                _reopen(fd, path)
            return call()
        except FileNotFoundError:
            raise
        except OSError as error:
            is_transient = error.errno in _TRANSIENT or isinstance(error, InterruptedError)
            if not is_transient or attempt == _ATTEMPTS - 1:
                raise SourceIOError(f"{what}: {error.strerror}") from error
            time.sleep(PAUSE_SECONDS * 4**attempt)
    raise AssertionError


def _reopen(fd: int, path: str) -> None:
    """Make `fd` refer to the file that is at `path` now; `opened` compares the versions at the end."""
    again = os.open(path, _READING)
    try:
        os.dup2(again, fd, inheritable=False)
    finally:
        os.close(again)


@dataclass(frozen=True, slots=True)
class Stamp:
    """One version of a file: another version has another stamp."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    __dask_tokenize__ = astuple  # dask pickles the class of other dataclasses: 20 us, for each file of a stack

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(*file_id(status), status.st_size, status.st_mtime_ns)


def stamp_of(path: str) -> Stamp:
    """Return the stamp of the file at `path`."""
    try:
        return Stamp.of(_tried(lambda: os.stat(path), f"cannot read {path}"))
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"no such file: {path}") from error


@contextlib.contextmanager
def opened(path: str, stamp: Stamp | None = None) -> Iterator[int]:
    """Open a file for reading; with `stamp`, require that version of the file before and after the block.

    Only one thread may read from the descriptor: on Windows, reading moves its position.

    Raises
    ------
    SourceChangedError
        The file was replaced, cut, or written to after `stamp` was taken.
    """
    try:
        fd = _tried(lambda: os.open(path, _READING), f"cannot open {path}")
    except FileNotFoundError as error:
        if stamp is not None:
            raise _changed(path, stamp, None) from error
        raise SourceNotFoundError(f"no such file: {path}") from error
    try:
        if not stat.S_ISREG(_require(path, fd, stamp).st_mode):
            raise SourceIOError(f"{path} is not a regular file")
        try:
            yield fd
        except FormatError:
            # What seems damaged may be a file that is just being written anew.
            if stamp is not None:
                require_unchanged(path, stamp)
            raise
        _require(path, fd, stamp)
    finally:
        os.close(fd)


def _require(path: str, fd: int, stamp: Stamp | None) -> os.stat_result:
    """Return the status of the open file; raise if it is another version than `stamp`."""
    now = _tried(lambda: os.fstat(fd), f"cannot read {path}", fd, path)
    if stamp is not None and Stamp.of(now) != stamp:
        raise _changed(path, stamp, Stamp.of(now))
    return now


def require_unchanged(path: str, stamp: Stamp) -> None:
    """Raise `SourceChangedError` unless the file at `path` is the version with `stamp`."""
    try:
        now: Stamp | None = stamp_of(path)
    except SourceNotFoundError:
        now = None
    if now != stamp:
        raise _changed(path, stamp, now)


@contextlib.contextmanager
def unchanged(path: str, stamp: Stamp) -> Iterator[None]:
    """Raise `SourceChangedError` unless the file at `path` is the version with `stamp` before and after the block."""
    require_unchanged(path, stamp)
    try:
        yield
    except (FormatError, SourceError):
        # What seems damaged may be a file that is just being written anew.
        require_unchanged(path, stamp)
        raise
    require_unchanged(path, stamp)


def _changed(path: str, stamp: Stamp, now: Stamp | None) -> SourceChangedError:
    if now is None:
        return SourceChangedError(f"{path} is gone since it was opened")
    return SourceChangedError(
        f"{path} changed since it was opened (size {stamp.size} then, {now.size} now): open it again"
    )


def read_into(fd: int, target: memoryview, offset: int, path: str) -> None:
    """Fill `target`, a contiguous view of bytes, with those from `offset`; raise if there are fewer."""
    done = 0
    while done < len(target):
        try:
            count = positioned.preadv(fd, [target[done:]], offset + done)
        except OSError:
            count = _read_again(partial(positioned.preadv, fd, [target[done:]], offset + done), fd, path, offset + done)
        if count == 0:
            raise SourceChangedError(f"{path} ends at byte {offset + done}: it was cut since it was opened")
        done += count


def _read_again(call: Callable[[], _T], fd: int, path: str, at: int) -> _T:
    """Repeat a read that failed once."""
    try:
        return _tried(call, f"cannot read {path} at byte {at}", fd, path)
    except FileNotFoundError as error:
        raise SourceChangedError(f"{path} is gone since it was opened") from error


def read_exactly(fd: int, size: int, offset: int, path: str) -> bytes:
    """Return `size` bytes from `offset`; raise if there are fewer."""
    try:
        data = positioned.pread(fd, size, offset)
    except OSError:
        data = b""
    if len(data) == size:
        return data
    # Rare: a network file system may return fewer bytes than requested, or fail once.
    buffer = bytearray(size)
    read_into(fd, memoryview(buffer), offset, path)
    return bytes(buffer)


def read_up_to(fd: int, size: int, offset: int, path: str) -> bytes:
    """Return `size` bytes from `offset`, or fewer if the file ends before."""
    parts: list[bytes] = []
    while size > 0:
        try:
            part = positioned.pread(fd, size, offset)
        except OSError:
            part = _read_again(partial(positioned.pread, fd, size, offset), fd, path, offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def make_directories(path: str) -> None:
    """Create the folder `path` and its parents, if they do not exist."""
    while True:
        try:
            return os.makedirs(path, exist_ok=True)
        except FileExistsError:
            # Another process has removed the folder between two looks of `makedirs`; a file there is an error.
            if os.path.lexists(path):
                raise


def write_new(path: str, *parts: bytes | bytearray | memoryview, synced: bool = True) -> int:
    """Write `parts` to a new file, sync it to the disk unless told otherwise, and return the number of bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while len(view):
                view = view[os.write(fd, view) :]
        if synced:
            os.fsync(fd)
    finally:
        os.close(fd)
    return sum(memoryview(part).nbytes for part in parts)


def write_atomically(path: str, parts: Iterable[bytes | memoryview], *, temporary: str, synced: bool = True) -> int:
    """Write `parts` to `path` atomically, and return the number of bytes.

    `temporary` is a folder on the same file system; files that a dead process leaves there are not used.
    """
    name = os.path.join(temporary, uuid.uuid4().hex)
    try:
        total = write_new(name, *parts, synced=synced)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    if synced:
        sync_directory(os.path.dirname(path))
    return total


def sync_directory(path: str) -> None:
    """Make a renamed file durable under its name; skip that on systems that do not support it."""
    if IS_WINDOWS:
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Translate errors of the system to `DestinationError` while `path` is written."""
    try:
        yield
    except DestinationError:
        raise
    except OSError as error:
        raise DestinationError(f"cannot write {path}: {error.strerror or error}") from error
