"""Pack a folder into a ZIP archive that can be read where it lies: nothing is compressed, sizes are of ZIP64."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

from ilastik_lazy.storage.archives.directory import END, END_64, HEADER, LOCATOR
from ilastik_lazy.storage.files import opened, read_up_to, stamp_of
from ilastik_lazy.storage.new_file import new_file

__all__ = ["pack_folder"]

_RECORD = struct.Struct("<4s6H3I5H2I")
_BLOCK_BYTES = 2**23
_ALL_32, _ALL_16 = 2**32 - 1, 2**16 - 1
# Version 4.5 has ZIP64; names are UTF-8; the date is 1980-01-01, so that equal folders give equal archives.
_VERSION, _UTF_8, _STORED, _TIME, _DATE = 45, 0x800, 0, 0, 0x21
_UNIX, _PLAIN_FILE = 3 << 8, 0o100644 << 16


def pack_folder(folder: str, keys: Sequence[str], target: str, *, comment: bytes, overwrite: bool) -> None:
    """Write the files `keys` of a folder, in this order, into one file that gets its name when it is complete.

    Parameters
    ----------
    keys
        Paths in the folder, with ``/``.
    comment
        Text at the end of the archive.
    overwrite
        Replace the file at `target`.

    Raises
    ------
    DestinationError
        It cannot be written; a file that is there stays.
    """
    records = []
    with new_file(target, overwrite=overwrite) as file:
        for key in keys:
            path, name, offset = os.path.join(folder, *key.split("/")), key.encode(), file.position
            stamp, crc, done = stamp_of(path), 0, 0
            sizes = struct.pack("<2H2Q", 1, 16, stamp.size, stamp.size)
            file.seek(offset + HEADER.size + len(name) + len(sizes))
            with opened(path, stamp) as fd:
                while block := read_up_to(fd, _BLOCK_BYTES, done, path):
                    crc, done = zlib.crc32(block, crc), done + len(block)
                    file.write(block)
                    file.check()
            end = file.position
            common = _VERSION, _UTF_8, _STORED, _TIME, _DATE, crc, _ALL_32, _ALL_32, len(name)
            # The header holds the checksum of the data behind it.
            file.seek(offset)
            file.write(HEADER.pack(b"PK\3\4", *common, len(sizes)) + name + sizes)
            file.seek(end)
            place = struct.pack("<2H3Q", 1, 24, stamp.size, stamp.size, offset)
            record = _RECORD.pack(
                b"PK\1\2", _UNIX | _VERSION, *common, len(place), 0, 0, 0, _PLAIN_FILE, _ALL_32,
            )  # fmt: skip
            records.append(record + name + place)
        directory, start = b"".join(records), file.position
        end = start + len(directory)
        count = len(records)
        file.write(directory)
        file.write(END_64.pack(b"PK\6\6", END_64.size - 12, _VERSION, _VERSION, 0, 0, count, count, end - start, start))
        file.write(LOCATOR.pack(b"PK\6\7", 0, end, 1))
        file.write(END.pack(b"PK\5\6", 0, 0, _ALL_16, _ALL_16, _ALL_32, _ALL_32, len(comment)) + comment)
        file.check()
