"""Where an image shall be, and whether one was begun there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FailingSource
from targets import a_source, convert

from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.ome_zarr.places import is_unfinished


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
