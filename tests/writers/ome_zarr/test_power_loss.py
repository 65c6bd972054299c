"""A machine that loses its power: what was not yet synced is there, cut, garbled or gone, in any mixture."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from ilastik_lazy.storage import files
from ilastik_lazy.writers.ome_zarr.commit.transaction import Transaction
from tests.support.ome_zarr.targets import assert_no_image, assert_resumes, assert_whole, convert

pytestmark = pytest.mark.slow


class PowerLoss(BaseException):
    """The light goes out."""


def convert_until(target: Path, limit: int) -> tuple[bool, set[str]]:
    """Convert until the system call of a number; whether it came to it, and files that are not on the disk for sure.

    A file is safe when it was synced after it was last written, and its name when its folder was after that.
    """
    count, unsafe = 0, set()
    opened: dict[int, str] = {}
    original = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "close")}

    def tick() -> None:
        nonlocal count
        count += 1
        if count >= limit:
            raise PowerLoss

    def open_(path: str, flags: int, *mode: Any) -> int:
        tick()
        fd = original["open"](path, flags, *mode)
        opened[fd] = os.fspath(path)
        return fd

    def write(fd: int, data: Any) -> int:
        tick()
        unsafe.add(opened[fd])
        return original["write"](fd, data)

    def fsync(fd: int) -> None:
        tick()
        path = opened[fd]
        if os.path.isdir(path):
            unsafe.difference_update({name for name in unsafe if name.startswith(f"name of {path}{os.sep}")})
        unsafe.discard(path)
        original["fsync"](fd)

    def replace(old: str, new: str) -> None:
        tick()
        if old in unsafe:
            unsafe.add(new)
        unsafe.discard(old)
        unsafe.add(f"name of {new}")
        original["replace"](old, new)

    with pytest.MonkeyPatch.context() as patch:
        for name, call in (("open", open_), ("write", write), ("fsync", fsync), ("replace", replace)):
            patch.setattr(files.os, name, call)
        # Nobody tidies up after a power failure.
        patch.setattr(Transaction, "_leave", Transaction._release)
        try:
            convert(target)
        except PowerLoss:
            return True, unsafe
    return False, unsafe


def lose(path: Path, chance: random.Random) -> None:
    """What a file system may make of a file that was not synced."""
    data = path.read_bytes()
    match chance.choice(["nothing", "gone", "empty", "cut", "zeros", "garbage"]):
        case "gone":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: chance.randrange(len(data) + 1)])
        case "zeros":
            start = chance.randrange(len(data) + 1)
            path.write_bytes(data[:start] + bytes(len(data) - start))
        case "garbage":
            path.write_bytes(chance.randbytes(len(data)))


# 200 failures with ILASTIK_LAZY_LONG=1.
@pytest.mark.parametrize("seed", range(200 if os.environ.get("ILASTIK_LAZY_LONG") else 8))
def test_leaves_no_image_or_a_whole_one_and_is_resumed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    target = tmp_path / "a.zarr"
    died, unsafe = convert_until(target, chance.randrange(5, 700))
    for name in sorted(unsafe):
        path = Path(name.removeprefix("name of "))
        if path.is_file():
            lose(path, chance)
    if not died:
        assert not {name for name in unsafe if ".ilz/" not in name}
        assert_whole(target)
        return
    if not target.exists():
        return
    if not (target / "zarr.json").exists():
        assert_no_image(target)
    assert_resumes(target)
    shutil.rmtree(target)
