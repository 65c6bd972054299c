"""A file that is whole or not there: full disks, killed writers, what was there before."""

from __future__ import annotations

import errno
import itertools
import json
import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import (
    ArgumentError,
    CorruptChunkError,
    DestinationError,
    DestinationExistsError,
)
from ilastik_lazy.storage import new_file
from ilastik_lazy.writers.ilastik import hdf5 as ilastik_hdf5
from ilastik_lazy.writers.ilastik import to_ilastik
from tests.support.children import run_forked, run_python
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export

HERE = Path(__file__).parents[2]
ARRAY = xr.DataArray(np.arange(6, dtype="u1").reshape(2, 3), dims=tuple("yx"), name="image")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> tuple[int, ...]:
    """Chunks of (5, 6, 7, 1), so that a small image has many."""
    monkeypatch.setattr(
        ilastik_hdf5, "ilastik_chunks", lambda shape, names, itemsize: tuple(map(min, shape, (5, 6, 7, 1)))
    )
    return 5, 6, 7, 1


class TestTarget:
    array = ARRAY

    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").write_text("mine")
        with pytest.raises(DestinationExistsError, match="already exists: choose another name"):
            to_ilastik(self.array, tmp_path / "a.h5")
        assert (tmp_path / "a.h5").read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 1

    def test_overwriting_replaces_the_whole_file(self, tmp_path: Path) -> None:
        write_hdf5_export(tmp_path / "a.h5", some_data((4, 5)), axes="yx", internal_path="other")
        to_ilastik(self.array, tmp_path / "a.h5", overwrite=True)
        with h5py.File(tmp_path / "a.h5") as file:
            assert list(file) == ["exported_data"]
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").mkdir()
        with pytest.raises(DestinationExistsError, match="folder"):
            to_ilastik(self.array, tmp_path / "a.h5", overwrite=True)

    @pytest.mark.parametrize("link", [None, os.link, os.symlink])
    def test_the_source_is_never_replaced(self, tmp_path: Path, link: Any) -> None:
        write_hdf5_export(tmp_path / "a.h5", some_data((4, 5)), axes="yx")
        before, target = (tmp_path / "a.h5").read_bytes(), tmp_path / "a.h5"
        if link is not None:
            target = tmp_path / "b.h5"
            link(tmp_path / "a.h5", target)
        for source in (tmp_path / "a.h5", il.open_dataarray(tmp_path / "a.h5")):
            with pytest.raises(ArgumentError, match="read from"):
                to_ilastik(source, target, overwrite=True)
        assert (tmp_path / "a.h5").read_bytes() == before

    def test_a_file_that_appears_meanwhile_stays(self, tmp_path: Path) -> None:
        def progress(done: int, total: int) -> None:
            (tmp_path / "a.h5").write_text("theirs")

        with pytest.raises(DestinationExistsError):
            to_ilastik(self.array, tmp_path / "a.h5", progress=progress)
        assert (tmp_path / "a.h5").read_text() == "theirs"
        assert len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP])
    def test_a_file_system_without_links_will_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
    ) -> None:
        def no_link(*_: Any) -> None:
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(new_file.os, "link", no_link)
        to_ilastik(self.array, tmp_path / "a.h5")
        np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.h5").values, self.array.values)
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_cannot_be_made_is_a_destination_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DestinationError, match="cannot write"):
            to_ilastik(self.array, tmp_path / "file" / "a.h5")


class Failing(ArrayInMemory):
    """Raises what a damaged file would, at its tenth read."""

    def __init__(self, error: BaseException) -> None:
        count = itertools.count(1)

        def before(region: Any) -> None:
            if next(count) == 10:
                raise error

        super().__init__(some_data((40, 41, 42), "u2"), "zyx", (5, 6, 7), before)


@pytest.mark.posix
@pytest.mark.usefixtures("small_blocks", "small_chunks")
class TestFailures:
    @pytest.mark.parametrize("error", [CorruptChunkError("a chunk"), OSError(5, "theirs"), KeyboardInterrupt()])
    def test_an_error_of_the_source_is_handed_on_and_leaves_nothing(self, tmp_path: Path, error: BaseException) -> None:
        with pytest.raises(type(error)) as caught:
            to_ilastik(Failing(error), tmp_path / "a.h5")
        assert caught.value is error
        assert list(tmp_path.iterdir()) == []
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ilastik_lazy")]

    def test_an_error_of_progress_is_handed_on_and_leaves_nothing(self, tmp_path: Path) -> None:
        def progress(done: int, total: int) -> None:
            if done > total // 2:
                raise InterruptedError("stopped")

        source = ArrayInMemory(some_data((40, 41, 42), "u2"), "zyx", (5, 6, 7))
        with pytest.raises(InterruptedError, match="stopped"):
            to_ilastik(source, tmp_path / "a.h5", progress=progress)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("writes", "error", "overwrite"),
        [(writes, errno.ENOSPC, overwrite) for writes in (0, 1, 10, 200, -3, -1) for overwrite in (False, True)]
        + [(10, errno.EDQUOT, False), (200, errno.EIO, True)],
    )
    def test_a_full_disk_is_a_destination_error_and_leaves_what_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, error: int, overwrite: bool
    ) -> None:
        if overwrite:
            to_ilastik(ARRAY, tmp_path / "a.h5")
        before = [path.read_bytes() for path in tmp_path.iterdir()]
        source, pwrite, made = ArrayInMemory(some_data((40, 41, 42), "u2"), "zyx", (5, 6, 7)), os.pwrite, []

        def counted(fd: int, data: Any, offset: int) -> int:
            made.append(offset)
            return pwrite(fd, data, offset)

        def full(fd: int, data: Any, offset: int) -> int:
            if len(made) >= writes:
                raise OSError(error, os.strerror(error))
            return counted(fd, data, offset)

        if writes < 0:
            # Counted from the end: what libhdf5 writes when it closes the file.
            with monkeypatch.context() as patch:
                patch.setattr(new_file.os, "pwrite", counted)
                to_ilastik(source, tmp_path / "count.h5")
            (tmp_path / "count.h5").unlink()
            writes += len(made)
            made.clear()
        with monkeypatch.context() as patch:
            patch.setattr(new_file.os, "pwrite", full)
            with pytest.raises(DestinationError, match=os.strerror(error)):
                to_ilastik(source, tmp_path / "a.h5", overwrite=overwrite)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == before

    @pytest.mark.parametrize("writes", [0, 1, 100, 200, -12, -3, -1])
    def test_ctrl_c_while_libhdf5_writes_is_that_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
    ) -> None:
        source, pwrite = ArrayInMemory(some_data((40, 41, 42), "u2"), "zyx", (5, 6, 7)), os.pwrite
        count = itertools.count()

        def counted(fd: int, data: Any, offset: int) -> int:
            if next(count) == writes:
                raise KeyboardInterrupt
            return pwrite(fd, data, offset)

        open_before = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_ALL)
        with monkeypatch.context() as patch:
            patch.setattr(new_file.os, "pwrite", counted)
            if writes < 0:
                to_ilastik(source, tmp_path / "count.h5")
                (tmp_path / "count.h5").unlink()
                writes, count = writes + next(count), itertools.count()
            with pytest.raises(KeyboardInterrupt):
                to_ilastik(source, tmp_path / "a.h5")
        assert list(tmp_path.iterdir()) == []
        assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_ALL) == open_before

    @pytest.mark.parametrize("call", ["fsync", "ftruncate", "link", "open"])
    def test_any_system_call_that_fails_is_a_destination_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(new_file.os, call, full)
            with pytest.raises(DestinationError, match="No space"):
                to_ilastik(ARRAY, tmp_path / "a.h5")
        assert list(tmp_path.iterdir()) == []

    def test_short_writes_are_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pwrite, data = os.pwrite, some_data((12, 13, 14), "u2")
        with monkeypatch.context() as patch:
            patch.setattr(new_file.os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:7], offset))
            to_ilastik(xr.DataArray(data, dims=tuple("zyx")), tmp_path / "a.h5")
        with h5py.File(tmp_path / "a.h5") as file:
            np.testing.assert_array_equal(file["exported_data"][...], data)

    def test_a_real_limit_of_the_system_is_a_destination_error(self, tmp_path: Path) -> None:
        pytest.importorskip("resource")
        code = """
import resource, sys
import numpy as np
from tests.support.in_memory import ArrayInMemory
from ilastik_lazy.errors import DestinationError
from ilastik_lazy.writers.ilastik import to_ilastik
source = ArrayInMemory(np.random.default_rng(0).integers(0, 255, (90, 91, 92), np.uint8), "zyx", (90, 91, 92))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    to_ilastik(source, sys.argv[1])
except DestinationError as error:
    print(error)
"""
        run = run_forked(code, tmp_path / "a.h5")
        assert "File too large" in run.stdout, run.stderr
        assert list(tmp_path.iterdir()) == []


# Forks writers that kill themselves at their n-th system call on the file, and prints what each leaves at the target.
_KILLED = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from tests.support.in_memory import ArrayInMemory
from ilastik_lazy.writers.ilastik import hdf5 as ilastik_hdf5
from ilastik_lazy.writers.ilastik import to_ilastik
ilastik_hdf5.ilastik_chunks = lambda shape, names, itemsize: (9, 10, 11)
source = ArrayInMemory(np.arange(20 * 21 * 22, dtype="u4").reshape(20, 21, 22), "zyx", (9, 10, 11))
calls = 0

def counting(name, limit):
    original = getattr(os, name)
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == limit:
            if name == "pwrite":
                original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2], arguments[2])
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    setattr(os, name, call)

def deaths(target, overwrite):
    limit = 0
    while True:
        limit += 1
        pid = os.fork()
        if pid == 0:
            for name in ("pwrite", "ftruncate", "fsync", "link", "replace"):
                counting(name, limit)
            to_ilastik(source, target, overwrite=overwrite)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
            break
        if overwrite or not os.path.exists(target):
            yield os.path.getsize(target) if overwrite else "nothing"
        else:
            os.unlink(target)  # after the link, before the folder is synced
            yield "whole"

print(json.dumps([list(deaths(target, overwrite)) for overwrite, target in enumerate(sys.argv[2:])]))
"""


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestKilled:
    @pytest.mark.slow
    def test_at_any_call_leaves_no_file_at_the_target_but_the_old_one(self, tmp_path: Path) -> None:
        targets = [tmp_path / "new.h5", tmp_path / "old.h5"]
        targets[1].write_bytes(b"old")
        left = json.loads(run_python(_KILLED, str(HERE), *map(str, targets)))
        for target, told, expected in zip(targets, left, ["nothing", 3], strict=True):
            assert len(told) > 20
            # From the renaming on there is the new file; the call before it may be the last that finds the old one.
            assert set(told[:-2]) == {expected}
            found = il.open_dataarray(target)
            np.testing.assert_array_equal(found.values.reshape(-1), np.arange(20 * 21 * 22, dtype="u4"))


@pytest.mark.posix
def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path):
    litter = tmp_path / f".ilastik_lazy-{'0' * 32}.part"
    litter.write_bytes(b"half")
    others = [tmp_path / f".ilastik_lazy-{'0' * 31}.part", tmp_path / "a.part"]
    for other in others:
        other.write_bytes(b"mine")
    with new_file.new_file(str(tmp_path / "a"), overwrite=False):
        assert not litter.exists()
        (busy,) = set(tmp_path.glob(".ilastik_lazy-*")) - set(others)
        with new_file.new_file(str(tmp_path / "b"), overwrite=False):
            assert busy.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a", "b", *(other.name for other in others)])
