"""Patterns of files and images: what is one, and the order of what fits."""

from __future__ import annotations

import h5py
import numpy as np

import ilastik_lazy as il
from ilastik_lazy.formats.patterns import is_pattern, matching
from tests.support.makers import some_data, write_hdf5_export


def test_what_is_a_pattern(tmp_path):
    (tmp_path / "a[1].tif").write_bytes(b"")
    assert is_pattern("dir/a_*.tif")
    assert is_pattern("a_?.h5/volume/data")
    assert not is_pattern("a.tif")
    assert not is_pattern(str(tmp_path / "a[1].tif"))


def test_a_folder_with_letters_of_a_pattern_may_hold_the_file(tmp_path):
    (tmp_path / "[2024]").mkdir()
    path = tmp_path / "[2024]" / "a?.h5"
    data = write_hdf5_export(path, some_data((5, 6), "u2"), axes="yx", internal_path="volume/data")
    assert not is_pattern(f"{path}/volume/data")
    np.testing.assert_array_equal(il.open_dataarray(f"{path}/volume/data").values, data)


def test_names_with_thousands_of_digits_are_sorted(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("t10", "t" + "1" * 5000, "t9", "t010"):
            file[name] = np.zeros((3, 4), "u1")
    found = matching(f"{tmp_path}/a.h5/t*")
    assert [name for _, name in found] == ["t9", "t010", "t10", "t" + "1" * 5000]
