"""Where the file ends and its inside begins."""

from __future__ import annotations

import ntpath
import os
import pathlib
import types

import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.cli.results import check_output
from ilastik_lazy.errors import ArgumentError, FormatError, SourceNotFoundError
from ilastik_lazy.formats import location
from ilastik_lazy.formats.location import Location
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ome_zarr.verify import verify_image


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"")
    return path


def test_a_file_alone_names_no_dataset(file):
    assert Location.parse(file) == Location(str(file), None)
    assert str(Location.parse(file)) == str(file)


@pytest.mark.parametrize("inside", ["data", "/data", "volume/data", "/volume/data/", "volume//data", "vol.ume/da ta"])
def test_what_stands_behind_the_file_is_the_dataset(file, inside):
    assert Location.parse(f"{file}/{inside}") == Location(str(file), inside.strip("/"))


@pytest.mark.parametrize("inside", ["data", "/data", "volume/data", "volume\\data"])
def test_the_dataset_may_be_named_apart(file, inside):
    assert Location.parse(file, inside).internal_path == inside.replace("\\", "/").strip("/")


def test_naming_it_twice_the_same_is_fine_and_differently_is_an_error(file):
    assert Location.parse(f"{file}/data", "/data").internal_path == "data"
    with pytest.raises(ArgumentError, match=r"'data'.*'other'"):
        Location.parse(f"{file}/data", "other")


def test_a_slash_at_the_end_names_nothing(file):
    assert Location.parse(f"{file}/").internal_path is None


@pytest.mark.parametrize("inside", ["", "/", "//"])
def test_an_empty_internal_path_is_an_error(file, inside):
    with pytest.raises(ArgumentError, match=r"internal_path= is empty"):
        Location.parse(file, inside)


def test_an_empty_path_is_an_error():
    with pytest.raises(ArgumentError, match=r"path is empty"):
        Location.parse("")


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".hdf", ".ilp", ".n5", ".zarr", ".H5", ".Hdf5"])
def test_every_container_may_carry_an_internal_path(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"")
    found = Location.parse(f"{tmp_path}/a{suffix}/volume/data")
    assert (found.internal_path, found.suffix) == ("volume/data", suffix.lower())


def test_the_last_container_that_exists_is_the_file(tmp_path):
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "folder.h5" / "b.h5").write_bytes(b"")
    assert Location.parse(f"{tmp_path}/folder.h5/b.h5/c.h5/data") == Location(f"{tmp_path}/folder.h5/b.h5", "c.h5/data")


def test_a_path_that_exists_is_never_split(tmp_path):
    (tmp_path / "a.h5" / "data").mkdir(parents=True)
    assert Location.parse(tmp_path / "a.h5" / "data").internal_path is None


def test_a_relative_path_and_home_become_absolute(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("HOME", str(file.parent))
    assert Location.parse("a.h5/data") == Location.parse("~/a.h5/data") == Location(str(file), "data")
    assert Location.parse(pathlib.Path("a.h5")).path == str(file)


@pytest.mark.parametrize("name", ["b.h5", "b.h5/data", "nowhere/b.h5", "b.tif/data", "a.txt"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(SourceNotFoundError, match=name.replace(".", r"\.")) as caught:
        Location.parse(tmp_path / name)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_folder_that_is_not_there_is_named_too(tmp_path):
    with pytest.raises(SourceNotFoundError, match=r"nor a folder .*nowhere"):
        Location.parse(tmp_path / "nowhere" / "b.h5")


def test_a_path_with_a_null_byte_is_one_of_our_errors(tmp_path):
    with pytest.raises((SourceNotFoundError, ArgumentError)):
        Location.parse(f"{tmp_path}/a\0.h5")


def test_storage_options_are_a_dict():
    with pytest.raises(ArgumentError, match="expected a dict"):
        Location.parse("s3://bucket/a.zarr", storage_options=3)  # type: ignore[arg-type]


BAD_NAMES = [None, 5, [], "a\0b.zarr", "a\ud800.zarr", "", "s3://b/a\0.zarr", "s3://b/\ud800.zarr", "memory://b/a.zarr"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
@pytest.mark.parametrize(
    "opens", [il.open_dataarray, il.open_dataset, il.open_datatree, il.open_table, verify_image, Location.parse]
)
def test_a_name_that_can_be_none_is_a_named_error(name, opens):
    if opens == Location.parse and name == "memory://b/a.zarr":
        pytest.skip("tests have objects in memory")
    with pytest.raises((ArgumentError, SourceNotFoundError, FormatError)):
        opens(name)


BAD_TARGETS = [*BAD_NAMES, "-x.zarr", "-", "x.zip", "s3://b/x.zip", "~nobody-here/x.zarr"]


@pytest.mark.parametrize("name", BAD_TARGETS, ids=ascii)
def test_a_target_that_can_be_none_is_a_named_error_and_nothing_is_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = xr.DataArray(np.zeros((4, 4), np.uint8), dims=("y", "x"))
    with pytest.raises(ArgumentError):
        il.to_ome_zarr(image, name)
    with pytest.raises(ArgumentError):
        to_ilastik(image, name.replace(".zarr", ".h5") if isinstance(name, str) else name)
    if isinstance(name, str):
        with pytest.raises(ArgumentError):
            check_output(name)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def windows(monkeypatch):
    """Paths are those of Windows, and only these files exist."""
    files = {pathlib.PureWindowsPath(path) for path in (r"C:\data\x.h5", r"D:x.h5", r"\\server\share\x.h5")}

    def exists(path):
        return pathlib.PureWindowsPath(path.removeprefix("\\\\?\\")) in files

    path = types.SimpleNamespace(**{**vars(ntpath), "exists": exists, "expanduser": str, "isdir": lambda path: True})
    names = {"path": path, "sep": "\\", "fsdecode": os.fsdecode, "fsencode": os.fsencode, "PathLike": os.PathLike}
    monkeypatch.setattr(location, "os", types.SimpleNamespace(**names))


@pytest.mark.parametrize(
    ("text", "file", "inside"),
    [
        (r"C:\data\x.h5", r"C:\data\x.h5", None),
        (r"C:\data\x.h5\volume\data", r"C:\data\x.h5", "volume/data"),
        (r"C:\data\x.h5/volume/data", r"C:\data\x.h5", "volume/data"),
        ("C:/data/x.h5/volume", r"C:\data\x.h5", "volume"),
        ("c://data/x.h5", r"c:\data\x.h5", None),
        (r"D:x.h5\data", "D:x.h5", "data"),
        (r"\\server\share\x.h5", r"\\server\share\x.h5", None),
        (r"\\server\share\x.h5\volume\data", r"\\server\share\x.h5", "volume/data"),
        (r"\\?\C:\data\x.h5\volume", r"\\?\C:\data\x.h5", "volume"),
    ],
)
def test_paths_of_windows_are_split_behind_the_file(windows, text, file, inside):
    assert Location.parse(text) == Location(file, inside)


@pytest.mark.parametrize("text", [r"C:\data\x.h5", "C:/data/x.h5/volume", r"\\server\share\x.h5"])
def test_a_path_of_windows_is_named_as_such_on_other_systems(text):
    with pytest.raises(SourceNotFoundError, match=r"no such file: .*x\.h5.*, which is a path of Windows: .* /mnt/c"):
        il.open_dataarray(text)
