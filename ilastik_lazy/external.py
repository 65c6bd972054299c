"""What lies outside a file, and may be followed from it: files below folders that the caller named.

A file is data from whoever made it.  One that says "my pixels lie in /etc/passwd" is believed by
HDF5, and its links lead anywhere; here they lead below `Limits.external_roots`, which are none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.limits import Limits, Trust

__all__ = ["Folders", "granted", "is_below", "named_folders"]

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def granted(limits: Limits | None, trust: Trust = "local", allow_external: Folders = ()) -> Limits:
    """`limits`, and what a caller allows beside them.

    Raises
    ------
    ArgumentError
        `trust` is none of its two words, or a root is no folder.
    """
    if trust not in ("local", "untrusted"):
        raise ArgumentError(f"trust={trust!r}: expected 'local' or 'untrusted'")
    if limits is not None and not isinstance(limits, Limits):
        raise ArgumentError(f"limits={limits!r}: expected ilastik_lazy.limits.Limits(...)")
    roots = tuple(dict.fromkeys(map(os.path.realpath, named_folders(allow_external, "allow_external"))))
    return replace(limits or Limits(), trust=trust, external_roots=roots)


def named_folders(given: Folders, argument: str) -> list[str]:
    """Absolute paths of the folders that a caller named in `argument`; each must be one."""
    parts = [given] if isinstance(given, str | os.PathLike) else given
    if not isinstance(parts, Iterable) or not all(isinstance(part, str | os.PathLike) for part in parts):
        raise ArgumentError(f"{argument}={given!r}: expected a folder, or a list of folders")
    folders = [os.path.abspath(os.path.expanduser(os.fsdecode(part))) for part in parts]
    for folder in folders:
        if not os.path.isdir(folder):
            raise ArgumentError(f"{argument} names {folder!a}, which is no folder")
    return folders


def is_below(path: str, folders: Sequence[str]) -> bool:
    """Whether `path` is one of `folders`, or lies in one; both without symbolic links."""
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
