"""A disk that is full, or fails, at any moment of a conversion."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ilastik_lazy.errors import DestinationError
from ilastik_lazy.storage import files
from tests.support.children import run_forked
from tests.support.ome_zarr.targets import (
    a_source,
    assert_no_image,
    assert_resumes,
    assert_whole,
    contents,
    convert,
)


class TestFullDisk:
    @pytest.mark.parametrize(
        ("writes", "error", "overwrite"),
        [(writes, errno.ENOSPC, overwrite) for writes in (0, 10, 150) for overwrite in (False, True)]
        + [(10, errno.EDQUOT, False), (150, errno.EIO, True)],
    )
    def test_is_a_destination_error_and_leaves_what_can_be_resumed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, error: int, overwrite: bool
    ) -> None:
        if overwrite:
            convert(tmp_path / "a.zarr", source=a_source(seed=1))
        before = contents(tmp_path / "a.zarr") if overwrite else {}
        left = iter(range(writes))
        write = os.write

        def full(fd: int, data: Any) -> int:
            if next(left, None) is None:
                raise OSError(error, os.strerror(error))
            return write(fd, data)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", full)
            with pytest.raises(DestinationError, match=os.strerror(error)):
                convert(tmp_path / "a.zarr", overwrite=overwrite)
        if overwrite:
            assert contents(tmp_path / "a.zarr") == before
        assert_resumes(tmp_path / "a.zarr", overwrite=overwrite)

    @pytest.mark.usefixtures("a_dozen_shards")
    @pytest.mark.parametrize("call", ["open", "fsync", "replace", "mkdir"])
    @pytest.mark.parametrize("calls", [0, 1, 2, 3, 20])
    def test_found_by_any_system_call_is_a_destination_error_and_leaves_what_can_be_resumed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, calls: int
    ) -> None:
        left = iter(range(calls))
        original = getattr(os, call)

        def full(*arguments: Any, **options: Any) -> Any:
            reading = call == "open" and not arguments[1] & os.O_CREAT
            if not reading and next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, call, full)
            with pytest.raises(DestinationError):
                convert(tmp_path / "folder" / "a.zarr")
        assert_resumes(tmp_path / "folder" / "a.zarr")

    def test_short_writes_are_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", lambda fd, data: write(fd, data[:7]))
            convert(tmp_path / "a.zarr", verify=True)
        assert_whole(tmp_path / "a.zarr")

    def test_a_real_limit_of_the_system_is_a_destination_error(self, tmp_path: Path) -> None:
        pytest.importorskip("resource")
        code = """
import resource, sys
import numpy as np
from tests.support.ome_zarr.fakes import ArrayBackedSource
from ilastik_lazy.errors import DestinationError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
source = ArrayBackedSource(np.random.default_rng(0).integers(0, 255, (900, 900), np.uint8), "yx")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    to_ome_zarr(source, sys.argv[1])
except DestinationError as error:
    print(error)
"""
        run = run_forked(code, tmp_path / "a.zarr")
        assert "File too large" in run.stdout, run.stderr
        assert_no_image(tmp_path / "a.zarr")


@pytest.mark.skipif("ILASTIK_LAZY_LONG" not in os.environ, reason="ILASTIK_LAZY_LONG=1 mounts small disks")
@pytest.mark.parametrize("kilobytes", range(10, 230, 11))
def test_a_small_disk_that_is_full_can_be_made_larger(tmp_path: Path, kilobytes: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        with pytest.raises(DestinationError, match="No space"):
            convert(disk / "a.zarr")
        if (disk / "a.zarr").exists():
            assert_no_image(disk / "a.zarr")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert_resumes(disk / "a.zarr")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
