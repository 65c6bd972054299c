"""Parse the directory at the end of a ZIP archive: where each entry lies, as arrays.

The format is described in https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.  Readers disagree about archives
that contradict themselves, so such an archive is refused as a whole: other bytes before or after it, entries that
overlap, counts and sizes that are not those found.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.errors import CorruptFileError, LimitExceededError, UnsafePathError, UnsupportedFilterError
from ilastik_lazy.warning import warn

__all__ = ["END", "END_64", "HEADER", "LOCATOR", "Directory", "load_directory"]

HEADER = struct.Struct("<4s5H3I2H")
"""Header before the data of an entry: signature, version, flags, method, time, date, CRC, sizes, lengths."""

END = struct.Struct("<4s4H2IH")
LOCATOR = struct.Struct("<4sIQI")
END_64 = struct.Struct("<4sQ2H2I4Q")

# Read first: the longest comment, or the whole directory of an archive with few entries.
_TAIL_BYTES = 2**16 + END.size

# 100,000 entries take 10 MB, and 0.3 s.
_MOST_DIRECTORY_BYTES, _MOST_NAME_BYTES = 2**28, 1024
_ALL_32, _ALL_16 = 2**32 - 1, 2**16 - 1
_ENCRYPTED = 0x2041

_RECORD = np.dtype([
    ("signature", "<u4"), ("made_by", "<u2"), ("needed", "<u2"), ("flags", "<u2"), ("method", "<u2"), ("time", "<u4"),
    ("crc", "<u4"), ("stored", "<u4"), ("size", "<u4"), ("name", "<u2"), ("extra", "<u2"), ("comment", "<u2"),
    ("disk", "<u2"), ("inner", "<u2"), ("outer", "<u4"), ("offset", "<u4"),
])  # fmt: skip

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """Entries of an archive that are files, sorted by name; `stored` has their sizes in the archive."""

    names: _Array
    """Bytes of UTF-8, with ``/`` between folders."""
    offsets: _Array
    """Where the header of each entry begins."""
    ends: _Array
    """Where the next header, or the directory, begins."""
    stored: _Array
    sizes: _Array
    crcs: _Array
    methods: _Array
    starts: _Array
    """Where the data of each entry begin; 0 until its header was read."""

    def number_of(self, name: str) -> int | None:
        """Return the number of an entry; None if there is none."""
        wanted = name.encode(errors="surrogateescape")
        number = int(np.searchsorted(self.names, wanted))
        return number if number < len(self.names) and self.names[number] == wanted else None

    def below(self, folder: str) -> list[str]:
        """List the names of all entries below a folder, relative to it."""
        prefix = f"{folder}/".encode(errors="surrogateescape") if folder else b""
        first, last = np.searchsorted(self.names, [prefix, prefix[:-1] + b"0"]) if prefix else (0, len(self.names))
        found: list[bytes] = self.names[first:last].tolist()
        return [name[len(prefix) :].decode(errors="surrogateescape") for name in found]


def load_directory(read: Callable[[int, int], bytes], size: int, where: str) -> Directory:
    """Find and check the directory of an archive.

    Parameters
    ----------
    read
        Returns the bytes at an offset and of a length.
    size
        Bytes of the archive.
    where
        The archive, for messages.

    Raises
    ------
    CorruptFileError
        It is no ZIP archive, is cut off or damaged, or contradicts itself.
    UnsupportedFilterError
        It is encrypted, or one of several parts.
    UnsafePathError
        The name of an entry leads out of the archive.
    LimitExceededError
        The directory is larger than 256 MB, or a name is longer than 1024 bytes.
    """
    start = max(0, size - _TAIL_BYTES)
    tail = read(start, size - start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise CorruptFileError(f"{where} has no directory of a ZIP archive at its end: was it copied completely?")
    _, disk, first_disk, here, count, nbytes, offset, comment = END.unpack_from(tail, at)
    if at + END.size + comment != len(tail):
        raise _damaged(where, "its end is not where its comment ends")
    end = start + at
    needs_64 = _ALL_32 in (nbytes, offset) or _ALL_16 in (here, count)
    if needs_64 or tail[max(0, at - LOCATOR.size) :][:4] == b"PK\6\7":
        end -= LOCATOR.size + END_64.size
        if end < 0:
            raise _damaged(where, "its ZIP64 end is missing")
        stated = disk, first_disk, here, count, nbytes, offset
        # Another size of this record belongs to a version that encrypts directories.
        wide = tail[end - start :] if end >= start else read(end, END_64.size + LOCATOR.size)
        signature, length, _, _, disk, first_disk, here, count, nbytes, offset = END_64.unpack_from(wide)
        locator = LOCATOR.unpack_from(wide, END_64.size)
        if (signature, length) != (b"PK\6\6", END_64.size - 12) or locator[:3] != (b"PK\6\7", 0, end):
            raise _damaged(where, "its ZIP64 end is missing or unknown")
        narrow = (_ALL_16,) * 4 + (_ALL_32,) * 2
        found = disk, first_disk, here, count, nbytes, offset
        if any(old not in (new, most) for old, new, most in zip(stated, found, narrow, strict=True)) or locator[3] > 1:
            raise _damaged(where, "its two ends differ")
    if disk or first_disk or here != count:
        raise UnsupportedFilterError(f"{where} is one part of a split archive: join the parts, and pack them as one")
    if nbytes > _MOST_DIRECTORY_BYTES:
        raise LimitExceededError(f"{where} has a directory of {nbytes} bytes, more than {_MOST_DIRECTORY_BYTES}")
    if offset + nbytes != end:
        what = "starts with bytes of another file, or " if offset + nbytes < end else ""
        raise _damaged(where, f"{what}its directory is not where its end says")
    data = tail[offset - start : offset - start + nbytes] if offset >= start else read(offset, nbytes)
    return _parsed(data, count, offset, where)


def _damaged(where: str, what: str) -> CorruptFileError:
    return CorruptFileError(f"{where} is a damaged ZIP archive: {what}. Copy it again, or pack it again")


def _parsed(data: bytes, count: int, directory: int, where: str) -> Directory:
    if count * _RECORD.itemsize > len(data):
        raise _damaged(where, "it states more entries than there are")
    records, names, extras = _scanned(data, count, where)
    wide = {name: records[name].astype("<u8") for name in ("size", "stored", "offset")}
    is_wide = np.logical_or.reduce([records[name] == _ALL_32 for name in wide])
    for number in np.flatnonzero(is_wide).tolist():
        values = iter(_zip64_values(extras[number], where))
        for column in wide.values():
            if column[number] == _ALL_32:
                column[number] = next(values, _ALL_32)
    if (wide["offset"].astype(float) + wide["stored"] > directory).any():
        raise _damaged(where, "entries lie behind its directory")
    lengths = records["name"].astype("<u8")
    order = np.argsort(wide["offset"], kind="stable")
    ends = np.empty(count, "<u8")
    ends[order] = np.append(wide["offset"][order][1:], np.uint64(directory))[:count]
    if (wide["offset"] + HEADER.size + lengths + wide["stored"] > ends).any():
        raise _damaged(where, "entries overlap")
    _check_names(names, lengths, where)
    if (records["flags"] & _ENCRYPTED).any():
        raise UnsupportedFilterError(f"{where} is encrypted: unpack it, and pack it again without a password")
    is_folder = np.array([name.endswith(b"/") for name in names.tolist()], bool)
    if wide["size"][is_folder].any() or ((records["method"] == 0) & (wide["size"] != wide["stored"])).any():
        raise _damaged(where, "sizes of an entry contradict each other")
    made = Directory(
        names, wide["offset"], ends, wide["stored"], wide["size"], records["crc"], records["method"],
        np.zeros(count, "<u8"),
    )  # fmt: skip
    return _by_name(made, ~is_folder, where)


def _scanned(data: bytes, count: int, where: str) -> tuple[_Array, _Array, list[bytes]]:
    """Return the records of the directory, their names, and their extra fields."""
    lengths, size = struct.Struct("<3H"), _RECORD.itemsize
    places, names, extras, at = [], [], [], 0
    for _ in range(count):
        if at + size > len(data):
            break
        name, extra, comment = lengths.unpack_from(data, at + 28)
        places.append(at)
        names.append(data[at + size : at + size + name])
        extras.append(data[at + size + name : at + size + name + extra])
        at += size + name + extra + comment
    if len(places) != count or at != len(data):
        raise _damaged(where, "its directory ends too early, or too late")
    rows = np.frombuffer(data, "u1")[np.array(places, int).reshape(-1, 1) + np.arange(size)]
    records = np.ascontiguousarray(rows).view(_RECORD).reshape(count)
    if (records["signature"] != 0x02014B50).any():
        raise _damaged(where, "an entry of its directory has another mark")
    if (records["disk"] != 0).any():
        raise UnsupportedFilterError(f"{where} is one part of a split archive: join the parts, and pack them as one")
    if (longest := max(map(len, names), default=1)) > _MOST_NAME_BYTES:
        raise LimitExceededError(f"{where} holds a name of {longest} bytes, more than {_MOST_NAME_BYTES}")
    return records, np.array(names, f"S{max(1, longest)}"), extras


def _zip64_values(extra: bytes, where: str) -> tuple[int, ...]:
    """Return the 64-bit numbers in the extra field of an entry."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1 and at + 4 + size <= len(extra):
            return struct.unpack_from(f"<{size // 8}Q", extra, at + 4)
        at += 4 + size
    raise _damaged(where, "the ZIP64 sizes of an entry are missing")


def _check_names(names: _Array, lengths: _Array, where: str) -> None:
    if not len(names):
        return
    letters = names.view("u1").reshape(len(names), -1)
    if ((letters != 0).sum(axis=1) != lengths).any() or (lengths == 0).any():
        raise _damaged(where, "the name of an entry is empty, or has a NUL in it")
    if (letters == ord("\\")).any():
        raise UnsafePathError(
            f"{where} has names with backslashes, from a program that does not follow the standard: unpack it, and "
            "pack it with another one"
        )
    doubtful = np.flatnonzero((np.strings.find(names, b".") >= 0) | (np.strings.find(names, b"//") >= 0))
    absolute = names[letters[:, 0] == ord("/")].tolist()
    for name in absolute or names[doubtful].tolist():
        if name.startswith(b"/") or {b"", b".", b".."} & set(name.removesuffix(b"/").split(b"/")):
            raise UnsafePathError(f"{where} has an entry {ascii(name)[1:80]}, which leads out of it: do not unpack it")


def _by_name(found: Directory, is_file: _Array, where: str) -> Directory:
    """Sort by name; of entries with one name the last is taken, as zarr-python does, which writes such archives."""
    chosen = np.flatnonzero(is_file)
    chosen = chosen[np.argsort(found.names[chosen], kind="stable")]
    names = found.names[chosen]
    is_last = np.append(names[1:] != names[:-1], True)[: len(names)]
    if not is_last.all():
        before = np.flatnonzero(~is_last)
        if (found.crcs[chosen[before]] != found.crcs[chosen[before + 1]]).any():
            name = names[before[0]].decode(errors="replace")
            warn(
                f"{where} holds {name!a} more than once, with different contents: the last one is read, as "
                "zarr-python does; other programs may read another one"
            )
    chosen = chosen[is_last]
    return Directory(*(getattr(found, name)[chosen] for name in Directory.__slots__))
