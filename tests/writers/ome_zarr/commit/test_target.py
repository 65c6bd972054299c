"""Where an image shall be, and whether one was begun there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError, CorruptChunkError, DestinationExistsError
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.storage.stores import LocalStore
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.commit.target import is_unfinished
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.ome_zarr.fakes import FailingSource
from tests.support.ome_zarr.targets import a_source, assert_whole, convert


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


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_disk_of_its_own_is_refused_before_anything_is_converted() -> None:
    # Its folder cannot be exchanged with one of another disk.
    assert LocalStore("/proc").beside() is None


def test_a_target_in_the_folder_of_the_source_is_refused_at_once(tmp_path: Path) -> None:
    convert(tmp_path / "a.zarr")
    with pytest.raises(ArgumentError, match="lies in the source"):
        convert(tmp_path / "a.zarr" / "b.zarr", source=str(tmp_path / "a.zarr"))
    assert not (tmp_path / "a.zarr" / "b.zarr").exists()


class TestName:
    @pytest.mark.parametrize(
        "name",
        ["a::b.zarr", "file::c", "a b%20#?.zarr", "[ab]*.zarr", "a\nb.zarr", "..zarr", "a\udcff.zarr", "x" * 240],
    )
    @pytest.mark.parametrize("version", ["0.5", "0.4"])
    def test_may_have_any_letters(self, tmp_path: Path, name: str, version: str) -> None:
        for options in ({}, {"overwrite": True}):
            to_ome_zarr(a_source(), tmp_path / name, verify=True, version=version, **options)
        assert os.listdir(tmp_path) == [name]
        found = il.open_dataarray(str(tmp_path / name))
        np.testing.assert_array_equal(found, a_source().data)
        assert verify_image(tmp_path / name, a_source()).voxels == a_source().data.size
        for path in (tmp_path / name).glob("*z*"):
            assert "\\ud" not in path.read_text(), "JSON that strict parsers refuse"

    def test_may_begin_with_the_home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert convert("~/a.zarr").target == str(tmp_path / "a.zarr")
        assert_whole(tmp_path / "a.zarr")
        verify_image("~/a.zarr", a_source())

    def test_may_be_bytes(self, tmp_path: Path) -> None:
        assert convert(os.fsencode(tmp_path / "a.zarr")).target == str(tmp_path / "a.zarr")

    def test_is_not_empty(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ArgumentError, match="the target is empty"):
            convert("", overwrite=True)

    def test_may_be_the_folder_where_one_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        convert(".", overwrite=True)
        assert_whole(tmp_path)


def test_no_file_of_a_stack_is_replaced_by_the_stack(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.zarr" for name in "abc"]
    for path in paths:
        convert(path)
    for path in paths:
        with pytest.raises(ArgumentError, match="holds the source"):
            to_ome_zarr(open_paths(paths, along="z"), path, overwrite=True)
    with pytest.raises(ArgumentError, match="lies in the source"):
        to_ome_zarr(open_paths(paths, along="z"), paths[1] / "scale0" / "x")
