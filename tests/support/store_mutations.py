"""Damage for folders of metadata and chunks, TIFFs, pictures and tables: the same for the same seed."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.mutations import mutated
from tests.support.zip_makers import pack

METADATA = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json", "attributes.json")
_LONG = "<long>"
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, 2**40, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 3.0, 1e300,
    float("nan"), float("inf"), -float("inf"), "", "0", "NaN", "Infinity", "0x7fc00000", "..", "../..", "/etc/passwd",
    "\x1b[2J", "\ud800", "a\nb", "ä", ".", "/", "C", "F", "<f4", ">i8", "|O", "|b1", "<M8[ns]", "float16", "bool",
    "pickle", "gzip", "blosc", "zstd", "raw", "crc32c", "transpose", "sharding_indexed", "micrometer", _LONG,
    [], [[]], {}, [1, 1, 1, 1], [3, 4, 4, 1], [0, 0, 0, 0], [-1, 2, 3, 4], [2**62] * 4, ["x", "x", "y", "z"],
    {"id": "zlib"}, {"type": "gzip"}, {"name": "bytes", "configuration": {"endian": "big"}},
)  # fmt: skip
_TEXTS = (b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 20000, b'{"a":' * 3000, b"\x00", b"\xff", b"\xef\xbb\xbf",
          b'"\\ud800"', b"true", b"\x1b]0;x\x07")  # fmt: skip


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list) and value:
        yield value
        for member in value.values() if isinstance(value, dict) else value:
            yield from _containers(member)


def damaged_json(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """JSON with another structure, or with another letter."""
    found = list(_containers(json.loads(data)))
    how = chance.choice(("value", "value", "value", "step", "delete", "insert", "twice", "text", "bytes"))
    # One change alone: beside an option that others refuse and that does not matter here, another shape would be
    # taken for an error of this package.
    if how == "bytes" or not found:
        at = chance.randrange(len(data))
        return "bytes", data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if how == "text":
        at = chance.randrange(len(data))
        return how, data[:at] + chance.choice(_TEXTS) + data[at + chance.choice((0, 1, 5)) :]
    _change(chance.choice(found), how, chance)
    text = json.dumps(found[0]).replace(json.dumps(_LONG), json.dumps("x" * 100_000))
    if how == "twice":
        names = re.findall(r'"\w+": ', text)
        name = chance.choice(names) if names else '"a": '
        text = text.replace(name, name + json.dumps(chance.choice(_VALUES)) + ", " + name, 1)
    return how, text.encode()


def _change(parent: Any, how: str, chance: random.Random) -> None:
    keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    if not keys:
        return
    key = chance.choice(keys)
    if how == "delete":
        del parent[key]
    elif how == "insert":
        if isinstance(parent, list):
            parent.insert(key, chance.choice((parent[key], chance.choice(_VALUES))))
        else:
            parent[chance.choice(("dtype", "order", "codecs", "axes", "filters", "0", "drange"))] = chance.choice(
                _VALUES
            )
    elif how == "step" and type(parent[key]) in (int, float):
        parent[key] += chance.choice((-2, -1, 1, 2))
    elif how != "twice":
        parent[key] = chance.choice(_VALUES)


def damage_store(folder: Path, chance: random.Random) -> str:
    """Damage one file of a Zarr or N5 folder: half of the times metadata, else a chunk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    metadata = [path for path in files if path.name in METADATA]
    chunks = [path for path in files if path.name not in METADATA]
    if chance.random() < 0.6 or not chunks:
        path = chance.choice(metadata)
        how, data = damaged_json(path.read_bytes(), chance)
        path.write_bytes(data)
        return f"{path.name} {how}"
    path, other = chance.choice(chunks), chance.choice(chunks)
    how = chance.choice(("bytes", "bytes", "bytes", "ends", "swap", "delete", "empty", "folder", "copy"))
    data = path.read_bytes()
    if how == "bytes":
        how, data = mutated(data, str(chance.random()))
    elif how == "ends":  # headers of blocks and codecs, indices of shards
        changed = bytearray(data)
        at = chance.choice((0, max(0, len(data) - 64))) + chance.randrange(min(64, len(data)))
        changed[min(at, len(data) - 1)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        data = bytes(changed)
    elif how == "empty":
        data = b""
    elif how == "copy":
        data = other.read_bytes()
    elif how == "swap":
        data = other.read_bytes()
        other.write_bytes(path.read_bytes())
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "delete":
        path.write_bytes(data)
    return f"chunk {how}"


def _tiff_directories(data: bytes) -> list[tuple[int, int, int]]:
    """Offset, number of entries and size of an entry of each directory in the main chain."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    pointer, count, size = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
    (at,) = struct.unpack_from(pointer, data, 8 if big else 4)
    found = []
    while at:
        (entries,) = struct.unpack_from(count, data, at)
        found.append((at + struct.calcsize(count), entries, size))
        (at,) = struct.unpack_from(pointer, data, found[-1][0] + entries * size)
    return found


def damaged_tiff(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A TIFF in which an entry of a directory, or its XML, is another one."""
    changed = bytearray(data)
    how = chance.choice(("entry", "entry", "entry", "chain", "xml", "bytes"))
    if how == "bytes":
        return mutated(data, str(chance.random()))
    start, entries, size = chance.choice(_tiff_directories(data))
    if how == "xml":
        if not (numbers := list(re.finditer(rb'"[0-9.]+"|=[0-9.]+\n|<\w+|XYZCT', data))):
            return mutated(data, str(chance.random()))
        begin, end = chance.choice(numbers).span()
        token = chance.choice((b"9" * 20, b"-1", b"0", b"NaN", b"1e9", b"\x1b", b"<", b"&lt;", b"7"))
        changed[begin + 1 : end - 1] = token[: end - begin - 2].ljust(end - begin - 2, b" ")
        return how, bytes(changed)
    word = 8 if size == 20 else 4
    order = "little" if data[:2] == b"II" else "big"
    value = chance.choice(
        (0, 1, 2, 3, 8, 16, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**60, 2**61 + 1, 2**63, 2**64 - 1)
    )
    if how == "chain":
        at, width = start + entries * size, word
        value = chance.choice((8, start - 2, start - word, len(data), value))
    else:
        entry = start + chance.randrange(entries) * size
        at, width = chance.choice(((entry, 2), (entry + 2, 2), (entry + 4, word), (entry + 4 + word, word)))
        if chance.random() < 0.5:
            old = int.from_bytes(changed[at : at + width], order)  # type: ignore[arg-type]
            value = old + chance.choice((-1, 1, 2, 8, 16, 256))
    changed[at : at + width] = (value % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
    return how, bytes(changed)


# Places and sizes of the fields that follow each mark of a ZIP archive.
_ZIP_FIELDS = {
    b"PK\3\4": ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (42, 4)),
    b"PK\5\6": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\6\6": ((4, 8), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\6\7": ((4, 4), (8, 8), (16, 4)),
}


def damaged_zip(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A ZIP archive in which a field of a header, or of the directory, is another one."""
    if chance.random() < 0.3:
        return mutated(data, str(chance.random()))
    changed = bytearray(data)
    mark = chance.choice([mark for mark in _ZIP_FIELDS if mark in data])
    starts = [match.start() for match in re.finditer(re.escape(mark), data)]
    start, other = chance.choice(starts), chance.choice(starts)
    at, size = chance.choice(_ZIP_FIELDS[mark])
    old = int.from_bytes(data[start + at : start + at + size], "little")
    value = chance.choice((0, 1, 8, 2**16 - 1, 2**31, 2**32 - 1, 2**64 - 1, len(data), old - 1, old + 1, old ^ 8, None))
    if value is None:
        changed[start + at : start + at + size] = data[other + at : other + at + size]
    else:
        changed[start + at : start + at + size] = (value % 256**size).to_bytes(size, "little")
    return f"field {mark[2]} {at}", bytes(changed)


def damaged_png(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A PNG with one damaged part, the checksum of which is right half of the times."""
    parts, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        parts.append((at, length))
        at += 12 + length
    at, length = chance.choice(parts)
    how, inner = mutated(data[at + 4 : at + 8 + length], str(chance.random()))
    if chance.random() < 0.5:
        checksum = zlib.crc32(inner)
        how += " with a right checksum"
    else:
        checksum = struct.unpack_from(">I", data, at + 8 + length)[0]
    told = chance.choice((max(0, len(inner) - 4),) * 5 + (0, 2**31, 2**32 - 1))
    return how, data[:at] + struct.pack(">I", told) + inner + struct.pack(">I", checksum) + data[at + 12 + length :]


def damaged_text(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A table or XML in which a cell or word is another one."""
    how = chance.choice(("word", "word", "mark", "lines", "bytes"))
    if how == "bytes":
        return mutated(data, str(chance.random()))
    if how == "lines":
        lines = data.splitlines(keepends=True)
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[one] = chance.choice((b"", lines[other], lines[one] * 2, lines[one].rstrip(), b"\n", lines[one][:-5]))
        return how, b"".join(lines)
    if how == "mark":
        at = chance.randrange(len(data))
        mark = chance.choice(
            (b",", b'"', b"'", b"\r", b"\n", b"\0", b"\t", b"#", b"\xff", b";", b"\xef\xbb\xbf", b"&", b"<")
        )
        return how, data[:at] + mark + data[at + chance.choice((0, 1)) :]
    words = list(re.finditer(rb"[^,<>\"\n\r\t ]+", data))
    begin, end = chance.choice(words).span()
    word = chance.choice((b"", b"-1", b"1e5", b"1e999", b"9" * 19, b"9" * 30, b"-" + b"9" * 40, b"nan", b"NA", b"inf",
                          b"True", b"1_0", b"0x10", b"1.0.0", b" 5", b"+5", b"5 ", b"1,5", b"None", b"x" * 9000,
                          b"1e-400", b"\xc2\xa05", b"0.1", b"\x1b[1m", b"Infinity", b"-0", b"007", b"1d3"))  # fmt: skip
    return how, data[:begin] + word + data[end:]


def damage(source: Path, target: Path, seed: str) -> str:
    """Make a damaged copy of a file or folder; how it was done."""
    chance = random.Random(seed)
    if source.suffix == ".bdv":
        shutil.copytree(source, target)
        (path,) = target.glob("*.xml")
        how, data = damaged_text(path.read_bytes(), chance)
        path.write_bytes(data)
        return how
    if source.is_dir():
        shutil.copytree(source, target)
        return damage_store(target, chance)
    if source.suffix == ".ozx" and chance.random() < 0.3:
        # Packed again, so that all checksums are right.
        with zipfile.ZipFile(source) as archive, tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder)
            how = damage_store(Path(folder), chance)
            pack(Path(folder), target)
        return how
    data = source.read_bytes()
    if source.suffix == ".ozx":
        how, data = damaged_zip(data, chance)
    elif source.suffix in (".tif", ".tiff"):
        how, data = damaged_tiff(data, chance)
    elif source.suffix == ".csv":
        how, data = damaged_text(data, chance)
    elif source.suffix == ".png" and chance.random() < 0.7:
        how, data = damaged_png(data, chance)
    elif source.suffix == ".npy" and chance.random() < 0.7:
        how, head = damaged_text(data[:128], chance)
        data = head + data[128:]
    else:
        how, data = mutated(data, str(chance.random()))
    target.write_bytes(data)
    return how
