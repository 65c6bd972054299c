"""Access the files of a Zarr store, in a local folder or in an object store.

A path is a text: the path of a file, or a URL.  A `Stamp` identifies a version of a file, the ETag that of an object.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.errors import (
    AccessDeniedError,
    LimitExceededError,
    SourceChangedError,
    SourceIOError,
    SourceNotFoundError,
)
from ilastik_lazy.storage.allowed import check_links
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, require_unchanged, stamp_of
from ilastik_lazy.storage.object_store import ObjectFolder, ObjectState
from ilastik_lazy.storage.object_store.requests import at_once, near_runs, request_pool

__all__ = ["LocalFiles", "Part", "RemoteFiles", "StoredFile", "Version", "ZarrFiles"]

Part = TypeVar("Part")
Version = Stamp | ObjectState


class StoredFile(Protocol):
    """One chunk or shard, as stored.  Opening or the first read raises `SourceNotFoundError` if it is missing."""

    def whole(self, most: int) -> bytes:
        """Return all bytes; raise `LimitExceededError` if there are more than `most`."""

    def edge(self, length: int, *, at_start: bool) -> tuple[bytes, int]:
        """Return the first or last `length` bytes, or all if there are fewer, and the size of the file."""

    def parts(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes at each offset and size, in ascending order; call `edge` first."""

    def forget(self) -> bool:
        """Forget the edge, so that `edge` asks for it again; return whether it was of an earlier reading."""


class ZarrFiles(Protocol):
    """Access to the files of a store; small and hashable."""

    def load(self, paths: Sequence[str], limit: int) -> list[tuple[bytes, Version] | AccessDeniedError | None]:
        """Return content and version of each file; None for a missing file, the error for one without access."""

    def folders(self, path: str) -> list[str]:
        """List the names of the folders in a folder, without symbolic links."""

    @property
    def can_list(self) -> bool: ...

    def has_folder(self, path: str) -> bool:
        """Return whether there is such a file or folder; False if that cannot be known."""

    def parent(self, path: str) -> str:
        """Return the folder that holds `path`; empty if there is none, or if it lies above a named Zarr store."""

    def check_links(self, path: str) -> None:
        """Raise if symbolic links on the way to `path` lead out of the store, or to nothing."""

    def opened(self, path: str) -> contextlib.AbstractContextManager[StoredFile]: ...

    def unchanged(self, path: str, version: Version) -> contextlib.AbstractContextManager[None]:
        """Raise `SourceChangedError` if the file has another version when the block ends."""

    def each(self, function: Callable[[Part], None], parts: Iterable[Part]) -> None:
        """Call `function` for each part; none still runs when this returns or raises."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Files on a disk (see `ZarrFiles`)."""

    top: str
    """The store that was named."""
    roots: tuple[str, ...] = ()
    """Other folders that symbolic links may lead to."""
    can_list: bool = field(default=True, init=False)

    def load(self, paths: Sequence[str], limit: int) -> list[tuple[bytes, Version] | AccessDeniedError | None]:
        return [self._load(path, limit) for path in paths]

    def _load(self, path: str, limit: int) -> tuple[bytes, Version] | None:
        # The folders above were checked, or listed as folders that are not links.
        if os.path.islink(path):
            self.check_links(path)
        try:
            stamp = stamp_of(path)
        except SourceNotFoundError:
            return None
        if stamp.size > limit:
            raise LimitExceededError(f"{path} has {stamp.size} bytes, more than {limit}")
        with opened(path, stamp) as fd:
            return read_exactly(fd, stamp.size, 0, path), stamp

    def folders(self, path: str) -> list[str]:
        try:
            with os.scandir(path) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            raise SourceIOError(f"cannot list {path}: {error.strerror}") from error

    def names(self, path: str) -> list[str]:
        """List the names in a folder, none if it is missing."""
        try:
            return os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise SourceIOError(f"cannot list {path}: {error.strerror}") from error

    def has_folder(self, path: str) -> bool:
        return os.path.exists(path)

    def parent(self, path: str) -> str:
        above = os.path.dirname(path)
        return above if above != path else ""

    def check_links(self, path: str, known: set[str] | None = None) -> None:
        check_links(path, self.top, self.roots, known)

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[StoredFile]:
        self.check_links(path)
        stamp = stamp_of(path)
        with opened(path, stamp) as fd:
            yield _LocalFile(fd, stamp.size, path)

    @contextlib.contextmanager
    def unchanged(self, path: str, version: Version) -> Iterator[None]:
        assert isinstance(version, Stamp)
        require_unchanged(path, version)
        yield
        require_unchanged(path, version)

    def each(self, function: Callable[[Part], None], parts: Iterable[Part]) -> None:
        # Sequential: dask's threads read other blocks meanwhile.
        for part in parts:
            function(part)


@dataclass(frozen=True, slots=True)
class _LocalFile:
    fd: int
    size: int
    path: str

    def whole(self, most: int) -> bytes:
        if self.size > most:
            raise LimitExceededError(f"{self.path} has {self.size} bytes, more than {most}")
        return read_exactly(self.fd, self.size, 0, self.path)

    def edge(self, length: int, *, at_start: bool) -> tuple[bytes, int]:
        length = min(length, self.size)
        return read_exactly(self.fd, length, 0 if at_start else self.size - length, self.path), self.size

    def parts(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        return (read_exactly(self.fd, size, offset, self.path) for offset, size in places)

    def forget(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class RemoteFiles:
    """Objects (see `ZarrFiles`).

    A replaced array is noticed by the ETag of its metadata.  A replaced chunk is not: its ETag at opening is unknown.
    """

    top: ObjectFolder
    """The store that was named."""

    @property
    def can_list(self) -> bool:
        return self.top.can_list

    def load(self, paths: Sequence[str], limit: int) -> list[tuple[bytes, Version] | AccessDeniedError | None]:
        return list(request_pool().map(lambda path: self._load(path, limit), paths))

    def _load(self, path: str, limit: int) -> tuple[bytes, Version] | AccessDeniedError | None:
        folder, key = self._at(path)
        try:
            return folder.fetch(key, limit=limit)
        except SourceNotFoundError:
            return None
        except AccessDeniedError as error:
            return error

    def _at(self, path: str) -> tuple[ObjectFolder, str]:
        folder, _, key = path.rpartition("/")
        return ObjectFolder(folder, self.top.options), key

    def folders(self, path: str) -> list[str]:
        return list(ObjectFolder(path, self.top.options).children()[0])

    def has_folder(self, path: str) -> bool:
        if not self.can_list:
            return False
        try:
            return any(ObjectFolder(path, self.top.options).children())
        except AccessDeniedError:
            return False

    def parent(self, path: str) -> str:
        above, root = path.rpartition("/")[0], self.top.url
        is_outside = len(path) <= len(root) and root.lower().endswith(".zarr")
        return "" if is_outside or above.endswith((":", "/")) else above

    def check_links(self, path: str) -> None:
        """Do nothing: objects have no links."""

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[StoredFile]:
        yield _RemoteFile(*self._at(path))

    @contextlib.contextmanager
    def unchanged(self, path: str, version: Version) -> Iterator[None]:
        yield  # check afterwards only: each check is a request
        folder, key = self._at(path)
        try:
            # Some servers send fewer headers for a HEAD than for a GET, which opening used.
            is_same = folder.state(key) == version or folder.fetch(key)[1] == version
        except SourceNotFoundError:
            is_same = False
        if not is_same:
            raise SourceChangedError(f"{path} changed since it was opened: open it again")

    def each(self, function: Callable[[Part], None], parts: Iterable[Part]) -> None:
        at_once(function, parts)


# Indexes of shards: a plane passes through many shards, and the next plane through the same ones.
_edges: ByteCache[tuple[bytes, ObjectState]] = ByteCache(lambda edge: 1024 + len(edge[0]), 32 * 2**20)


@dataclass(slots=True)
class _RemoteFile:
    folder: ObjectFolder
    key: str
    state: ObjectState | None = None
    place: tuple[object, ...] = ()
    """Key of the edge in `_edges`."""
    is_kept: bool = False
    """Whether the edge is of an earlier reading.  Parts are of the same version, as their tags are compared."""

    def whole(self, most: int) -> bytes:
        return self.folder.get(self.key, limit=most)

    def edge(self, length: int, *, at_start: bool) -> tuple[bytes, int]:
        self.place = (self.folder, self.key, length, at_start)
        edge = _edges.known(self.place)
        self.is_kept = edge is not None
        if edge is None:
            edge = new = self.folder.fetch_edge(self.key, length, at_start=at_start)
            if new[1].is_exact:
                _edges.get(self.place, lambda: new)
        found, self.state = edge
        return found, self.state.size

    def forget(self) -> bool:
        _edges.drop(self.place)
        return self.is_kept

    def parts(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        for start, stop, run in near_runs(places):
            try:
                found = self.folder.get_range(self.key, start, stop - start, state=self.state)
            except SourceNotFoundError as error:
                # Its index was read a moment ago, so the shard is not one that was never written.
                raise SourceChangedError(f"{self.folder.join(self.key)} is gone since its index was read") from error
            yield from (found[offset - start : offset - start + size] for offset, size in run)
