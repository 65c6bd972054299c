"""Which files this process holds open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def open_files() -> list[str]:
    """Regular files and folders that this process holds open; elsewhere than on Linux nobody can tell, so none."""
    found = []
    for link in _DESCRIPTORS.iterdir() if _DESCRIPTORS.exists() else ():
        try:
            target, kind = os.readlink(link), os.stat(link).st_mode
        except OSError:  # the descriptor of this very listing
            continue
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            found.append(target)
    return found


def open_files_below(folder: Path) -> list[str]:
    """Files in `folder` that this process holds open."""
    return [target for target in open_files() if target.startswith(f"{folder}{os.sep}")]
