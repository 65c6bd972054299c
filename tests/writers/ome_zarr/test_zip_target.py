"""A conversion to one file, ``.ozx``: packed as RFC-9 says, opened by others, resumed after a death at any step."""

from __future__ import annotations

import json
import os
import zipfile

import ngff_zarr
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy import cli
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.errors import (
    ArgumentError,
    CorruptFileError,
    DestinationExistsError,
    ResumeMismatchError,
)
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.archives import packing
from ilastik_lazy.writers.ome_zarr.commit import zip_target
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.children import run_forked
from tests.support.ome_zarr.targets import a_source, convert

SMALL = (33, 50)


def run(*arguments):
    """Return the exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, arguments)])
    return ended.value.code or 0


def left_beside(target):
    return [path.name for path in target.parent.iterdir() if path != target]


@pytest.mark.parametrize("name", ["a.ozx", "a.ome.zarr.zip"])
def test_one_file_is_written_that_others_open(tmp_path, name):
    source, target = a_source(shape=SMALL), tmp_path / name
    version = "0.5" if name.endswith(".ozx") else "0.4"
    report = convert(target, source=source, version=version)
    assert (report.target, left_beside(target)) == (str(target), [])
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
        assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
        names = [entry.filename for entry in entries]
        comment = archive.comment
    metadata = [each for each in names if each.rpartition("/")[2] in ("zarr.json", ".zgroup", ".zattrs", ".zarray")]
    assert names[: len(metadata)] == metadata
    assert names[0] == ("zarr.json" if version == "0.5" else ".zgroup")
    assert [each.count("/") for each in metadata] == sorted(each.count("/") for each in metadata)
    if version == "0.5":
        noted = {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}
        assert json.loads(comment) == {"ome": noted}
        images = ngff_zarr.from_ngff_zarr(str(target)).images
        np.testing.assert_array_equal(np.asarray(images[0].data), source.data)
    store = zarr.storage.ZipStore(target, mode="r")
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["scale0/image"][...], source.data)
    np.testing.assert_array_equal(il.open_dataarray(target, "scale0/image"), source.data)
    assert verify_image(target, source).units == report.parts


def test_the_command_converts_verifies_and_states_the_disk_it_needs(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.arange(600, dtype="u2").reshape(20, 30))
    source, target = str(tmp_path / "a.npy"), str(tmp_path / "a.ozx")
    assert run("convert", source, target, "--axes", "yx", "--dry-run") == 0
    assert "one file" in capsys.readouterr().out
    assert run("convert", source, target, "--axes", "yx", "-q") == 0
    assert run("verify", target, source, "--axes", "yx") == 0
    assert run("convert", source, target, "--axes", "yx", "-q") != 0
    assert "--overwrite" in capsys.readouterr().err


def test_a_damaged_file_does_not_verify(tmp_path):
    target = tmp_path / "a.ozx"
    convert(target, source=a_source(shape=SMALL))
    with zipfile.ZipFile(target) as archive:
        shard = max(archive.infolist(), key=lambda entry: "/c/" in entry.filename)
    content = bytearray(target.read_bytes())
    content[shard.header_offset + 30 + len(shard.filename) + 20] ^= 1
    target.write_bytes(content)
    with pytest.raises(CorruptFileError, match="checksum"):
        verify_image(target)


class _Killed(BaseException):
    """Stands for a death, which nothing catches."""


def _killed(*arguments, **options):
    raise _Killed


@pytest.mark.parametrize("step", ["before packing", "while packing", "after packing"])
def test_a_conversion_that_was_killed_continues(tmp_path, monkeypatch, step):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "in/a.npy", a_source(shape=SMALL).data)
    source = open_source(Location.parse(tmp_path / "in/a.npy"), OpenOptions("yx"))
    target = tmp_path / "out/a.ozx"
    with monkeypatch.context() as death:
        if step == "before packing":
            death.setattr(zip_target, "pack_folder", _killed)
        elif step == "while packing":
            death.setattr(packing, "read_up_to", _killed)
        else:
            death.setattr(zip_target.LocalStore, "delete", lambda self, key: key or _killed())
        with pytest.raises(_Killed):
            convert(target, source=source)
    assert target.exists() == (step == "after packing")
    with pytest.raises(DestinationExistsError):
        convert(target, source=source)
    report = convert(target, source=source, resume=True)
    assert report.resumed == report.parts
    assert left_beside(target) == []
    assert verify_image(target, source).units == report.parts


# Imports once, then forks conversions that kill themselves with SIGKILL at the first or last call of each kind that
# packing makes (a write is half done by then), and others that continue them.  Prints how many were killed.
_KILLED_PACKING = """
import os, signal, sys, zipfile
from pathlib import Path
from tests.support.ome_zarr.targets import a_source, convert
from ilastik_lazy.writers.ome_zarr.commit import zip_target

# A killed process loses nothing that it wrote: waiting for the disk takes longest.
os.fsync = lambda fd: None
source, pack = a_source(shape=(20, 20)), zip_target.pack_folder

def run(target, limit, **options):
    def packing(*arguments, **more):
        calls = []
        def killing(name, original):
            def call(*given, **named):
                calls.append(name)
                if len(calls) == limit:
                    if name == "pwrite":
                        original(given[0], bytes(given[1])[: len(given[1]) // 2], given[2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*given, **named)
            setattr(os, name, call)
        for name in ("pwrite", "link", "unlink"):
            killing(name, getattr(os, name))
        pack(*arguments, **more)
        Path(target.parent, "calls").write_text(" ".join(calls))
    if (pid := os.fork()) == 0:
        code = 1
        try:
            zip_target.pack_folder = packing
            convert(target, source=source, levels=1, **options)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def is_whole(target):
    with zipfile.ZipFile(target) as archive:
        return archive.testzip() is None and "scale0/image/zarr.json" in archive.namelist()

first = Path(sys.argv[1], "first", "a.ozx")
assert run(first, 0) == 0
calls = list(enumerate(first.with_name("calls").read_text().split(), 1))
limits = {*{kind: number for number, kind in calls}.values(), *{kind: number for number, kind in calls[::-1]}.values()}
for limit in limits:
    target = Path(sys.argv[1], str(limit), "a.ozx")
    assert run(target, limit) == -signal.SIGKILL, limit
    assert not target.exists() or is_whole(target), limit
    assert run(target, 0, resume=True) == 0, limit
    assert is_whole(target), limit
    left = {path.name for path in target.parent.iterdir()} - {"a.ozx", "calls"}
    assert not left, (limit, left)
print(len(limits))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_packing_that_was_killed_leaves_no_part_of_a_file_and_continues(tmp_path):
    run = run_forked(_KILLED_PACKING, tmp_path)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 4


def test_a_file_is_replaced_only_if_asked_and_if_nothing_is_lost(tmp_path):
    target, other = tmp_path / "a.ozx", a_source(1, shape=SMALL)
    convert(target, source=a_source(shape=SMALL))
    with pytest.raises(DestinationExistsError, match="overwrite"):
        convert(target, source=other)
    with pytest.raises(ResumeMismatchError):
        convert(target, source=other, resume=True, levels=1)
    convert(target, source=other, overwrite=True)
    np.testing.assert_array_equal(il.open_dataarray(target, "scale0/image"), other.data)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("labels/zarr.json", "{}")
    with pytest.raises(DestinationExistsError, match="labels, which would be lost"):
        convert(target, source=other, overwrite=True, levels=1)
    (tmp_path / "b.ozx").write_bytes(b"notes")
    with pytest.raises(DestinationExistsError, match="not a Zarr"):
        convert(tmp_path / "b.ozx", source=other, overwrite=True)


def test_what_cannot_be_written_is_refused_with_what_to_do(tmp_path):
    source = a_source(shape=SMALL)
    with pytest.raises(ArgumentError, match="upload"):
        convert("s3://bucket/a.ozx", source=source)
    with pytest.raises(ArgumentError, match=r"\.ome\.zarr\.zip"):
        convert(tmp_path / "a.ozx", source=source, version="0.4")
    convert(tmp_path / "a.ozx", source=source)
    with pytest.raises(ArgumentError, match="nothing can be added"):
        convert(tmp_path / "a.ozx/labels/nuclei", source=source)
