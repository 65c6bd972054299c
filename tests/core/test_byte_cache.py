"""What is known of files is made once, also of thousands of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ilastik_lazy import open_dataarray
from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.formats.hdf5.chunks import index as hdf5_index
from ilastik_lazy.formats.tiff import file as tiff_file
from tests.support.makers import some_data, write_hdf5_export


@pytest.mark.parametrize("count", [40, 300])
def test_each_file_of_a_stack_is_inspected_once(tmp_path, monkeypatch, count):
    data = some_data((count, 6, 8), "u1")
    for number, plane in enumerate(data):
        write_hdf5_export(tmp_path / f"{number:03}.h5", plane, axes="yx", chunks=(4, 4), filters="gzip")
    read_index, seen = hdf5_index.read_index, []
    monkeypatch.setattr(hdf5_index, "read_index", lambda *key: seen.append(key[0]) or read_index(*key))
    array = open_dataarray(str(tmp_path / "*.h5"))
    for _ in range(3):
        np.testing.assert_array_equal(array.values, data)
    assert len(seen) == count


def test_each_tiff_of_a_stack_is_inspected_once(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    data = some_data((40, 6, 8), "u1")
    for number, plane in enumerate(data):
        tifffile.imwrite(tmp_path / f"{number:03}.tif", plane)
    opened, seen = tiff_file._opened_tiff, []
    monkeypatch.setattr(tiff_file, "_opened_tiff", lambda path: seen.append(path) or opened(path))
    array = open_dataarray(str(tmp_path / "*.tif"), axes="yx")
    before = len(seen)
    for _ in range(3):
        np.testing.assert_array_equal(array.values, data)
    assert len(seen) - before <= 0


def test_the_oldest_goes_first_and_the_last_one_stays_however_large():
    kept, made = ByteCache(len, most=10), []

    def get(key, size):
        return kept.get(key, lambda: made.append(key) or "x" * size)

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key, 4)
    assert made == ["a", "b", "c", "b"]
    get("large", 1000)
    get("large", 1000)
    assert made.count("large") == 1


def test_a_failure_forgets_no_value_that_was_made_meanwhile():
    kept = ByteCache(len, most=10)

    def fails():
        kept.drop("a")
        kept.get("a", lambda: "made")
        raise LookupError

    with pytest.raises(LookupError):
        kept.get("a", fails)
    assert kept.known("a") == "made"
    for key in ("b", "c"):
        kept.get(key, lambda: "x" * 5)
    assert [kept.known(key) for key in "abc"] == [None, "x" * 5, "x" * 5]


def test_one_thread_makes_it_and_a_failure_is_not_kept():
    kept, made, start = ByteCache(len), [], threading.Barrier(8)

    def ask(_):
        start.wait()
        return kept.get("key", lambda: made.append(1) or "value")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"value"}
    assert len(made) == 1

    def fail():
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        kept.get("other", fail)
    assert kept.get("other", lambda: "now") == "now"
