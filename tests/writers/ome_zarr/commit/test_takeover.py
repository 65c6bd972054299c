"""Two conversions to one place, one of which finishes or falls silent at the wrong moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ilastik_lazy.errors import DestinationBusyError, DestinationExistsError
from ilastik_lazy.storage import locks, stores
from ilastik_lazy.storage.locks import HeartbeatLock
from ilastik_lazy.storage.stores import LocalStore, Lock
from tests.support.ome_zarr.targets import a_source, assert_whole, contents, convert, two_take_over


def before_the_lock(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have `act` done after the next conversion has looked at its place, and before it has the lock."""
    lock = LocalStore.lock

    def locked(self: LocalStore, *, patient: bool = False) -> Lock:
        monkeypatch.setattr(LocalStore, "lock", lock)
        act()
        return lock(self, patient=patient)

    monkeypatch.setattr(LocalStore, "lock", locked)


class TestOneThatFinishesMeanwhile:
    @pytest.fixture
    def unfinished(self, tmp_path: Path) -> Path:
        target = tmp_path / "a.zarr"
        (target / ".ilz").mkdir(parents=True)
        return target

    def test_is_not_done_again_by_resume(self, unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files: dict[Path, int] = {}

        def finish() -> None:
            convert(unfinished, resume=True)
            files.update({path: path.stat().st_ino for path in unfinished.rglob("*") if path.is_file()})

        before_the_lock(monkeypatch, finish)
        assert convert(unfinished, resume=True).resumed > 30
        assert_whole(unfinished)
        assert {path: path.stat().st_ino for path in unfinished.rglob("*") if path.is_file()} == files

    def test_is_replaced_as_a_whole_by_overwrite(self, unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before_the_lock(monkeypatch, lambda: convert(unfinished, resume=True))
        seen: list[bool] = []

        def look(done: int, total: int) -> None:
            seen.append((unfinished / "zarr.json").exists())

        convert(unfinished, source=a_source(seed=1), overwrite=True, progress=look)
        assert all(seen)
        assert_whole(unfinished, a_source(seed=1).data)

    def test_is_an_image_to_one_that_may_replace_nothing(
        self, unfinished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before_the_lock(monkeypatch, lambda: convert(unfinished, resume=True))
        with pytest.raises(DestinationExistsError, match="an image is at"):
            convert(unfinished)
        assert_whole(unfinished)


class TestDamagedImage:
    def test_is_repaired_by_resume_and_has_no_litter(self, tmp_path: Path) -> None:
        target = tmp_path / "a.zarr"
        convert(target)
        whole = contents(target)
        shard = next(path for path in sorted((target / "scale0" / "image" / "c").rglob("*")) if path.is_file())
        shard.write_bytes(shard.read_bytes()[:-1])
        convert(target, resume=True)
        assert contents(target) == whole


class TestOneThatWasSilent:
    """Where a lock is an object that is renewed: as of a computer that was asleep."""

    @pytest.fixture(autouse=True)
    def without_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(path: str) -> None:
            raise NotImplementedError

        monkeypatch.setattr(stores.folders, "hold_lock", none)

    @pytest.mark.parametrize("is_gone", [False, True])
    def test_stops_and_leaves_the_place_to_the_other(self, tmp_path: Path, is_gone: bool) -> None:
        target = tmp_path / "a.zarr"
        record = target / ".ilz" / "lock-record"

        def take_over(done: int, total: int) -> None:
            if done == total:
                if is_gone:
                    record.unlink()
                else:
                    record.write_text(json.dumps({"id": "other", "host": "elsewhere", "pid": 1, "beat": 1}))

        with pytest.raises(DestinationBusyError, match="taken over"):
            convert(target, progress=take_over)
        assert not (target / "zarr.json").exists()
        assert (target / ".ilz" / "plan.json").exists()

    def test_is_followed_by_one_of_many_that_find_it_silent(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(LocalStore):
            """A process that is interrupted between finding a stale lock and taking it over."""

            def take_over(self, key: str, data: bytes, seen: bytes) -> bool:
                time.sleep(1.5)
                return super().take_over(key, data, seen)

            def delete(self, prefix: str) -> None:
                time.sleep(1.5)
                super().delete(prefix)

        monkeypatch.setattr(locks, "_STALE", 0.3)
        monkeypatch.setattr(locks, "_BEAT", 0.1)
        record = tmp_path / ".ilz" / "lock-record"
        record.parent.mkdir()
        record.write_text(json.dumps({"id": "other", "host": "elsewhere", "pid": 1, "beat": 1}))
        stores = [Slow(str(tmp_path))] + [LocalStore(str(tmp_path)) for _ in range(3)]
        assert sorted(two_take_over(*stores)) == ["busy", "busy", "busy", "held"]
        assert list(record.parent.iterdir()) in ([], [record.parent / "tmp"])

    def test_notices_it_at_the_next_unit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(locks, "_STALE", 0.0)
        target, told = tmp_path / "a.zarr", []

        def take_over(done: int, total: int) -> None:
            told.append(done)
            if done:
                (target / ".ilz" / "lock-record").write_text(json.dumps({"id": "other"}))

        with pytest.raises(DestinationBusyError, match="taken over"):
            convert(target, progress=take_over)
        assert len(told) == 2

    def test_is_not_asked_while_it_beats(self, tmp_path: Path) -> None:
        class Counting(LocalStore):
            def get(self, key: str) -> bytes | None:
                asked.append(key)
                return super().get(key)

        asked: list[str] = []
        lock = HeartbeatLock(Counting(str(tmp_path)), "lock", patient=False)
        before = len(asked)
        for _ in range(100):
            lock.require()
        assert len(asked) == before
        lock.release()


def test_what_was_replaced_is_locked_while_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another conversion must not build its image in the folder that is being removed."""
    target = tmp_path / "a.zarr"
    convert(target)
    removed, remove = [], stores.folders.remove_tree

    def removing(path: str) -> None:
        if path.startswith(str(tmp_path / ".a.zarr.ilz-new") + "/scale"):
            with pytest.raises(DestinationBusyError):
                LocalStore(str(tmp_path / ".a.zarr.ilz-new")).lock()
            removed.append(path)
        remove(path)

    monkeypatch.setattr(stores.folders, "remove_tree", removing)
    convert(target, source=a_source(seed=1), overwrite=True)
    assert removed
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    assert_whole(target, a_source(seed=1).data)
