"""A folder that gets its name only when it is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator

from ilastik_lazy.errors import DestinationExistsError, option
from ilastik_lazy.storage.files import make_directories, writing

__all__ = ["new_folder"]


@contextlib.contextmanager
def new_folder(path: str, *, overwrite: bool, is_replaceable: Callable[[str], bool]) -> Iterator[str]:
    """Create an empty folder that is renamed to `path` when the block succeeds, and deleted when it raises.

    Parameters
    ----------
    overwrite
        Replace the folder at `path`.  It is missing for a moment between two renames; a process that dies then
        leaves the old folder beside it, hidden.
    is_replaceable
        Return whether a folder is of the kind that is written; no other folder is removed.

    Raises
    ------
    DestinationExistsError
        `path` exists and must not be replaced.
    """
    _check_free(path, overwrite, is_replaceable)
    above = os.path.dirname(path)
    temporary, old = (os.path.join(above, f".ilastik_lazy-{uuid.uuid4().hex}.{end}") for end in ("part", "old"))
    with writing(path):
        make_directories(above)
        os.mkdir(temporary)
    try:
        yield temporary
        with writing(path):
            if overwrite and os.path.lexists(path):
                _check_free(path, overwrite, is_replaceable)
                os.rename(path, old)
            _check_free(path, False, is_replaceable)
            os.rename(temporary, path)
    finally:
        if os.path.lexists(old) and not os.path.lexists(path):
            os.rename(old, path)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def _check_free(path: str, overwrite: bool, is_replaceable: Callable[[str], bool]) -> None:
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise DestinationExistsError(
            f"{path} already exists: choose another name, or pass {option('overwrite', True)} to replace all of it"
        )
    if os.path.islink(path) or not os.path.isdir(path) or not is_replaceable(path):
        raise DestinationExistsError(
            f"{path} is not of the kind that is written: remove it yourself, or choose another name"
        )
