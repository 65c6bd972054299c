"""Damaged and hostile ZIP archives are refused with a named error, or read as they were."""

from __future__ import annotations

import random
import struct
import warnings
import zipfile

import numpy as np
import pytest
import zarr

from ilastik_lazy.errors import (
    CorruptFileError,
    IlastikLazyError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataWarning,
    UnsafePathError,
    UnsupportedFilterError,
)
from ilastik_lazy.storage.archives.archive import Archive
from tests.support.faults import LONG
from tests.support.makers import some_data
from tests.support.zarr_makers import opened
from tests.support.zip_makers import pack

RECORD, LOCAL, END = 46, 30, 22


def an_archive(path, **contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (contents or {"a": b"first", "b": b"second"}).items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def read(path, name="a", most=2**20):
    archive = Archive.at(str(path))
    with archive.reading() as reading:
        return archive.entry(name, reading).whole(most)


def patched(path, at, data):
    """Write `data` at a place, which is counted from the end if it is below 0."""
    content = bytearray(path.read_bytes())
    at = at if at >= 0 else len(content) + at
    content[at : at + len(data)] = data
    path.write_bytes(content)
    return path


def record_of(path, number):
    """Place of a record in the directory."""
    content, at = path.read_bytes(), -1
    for _ in range(number + 1):
        at = content.index(b"PK\1\2", at + 1)
    return at


def test_stored_and_deflated_entries_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/ä", bytes(1000), zipfile.ZIP_DEFLATED)
        archive.writestr("x/b", b"stored")
        archive.mkdir("empty")
        archive.comment = b"note"
        with archive.open("wide", "w", force_zip64=True) as file:
            file.write(b"of ZIP64")
    assert [read(tmp_path / "a.zip", name) for name in ("x/ä", "x/b", "wide")] == [bytes(1000), b"stored", b"of ZIP64"]
    assert sorted(Archive.at(str(tmp_path / "a.zip")).directory.below("")) == ["wide", "x/b", "x/ä"]


@pytest.mark.parametrize(
    ("damage", "error"),
    {
        "empty": (lambda path: path.write_bytes(b""), CorruptFileError),
        "no archive": (lambda path: path.write_bytes(b"\x89HDF" * 100), CorruptFileError),
        "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-30]), CorruptFileError),
        "bytes before": (lambda path: path.write_bytes(b"junk" + path.read_bytes()), CorruptFileError),
        "bytes after": (lambda path: path.write_bytes(path.read_bytes() + b"junk"), CorruptFileError),
        "more entries than there are": (lambda path: patched(path, 8 - END, b"\3\0\3\0"), CorruptFileError),
        "a part of several": (lambda path: patched(path, 4 - END, b"\1"), UnsupportedFilterError),
        "encrypted": (lambda path: patched(path, record_of(path, 0) + 8, b"\1"), UnsupportedFilterError),
        "overlapping": (
            lambda path: patched(path, record_of(path, 1) + 20, struct.pack("<2I", 600, 600)), CorruptFileError,
        ),
        "one place for two": (lambda path: patched(path, record_of(path, 1) + 42, bytes(4)), CorruptFileError),
        "a size that is a lie": (
            lambda path: patched(path, record_of(path, 0) + 24, struct.pack("<I", 2**30)), CorruptFileError,
        ),
        "another name in its header": (lambda path: patched(path, LOCAL, b"z"), CorruptFileError),
        "an absolute path": (lambda path: an_archive(path, **{"/a": b""}), UnsafePathError),
        "a path that leads out": (lambda path: an_archive(path, **{"a/../../b": b""}), UnsafePathError),
        "backslashes": (
            lambda path: patched(an_archive(path, xa=b""), record_of(path, 0) + RECORD, b"\\"), UnsafePathError,
        ),
        "NUL": (lambda path: patched(an_archive(path, xa=b""), record_of(path, 0) + RECORD, b"\0"), CorruptFileError),
        "a long name": (lambda path: an_archive(path, **{"a" * 2000: b""}), LimitExceededError),
    }.values(),
)  # fmt: skip
def test_a_hostile_archive_is_refused_as_a_whole(tmp_path, damage, error):
    path = an_archive(tmp_path / "a.zip")
    damage(path)
    with pytest.raises(error, match=r"a\.zip"):
        read(path, "b")


def test_a_bomb_gives_no_more_than_it_states(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10**7))
    with pytest.raises(LimitExceededError, match="more than"):
        read(tmp_path / "a.zip", most=1000)
    for at in (LOCAL - 8, record_of(tmp_path / "a.zip", 0) + 24):
        patched(tmp_path / "a.zip", at, struct.pack("<I", 1000))
    with pytest.raises(CorruptFileError, match="1000 bytes that are stated"):
        read(tmp_path / "a.zip", most=1000)


def test_another_compression_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"a" * 100)
    with pytest.raises(UnsupportedFilterError, match="method 14"):
        read(tmp_path / "a.zip")


def test_of_two_entries_with_one_name_the_last_is_read_with_a_warning(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"old")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"new")
    with pytest.warns(MetadataWarning, match="more than once"):
        assert read(tmp_path / "a.zip") == b"new" == zipfile.ZipFile(tmp_path / "a.zip").read("a")


def test_the_directory_of_many_entries_is_small(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(3000):
            archive.writestr(zipfile.ZipInfo(f"c/{number // 100}/{number}"), b"x")
    found = Archive.at(str(tmp_path / "a.zip")).directory
    assert sum(getattr(found, name).nbytes for name in found.__slots__) < 3000 * 80
    assert len(found.below("c/7")) == 100
    assert [found.number_of(name) is None for name in ("c/7/777", "c/7/7", "c", "c/7/7770")] == [
        False,
        True,
        True,
        True,
    ]


def test_a_flipped_byte_gives_an_error_or_the_right_data(tmp_path):
    data = some_data((4, 5), "u1")
    zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(4, 3), compressors=None, dimension_names=["y", "x"])
    path = pack(tmp_path / "a.zarr", tmp_path / "a.zip")
    content, outcomes = path.read_bytes(), {"error": 0, "right": 0}
    chosen = range(len(content)) if LONG else random.Random(1).sample(range(len(content)), 150)
    for at in chosen:
        # A name of its own for each: directories are kept by name, size and time.
        damaged = tmp_path / f"{at}.zip"
        damaged.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", IncompleteSourceWarning)
                found = opened(damaged, None).read((slice(0, 4), slice(0, 5)))
        except IlastikLazyError as error:
            outcomes["error"] += damaged.name in str(error)
        else:
            np.testing.assert_array_equal(found, data, err_msg=f"byte {at}")
            outcomes["right"] += 1
        damaged.unlink()
    assert sum(outcomes.values()) == len(chosen)
    assert min(outcomes.values()) > len(chosen) / 30
