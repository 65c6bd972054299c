"""The files in an archive, to be read by what reads the folder of a conversion."""

from __future__ import annotations

from dataclasses import dataclass

from ilastik_lazy.storage.archives.archive import Archive

__all__ = ["ArchiveStore"]


@dataclass(frozen=True, slots=True)
class ArchiveStore:
    """An archive as a `ReadableStore`."""

    archive: Archive

    @property
    def place(self) -> str:
        return self.archive.path

    def names(self, folder: str = "") -> list[str] | None:
        below = self.archive.directory.below(folder)
        return list(dict.fromkeys(name.partition("/")[0] for name in below)) or None

    def get(self, key: str) -> bytes | None:
        if self.size(key) is None:
            return None
        with self.archive.reading() as read:
            # What compression gains on data that are compressed is little; more is a bomb.
            return self.archive.entry(key, read).whole(4 * self.archive.version.size + 2**20)

    def size(self, key: str) -> int | None:
        number = self.archive.directory.number_of(key)
        return None if number is None else int(self.archive.directory.sizes[number])
