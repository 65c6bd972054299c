"""Where an image shall be, and whether one was begun there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FailingSource
from targets import a_source, assert_whole, convert

from ilastik_lazy.errors import ArgumentError, CorruptChunkError, DestinationExistsError
from ilastik_lazy.ome_zarr.places import is_unfinished
from ilastik_lazy.ome_zarr.stores import LocalStore


def stopped(target: Path, **options: bool) -> None:
    """A conversion that fails at its last voxel."""
    with pytest.raises(CorruptChunkError):
        convert(target, source=FailingSource(a_source().data, "yx", (64, 99), chunks=(7, 9)), **options)


class TestUnfinished:
    def test_is_what_was_begun(self, tmp_path: Path) -> None:
        target = tmp_path / "a.zarr"
        assert not is_unfinished(str(target))
        stopped(target)
        assert is_unfinished(str(target))

    def test_is_not_what_is_done(self, tmp_path: Path) -> None:
        convert(tmp_path / "a.zarr")
        assert not is_unfinished(str(tmp_path / "a.zarr"))

    def test_is_what_shall_replace_an_image(self, tmp_path: Path) -> None:
        target = tmp_path / "a.zarr"
        convert(target)
        stopped(target, overwrite=True)
        assert is_unfinished(str(target))

    def test_may_be_the_folder_where_one_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stopped(tmp_path / "a.zarr")
        monkeypatch.chdir(tmp_path / "a.zarr")
        assert is_unfinished(".")


class TestLink:
    def test_stays_one_when_what_it_points_to_is_replaced(self, tmp_path: Path) -> None:
        disk = tmp_path / "large disk"
        disk.mkdir()
        convert(disk / "a.zarr", source=a_source(seed=1))
        link = tmp_path / "link.zarr"
        link.symlink_to(disk / "a.zarr")
        with pytest.raises(DestinationExistsError):
            convert(link)
        convert(link, overwrite=True)
        assert link.is_symlink()
        assert_whole(disk / "a.zarr")
        assert [path.name for path in disk.iterdir()] == ["a.zarr"]


def test_a_disk_of_its_own_is_refused_before_anything_is_converted() -> None:
    # Its folder cannot be exchanged with one of another disk.
    assert LocalStore("/proc").beside() is None


def test_a_target_in_the_folder_of_the_source_is_refused_at_once(tmp_path: Path) -> None:
    convert(tmp_path / "a.zarr")
    with pytest.raises(ArgumentError, match="lies in the source"):
        convert(tmp_path / "a.zarr" / "b.zarr", source=str(tmp_path / "a.zarr"))
    assert not (tmp_path / "a.zarr" / "b.zarr").exists()
