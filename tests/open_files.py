"""Which files this process holds open."""

from __future__ import annotations

import os
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def open_files_below(folder: Path) -> list[str]:
    """Files in `folder` that this process holds open; elsewhere than on Linux nobody can tell, so none."""
    found = []
    for link in _DESCRIPTORS.iterdir() if _DESCRIPTORS.exists() else ():
        try:
            target = os.readlink(link)
        except OSError:  # the descriptor of this very listing
            continue
        if target.startswith(f"{folder}{os.sep}"):
            found.append(target)
    return found
