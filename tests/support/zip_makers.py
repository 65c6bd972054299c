"""ZIP archives of a folder, as Python's zipfile writes them."""

from __future__ import annotations

import zipfile
from pathlib import Path


def pack(folder: Path, target: Path, *, method: int = zipfile.ZIP_STORED, top: str = "") -> Path:
    """Pack a folder; `top` is a folder in the archive, with a slash."""
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                # Python's zipfile takes the time from the file; one that is fixed gives the same bytes each time.
                info = zipfile.ZipInfo(top + path.relative_to(folder).as_posix())
                archive.writestr(info, path.read_bytes(), method)
    return target
