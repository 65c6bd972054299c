"""Read entries of a ZIP archive where they lie, in a file or in an object store.

An entry that is stored without compression is a range of the file, and is read like a file of its own.
"""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ilastik_lazy.errors import CorruptFileError, LimitExceededError, SourceNotFoundError, UnsupportedFilterError
from ilastik_lazy.storage.archives.directory import HEADER, Directory, load_directory
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, stamp_of
from ilastik_lazy.storage.folders import SEEN_AT_OPENING
from ilastik_lazy.storage.object_store import ObjectFolder, ObjectState, is_url

__all__ = ["Archive", "Entry"]

_STORED, _DEFLATED = 0, 8
# Extra fields between the name of an entry and its data: programs write 0 to 36 bytes.
_EXTRA_BYTES = 64

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Archive:
    """One version of a ZIP archive; small and hashable, a pickled copy reads the same."""

    path: str
    """Path or URL."""
    version: Stamp | ObjectState
    options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)
    """How the server is reached (see `ObjectFolder`)."""

    @classmethod
    def at(cls, path: str, options: tuple[tuple[str, str | bool], ...] = ()) -> Archive:
        """Return the archive that is at `path` now.

        Raises
        ------
        SourceNotFoundError, SourceIOError
        """
        if not is_url(path):
            return cls(path, stamp_of(path))
        folder, _, key = path.rpartition("/")
        return cls(path, ObjectFolder(folder, options).fetch_edge(key, 1, at_start=False)[1], options)

    @property
    def is_local(self) -> bool:
        return isinstance(self.version, Stamp)

    @property
    def directory(self) -> Directory:
        """The directory, which is read once in each process (see `load_directory`)."""
        return _directory(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Read]:
        """Yield a function that returns the bytes at an offset, and of a length.

        Raises
        ------
        SourceChangedError
            The archive is another one than at opening.
        """
        if isinstance(self.version, Stamp):
            with opened(self.path, self.version) as fd:
                yield lambda offset, size: read_exactly(fd, size, offset, self.path)
            return
        folder, _, key = self.path.rpartition("/")
        objects, state = ObjectFolder(folder, self.options), self.version
        yield lambda offset, size: objects.get_range(key, offset, size, state=state)

    def entry(self, name: str, read: Read) -> Entry:
        """Return an entry, to be read within `reading`; raise `SourceNotFoundError` if there is none."""
        if (number := self.directory.number_of(name)) is None:
            raise SourceNotFoundError(f"{self.path} has no entry {name}")
        return Entry(self.path, self.directory, number, read)


# Kept out of the archive's own state, which dask pickles into every task.
@functools.lru_cache(maxsize=16)
def _directory(archive: Archive) -> Directory:
    with archive.reading() as read:
        found = load_directory(read, archive.version.size, archive.path)
        if archive.is_local and len(found.names) <= SEEN_AT_OPENING:
            # A damaged name would otherwise look like a chunk that was never written.
            for number in range(len(found.names)):
                Entry(archive.path, found, number, read).locate()
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, whose header is compared with the directory before its data are read."""

    path: str
    """The archive, for messages."""
    directory: Directory
    number: int
    read: Read

    @property
    def where(self) -> str:
        return f"{self.path}/{self.directory.names[self.number].decode(errors='replace')}"

    @property
    def size(self) -> int:
        """Bytes, decompressed."""
        return int(self.directory.sizes[self.number])

    @property
    def is_stored(self) -> bool:
        """Whether a part of it can be read; raises if it is compressed in an unknown way."""
        method = int(self.directory.methods[self.number])
        if method not in (_STORED, _DEFLATED):
            raise UnsupportedFilterError(
                f"{self.where} is compressed by method {method} of ZIP: pack it again, stored or deflated"
            )
        return method == _STORED

    def locate(self, begin: bytes = b"") -> int:
        """Return where the data begin; `begin` is what was read at its header already."""
        directory, number = self.directory, self.number
        if start := int(directory.starts[number]):
            return start
        offset, stored = int(directory.offsets[number]), int(directory.stored[number])
        name = bytes(directory.names[number])
        begin = begin or self.read(offset, HEADER.size + len(name))
        signature, _, flags, method, _, _, crc, packed, size, length, extra = HEADER.unpack_from(begin)
        start = offset + HEADER.size + length + extra
        stated = crc, packed, size
        agrees = signature == b"PK\3\4" and begin[HEADER.size :][:length] == name and length == len(name)
        agrees &= method == directory.methods[number] and start + stored <= directory.ends[number]
        # Sizes may follow the data (flag 8), or stand in an extra field, if the writer did not know them before.
        found = int(directory.crcs[number]), stored, self.size
        agrees &= bool(flags & 8) or all(a in (b, 2**32 - 1) for a, b in zip(stated, found, strict=True))
        if not agrees or flags & 1:
            raise CorruptFileError(
                f"{self.where}: the header of the entry and the directory of the archive differ: it is damaged. "
                "Copy it again, or pack it again"
            )
        directory.starts[number] = start
        return int(start)

    def part(self, offset: int, size: int) -> bytes:
        """Return bytes of a stored entry."""
        return self.read(self.locate() + offset, size)

    def whole(self, most: int) -> bytes:
        """Return all bytes, whose checksum is right.

        Raises
        ------
        LimitExceededError
            There are more than `most`.
        CorruptFileError
            The checksum, or the stated size, is wrong.
        """
        if self.size > most:
            raise LimitExceededError(f"{self.where} has {self.size} bytes, more than {most}")
        directory, is_stored = self.directory, self.is_stored
        offset, stored = int(directory.offsets[self.number]), int(directory.stored[self.number])
        # Header and data by one read, which over a network is one request.
        room = HEADER.size + len(directory.names[self.number]) + _EXTRA_BYTES + stored
        begin = self.read(offset, min(room, int(directory.ends[self.number]) - offset))
        skip = self.locate(begin) - offset
        data = begin[skip : skip + stored]
        if len(data) < stored:
            data = self.read(offset + skip, stored)
        if not is_stored:
            data = self._inflated(data)
        if zlib.crc32(data) != directory.crcs[self.number]:
            raise CorruptFileError(f"{self.where} is damaged: its checksum differs. Copy the archive again")
        return data

    def _inflated(self, data: bytes) -> bytes:
        engine = zlib.decompressobj(-15)
        try:
            found = engine.decompress(data, self.size + 1)
        except zlib.error as error:
            raise CorruptFileError(f"{self.where} is damaged: {error}. Copy the archive again") from error
        if len(found) != self.size or not engine.eof or engine.unused_data:
            raise CorruptFileError(f"{self.where} is damaged: it does not have the {self.size} bytes that are stated")
        return found
