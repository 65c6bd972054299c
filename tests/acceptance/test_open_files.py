"""The look at open files sees what is open: a fixture fails the test that leaves one."""

from __future__ import annotations

import sys

import h5py
import pytest

from tests.support.open_files import open_files, open_files_below


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the files that are open")
def test_an_open_file_is_seen(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w"), open(tmp_path / "b", "w"):
        assert sorted(open_files_below(tmp_path)) == [str(tmp_path / "a.h5"), str(tmp_path / "b")]
        assert set(open_files()) >= {str(tmp_path / "a.h5")}
    assert open_files_below(tmp_path) == []
