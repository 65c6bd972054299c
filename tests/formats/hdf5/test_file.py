"""Opening HDF5 files: locks, half-written files, links, and what points out of the file."""

from __future__ import annotations

import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest

from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.errors import (
    CorruptFileError,
    DatasetNotFoundError,
    ExternalReferenceError,
    FileBusyError,
    LimitExceededError,
    LockingWarning,
    MetadataError,
    SourceIOError,
    UnfinishedWriteError,
    UnsafePathError,
)
from ilastik_lazy.formats import list_images, open_source
from ilastik_lazy.formats.hdf5 import file as hdf5_file
from ilastik_lazy.formats.hdf5.file import open_hdf5
from ilastik_lazy.formats.hdf5.superblock import has_signature
from ilastik_lazy.formats.location import Location
from tests.support.makers import axistags, some_data, write_hdf5_export


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "export.h5"
    write_hdf5_export(path, some_data((5, 6)), axes="yx", chunks=(3, 4))
    return path


def spec_of(path, internal_path=None):
    return open_source(Location.parse(path, internal_path)).spec


_HOLD = """
import sys, h5py
with h5py.File(sys.argv[1], sys.argv[2], libver=sys.argv[3] or None):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("libver", ["", "latest"])
def test_a_file_that_another_program_writes_is_busy(export, libver):
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(export), "r+", libver], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(FileBusyError, match=r"another program"):
            spec_of(export)
        writer.communicate(b"")
    assert spec_of(export).shape == (5, 6)


def test_ilastik_can_write_while_a_source_is_kept(export):
    source = open_source(Location.parse(export))
    source.read((slice(0, 5), slice(0, 6)))
    with h5py.File(export, "r+") as file:
        file["more"] = 1


@pytest.mark.parametrize("number", [11, 13])
def test_a_lock_that_is_not_given_means_busy(export, monkeypatch, number):
    def refuse(path, **options):
        raise OSError(number, "unable to lock file, errno = 11")

    monkeypatch.setattr(hdf5_file, "_open", refuse)
    with pytest.raises(FileBusyError):
        spec_of(export)


@pytest.mark.parametrize("number", [37, 95, 38, 524])
def test_a_file_system_without_locks_is_read_without_and_says_so(export, monkeypatch, number):
    really = hdf5_file._open

    def without_locks(path, **options):
        if options.get("locking") is not False:
            raise OSError(number, "unable to lock file")
        return really(path, **options)

    monkeypatch.setattr(hdf5_file, "_open", without_locks)
    with pytest.warns(LockingWarning):
        assert spec_of(export).shape == (5, 6)


@pytest.mark.parametrize("number", [5, 116])
def test_an_error_of_the_operating_system_is_no_damage(export, monkeypatch, number):
    def fail(path, **options):
        raise OSError(number, "unable to open file")

    monkeypatch.setattr(hdf5_file, "_open", fail)
    with pytest.raises(SourceIOError, match=str(export)):
        spec_of(export)


def test_a_handle_without_a_lock_in_this_process_is_no_obstacle(export):
    with h5py.File(export, "r", locking=False):
        assert spec_of(export).shape == (5, 6)


@pytest.mark.parametrize("flags", [1, 5])
def test_a_writer_that_died_is_found_by_its_flags(tmp_path, flags):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data((5, 6)), axes="yx", libver="latest")
    content = bytearray(path.read_bytes())
    content[11] = flags
    path.write_bytes(content)
    with pytest.raises(UnfinishedWriteError, match=r"not closed by its writer"):
        spec_of(path)


@pytest.mark.parametrize("content", [b"", b"\x89HD", b"<html>" * 300, bytes(2048)])
def test_what_is_not_hdf5_is_said_so(tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert not has_signature(str(path))
    with pytest.raises(CorruptFileError, match=r"is empty|is not an HDF5 file"):
        spec_of(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_is_damaged(export, share):
    content = export.read_bytes()
    export.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptFileError):
        spec_of(export)


@pytest.mark.parametrize("size", [512, 1024, 4096])
def test_a_user_block_is_skipped(tmp_path, size):
    path = tmp_path / "a.h5"
    data = write_hdf5_export(path, some_data((5, 6)), axes="yx", chunks=(3, 4), filters="gzip", userblock=size)
    with open(path, "r+b") as file:
        file.write(b"#!/bin/sh\n")
    assert has_signature(str(path))
    np.testing.assert_array_equal(open_source(Location.parse(path)).read((slice(0, 5), slice(0, 6))), data)


def test_soft_links_inside_the_file_are_followed(export):
    with h5py.File(export, "r+") as file:
        file["alias"] = h5py.SoftLink("/exported_data")
        file["group/second"] = h5py.SoftLink("../alias")
        file["group/third"] = h5py.SoftLink("/alias")
    assert spec_of(export, "alias").shape == (5, 6)
    assert spec_of(export, "group/third").shape == (5, 6)


@pytest.mark.parametrize("target", ["/nowhere", "nowhere/at/all"])
def test_a_soft_link_to_nothing_is_no_dataset(export, target):
    with h5py.File(export, "r+") as file:
        file["alias"] = h5py.SoftLink(target)
    with pytest.raises(DatasetNotFoundError, match=r"no dataset 'alias'"):
        spec_of(export, "alias")


def test_soft_links_that_run_in_a_circle_are_refused(export):
    with h5py.File(export, "r+") as file:
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
    with pytest.raises(UnsafePathError, match=r"soft links"):
        spec_of(export, "a")


def test_dots_that_lead_upwards_are_refused(export):
    with pytest.raises(UnsafePathError, match=r"'\.\.'"):
        spec_of(export, "../exported_data")


@pytest.fixture
def bait(tmp_path):
    """Another file, which no test may read."""
    path = tmp_path / "bait.h5"
    write_hdf5_export(path, np.full((5, 6), 4242, "<f4"), axes="yx")
    return path


def test_an_external_link_is_refused_before_it_is_followed(export, bait):
    with h5py.File(export, "r+") as file:
        file["out"] = h5py.ExternalLink(str(bait), "/exported_data")
        file["hop"] = h5py.SoftLink("/out")
        file["group"] = h5py.ExternalLink(str(bait), "/")
    bait.unlink()  # so that following it would be another error
    for name in ("out", "hop", "group/exported_data"):
        with pytest.raises(ExternalReferenceError, match=r"bait\.h5"):
            spec_of(export, name)


def test_listing_follows_no_external_link(export, bait):
    with h5py.File(export, "r+") as file:
        file["out"] = h5py.ExternalLink(str(bait), "/exported_data")
    assert list_images(Location.parse(export)) == ["exported_data"]


def test_data_in_another_file_are_refused(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(120))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (5, 6), "<f4", external=[(str(tmp_path / "raw"), 0, 120)])
    with pytest.raises(ExternalReferenceError, match=r"raw"):
        spec_of(tmp_path / "a.h5", "data")


@pytest.mark.parametrize("source", ["bait.h5", "gone.h5", "./a.h5"])
def test_a_virtual_dataset_of_another_file_is_refused(tmp_path, bait, source):
    layout = h5py.VirtualLayout((5, 6), "<f4")
    layout[...] = h5py.VirtualSource(source, "exported_data", (5, 6))
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("data", layout)
    with pytest.raises(ExternalReferenceError):
        spec_of(tmp_path / "a.h5", "data")


def test_a_group_is_no_dataset_and_its_content_is_named(export):
    with h5py.File(export, "r+") as file:
        file.create_group("group/inner")
    with pytest.raises(MetadataError, match=r"is a group.*'inner'"):
        spec_of(export, "group")


def test_a_named_type_is_no_dataset(export):
    """Neither where an image is expected, nor among the settings of a project."""
    with h5py.File(export, "r+") as file:
        file["type"] = np.dtype("f8")
    with pytest.raises(MetadataError, match="is a named type, not a dataset"):
        spec_of(export, "type")


def test_more_members_or_deeper_groups_than_the_limits_are_refused(export):
    with h5py.File(export, "r+") as file:
        file.create_group("a/b/c/d")
    for limits in (Limits(members=3), Limits(depth=2)):
        with pytest.raises(LimitExceededError, match=r"internal_path="):
            list_images(Location.parse(export), OpenOptions(limits=limits))
    assert list_images(Location.parse(export), OpenOptions(limits=Limits(members=5, depth=3))) == ["exported_data"]


def test_groups_that_hold_themselves_are_listed_once(export):
    with h5py.File(export, "r+") as file:
        file["a/again"] = file["/"]
        file["a/same"] = file["exported_data"]
    assert len(list_images(Location.parse(export))) == 1


def test_names_that_are_no_utf8_do_not_disturb(export):
    with h5py.File(export, "r+") as file:
        h5py.h5g.create(file.id, b"caf\xe9")
    assert list_images(Location.parse(export)) == ["exported_data"]


def test_control_characters_in_names_are_not_printed(export):
    with h5py.File(export, "r+") as file:
        file["\x1b[31mred"] = np.zeros((2, 2))
        file["\x1b[31mred"].attrs["axistags"] = axistags("yx")
    with pytest.raises(DatasetNotFoundError) as caught:
        spec_of(export, "\x1b[32mgreen")
    assert "\x1b" not in str(caught.value)


def raising(error):
    def function(*_):
        raise error

    return function


def test_an_error_of_h5py_closes_the_file_and_is_called_damage(export):
    with pytest.raises(CorruptFileError, match=r"is damaged"), open_hdf5(str(export)) as file:
        file.visititems(raising(RuntimeError("what libhdf5 would say")))
    assert not file
    with pytest.raises(MetadataError), open_hdf5(str(export)):
        raise MetadataError("ours")


@pytest.mark.parametrize("error", [RuntimeError, KeyError, ValueError, TypeError, OverflowError, SystemError, OSError])
def test_a_bug_of_ours_is_not_called_damage(export, monkeypatch, error):
    with pytest.raises(error, match="a bug") as caught, open_hdf5(str(export)):
        raise error("a bug")
    assert type(caught.value) is error
    # `visititems` calls back what calls this.
    monkeypatch.setattr(hdf5_file, "coordinates_of", raising(error("a bug")))
    with pytest.raises(error, match="a bug") as caught:
        list_images(Location.parse(export))
    assert type(caught.value) is error


def test_reading_changes_nothing_in_the_file(export):
    before = export.read_bytes(), export.stat().st_mtime_ns
    with warnings.catch_warnings():
        open_source(Location.parse(export)).read((slice(0, 5), slice(0, 6)))
    assert (export.read_bytes(), export.stat().st_mtime_ns) == before
