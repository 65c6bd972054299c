"""Conversions that are killed at any moment, and many with one target."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import ngff_zarr
import numpy as np
import pytest
import zarr
from children import run_python
from targets import HERE, a_source, assert_no_image, assert_whole, contents, convert

from ilastik_lazy.errors import DestinationExistsError

# Imports once, then forks conversions that kill themselves with SIGKILL at the system call of a given number: every
# `step`-th one, the first and the last; a negative number counts renamings of folders alone.  Prints the numbers.
_KILLED = """
import os, shutil, signal, sys
sys.path[:0] = sys.argv[1:3]
folder, step, last = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
import targets

calls, limit = [], 0
old = f"{folder}/old.zarr"
overwrite = os.path.exists(old)

def counting(name):
    original = getattr(os, name)
    def call(*arguments, **options):
        calls.append(name)
        if limit in (len(calls), -calls.count("rename") if name == "rename" else None):
            if name == "write":
                original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    setattr(os, name, call)

def run(target):
    if overwrite:
        shutil.copytree(old, target)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for name in ("write", "replace", "mkdir", "rename", "rmdir", "unlink"):
                counting(name)
            targets.convert(targets.Path(target), overwrite=overwrite)
            with open(f"{target}.calls", "w") as file:
                file.write(" ".join(calls))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert run(f"{folder}/count.zarr") == 0
with open(f"{folder}/count.zarr.calls") as file:
    names = file.read().split()
total = len(names)
limits = {1, 2, 3, *range(4, total, step), *range(total - last, total + 1)}
limits |= {-n for n in range(1, names.count("rename") + 1)}
for limit in sorted(limits):
    # Threads that make the same folder call mkdir once more or less, so the last calls may not happen.
    assert run(f"{folder}/{limit}.zarr") in (-signal.SIGKILL, 0)
print(*sorted(limits))
"""


def kill_at_many_moments(folder: Path, *, step: int, last: int) -> list[Path]:
    """Targets of the conversions that were killed; where there is ``old.zarr``, each has replaced a copy of it."""
    numbers = run_python(_KILLED, str(HERE.parent), str(HERE), str(folder), str(step), str(last)).split()
    return [folder / f"{number.decode()}.zarr" for number in numbers]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestKilled:
    def test_at_any_moment_leaves_no_image_or_a_whole_one(self, tmp_path: Path) -> None:
        targets = kill_at_many_moments(tmp_path, step=20, last=12)
        whole = [target for target in targets if (target / "zarr.json").exists()]
        for target in whole:
            np.testing.assert_array_equal(zarr.open_array(target / "scale0" / "image", mode="r")[...], a_source().data)
        unfinished = [target for target in targets if target not in whole and target.exists()]
        for target in unfinished:
            assert_no_image(target)
        for target in unfinished[::10]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with pytest.raises((FileNotFoundError, ValueError, KeyError)):
                    ngff_zarr.from_ngff_zarr(target)
        assert len(unfinished) > 10
        # Only the calls that tidy up come after the root's metadata.
        assert whole

    def test_is_told_by_the_second_run_which_can_replace_it(self, tmp_path: Path) -> None:
        target = kill_at_many_moments(tmp_path, step=150, last=0)[4]
        before = contents(target)
        with pytest.raises(DestinationExistsError, match="unfinished"):
            convert(target)
        assert contents(target) == before
        convert(target, overwrite=True)
        assert_whole(target)

    def test_while_overwriting_leaves_the_old_image_or_the_new_one(self, tmp_path: Path) -> None:
        convert(tmp_path / "old.zarr", source=a_source(seed=1))
        targets = kill_at_many_moments(tmp_path, step=60, last=3)
        old, new = a_source(seed=1).data, a_source().data
        missing = 0
        for target in targets:
            if target.exists():
                found = np.asarray(zarr.open_array(target / "scale0" / "image", mode="r")[...])
                assert (found == old).all() or (found == new).all()
            else:
                missing += 1
                assert len(list(tmp_path.glob(f".{target.name}.*"))) == 2, "both are still on the disk"
        assert missing == 1, "only between the two renames"


_RACE = """
import os, sys, time
sys.path[:0] = sys.argv[1:3]
import targets
from ilastik_lazy.errors import DestinationExistsError
target = targets.Path(sys.argv[3])
start = time.time() + 0.3
children = []
for seed in range(6):
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            source = targets.a_source(seed)
            while time.time() < start:
                pass
            targets.convert(target, source=source)
            code = 0
        except DestinationExistsError:
            code = 1
        finally:
            os._exit(code)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_of_six_processes_with_one_target_exactly_one_writes_it(tmp_path: Path) -> None:
    for attempt in range(2):
        target = tmp_path / f"{attempt}.zarr"
        said = run_python(_RACE, str(HERE.parent), str(HERE), str(target)).decode()
        codes = [int(code) for code in said.strip()[1:-1].split(",")]
        assert sorted(codes) == [0, 1, 1, 1, 1, 1]
        assert_whole(target, a_source(codes.index(0)).data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.zarr", "1.zarr"]
