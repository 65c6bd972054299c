"""Conversions that are killed at any moment and resumed, and many with one target."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ngff_zarr
import pytest

from tests.support.children import run_python
from tests.support.faults import LONG
from tests.support.ome_zarr.targets import (
    HERE,
    a_source,
    assert_no_image,
    assert_whole,
    convert,
    put_by_others,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Imports once, then forks conversions that kill themselves with SIGKILL at the system call of a given number (a
# `write` is half done by then), and others that resume them.  Prints what was found, as JSON.  Calls that come from
# the same lines of the package are one kind; of each, the first or the last is taken, unless every call is wanted.
_KILLED = """
import json, os, shutil, signal, sys, warnings
sys.path[:0] = sys.argv[1:3]
folder, which, shape, options = sys.argv[3], sys.argv[4], *json.loads(sys.argv[5])
import numpy as np, zarr
from tests.support.faults import lines_of, one_of_each
from tests.support.ome_zarr import targets
from ilastik_lazy.storage import folders
from ilastik_lazy.storage.stores import LocalStore
from ilastik_lazy.writers.ome_zarr.commit.journal import read_journals

old = f"{folder}/old.zarr"
CALLS = ("write", "replace", "mkdir", "rename", "rmdir", "unlink", "link", "fsync", "open")

# A killed process loses nothing that it wrote: waiting for the disk would be half of the time.
os.fsync = lambda fd: None

def killing(limit):
    count, kinds = 0, []
    def counted(module, name):
        original = getattr(module, name)
        def call(*arguments, **more):
            nonlocal count
            count += 1
            if not limit:
                kinds.append([name, *lines_of(sys._getframe())])
            if count == limit:
                if name == "write":
                    original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **more)
        setattr(module, name, call)
    for name in CALLS:
        counted(os, name)
    counted(folders, "exchange")
    return kinds

def forked(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def run(target, limit):
    def work():
        kinds = killing(limit)
        targets.convert(targets.Path(target), source=source, overwrite=overwrite, **options)
        if not limit:
            with open(f"{folder}/kinds.json", "w") as file:
                json.dump(list(kinds), file)
    return forked(work)

def voxels(target):
    return np.asarray(zarr.open_array(f"{target}/scale0/image", mode="r")[...])

def units(target):
    return {str(path): path.stat().st_ino for path in targets.Path(target).rglob("image/c/*/*")}

def foreign(target):
    return targets.of_others(targets.Path(target))

overwrite = os.path.exists(old)
others = foreign(old) if overwrite else {}
source = targets.a_source(shape=shape)
before, after = targets.a_source(1, shape).data, source.data
assert run(f"{folder}/count.zarr", 0) == 0
with open(f"{folder}/kinds.json") as file:
    kinds = list(map(tuple, json.load(file)))
total = len(kinds)
if which == "every call":
    limits = range(1, total + 3, 1 + total // 1000)
else:
    # A death at `fsync` leaves what a death at the next call leaves.
    limits = [number for number in one_of_each(kinds, last=which == "last") if kinds[number - 1][0] != "fsync"]
found = {"limits": len(limits), "killed": 0, "images": 0, "bad": [], "most written twice": 0, "unfinished": []}
for number, limit in enumerate(limits):
    target = f"{folder}/{limit}.zarr"
    if overwrite:
        shutil.copytree(old, target, symlinks=True)
    code = run(target, limit)
    assert code in (-signal.SIGKILL, 0), code
    found["killed"] += code != 0
    # Version 0.4 is in Zarr's format 2.
    is_image = os.path.exists(f"{target}/zarr.json") or os.path.exists(f"{target}/.zgroup")
    found["images"] += is_image
    allowed = (before, after) if overwrite else (after,)
    if is_image and not any(np.array_equal(voxels(target), data) for data in allowed):
        found["bad"].append(f"{limit}: a wrong image")
    if overwrite and not is_image:
        found["bad"].append(f"{limit}: neither the old nor the new image")
    if overwrite and foreign(target) != others:
        found["bad"].append(f"{limit}: what others have put there is not there")
    built = f"{folder}/.{limit}.zarr.ilz-new" if overwrite else target
    noted = len(read_journals(LocalStore(built))) if os.path.exists(built) else 0
    files = units(built)
    if number % (97 if which == "every call" else 9) == 5 and not is_image and os.path.exists(target):
        shutil.copytree(target, f"{target}.kept")
        found["unfinished"].append(f"{target}.kept")
    # Every other time begun anew, with another plan.
    resumes = not overwrite or number % 2 == 0
    again = options | ({"resume": True} if resumes else {"codec": "none", "levels": 2})
    if forked(lambda: targets.convert(targets.Path(target), source=source, overwrite=overwrite, **again)):
        found["bad"].append(f"{limit}: cannot be resumed")
        continue
    if overwrite and foreign(target) != others:
        found["bad"].append(f"{limit}: what others have put there is lost")
    if not np.array_equal(voxels(target), after):
        found["bad"].append(f"{limit}: wrong after it was resumed")
    if not is_image and resumes:
        now = units(target)
        moved = {path.replace(built, target): inode for path, inode in files.items()}
        found["most written twice"] = max(
            found["most written twice"], sum(now[path] != inode for path, inode in moved.items() if path in now)
        )
    litter = [name for name in os.listdir(folder) if name.startswith(".")] + [
        str(path) for path in targets.Path(target).rglob("*") if ".ilz/" in str(path)
    ]
    if litter:
        found["bad"].append(f"{limit}: {litter}")
    shutil.rmtree(target)
print(json.dumps(found))
"""


SHAPE = (65, 100) if LONG else (33, 50)


def kill_at_many_moments(folder: Path, which: str, **options: Any) -> dict[str, Any]:
    """What was found of conversions that were killed; where there is ``old.zarr``, each has replaced a copy of it.

    They are killed at the ``first`` or at the ``last`` call of each kind; with ILASTIK_LAZY_LONG=1 at up to 1000 calls.
    """
    which = "every call" if LONG else which
    arguments = [str(HERE.parent), str(HERE), str(folder), which, json.dumps([SHAPE, options])]
    found: dict[str, Any] = json.loads(run_python(_KILLED, *arguments, timeout=3000))
    # Two threads do not make the same calls in the same order again: a few of the last ones may not be reached.
    assert found["limits"] >= 35
    assert found["killed"] >= found["limits"] * 0.9
    return found


class TestKilled:
    # Version 0.4 writes other metadata, by the same calls: `test_interrupted.py` stops both versions at every step.
    @pytest.mark.parametrize(("version", "which"), [("0.5", "first"), ("0.4", "last")][: 1 + LONG])
    def test_at_any_moment_leaves_no_image_and_is_resumed(self, tmp_path: Path, version: str, which: str) -> None:
        found = kill_at_many_moments(tmp_path, which, version=version)
        assert found["bad"] == []
        assert found["most written twice"] <= 2, "no more than there are workers"
        assert len(found["unfinished"]) >= 3
        for target in found["unfinished"]:
            assert_no_image(Path(target))
            with pytest.raises((FileNotFoundError, ValueError, KeyError)):
                ngff_zarr.from_ngff_zarr(target)

    @pytest.mark.slow
    def test_while_overwriting_leaves_the_old_image_or_the_new_one(self, tmp_path: Path) -> None:
        convert(tmp_path / "old.zarr", source=a_source(1, SHAPE))
        put_by_others(tmp_path / "old.zarr")
        found = kill_at_many_moments(tmp_path, "last")
        assert found["bad"] == []
        assert found["images"] >= found["killed"] >= 35


_AGAIN = """
import os, random, signal, sys
sys.path[:0] = sys.argv[1:3]
folder, wanted = sys.argv[3], int(sys.argv[4])
import numpy as np, zarr
from tests.support.ome_zarr import targets
chance = random.Random(int(sys.argv[5]))
os.fsync = lambda fd: None
killed = images = 0
after = targets.a_source().data
while killed < wanted:
    images += 1
    target = f"{folder}/{images}.zarr"
    while True:
        pid = os.fork()
        if pid == 0:
            limit, count = chance.randrange(1, 400), 0
            def ticking(name):
                original = getattr(os, name)
                def call(*arguments, **more):
                    global count
                    count += 1
                    if count == limit:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(*arguments, **more)
                setattr(os, name, call)
            for name in ("write", "replace", "mkdir", "unlink", "fsync", "open"):
                ticking(name)
            try:
                targets.convert(targets.Path(target), resume=True)
                os._exit(0)
            finally:
                os._exit(1)
        chance.random()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        is_image = os.path.exists(f"{target}/zarr.json")
        if is_image:
            found = np.asarray(zarr.open_array(f"{target}/scale0/image", mode="r")[...])
            assert np.array_equal(found, after), "a wrong image"
        assert code in (0, -signal.SIGKILL), code
        if code == 0:
            assert is_image
            break
        killed += 1
print(killed, images)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_is_done_in_the_end(tmp_path: Path) -> None:
    wanted = 1000 if LONG else 8
    said = run_python(_AGAIN, str(HERE.parent), str(HERE), str(tmp_path), str(wanted), "0", timeout=3000)
    killed, images = (int(number) for number in said.split())
    assert killed >= wanted
    assert images >= 1


_RACE = """
import os, sys, time
sys.path[:0] = sys.argv[1:3]
from tests.support.ome_zarr import targets
from ilastik_lazy.errors import DestinationBusyError, DestinationExistsError
target, count, overwrite = targets.Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "overwrite"
start = time.time() + 0.3
children = []
for seed in range(count):
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            source = targets.a_source(seed)
            while time.time() < start:
                pass
            targets.convert(target, source=source, overwrite=overwrite)
            code = 0
        except DestinationBusyError:
            code = 1
        except DestinationExistsError:
            code = 2
        finally:
            os._exit(code)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


def race(target: Path, *, how: str = "", count: int = 8) -> list[int]:
    said = run_python(_RACE, str(HERE.parent), str(HERE), str(target), str(count), how).decode()
    return [int(code) for code in said.strip()[1:-1].split(",")]


@pytest.mark.slow
def test_of_eight_processes_with_one_target_exactly_one_writes_it(tmp_path: Path) -> None:
    for attempt in range(50 if LONG else 1):
        target = tmp_path / f"{attempt}.zarr"
        codes = race(target)
        assert sorted(codes)[:2] in ([0, 1], [0, 2])
        assert set(codes) <= {0, 1, 2}
        assert_whole(target, a_source(codes.index(0)).data)
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_of_many_that_overwrite_one_target_none_blends_with_another(tmp_path: Path) -> None:
    convert(tmp_path / "a.zarr")
    codes = race(tmp_path / "a.zarr", how="overwrite", count=4)
    assert 0 in codes
    assert set(codes) <= {0, 1}
    winners = [seed for seed, code in enumerate(codes) if code == 0]
    for seed in winners:
        try:
            assert_whole(tmp_path / "a.zarr", a_source(seed).data)
            return
        except AssertionError:
            continue
    raise AssertionError("the image is none of the winners'")
