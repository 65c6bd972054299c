"""Run the package as on Windows, on Linux: it finds neither the modules nor the calls that Windows lacks.

Modules of the package, and only those, get their own `os` and `sys` from ``import``: other libraries and the tests
keep theirs.  Files behave as on Windows, too: those that are open cannot be renamed, replaced or removed, and folders
cannot be opened.  Paths remain those of this system.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = "ilastik_lazy"

MODULES = (
    "fcntl",
    "resource",
    "pwd",
    "grp",
    "termios",
    "tty",
    "pty",
    "posix",
    "_posixsubprocess",
    "syslog",
    "readline",
)
# What `os` lacks on Windows, by its documentation.
CALLS = (
    "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "O_DSYNC", "O_NOCTTY", "O_PATH",
    "O_TMPFILE", "O_DIRECT", "O_NOATIME", "chown", "chroot", "copy_file_range", "eventfd", "fchdir", "fchmod",
    "fchown", "fdatasync", "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp",
    "getpriority", "getsid", "getuid", "killpg", "lchown", "lockf", "major", "makedev", "memfd_create", "minor",
    "mkfifo", "mknod", "nice", "openpty", "pathconf", "pipe2", "posix_fadvise", "posix_fallocate",
    "posix_spawn", "pread", "preadv", "pwrite", "pwritev", "readv", "register_at_fork", "sched_getaffinity",
    "sched_setaffinity", "sched_yield", "sendfile", "setpgid", "setsid", "setxattr", "getxattr", "statvfs",
    "fstatvfs", "sync", "sysconf", "ttyname", "uname", "wait", "wait3", "wait4", "WEXITSTATUS", "writev",
)  # fmt: skip
_BINARY = 1 << 30


def pretend() -> None:
    """From now on, modules of the package that are imported see Windows; nothing changes where they do so anyway."""
    if os.name == "nt":
        return
    assert not any(name.split(".")[0] == PACKAGE for name in sys.modules), "the package is imported already"
    seen = {"os": _windows_os(), "sys": _view(sys, platform="win32")}
    real_import, real_open = builtins.__import__, builtins.open

    def imported(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if _is_own(globals):
            if name in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in seen and not fromlist:
                return seen[name]
        return real_import(name, globals, locals, fromlist, level)

    def opened(file: Any, *arguments: Any, **options: Any) -> Any:
        if _is_own(sys._getframe(1).f_globals) and str(file).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
        return real_open(file, *arguments, **options)

    builtins.__import__, builtins.open = imported, opened  # type: ignore[assignment]


def _is_own(globals: Any) -> bool:
    return globals is not None and str(globals.get("__name__")).split(".")[0] == PACKAGE


def _view(module: types.ModuleType, **others: Any) -> types.ModuleType:
    """A module that has `others`, and all the rest from `module` as it is when it is asked for."""
    view = types.ModuleType(module.__name__)
    vars(view).update(others, __getattr__=lambda name: getattr(module, name))
    return view


def _windows_os() -> types.ModuleType:
    windows = _view(os, name="nt", O_BINARY=_BINARY, open=_open, kill=_kill, fsync=_fsync)
    for name in ("rename", "replace", "unlink", "remove"):
        setattr(windows, name, _refusing(name))

    def attribute(name: str) -> Any:
        if name in CALLS:
            raise AttributeError(f"module 'os' has no attribute {name!r}")
        return getattr(os, name)

    windows.__getattr__ = attribute  # type: ignore[method-assign]
    return windows


def _open(path: Any, flags: int, mode: int = 0o777) -> int:
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    assert flags & _BINARY or flags & os.O_ACCMODE == os.O_RDWR, f"{path} would be translated as text"
    return os.open(path, flags & ~_BINARY, mode)


def _kill(pid: int, signal: int) -> None:
    raise AssertionError("on Windows, `os.kill` ends or interrupts processes, and never only asks for one")


def _fsync(fd: int) -> None:
    fcntl = importlib.import_module("fcntl")
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    os.fsync(fd)


def _refusing(name: str) -> Callable[..., None]:
    """The call `name` of `os` by the rules of Windows."""

    def call(path: Any, *target: Any) -> None:
        for each in (path, *target):
            if (held := _open_below(Path(each))) and os.path.lexists(each):
                raise PermissionError(errno.EACCES, f"another program has {held} open", each)
        if name == "rename" and os.path.lexists(*target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), *target)
        getattr(os, name)(path, *target)

    return call


def _open_below(path: Path) -> str | None:
    """A file at `path` or below it that this process has open."""
    for number in os.listdir("/proc/self/fd"):
        try:
            target = Path(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # the descriptor of this listing
            continue
        if target == path or path in target.parents:
            return str(target)
    return None
