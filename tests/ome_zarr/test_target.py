"""The folder under construction: refused, replaced, abandoned, killed, or whole."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from pathlib import Path
from typing import Any

import ngff_zarr
import numpy as np
import pytest
import xarray as xr
import zarr
from children import run_python
from fakes import ArrayBackedSource, FailingSource, small_plans
from makers import some_data

from ilastik_lazy import files
from ilastik_lazy.errors import CorruptChunkError, DestinationError, DestinationExistsError
from ilastik_lazy.ome_zarr import to_ome_zarr

HERE = Path(__file__).parent


def a_source(seed: int = 0) -> ArrayBackedSource:
    """An image of five levels in about forty shards."""
    return ArrayBackedSource(some_data((65, 100), "uint8", seed), "yx", chunks=(7, 9))


def convert(target: Path, **options: Any) -> Any:
    with small_plans(shard=200, smallest=5):
        return to_ome_zarr(options.pop("source", None) or a_source(), target, workers=2, **options)


def contents(folder: Path, *, hidden: bool = True) -> dict[str, bytes]:
    """Every file and its bytes, links by where they point; `hidden` entries of the folder itself too."""
    return {
        str(path.relative_to(folder)): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for entry in folder.iterdir()
        if hidden or not entry.name.startswith(".")
        for path in (entry, *entry.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def assert_whole(target: Path, data: np.ndarray[Any, Any] | None = None) -> None:
    found = zarr.open_array(target / "scale0" / "image", mode="r")[...]
    np.testing.assert_array_equal(found, a_source().data if data is None else data)
    assert not (target / ".ilz").exists()


def assert_no_image(target: Path) -> None:
    """Every program that opens images refuses the folder."""
    with pytest.raises((FileNotFoundError, ValueError)):
        zarr.open_group(target, mode="r")
    with pytest.raises((FileNotFoundError, ValueError)):
        xr.open_zarr(target, chunks=None)
    with pytest.raises((FileNotFoundError, ValueError)):
        xr.open_datatree(target, engine="zarr")


class TestExistingTarget:
    @pytest.fixture(params=["folder", "empty folder", "file", "link", "dangling link", "image"])
    def taken(self, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        target, elsewhere = tmp_path / "a.zarr", tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "precious").write_text("x")
        match request.param:
            case "folder":
                target.mkdir()
                (target / "notes.txt").write_text("mine")
            case "empty folder":
                target.mkdir()
            case "file":
                target.write_text("mine")
            case "link":
                target.symlink_to(elsewhere)
            case "dangling link":
                target.symlink_to(tmp_path / "nowhere")
            case _:
                convert(target, source=a_source(seed=1))
        return target

    def test_is_refused_and_nothing_is_read_or_changed(self, taken: Path) -> None:
        before, source = contents(taken.parent), a_source()
        with pytest.raises(DestinationExistsError, match="overwrite=True"):
            convert(taken, source=source)
        assert contents(taken.parent) == before
        assert source.regions == []

    def test_is_replaced_with_overwrite(self, taken: Path) -> None:
        convert(taken, overwrite=True)
        assert_whole(taken)
        assert sorted(path.name for path in taken.parent.iterdir()) == ["a.zarr", "elsewhere"]
        assert contents(taken.parent / "elsewhere") == {"precious": b"x"}

    def test_stays_until_the_new_image_is_whole(self, taken: Path) -> None:
        before = contents(taken.parent)
        seen = []

        def look(done: int, total: int) -> None:
            seen.append(contents(taken.parent, hidden=False))

        convert(taken, overwrite=True, progress=look)
        assert len(seen) > 10
        assert all(found == before for found in seen)

    def test_survives_an_error_in_the_middle_of_overwriting(self, taken: Path) -> None:
        before = contents(taken.parent)
        source = FailingSource(a_source().data, "yx", (64, 99), chunks=(7, 9))
        with pytest.raises(CorruptChunkError):
            convert(taken, source=source, overwrite=True)
        assert contents(taken.parent) == before
        assert sorted(path.name for path in taken.parent.iterdir()) == ["a.zarr", "elsewhere"]

    def test_is_refused_with_overwrite_too_when_the_arguments_are_wrong(self, taken: Path) -> None:
        before = contents(taken.parent)
        with pytest.raises(ValueError, match="memory"):
            convert(taken, overwrite=True, memory=1)
        assert contents(taken.parent) == before


class TestNewTarget:
    def test_is_whole_and_has_no_litter(self, tmp_path: Path) -> None:
        convert(tmp_path / "a.zarr")
        assert_whole(tmp_path / "a.zarr")
        assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
        names = {path.name for path in (tmp_path / "a.zarr").iterdir()}
        assert names == {"zarr.json", *(f"scale{n}" for n in range(len(names) - 1))}

    def test_may_lie_in_folders_that_are_not_there_yet(self, tmp_path: Path) -> None:
        convert(tmp_path / "new" / "newer" / "a.zarr")
        assert_whole(tmp_path / "new" / "newer" / "a.zarr")

    def test_may_have_a_relative_path_or_a_slash_at_the_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with small_plans():
            report = to_ome_zarr(a_source(), "a.zarr/")
        assert report.target == str(tmp_path / "a.zarr")
        assert_whole(tmp_path / "a.zarr")

    def test_with_overwrite_where_nothing_is_is_made(self, tmp_path: Path) -> None:
        convert(tmp_path / "a.zarr", overwrite=True)
        assert_whole(tmp_path / "a.zarr")
        assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]

    def test_is_gone_after_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(CorruptChunkError):
            convert(tmp_path / "a.zarr", source=FailingSource(a_source().data, "yx", (20, 20), chunks=(7, 9)))
        assert list(tmp_path.iterdir()) == []

    def test_is_no_image_until_it_is_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "a.zarr"
        roots = []
        convert(target, progress=lambda done, total: roots.append(list(target.rglob("zarr.json"))))
        assert not any(roots)

    def test_below_a_file_is_a_destination_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(DestinationError):
            convert(tmp_path / "file" / "a.zarr")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_in_a_folder_that_cannot_be_written_is_a_destination_error(self, tmp_path: Path) -> None:
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        try:
            with pytest.raises(DestinationError):
                convert(tmp_path / "a.zarr")
            with pytest.raises(DestinationError):
                convert(tmp_path / "new" / "a.zarr")
        finally:
            tmp_path.chmod(stat.S_IRWXU)

    def test_has_the_permissions_of_other_files(self, tmp_path: Path) -> None:
        umask = os.umask(0o027)
        try:
            convert(tmp_path / "a.zarr")
        finally:
            os.umask(umask)
        for path in (tmp_path / "a.zarr").rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640)


class TestOrder:
    def test_voxels_then_arrays_then_the_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[str] = []
        replace = os.replace

        def recording(source: Any, target: Any) -> None:
            written.append(os.path.relpath(target, tmp_path / "a.zarr"))
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", recording)
        report = convert(tmp_path / "a.zarr")
        written = [name for name in written if not name.startswith(".ilz")]
        metadata = [name for name in written if name.endswith("zarr.json")]
        assert written[-1] == "zarr.json"
        assert written[-len(metadata) :] == metadata
        for number in range(len(report.levels)):
            assert metadata.index(f"scale{number}/image/zarr.json") < metadata.index(f"scale{number}/zarr.json")
        assert len(set(written)) == len(written), "a file was written twice"
        assert set(written) == set(contents(tmp_path / "a.zarr"))


class TestFullDisk:
    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
    @pytest.mark.parametrize("writes", [0, 10, 150])
    def test_is_a_destination_error_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, error: int, overwrite: bool
    ) -> None:
        if overwrite:
            convert(tmp_path / "a.zarr", source=a_source(seed=1))
        before = contents(tmp_path)
        left = iter(range(writes))
        write = os.write

        def full(fd: int, data: Any) -> int:
            if next(left, None) is None:
                raise OSError(error, os.strerror(error))
            return write(fd, data)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", full)
            with pytest.raises(DestinationError, match=os.strerror(error)):
                convert(tmp_path / "a.zarr", overwrite=overwrite)
        assert contents(tmp_path) == before
        assert len(list(tmp_path.iterdir())) == overwrite

    @pytest.mark.parametrize("call", ["open", "fsync", "replace", "mkdir"])
    @pytest.mark.parametrize("calls", [0, 1, 2, 3, 20])
    def test_found_by_any_system_call_is_a_destination_error_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, calls: int
    ) -> None:
        left = iter(range(calls))
        original = getattr(os, call)

        def full(*arguments: Any, **options: Any) -> Any:
            reading = call == "open" and not arguments[1] & os.O_CREAT
            if not reading and next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, call, full)
            with pytest.raises(DestinationError):
                convert(tmp_path / "folder" / "a.zarr")
        assert [path for path in tmp_path.rglob("*") if path.name != "folder"] == []

    def test_short_writes_are_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", lambda fd, data: write(fd, data[:7]))
            convert(tmp_path / "a.zarr", verify=True)
        assert_whole(tmp_path / "a.zarr")

    def test_a_real_limit_of_the_system_is_a_destination_error(self, tmp_path: Path) -> None:
        pytest.importorskip("resource")
        code = """
import resource, sys
sys.path[:0] = sys.argv[1:3]
import numpy as np
from fakes import ArrayBackedSource
from ilastik_lazy.errors import DestinationError
from ilastik_lazy.ome_zarr import to_ome_zarr
source = ArrayBackedSource(np.random.default_rng(0).integers(0, 255, (900, 900), np.uint8), "yx")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    to_ome_zarr(source, sys.argv[3])
except DestinationError as error:
    print(error)
"""
        said = run_python(code, str(HERE.parent), str(HERE), str(tmp_path / "a.zarr")).decode()
        assert "File too large" in said
        assert list(tmp_path.iterdir()) == []


# Imports once, then forks conversions that kill themselves with SIGKILL at the system call of a given number: every
# `step`-th one, the first and the last; a negative number counts renamings of folders alone.  Prints the numbers.
_KILLED = """
import os, shutil, signal, sys
sys.path[:0] = sys.argv[1:3]
folder, step, last = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
import test_target

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
            test_target.convert(test_target.Path(target), overwrite=overwrite)
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
import test_target
from ilastik_lazy.errors import DestinationExistsError
target = test_target.Path(sys.argv[3])
start = time.time() + 0.3
children = []
for seed in range(6):
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            source = test_target.a_source(seed)
            while time.time() < start:
                pass
            test_target.convert(target, source=source)
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
