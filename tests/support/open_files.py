"""Which files this process holds open."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import sys
from pathlib import Path

_DESCRIPTORS = "/proc/self/fd"


def path_of(fd: int) -> str:
    """Path of a file that this process holds open."""
    if sys.platform == "darwin":
        fcntl = importlib.import_module("fcntl")
        return os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"{_DESCRIPTORS}/{fd}")


def open_files() -> list[str]:
    """Regular files and folders that this process holds open; elsewhere than on Linux nobody can tell, so none."""
    found = []
    for number in os.listdir(_DESCRIPTORS) if os.path.exists(_DESCRIPTORS) else ():
        with contextlib.suppress(OSError):  # the descriptor of this very listing
            # Before the path is asked for, which takes longest: most are pipes and sockets.
            kind = os.fstat(int(number)).st_mode
            if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
                found.append(os.readlink(f"{_DESCRIPTORS}/{number}"))
    return found


def open_files_below(folder: Path) -> list[str]:
    """Files in `folder` that this process holds open."""
    return [target for target in open_files() if target.startswith(f"{folder}{os.sep}")]
