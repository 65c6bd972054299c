"""System calls that create, lock, list, exchange and remove files and folders during writing.

As in `files`, a test can make each of them fail.  Locks are those of the system (`flock`), which releases them when
the process ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import itertools
import os
import shutil
import sys
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ilastik_lazy.storage.files import sync_directory
from ilastik_lazy.storage.system import BINARY, IS_WINDOWS, file_id

__all__ = [
    "SEEN_AT_OPENING",
    "append_line",
    "create_exclusively",
    "exchange",
    "files_below",
    "hold_lock",
    "keep_tree",
    "lies_in",
    "lock_opened",
    "read_whole",
    "release_lock",
    "remove_tree",
    "sync_tree",
    "take_over",
    "version_of",
]

# Files that opening an image looks at for its version.  20,000 take 0.12 s of CPU time on a local disk, and at
# 0.5 ms per request would take 10 s on NFS.  1,000 files and the 200 folders around 20,000 take 0.03 s; there, 0.6 s.
SEEN_AT_OPENING = 1_000

_AT_ONCE = 8
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524)


def append_line(path: str, line: bytes) -> None:
    """Append one line to a file in one call: a process that dies leaves at most one incomplete line."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY, 0o666)
    try:
        data = line + b"\n"
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def create_exclusively(path: str, data: bytes) -> bool:
    """Write a new small file; return False if it exists."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    return True


def take_over(path: str, data: bytes, seen: bytes) -> bool:
    """Replace a small file with content `seen` by `data`; of several processes that try, one succeeds and returns True.

    Only one process can rename the file; one that renamed a file with another content puts it back.
    """
    if read_whole(path) != seen:
        return False
    mine = f"{path}-{uuid.uuid4().hex}"
    try:
        os.rename(path, mine)
    except FileNotFoundError:
        return False
    try:
        if read_whole(mine) == seen:
            return create_exclusively(path, data)
        with contextlib.suppress(FileExistsError):
            os.link(mine, path)
        return False
    finally:
        os.unlink(mine)


def read_whole(path: str) -> bytes | None:
    """Return all bytes of a file written by this package; None if it does not exist."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def files_below(path: str) -> list[str]:
    """Return the paths of all files below a folder, relative to it, with ``/``, sorted."""
    found = []
    for folder, _, names in os.walk(path):
        above = "" if folder == path else f"{os.path.relpath(folder, path).replace(os.sep, '/')}/"
        found += [above + name for name in names]
    return sorted(found)


def sync_tree(path: str, files: Iterable[str]) -> None:
    """Make `files`, and the entries of all folders below `path`, durable.

    Several at once: the file system then has them in a few of its own transactions.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        below = (folder for folder, _, _ in os.walk(path))
        for _ in itertools.chain(pool.map(sync_file, files), pool.map(sync_directory, below)):
            pass


def remove_tree(path: str) -> None:
    """Remove a folder with everything in it, or a file, or a link; errors are ignored."""
    if os.path.islink(path) or os.path.isfile(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def keep_tree(old: str, new: str, *, temporary: str) -> None:
    """Merge the tree `old` into `new`, with hard links, or with copies if the disk does not support links.

    If both have a file of one name, keep the one that was written later.

    Parameters
    ----------
    temporary
        A folder on the disk of `new`, for files before they are renamed.
    """
    if os.path.isdir(old) and not os.path.islink(old):
        if not os.path.isdir(new):
            os.mkdir(new)
        for name in os.listdir(old):
            keep_tree(os.path.join(old, name), os.path.join(new, name), temporary=temporary)
        with contextlib.suppress(OSError):
            shutil.copystat(old, new)
        sync_directory(new)
        return
    if os.path.lexists(new):
        if os.path.isdir(new) and not os.path.islink(new):
            raise FileExistsError(errno.EEXIST, f"there is a folder, and a file at {old}", new)
        there, here = os.lstat(old), os.lstat(new)
        if os.path.samestat(there, here) or there.st_mtime_ns <= here.st_mtime_ns:
            return
    made = os.path.join(temporary, uuid.uuid4().hex)
    try:
        os.link(old, made, follow_symlinks=False)
    except (OSError, NotImplementedError):
        # FAT and some network shares have no links, or a member lies on another disk.
        shutil.copy2(old, made, follow_symlinks=False)
        if not os.path.islink(made):
            sync_file(made)
    os.replace(made, new)
    sync_directory(os.path.dirname(new))


def sync_file(path: str) -> None:
    """Make the content of a file durable that another program wrote."""
    # Windows syncs only what is open for writing.
    fd = os.open(path, os.O_RDWR if IS_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def hold_lock(path: str) -> int | None:
    """Lock a file, created if missing, until `release_lock`; return None if another process holds the lock.

    Raises
    ------
    NotImplementedError
        The file system does not support locks.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise NotImplementedError from error
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous owner may have removed the file between the two calls.
            if os.fstat(fd).st_ino == os.stat(path).st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(fd)
            if error.errno in _NO_LOCKS:
                raise NotImplementedError from error
            raise
        os.close(fd)


def lock_opened(fd: int) -> None:
    """Lock a new file until it is closed, if the file system supports locks."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def release_lock(fd: int) -> None:
    """Release a lock."""
    os.close(fd)


def exchange(new: str, old: str) -> None:
    """Exchange the names of `new` and `old`; a reader always finds one of the two.

    On systems that cannot exchange names (Linux can since 3.15), `old` does not exist for a moment.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        rename = getattr(library, "renameat2", None)
        if rename is not None:
            if rename(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
                return
            if (code := ctypes.get_errno()) not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise OSError(code, os.strerror(code), old)
    aside = f"{new}.old"
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise
    os.rename(aside, new)


def lies_in(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or lies in it, with symbolic links resolved."""
    inner, outer = (os.path.normcase(os.path.realpath(each)) for each in (path, folder))
    return (inner + os.sep).startswith(outer.rstrip(os.sep) + os.sep)


def version_of(path: str, most: int | None = None) -> str:
    """Return a text that changes when a file, or a file in a folder, is written to or replaced; empty if it is missing.

    For a file, size and time; for a folder, a hash of names, sizes, times and inode numbers of all files below it.

    Parameters
    ----------
    most
        Look only at this many files of a folder, evenly spread, and at all folders.  A file that is replaced changes
        the time of its folder; one that is overwritten in place may go unnoticed.
    """
    try:
        if not os.path.isdir(path):
            status = os.stat(path)
            return f"{status.st_size}-{status.st_mtime_ns}"
        names = files_below(path)
        looked_at = set(names)
        if most is not None and len(names) > most:
            looked_at = {*names[:: -(-len(names) // most)], *(name.rpartition("/")[0] for name in names)}
        made = hashlib.sha256("\0".join(names).encode(errors="surrogateescape"))
        for name in sorted(looked_at):
            status = os.stat(os.path.join(path, name))
            made.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0{file_id(status)[1]}".encode())
        return made.hexdigest()
    except OSError:
        return ""
