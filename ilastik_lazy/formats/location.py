"""Split ``"dir/a.h5/volume/data"`` into the file and the internal path.

ilastik writes an internal path behind the last container extension of a path
(``lazyflow/utility/pathHelpers.py``, ``PathComponents``); so may users here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from ilastik_lazy.errors import ArgumentError, SourceNotFoundError, option
from ilastik_lazy.formats.suffixes import CONTAINER
from ilastik_lazy.storage.object_store import ObjectFolder, is_url
from ilastik_lazy.storage.similar import did_you_mean

__all__ = ["Location", "checked_path", "checked_target", "number_key", "with_slashes"]

_CONTAINERS = re.compile(f"{CONTAINER}(?=/)", re.IGNORECASE)
_OF_WINDOWS = re.compile(r"[A-Za-z]:[/\\]|\\\\")


def with_slashes(path: str) -> str:
    r"""Return a path with ``/`` in place of ``\``, if this system takes both."""
    return path.replace("\\", "/") if os.sep == "\\" and not is_url(path) else path


def number_key(path: str) -> list[tuple[int, str]]:
    """Return the key by which ``a_2`` comes before ``a_10``.

    >>> sorted(["a_10", "a_2"], key=number_key)
    ['a_2', 'a_10']
    """
    # More digits are a larger number; Python makes none of more than 4300 digits.
    parts = [part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", path)]
    return [(len(part) if part.isdecimal() else 0, part) for part in parts]


def checked_path(path: object, what: str = "the path") -> str:
    """Return the text of a path or URL, if a file system can hold it.

    Raises
    ------
    ArgumentError
        It is not a path, is empty, or has characters that no name can have.

    Examples
    --------
    >>> checked_path("brain.h5")
    'brain.h5'
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ArgumentError(f"{what} is of type {type(path).__name__}: expected text, such as 'brain.zarr'")
    text: str = os.fsdecode(path)
    if not text:
        raise ArgumentError(f"{what} is empty: expected a name, such as 'brain.zarr'")
    try:
        # Names of files in other encodings have halves of pairs for their bytes; those of objects are UTF-8.
        encoded = text.encode() if is_url(text) else os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{what} {text!a} has characters that cannot be encoded: type the name again") from error
    if b"\0" in encoded:
        raise ArgumentError(f"{what} {text!a} has a NUL in it, which no name may have: leave it out")
    return text


def checked_target(path: object, *, endings: tuple[str, ...] = ()) -> str:
    """Check the path of something to write, which others find again by its name.

    Parameters
    ----------
    endings
        Suffixes of other formats, which are refused.
    """
    text = checked_path(path, "the target")
    if text.startswith("-"):
        raise ArgumentError(f"the target {text} begins with a dash, like an option of a command: write ./{text}")
    if text.lower().startswith("memory:"):
        raise ArgumentError(f"the target {text} lies in memory, where nothing lasts: name a folder or a bucket")
    if os.path.expanduser(text).startswith("~"):
        raise ArgumentError(f"the target {text} begins with the home of a user who is not here: write the whole path")
    if (suffix := os.path.splitext(text.rstrip("/\\"))[1].lower()) in endings:
        raise ArgumentError(
            f"{text} would be a folder, and {suffix} is the ending of another format: choose a name that ends in .zarr"
        )
    return text


@dataclass(frozen=True, slots=True)
class Location:
    """A file (or folder, or URL of one), and perhaps the path of a dataset in it."""

    path: str
    """Absolute path of the file, or its URL."""

    internal_path: str | None = None
    """Path of the dataset without a leading slash; None if it was not given."""

    options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)
    """How the server of a URL is reached (see `ObjectFolder`); may hold credentials."""

    __dask_tokenize__ = astuple  # as that of `Stamp`

    @classmethod
    def parse(
        cls,
        path: str | os.PathLike[str],
        internal_path: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Location:
        """Split `path` where the file ends and its inside begins.

        Parameters
        ----------
        path
            Path of a file, with or without an internal path after it; ``~`` is expanded.  Or a URL such as
            ``s3://bucket/brain.zarr``.
        internal_path
            Path of the dataset inside, for instance ``"volume/data"``.
        storage_options
            For a URL: see `ObjectFolder.parse`.

        Raises
        ------
        SourceNotFoundError
            There is no such file.
        ArgumentError
            Both `path` and `internal_path` name a dataset, and not the same one.

        Examples
        --------
        >>> Location.parse("brain.h5/volume/data")                   # doctest: +SKIP
        Location(path='/data/brain.h5', internal_path='volume/data')
        """
        text = checked_path(path)
        if internal_path is not None and not isinstance(internal_path, str):
            raise ArgumentError(
                f"{option('internal_path', internal_path)}: expected the path of a dataset, such as 'volume/data'"
            )
        if storage_options is not None and not isinstance(storage_options, Mapping):
            raise ArgumentError(f"storage_options={type(storage_options).__name__}: expected a dict of options")
        given = internal_path.replace("\\", "/").strip("/") if internal_path is not None else None
        if given == "":
            raise ArgumentError(f"{option('internal_path')} is empty: leave it out, or name a dataset")
        folder = ObjectFolder.parse(text, storage_options) if is_url(text) else None
        if folder is None and storage_options:
            raise ArgumentError(f"storage_options are for URLs such as s3://bucket/x.zarr, and {text} is not a URL")
        file, inside = _split(os.path.expanduser(text)) if folder is None else _split_url(folder.url)
        if inside is not None and given is not None and inside != given:
            raise ArgumentError(f"{text!r} names the dataset {inside!r}, {option('internal_path')} names {given!r}")
        inside = given if given is not None else inside
        return cls(os.path.abspath(file), inside) if folder is None else cls(file, inside, folder.options)

    def at(self, internal_path: str | None) -> Location:
        """Return the same file, and another dataset in it."""
        return replace(self, internal_path=internal_path)

    @property
    def is_remote(self) -> bool:
        """Whether it lies behind a network."""
        return is_url(self.path)

    @property
    def folder(self) -> ObjectFolder:
        """The objects of a remote location."""
        return ObjectFolder(self.path, self.options)

    def __str__(self) -> str:
        return self.path if self.internal_path is None else f"{self.path}/{self.internal_path}"

    @property
    def suffix(self) -> str:
        """Extension of the file in lower case, with its dot."""
        return os.path.splitext(self.path)[1].lower()


def _split_url(url: str) -> tuple[str, str | None]:
    """Split by the name alone: the inside begins behind the last container extension."""
    for match in reversed(list(_CONTAINERS.finditer(url))):
        return url[: match.end()], url[match.end() :].strip("/") or None
    return url, None


def _split(text: str) -> tuple[str, str | None]:
    if os.path.exists(text):
        return text, None
    unified = text.replace("\\", "/") if "/" not in text else with_slashes(text)
    # On Windows the file keeps its spelling: in \\?\C:\x.h5, slashes would be letters.
    spelt = text if os.sep == "\\" else unified
    # The last container extension counts: "a.h5/b.h5/data" is the file "a.h5/b.h5".
    for match in reversed(list(_CONTAINERS.finditer(unified))):
        file, inside = spelt[: match.end()], unified[match.end() :].strip("/")
        if os.path.exists(file):
            return file, inside or None
    parent = os.path.dirname(os.path.abspath(text)) or "."
    hint = "" if os.path.isdir(parent) else f" (nor a folder {parent})"
    if os.sep == "/" and _OF_WINDOWS.match(text):
        hint = ", which is a path of Windows: pass the path on this system, such as /mnt/c/data for C:\\data in WSL"
    raise SourceNotFoundError(f"no such file: {text}{hint}{did_you_mean(text)}")
