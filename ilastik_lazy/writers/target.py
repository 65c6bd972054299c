"""The file or folder that is written: a new name, and not that of what is read."""

from __future__ import annotations

import os

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.view import leaves_of, storage_of
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.formats.location import checked_target
from ilastik_lazy.storage.folders import lies_in

__all__ = ["full_path", "local_target", "require_not_read"]


def local_target(path: str | os.PathLike[str]) -> str:
    """Return `path` as text; raise `ArgumentError` for a URL."""
    text = checked_target(path)
    if "://" in text:
        raise ArgumentError(f"{text} is a URL: this release writes local files")
    return text


def full_path(text: str) -> str:
    """Return `text` as an absolute path."""
    return os.path.abspath(os.path.expanduser(text))


def require_not_read(target: str, source: ArraySource) -> None:
    """Raise `ArgumentError` if `source` is read from `target`, or from a folder that `target` lies in."""
    for stored in map(storage_of, leaves_of(source)):
        if _is_same_file(target, stored.path):
            raise ArgumentError(f"{target} is the file that the image is read from: choose another name")
        if os.path.isdir(stored.path) and lies_in(target, stored.path):
            raise ArgumentError(f"{target} lies in the source {stored.path}: choose another name")


def _is_same_file(target: str, source: str) -> bool:
    if os.path.isdir(target) and os.path.exists(source):
        # A dataset of an N5 is a folder in it.
        return lies_in(source, target)
    return bool(source) and os.path.exists(target) and os.path.exists(source) and os.path.samefile(target, source)
