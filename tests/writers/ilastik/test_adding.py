"""Arrays of numpy are written with `axes`, and a second image is added to a file without harm to the first one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError, AxesError, DestinationExistsError
from ilastik_lazy.storage.new_file import NewFile
from tests.support.makers import some_data

DATA = some_data((4, 5, 6), "u2")


@pytest.mark.parametrize("wrapped", [np.asarray, lambda data: da.from_array(data, chunks=3)])
class TestArraysWithoutNames:
    def test_become_an_image_of_ilastik(self, tmp_path: Path, wrapped: Any) -> None:
        il.to_ilastik(wrapped(DATA), tmp_path / "a.h5", axes="zyx")
        with h5py.File(tmp_path / "a.h5") as file:
            np.testing.assert_array_equal(file["exported_data"], DATA, strict=True)
            tags = json.loads(file["exported_data"].attrs["axistags"])
            assert [axis["key"] for axis in tags["axes"]] == ["z", "y", "x"]

    def test_become_an_ome_zarr_and_a_tiff(self, tmp_path: Path, wrapped: Any) -> None:
        il.to_ome_zarr(wrapped(DATA), tmp_path / "a.zarr", axes="zyx")
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...], DATA)
        il.to_tiff(wrapped(DATA), tmp_path / "a.tif", axes="tyx")
        assert il.open_dataarray(tmp_path / "a.tif").sizes["t"] == 4

    def test_need_axes_that_fit(self, tmp_path: Path, wrapped: Any) -> None:
        with pytest.raises(AxesError, match="names 2 axes"):
            il.to_ilastik(wrapped(DATA), tmp_path / "a.h5", axes="yx")
        with pytest.raises(ArgumentError, match="not"):
            il.to_ilastik(wrapped(DATA), tmp_path / "a.h5")
        assert list(tmp_path.iterdir()) == []


def test_axes_are_not_for_images_that_name_theirs(tmp_path: Path) -> None:
    il.to_ilastik(DATA, tmp_path / "a.h5", axes="zyx")
    with pytest.raises(ArgumentError, match="the image names its own axes"):
        il.to_ilastik(il.open_dataarray(tmp_path / "a.h5"), tmp_path / "b.h5", axes="tyx")


class TestHDF5:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
            file["volume/raw"] = DATA
            file["volume"].attrs["mine"] = "kept"
            file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
        return tmp_path / "a.h5"

    @pytest.mark.parametrize("internal_path", ["exported_data", "volume/labels", "new/group/labels"])
    def test_a_second_dataset_is_added(self, path: Path, internal_path: str) -> None:
        report = il.to_ilastik(DATA + 1, path, internal_path, axes="zyx")
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["volume/raw"], DATA)
            np.testing.assert_array_equal(file[internal_path], DATA + 1)
            assert file["volume"].attrs["mine"] == "kept"
        assert 0 < report.bytes_written < path.stat().st_size

    @pytest.mark.parametrize(
        ("internal_path", "error", "message"),
        [
            ("volume/raw", DestinationExistsError, "already exists"),
            ("volume", DestinationExistsError, "already exists"),
            ("elsewhere", DestinationExistsError, "already exists"),
            ("volume/raw/labels", ArgumentError, "is not a group"),
            ("elsewhere/labels", ArgumentError, "is not a group"),
        ],
    )
    def test_what_is_there_is_not_replaced(self, path: Path, internal_path: str, error: Any, message: str) -> None:
        before = path.read_bytes()
        with pytest.raises(error, match=message):
            il.to_ilastik(DATA + 1, path, internal_path, axes="zyx")
        assert path.read_bytes() == before

    @pytest.mark.parametrize("fails_at", [1, 3, 6])
    def test_the_file_is_as_it_was_until_the_new_one_is_complete(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
    ) -> None:
        before, write, count = path.read_bytes(), NewFile.write, 0

        def interrupted(file: NewFile, data: Any) -> int:
            nonlocal count
            count += 1
            assert path.read_bytes() == before
            if count == fails_at:
                file.error = file.error or KeyboardInterrupt()
            return write(file, data)

        monkeypatch.setattr(NewFile, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            il.to_ilastik(DATA + 1, path, axes="zyx")
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


class TestN5:
    def test_a_second_dataset_is_added(self, tmp_path: Path) -> None:
        il.to_ilastik(DATA, tmp_path / "a.n5", "raw", axes="zyx")
        il.to_ilastik(DATA + 1, tmp_path / "a.n5", "volume/labels", axes="zyx")
        for internal_path, data in (("raw", DATA), ("volume/labels", DATA + 1)):
            np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.n5", internal_path), data)
        assert sorted(path.name for path in (tmp_path / "a.n5").iterdir()) == ["attributes.json", "raw", "volume"]

    @pytest.mark.parametrize(
        ("internal_path", "error", "message"),
        [("raw", DestinationExistsError, "already exists"), ("raw/labels", ArgumentError, "is not a group")],
    )
    def test_what_is_there_is_not_replaced(self, tmp_path: Path, internal_path: str, error: Any, message: str) -> None:
        il.to_ilastik(DATA, tmp_path / "a.n5", "raw", axes="zyx")
        with pytest.raises(error, match=message):
            il.to_ilastik(DATA + 1, tmp_path / "a.n5", internal_path, axes="zyx")
        np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.n5", "raw"), DATA)
