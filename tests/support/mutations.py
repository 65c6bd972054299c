"""Damage for files, the same for the same seed: what disks, networks and malicious people do to bytes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

# What libhdf5's structures begin with, and the messages of axistags: metadata are a hundredth of a file.
_STRUCTURES = re.compile(rb"\x89HDF|TREE|SNOD|HEAP|GCOL|OHDR|OCHK|FRHP|FHDB|BTHD|BTLF|FAHD|FADB|EAHD|axistags|drange")
_JSON = re.compile(rb"\{[\x20-\x7e\s]{16,}\}|\[[\x20-\x7e\s]{8,}\]")
_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_TOKENS = (
    b"9" * 12,
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b'""',
    b"[[[[[[",
    b"}",
    b'"',
    b"\\u0000",
    b"\xff\xfe",
    b"0",
)


def _place(data: bytearray, chance: random.Random) -> int:
    """A byte in or behind a structure of the metadata, mostly."""
    if chance.random() < 0.75:
        found = [match.start() for match in _STRUCTURES.finditer(data)]
        if found:
            return min(len(data) - 1, chance.choice(found) + int(chance.expovariate(1 / 60)))
    return chance.randrange(len(data))


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 2, 4))):
        data[_place(data, chance)] = chance.randrange(256)


def _extreme_integer(data: bytearray, chance: random.Random) -> None:
    size = chance.choice((1, 2, 4, 8))
    at = _place(data, chance)
    if chance.random() < 0.5:
        at -= at % size
    value = chance.choice(_EXTREMES) & (256**size - 1)
    data[at : at + size] = value.to_bytes(size, "little")


def _small_step(data: bytearray, chance: random.Random) -> None:
    """An integer that is off by a little: the most believable damage."""
    at = _place(data, chance)
    data[at] = (data[at] + chance.choice((-8, -4, -2, -1, 1, 2, 4, 8))) % 256


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.choice((chance.randrange(len(data)), max(0, len(data) - chance.randrange(1, 64)))) :]


def _splice(data: bytearray, chance: random.Random) -> None:
    size = min(len(data), chance.choice((8, 16, 64, 512, 4096)))
    source, target = chance.randrange(len(data) - size + 1), _place(data, chance)
    data[target : target + size] = data[source : source + size][: len(data) - target]


def _lost_page(data: bytearray, chance: random.Random) -> None:
    size = chance.choice((512, 4096))
    at = chance.randrange(len(data)) // size * size
    data[at : at + size] = bytes(len(data[at : at + size]))


def _grow(data: bytearray, chance: random.Random) -> None:
    data += chance.randbytes(chance.choice((1, 100, 5000)))


def _text(data: bytearray, chance: random.Random) -> None:
    """Another letter or word in JSON; the length stays, as it stands elsewhere in the file."""
    found = list(_JSON.finditer(data))
    if not found:
        return _flip(data, chance)
    start, end = chance.choice(found).span()
    at, token = chance.randrange(start, end), chance.choice(_TOKENS)
    if numbers := [m.start() + start for m in re.finditer(rb"[0-9]+", data[start:end])]:
        at = chance.choice((at, chance.choice(numbers)))
    token = token[: end - at]
    data[at : at + len(token)] = token
    return None


MUTATIONS: dict[str, Callable[[bytearray, random.Random], None]] = {
    "flip": _flip,
    "overwrite": _overwrite,
    "extreme": _extreme_integer,
    "step": _small_step,
    "splice": _splice,
    "text": _text,
    "cut": _cut,
    "page": _lost_page,
    "grow": _grow,
}
_WEIGHTS = (4, 3, 6, 4, 2, 3, 1, 1, 0.3)


def mutated(data: bytes, seed: str) -> tuple[str, bytes]:
    """Name of what was done, and the damaged bytes."""
    chance, changed = random.Random(seed), bytearray(data)
    (name,) = chance.choices(list(MUTATIONS), _WEIGHTS)
    for _ in range(chance.choice((1, 1, 1, 2))):
        if changed:
            MUTATIONS[name](changed, chance)
    return name, bytes(changed)
