"""A file that libhdf5 or tifffile writes, and that gets its name only when it is complete.

It is written beside the target under another name, synced, and renamed.  libhdf5 uses it as a Python file, so that
every system call is made here, and an error is reported with the reason of the system.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator

from ilastik_lazy.errors import DestinationError, DestinationExistsError, option
from ilastik_lazy.storage.files import (
    make_directories,
    opened,
    read_up_to,
    require_unchanged,
    stamp_of,
    sync_directory,
    writing,
)
from ilastik_lazy.storage.folders import hold_lock, lock_opened, release_lock
from ilastik_lazy.storage.system import BINARY, IS_WINDOWS, positioned

__all__ = ["NewFile", "new_file", "remove_litter"]

_FLAGS = BINARY | getattr(os, "O_CLOEXEC", 0)

# Ctrl-C while libhdf5 writes: raised through C code, it would become a SystemError and leave the file open.
_KEPT = (OSError, KeyboardInterrupt, MemoryError)

_TEMPORARY = re.compile(r"\.ilastik_lazy-[0-9a-f]{32}\.part")

_COPIED_AT_ONCE = 2**23

_Bytes = bytes | bytearray | memoryview


class NewFile:
    """A new file for libhdf5: after the first error, writing succeeds and is discarded.

    libhdf5 cannot close a file that it cannot flush: it would keep it open, and its space taken, until Python ends.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.fd, self.path, self.position = fd, path, 0
        self.error: BaseException | None = None

    def check(self) -> None:
        """Raise the first error; an error of the system becomes `DestinationError`."""
        if self.error is None:
            return
        if not isinstance(self.error, OSError):
            raise self.error
        what = self.error.strerror or self.error
        raise DestinationError(f"cannot write {self.path}: {what}") from self.error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self.position}
        self.position = offset + (os.fstat(self.fd).st_size if whence == os.SEEK_END else starts[whence])
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: _Bytes) -> int:
        """Fill `buffer`, or a part of it if the file ends before."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (part := positioned.pread(self.fd, len(view) - done, self.position)):
            view[done : done + len(part)] = part
            done += len(part)
            self.position += len(part)
        return done

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    def write(self, data: _Bytes) -> int:
        """Write all of `data`, or record the error."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.error is None:
            try:
                done += positioned.pwrite(self.fd, view[done:], self.position + done)
            except _KEPT as error:
                self.error = error
        self.position += len(view)
        return len(view)

    def begin_sync(self, offset: int, size: int) -> None:
        """Have the system begin to write these bytes to the disk: the sync at the end then waits for fewer."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self.fd, offset, size, os.POSIX_FADV_DONTNEED)

    def copy(self, path: str) -> None:
        """Write the contents of the file at `path`."""
        with opened(path, stamp := stamp_of(path)) as fd:
            while self.error is None and (data := read_up_to(fd, _COPIED_AT_ONCE, self.position, path)):
                self.write(data)
        require_unchanged(path, stamp)
        self.check()

    def truncate(self, size: int) -> int:
        """Set the length of the file, or record the error."""
        if self.error is None:
            try:
                os.ftruncate(self.fd, size)
            except _KEPT as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Do nothing, since nothing is buffered."""


@contextlib.contextmanager
def new_file(path: str, *, overwrite: bool) -> Iterator[NewFile]:
    """Create a file that gets its name when the block succeeds, and is deleted when it raises."""
    _check_free(path, overwrite=overwrite)
    folder = os.path.dirname(path)
    # Hidden, and without the extension of an image: a killed process may leave it behind.
    temporary = os.path.join(folder, f".ilastik_lazy-{uuid.uuid4().hex}.part")
    with writing(path):
        make_directories(folder)
        remove_litter(folder)
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
    try:
        with contextlib.ExitStack() as while_open:
            while_open.callback(os.close, fd)
            # The lock marks the file as in use; it is released after the rename.
            lock_opened(fd)
            yield NewFile(fd, path)
            with writing(path):
                os.fsync(fd)
                if IS_WINDOWS:
                    while_open.close()  # a file that is open cannot be renamed, and there is no lock
                _publish(temporary, path, overwrite=overwrite)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    with contextlib.suppress(OSError):
        sync_directory(folder)


def remove_litter(folder: str) -> None:
    """Remove the unfinished files of dead processes; a living process holds a lock on its own."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            place = os.path.join(folder, name)
            # Files of other users stay, and all files if there are no locks.
            with contextlib.suppress(NotImplementedError, OSError):
                if (lock := hold_lock(place)) is not None:
                    try:
                        os.unlink(place)
                    finally:
                        release_lock(lock)


def _check_free(path: str, *, overwrite: bool) -> None:
    if os.path.isdir(path):
        raise DestinationExistsError(f"{path} is a folder: choose another name")
    if not overwrite and os.path.lexists(path):
        raise DestinationExistsError(
            f"{path} already exists: choose another name, or pass {option('overwrite', True)} to replace all of it"
        )


def _publish(temporary: str, path: str, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            # Unlike a rename on POSIX, this never replaces a file that another process has just created.
            (os.rename if IS_WINDOWS else os.link)(temporary, path)
        except FileExistsError:
            _check_free(path, overwrite=False)
            raise
        except OSError as error:
            # FAT and some network shares have no links.
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            _check_free(path, overwrite=False)
        else:
            return
    os.replace(temporary, path)
