"""The version of a folder changes with its files, and looking for it costs a bounded number of requests."""

from __future__ import annotations

import os

import pytest

from ilastik_lazy.storage.folders import version_of


@pytest.fixture
def folder(tmp_path):
    for name in ("attributes.json", *(f"0/{k}" for k in range(30)), *(f"1/{k}" for k in range(30))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("most", [None, 100])
def test_a_file_that_is_overwritten_changes_the_version(folder, most):
    before = version_of(str(folder), most)
    assert version_of(str(folder), most) == before
    (folder / "1/17").write_bytes(b"xy")
    assert version_of(str(folder), most) != before


@pytest.mark.parametrize("change", ["replaced", "removed", "added"])
@pytest.mark.parametrize("name", ["0/1", "0/29", "1/0", "1/17"])
def test_each_file_that_is_replaced_changes_the_version_of_a_large_folder(folder, name, change):
    os.utime(folder / "0", (1, 1))
    os.utime(folder / "1", (1, 1))
    before = version_of(str(folder), 5)
    assert version_of(str(folder), 5) == before
    if change == "replaced":
        (folder / "new").write_bytes(b"y")
        (folder / "new").replace(folder / name)
    elif change == "removed":
        (folder / name).unlink()
    else:
        (folder / f"{name}-new").write_bytes(b"y")
    assert version_of(str(folder), 5) != before


def test_of_a_large_folder_some_files_and_all_folders_are_looked_at(folder, monkeypatch):
    asked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: asked.append(path) or stat(path, **options))
    version_of(str(folder), 5)
    assert len([path for path in asked if "/0/" in path or "/1/" in path]) <= 5
    assert {os.path.join(folder, name) for name in ("", "0", "1")} <= set(asked)


def test_what_is_not_there_has_no_version(tmp_path):
    assert version_of(str(tmp_path / "nothing")) == ""
