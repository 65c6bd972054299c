"""The first bytes of an HDF5 file, read without the HDF5 library."""

from __future__ import annotations

from ilastik_lazy.errors import CorruptFileError, UnfinishedWriteError
from ilastik_lazy.storage.files import opened, read_up_to, stamp_of

__all__ = ["check_superblock", "has_signature"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Five of the places where it may be, in one read.
_HEAD_BYTES = 4096 + len(_SIGNATURE)


def _superblock_start(path: str) -> int | None:
    """Find the HDF5 signature: at 0, or behind a user block of 512, 1024, 2048, ... bytes."""
    start = 0
    with opened(path) as fd:
        head = read_up_to(fd, _HEAD_BYTES, 0, path)
        while start <= 2**24:
            found = head[start : start + 8] if start < _HEAD_BYTES else read_up_to(fd, 8, start, path)
            if found == _SIGNATURE:
                return start
            if len(found) < 8:
                return None
            start = max(512, start * 2)
    return None


def has_signature(path: str) -> bool:
    """Whether the file starts as an HDF5 file does."""
    return _superblock_start(path) is not None


def check_superblock(path: str) -> None:
    """Raise unless the file begins as one that was closed by its writer."""
    start = _superblock_start(path)
    if start is None:
        what = "is empty" if stamp_of(path).size == 0 else "is not an HDF5 file (its first bytes say so)"
        raise CorruptFileError(f"{path} {what}: was it copied or exported completely?")
    with opened(path) as fd:
        head = read_up_to(fd, 16, start, path)
    # Byte 11 of superblocks 2 and 3 holds the consistency flags; ilastik's files have version 0.
    if len(head) == 16 and head[8] in (2, 3) and head[11] & 1:
        raise UnfinishedWriteError(
            f"{path} was not closed by its writer, or is being written: wait for the export to end, or export again"
        )
