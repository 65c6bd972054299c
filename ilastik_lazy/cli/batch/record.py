"""Record what made each file in ``--out-dir``: ``--resume`` keeps a file that the same options and source made."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import Any

import click

from ilastik_lazy import __version__
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import ResumeMismatchError, option
from ilastik_lazy.storage.folders import version_of
from ilastik_lazy.storage.new_file import new_file
from ilastik_lazy.writers.ome_zarr.identity import source_identity, without_version

__all__ = ["Record"]

_NAME = ".ilastik-lazy.json"
# Options that do not change what is written.
_OF_THE_RUN = {"files", "quiet", "resume", "overwrite", "workers", "jobs", "report", "log_file", "out_dir", "memory"}


class Record:
    """What made the files in a folder, as it is noted there."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, _NAME)
        self._lock = threading.Lock()
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            found = None
        self._made: dict[str, Any] = found if isinstance(found, dict) else {}

    def has(self, target: str, source: ArraySource, *, overwrite: bool) -> bool:
        """Whether `target` was made from `source` with the present options, and is as it was then.

        Raises
        ------
        ResumeMismatchError
            It was not, and must not be replaced.
        """
        if not os.path.lexists(target):
            return False
        noted = self._made.get(os.path.basename(target))
        if not without_version(source) and noted == {"made by": _digest(source), "version": version_of(target)}:
            return True
        if not overwrite:
            raise ResumeMismatchError(
                f"{target} was not made from {source.spec.storage.location} with these options: remove it, or pass "
                f"{option('overwrite', True)}"
            )
        return False

    def add(self, target: str, source: ArraySource) -> None:
        """Note that `target` is complete."""
        entry = {"made by": _digest(source), "version": version_of(target)}
        with self._lock:
            self._made[os.path.basename(target)] = entry
            with new_file(os.path.abspath(self._path), overwrite=True) as file:
                file.write(json.dumps(self._made, indent=1).encode())
                file.check()


def _digest(source: ArraySource) -> str:
    context = click.get_current_context()
    noted = {name.removeprefix("ilastik_lazy."): value for name, value in context.meta.items()}
    options = {name: str(value) for name, value in (context.params | noted).items() if name not in _OF_THE_RUN}
    what = [__version__, context.info_name, options, source_identity(source)]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()
