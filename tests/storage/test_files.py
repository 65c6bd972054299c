"""System calls on files: each of them may return half, or fail, and nothing wrong comes of it."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from ilastik_lazy.errors import SourceChangedError, SourceIOError, SourceNotFoundError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, read_into, stamp_of, write_atomically
from tests.support.makers import DIRECT_LAYOUTS, SHAPE, write_layout

WHOLE = tuple(slice(0, n) for n in SHAPE)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    return str(path)


class HalfReads:
    """The reading calls of `os`, that return half of what was asked for, as a network disk may."""

    def __init__(self, monkeypatch):
        self.pread_, self.preadv_ = os.pread, os.preadv
        monkeypatch.setattr(os, "pread", self.pread)
        monkeypatch.setattr(os, "preadv", self.preadv)

    def pread(self, fd, size, offset):
        return self.pread_(fd, -(-size // 2), offset)

    def preadv(self, fd, buffers, offset):
        view = buffers[0]
        return self.preadv_(fd, [view[: -(-len(view) // 2)]], offset)


class FailingCall:
    """Lets the calls of `os` that read go through, except the one with the number `fail`."""

    def __init__(self, monkeypatch, fail, error):
        self.fail, self.error, self.count = fail, error, 0
        for name in ("open", "pread", "preadv", "fstat"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, call):
        def counting(*arguments, **keywords):
            self.count += 1
            if self.count - 1 == self.fail:
                raise self.error
            return call(*arguments, **keywords)

        return counting


def test_reads_exactly_what_was_asked_for(file):
    with opened(file) as fd:
        assert read_exactly(fd, 10, 5, file) == bytes(range(5, 15))
        assert read_exactly(fd, 0, 5, file) == b""
        target = bytearray(10)
        read_into(fd, memoryview(target), 90, file)
    assert target == bytes(range(90, 100))


def test_half_reads_are_put_together(file, monkeypatch):
    HalfReads(monkeypatch)
    with opened(file) as fd:
        assert read_exactly(fd, 77, 5, file) == bytes(range(5, 82))


@pytest.mark.parametrize("layout", DIRECT_LAYOUTS)
def test_an_export_is_opened_and_read_right_by_half_reads(tmp_path, monkeypatch, layout):
    data = write_layout(tmp_path / "a.h5", DIRECT_LAYOUTS[layout])
    HalfReads(monkeypatch)
    np.testing.assert_array_equal(open_source(Location.parse(tmp_path / "a.h5")).read(WHOLE), data)


@pytest.mark.parametrize(("size", "offset"), [(1, 100), (101, 0), (50, 60), (1, 10**6)])
def test_a_file_that_ends_too_early_is_an_error(file, size, offset):
    with opened(file) as fd, pytest.raises(SourceChangedError, match=r"ends at byte"):
        read_exactly(fd, size, offset, file)


def test_an_interrupted_call_is_repeated(file, monkeypatch):
    FailingCall(monkeypatch, 1, InterruptedError())
    with opened(file) as fd:
        assert read_exactly(fd, 10, 5, file) == bytes(range(5, 15))


@pytest.mark.posix
@pytest.mark.parametrize("layout", ["gzip", "plain"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_every_call_that_fails_is_a_typed_error_with_the_path(tmp_path, number, layout):
    write_layout(tmp_path / "a.h5", DIRECT_LAYOUTS[layout])
    point, wrong = 0, []
    while True:
        os.utime(tmp_path / "a.h5", (point, point))  # another version: nothing comes from a cache
        with pytest.MonkeyPatch.context() as patch:
            failing = FailingCall(patch, point, OSError(number, os.strerror(number)))
            try:
                open_source(Location.parse(tmp_path / "a.h5")).read(WHOLE)
            except OSError as error:
                if not isinstance(error, SourceIOError) or str(tmp_path / "a.h5") not in str(error):
                    wrong.append((point, repr(error)))
            if failing.count <= point:
                break
        point += 1
    assert point > 50
    assert wrong == []


def test_a_stamp_tells_versions_apart(file, tmp_path):
    before = stamp_of(file)
    assert before == Stamp.of(os.stat(file))
    os.utime(file, ns=(0, before.mtime_ns + 1))
    assert stamp_of(file) != before


def test_a_changed_file_is_noticed_before_and_after(file):
    stamp = stamp_of(file)
    with pytest.raises(SourceChangedError, match=r"size 100 then, 50 now"), opened(file, stamp):
        os.truncate(file, 50)
    with pytest.raises(SourceChangedError), opened(file, stamp):
        pytest.fail("opened another version")


def test_a_file_that_is_gone_is_missing_or_changed(tmp_path):
    gone = str(tmp_path / "gone")
    with pytest.raises(SourceNotFoundError), opened(gone):
        pass
    with pytest.raises(SourceChangedError), opened(gone, Stamp(1, 2, 3, 4)):
        pass
    with pytest.raises(SourceNotFoundError):
        stamp_of(gone)


def test_errors_of_the_operating_system_keep_their_reason(file, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceIOError, match=r"Permission denied"), opened(file):
        pass


def test_an_error_inside_closes_the_descriptor(file):
    with pytest.raises(ZeroDivisionError), opened(file) as fd:
        raise ZeroDivisionError
    with pytest.raises(OSError, match=r"Bad file descriptor"):
        os.fstat(fd)


def test_writes_all_parts_or_nothing(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    assert write_atomically(str(target), [b"ab", memoryview(b"cd")], temporary=str(tmp_path)) == 4
    assert target.read_bytes() == b"abcd"

    def parts():
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(str(target), parts(), temporary=str(tmp_path))
    assert target.read_bytes() == b"abcd"
    assert os.listdir(tmp_path) == ["target"]


def test_writes_that_take_half_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: -(-len(data) // 2)]))
    numbers = np.arange(100, dtype="<f4")
    write_atomically(str(tmp_path / "target"), [numbers.data], temporary=str(tmp_path))
    assert (tmp_path / "target").read_bytes() == numbers.tobytes()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_no_part_behind(tmp_path, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=r"No space"):
        write_atomically(str(tmp_path / "target"), [b"abc"], temporary=str(tmp_path))
    assert os.listdir(tmp_path) == []
