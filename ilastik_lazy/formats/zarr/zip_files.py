"""Access the files of a Zarr store in a ZIP archive (``.ozx``, ``.zarr.zip``), which is not unpacked.

OME-Zarr in one file is RFC-9, https://ngff.openmicroscopy.org/rfc/9/.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ilastik_lazy.errors import (
    AccessDeniedError,
    CorruptChunkError,
    CorruptFileError,
    SourceChangedError,
    SourceNotFoundError,
)
from ilastik_lazy.formats.zarr.files import LocalFiles, Part, StoredFile, Version
from ilastik_lazy.storage.archives.archive import Archive, Entry
from ilastik_lazy.storage.files import Stamp
from ilastik_lazy.storage.object_store.requests import at_once, near_runs

__all__ = ["ZipFiles"]

_METADATA = frozenset(("zarr.json", ".zgroup", ".zarray", ".zattrs"))


@dataclass(frozen=True, slots=True)
class ZipFiles:
    """Entries of an archive (see `ZarrFiles`): the path of one is that of the archive, ``/`` and its name."""

    archive: Archive
    most_inflated: int
    """Largest size of a shard that the archive compresses: all of it is decompressed to read a part."""
    top: str = ""
    """The folder in the archive that is the store; the standard demands that it is the archive itself."""
    can_list: bool = field(default=True, init=False)

    @classmethod
    def at(cls, path: str, options: tuple[tuple[str, str | bool], ...], most_inflated: int) -> ZipFiles:
        """Return the files of the archive that is at `path` now; `options` are those of `Archive`."""
        made = cls(Archive.at(path, options), most_inflated)
        folders = [name for name in made.folders(path) if name != "__MACOSX"]
        # Programs of the desktop pack the folder itself.
        is_inside = len(folders) == 1 and not _METADATA.intersection(made.names(path))
        if is_inside and _METADATA.intersection(made.names(f"{path}/{folders[0]}")):
            return replace(made, top=folders[0])
        return made

    def _name(self, path: str) -> str:
        name = path.removeprefix(self.archive.path).strip("/")
        return f"{self.top}/{name}".strip("/")

    def load(self, paths: Sequence[str], limit: int) -> list[tuple[bytes, Version] | AccessDeniedError | None]:
        found: dict[str, bytes] = {}

        def read(path: str) -> None:
            with self.archive.reading() as reading:
                found[path] = self.archive.entry(self._name(path), reading).whole(limit)

        directory = self.archive.directory
        self.each(read, [path for path in paths if directory.number_of(self._name(path)) is not None])
        return [(found[path], self.archive.version) if path in found else None for path in paths]

    def folders(self, path: str) -> list[str]:
        below = self.archive.directory.below(self._name(path))
        return list(dict.fromkeys(name.partition("/")[0] for name in below if "/" in name))

    def names(self, path: str) -> list[str]:
        return [name for name in self.archive.directory.below(self._name(path)) if "/" not in name]

    def has_folder(self, path: str) -> bool:
        name, directory = self._name(path), self.archive.directory
        return directory.number_of(name) is not None or bool(directory.below(name))

    def parent(self, path: str) -> str:
        return path.rpartition("/")[0] if path != self.archive.path else ""

    def check_links(self, path: str, known: set[str] | None = None) -> None:
        """Do nothing: entries are never links."""

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[StoredFile]:
        name = self._name(path)
        if self.archive.directory.number_of(name) is None:
            raise SourceNotFoundError(f"{self.archive.path} has no entry {name}")
        with self.archive.reading() as read:
            entry = self.archive.entry(name, read)
            yield (
                _StoredEntry(entry, self.archive.is_local)
                if entry.is_stored
                else _InflatedEntry(entry, self.most_inflated)
            )

    @contextlib.contextmanager
    def unchanged(self, path: str, version: Version) -> Iterator[None]:
        if isinstance(version, Stamp):
            with LocalFiles(path).unchanged(self.archive.path, version):
                yield
            return
        yield
        if Archive.at(self.archive.path, self.archive.options).version != version:
            raise SourceChangedError(f"{self.archive.path} changed since it was opened: open it again")

    def each(self, function: Callable[[Part], None], parts: Iterable[Part]) -> None:
        each = LocalFiles(self.archive.path).each if self.archive.is_local else at_once
        each(function, parts)


@dataclass(frozen=True, slots=True)
class _StoredEntry:
    entry: Entry
    is_local: bool

    def whole(self, most: int) -> bytes:
        return _chunk(self.entry, most)

    def edge(self, length: int, *, at_start: bool) -> tuple[bytes, int]:
        size = self.entry.size
        length = min(length, size)
        return self.entry.part(0 if at_start else size - length, length), size

    def parts(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        if self.is_local:
            yield from (self.entry.part(offset, size) for offset, size in places)
            return
        for start, stop, run in near_runs(places):
            found = self.entry.part(start, stop - start)
            yield from (found[offset - start : offset - start + size] for offset, size in run)

    def forget(self) -> bool:
        return False


def _chunk(entry: Entry, most: int) -> bytes:
    try:
        return entry.whole(most)
    except CorruptFileError as error:
        raise CorruptChunkError(str(error)) from error


class _InflatedEntry:
    def __init__(self, entry: Entry, most: int) -> None:
        self.whole = functools.partial(_chunk, entry)
        self._data = functools.cache(lambda: _chunk(entry, most))

    def edge(self, length: int, *, at_start: bool) -> tuple[bytes, int]:
        data = self._data()
        return data[:length] if at_start else data[max(0, len(data) - length) :], len(data)

    def parts(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        return (self._data()[offset : offset + size] for offset, size in places)

    def forget(self) -> bool:
        return False
