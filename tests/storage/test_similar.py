"""A missing file is answered with names like it, and a folder with the files in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import SourceNotFoundError, UnknownFormatError
from ilastik_lazy.storage import similar
from ilastik_lazy.storage.similar import did_you_mean, first_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "exports").mkdir()
    for name in ("img00_Probabilities.h5", "img01_Probabilities.h5", "notes.txt", "raw.tif", "readme.md"):
        (tmp_path / "exports" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("exports/img00_Probabilites.h5", "exports/img00_Probabilities.h5 or"),
        ("exports/IMG00_probabilities.h5", "exports/img00_Probabilities.h5 or"),
        ("exports/img00_Probabilites.h5/exported_data", "exports/img00_Probabilities.h5/exported_data or"),
        ("export/raw.tif", "exports/raw.tif?"),
        ("exports/img0*_Probabilites.h5", "exports/img01_Probabilities.h5 or"),
    ],
)
def test_a_name_with_a_mistake_is_answered_with_the_right_one(folder: Path, typed: str, meant: str) -> None:
    with pytest.raises(SourceNotFoundError, match="; did you mean ") as found:
        il.open_dataarray(typed)
    assert f"did you mean {meant}" in str(found.value)
    with pytest.raises(SourceNotFoundError) as found:
        il.open_dataarray(folder / typed)
    assert meant in str(found.value), "a long message is shortened in the middle"


@pytest.mark.parametrize("typed", ["exports/brain.czi", "elsewhere/img00_Probabilities.h5", "exports/raw.tif/data"])
def test_a_name_like_no_other_gets_no_guess(folder: Path, typed: str) -> None:
    with pytest.raises(SourceNotFoundError) as found:
        il.open_dataarray(typed)
    assert "did you mean" not in str(found.value)


def test_a_folder_is_answered_with_files_that_can_be_opened(folder: Path) -> None:
    with pytest.raises(UnknownFormatError) as found:
        il.open_dataarray("exports")
    listed = "img00_Probabilities.h5, img01_Probabilities.h5, raw.tif"
    assert f"is a folder: name a file in it, such as {listed} (" in str(found.value)
    with pytest.raises(UnknownFormatError, match=r"is a folder: name a file in it \("):
        il.open_dataarray(".")


def test_of_a_large_folder_few_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / f"slice_{number:02}.png").touch()
    assert first_of(str(tmp_path), lambda name: True) == "slice_00.png, slice_01.png, slice_02.png and 27 more"
    monkeypatch.setattr(similar, "_MOST_NAMES", 10)
    assert first_of(str(tmp_path), lambda name: True).endswith(".png and more")
    assert did_you_mean(os.path.join(tmp_path, "slice_.png")).count(".png") == 3
