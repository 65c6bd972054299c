"""The folder under construction: refused, replaced, or whole."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, CorruptChunkError, DestinationError, DestinationExistsError
from ilastik_lazy.storage import files
from ilastik_lazy.storage.stores import LocalStore
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.commit.manifest import MANIFEST
from tests.support.ome_zarr.fakes import FailingSource, small_plans
from tests.support.ome_zarr.targets import a_source, assert_whole, contents, convert

REPLACED = ["empty folder", "image"]


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

    def test_is_replaced_with_overwrite_if_it_is_an_image_or_empty(
        self, taken: Path, request: pytest.FixtureRequest
    ) -> None:
        before = contents(taken.parent)
        if request.node.callspec.params["taken"] in REPLACED:
            convert(taken, overwrite=True)
            assert_whole(taken)
            assert contents(taken.parent / "elsewhere") == {"precious": b"x"}
        else:
            with pytest.raises(DestinationExistsError, match=r"is not a (Zarr image|folder), so it is not replaced"):
                convert(taken, overwrite=True)
            assert contents(taken.parent) == before
        assert sorted(path.name for path in taken.parent.iterdir()) == ["a.zarr", "elsewhere"]

    @pytest.mark.parametrize("taken", ["image"], indirect=True)
    def test_stays_until_the_new_image_is_whole(self, taken: Path) -> None:
        before = contents(taken.parent)
        seen = []

        def look(done: int, total: int) -> None:
            seen.append(contents(taken.parent, hidden=False))

        convert(taken, overwrite=True, progress=look)
        assert len(seen) > 10
        assert all(found == before for found in seen)

    @pytest.mark.parametrize("taken", ["image"], indirect=True)
    def test_survives_an_error_in_the_middle_of_overwriting(self, taken: Path) -> None:
        before = contents(taken.parent)
        source = FailingSource(a_source().data, "yx", (64, 99), chunks=(7, 9))
        with pytest.raises(CorruptChunkError):
            convert(taken, source=source, overwrite=True)
        assert contents(taken.parent, hidden=False) == before
        convert(taken, overwrite=True)
        assert_whole(taken)
        assert sorted(path.name for path in taken.parent.iterdir()) == ["a.zarr", "elsewhere"]

    def test_is_never_the_folder_of_the_source(self, tmp_path: Path) -> None:
        (tmp_path / "keep").mkdir()
        shutil.copy(sample("probabilities"), tmp_path / "keep" / "mine.h5")
        for target in (tmp_path / "keep", tmp_path):
            with pytest.raises(ArgumentError, match="holds the source"):
                to_ome_zarr(tmp_path / "keep" / "mine.h5", target, overwrite=True)
        assert (tmp_path / "keep" / "mine.h5").stat().st_size > 0

    def test_is_refused_with_overwrite_too_when_the_arguments_are_wrong(self, taken: Path) -> None:
        before = contents(taken.parent)
        with pytest.raises(ValueError, match="memory"):
            convert(taken, overwrite=True, memory=1)
        assert contents(taken.parent) == before


class TestZarrOfOthers:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    @pytest.mark.parametrize("attributes", [{}, {"ome": {"version": "0.5", "plate": {}}}, {"plate": {}}])
    def test_that_is_no_image_is_not_replaced(self, tmp_path: Path, zarr_format: Any, attributes: Any) -> None:
        group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format, attributes=attributes)
        group.create_array("precious", data=np.arange(5))
        before = contents(tmp_path)
        for options in ({}, {"overwrite": True}, {"resume": True}, {"overwrite": True, "resume": True}):
            with pytest.raises(DestinationExistsError, match=r"is not a Zarr image, so it is not replaced"):
                convert(tmp_path / "a.zarr", **options)
        assert contents(tmp_path) == before

    @pytest.mark.parametrize("zarr_format", [2, 3])
    @pytest.mark.parametrize("attributes", [{"multiscales": []}, {"ome": {"multiscales": []}}, None])
    def test_that_is_an_image_is_replaced(self, tmp_path: Path, zarr_format: Any, attributes: Any) -> None:
        path = tmp_path / "a.zarr"
        if attributes is None:
            zarr.create_array(path, data=np.arange(5), zarr_format=zarr_format)
        else:
            zarr.open_group(path, mode="w", zarr_format=zarr_format, attributes=attributes)
        convert(path, overwrite=True)
        assert_whole(path)


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

    def test_is_gone_after_an_error_before_anything_was_written(self, tmp_path: Path) -> None:
        with pytest.raises(CorruptChunkError):
            convert(tmp_path / "a.zarr", source=FailingSource(a_source().data, "yx", (0, 0), chunks=(80, 120)))
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

    def test_is_written_though_another_that_will_be_refused_has_locked_it_to_look(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of eight processes with one target were refused, and none had written."""
        make = LocalStore.make

        def made(store: LocalStore) -> bool:
            is_made = make(store)
            threading.Timer(0.2, store.lock().release).start()
            return is_made

        monkeypatch.setattr(LocalStore, "make", made)
        convert(tmp_path / "a.zarr")
        assert_whole(tmp_path / "a.zarr", a_source().data)


class TestOrder:
    def test_voxels_then_arrays_then_the_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[str] = []
        replace = os.replace

        def recording(source: Any, target: Any) -> None:
            written.append(os.path.relpath(target, tmp_path / "a.zarr"))
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", recording)
        report = convert(tmp_path / "a.zarr")
        assert written[-2:] == [MANIFEST, "zarr.json"]
        assert set(contents(tmp_path / "a.zarr")) <= set(written)
        written = [name for name in written if not name.startswith(".ilz") and name != MANIFEST]
        metadata = [name for name in written if name.endswith("zarr.json")]
        assert written[-1] == "zarr.json"
        assert written[-len(metadata) :] == metadata
        for number in range(len(report.levels)):
            assert metadata.index(f"scale{number}/image/zarr.json") < metadata.index(f"scale{number}/zarr.json")
        assert len(set(written)) == len(written), "a file was written twice"


def test_a_plan_that_was_garbled_before_anything_was_written_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "a.zarr" / ".ilz").mkdir(parents=True)
    (tmp_path / "a.zarr" / ".ilz" / "plan.json").write_bytes(bytes(100))
    convert(tmp_path / "a.zarr", resume=True)
    assert_whole(tmp_path / "a.zarr")


@pytest.mark.posix
def test_the_metadata_of_levels_are_synced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, synced, opened = tmp_path / "a.zarr", [], {}
    real = {"open": os.open, "fsync": os.fsync}

    def open_(path: str, *options: int, **more: Any) -> int:
        fd = real["open"](path, *options, **more)
        opened[fd] = Path(path)
        return fd

    def fsync(fd: int) -> None:
        synced.append(opened[fd])
        real["fsync"](fd)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    report = convert(target)
    monkeypatch.undo()
    assert {path.parent for path in target.rglob("*")} <= {*synced}
    assert {*target.glob("scale*/**/zarr.json"), target / MANIFEST} <= {*synced}
    # Each on its own: the plan, the parts, the metadata of the root.
    assert sum(path.parent == target / ".ilz/tmp" for path in synced) == report.parts + 2
