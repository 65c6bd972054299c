"""Files that other programs hold, and file systems without locks: real processes, and a `flock` that fails."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import FileBusyError, UnfinishedWriteError
from tests.support.makers import some_data, write_hdf5_export

SHAPE = (6, 8, 10, 2)
LAYOUTS = {
    "direct": {"chunks": (3, 4, 4, 1), "filters": "gzip"},
    "h5py": {"chunks": (3, 4, 4, 1), "filters": "lzf"},
    "no chunks": {},
}
TRUSTS = ["local", "untrusted"]

HOLD = """
import h5py, sys
with h5py.File(sys.argv[1], "r+", libver=sys.argv[2]) as file:
    print("open", flush=True)
    sys.stdin.readline()
"""
WRITE = """
import h5py, sys
with h5py.File(sys.argv[1], "r+") as file:
    file["exported_data"][0, 0, 0, 0] = 7
"""
OPEN = """
import sys, warnings
import ilastik_lazy as il
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    values = il.open_dataarray(sys.argv[1], trust=sys.argv[2]).values
print([warning.category.__name__ for warning in caught], values.tobytes().hex()[:64])
"""
# Everything but locks works on such a file system.
SHIM = """
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""


@pytest.fixture(params=LAYOUTS)
def export(request, tmp_path):
    path = tmp_path / "export.h5"
    write_hdf5_export(path, some_data(SHAPE), **LAYOUTS[request.param])
    return path


@pytest.mark.parametrize("trust", TRUSTS)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_file_that_is_being_written_is_busy(export, trust, libver):
    writer = subprocess.Popen([sys.executable, "-c", HOLD, str(export), libver], stdin=-1, stdout=-1, text=True)
    with writer:
        assert writer.stdout.readline() == "open\n"
        with pytest.raises((FileBusyError, UnfinishedWriteError), match=r"export\.h5"):
            il.open_dataarray(export, trust=trust)
        writer.stdin.write("\n")
    np.testing.assert_array_equal(il.open_dataarray(export, trust=trust).values, some_data(SHAPE))


@pytest.mark.parametrize("trust", TRUSTS)
def test_ilastik_can_write_once_the_file_was_opened(export, trust):
    array = il.open_dataarray(export, trust=trust)
    array.compute()
    subprocess.run([sys.executable, "-c", WRITE, str(export)], check=True, timeout=60)
    assert il.open_dataarray(export, trust=trust)[0, 0, 0, 0] == 7


@pytest.mark.parametrize("trust", TRUSTS)
@pytest.mark.parametrize("flags", [1, 5])
def test_a_file_whose_writer_died_is_unfinished(tmp_path, trust, flags):
    path = tmp_path / "export.h5"
    write_hdf5_export(path, some_data(SHAPE), libver="latest", **LAYOUTS["direct"])
    content = bytearray(path.read_bytes())
    content[11] = flags
    path.write_bytes(content)
    with pytest.raises(UnfinishedWriteError, match="not closed by its writer"):
        il.open_dataarray(path, trust=trust)
    assert path.read_bytes() == content


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a flock that fails is a shared library, and there is no C compiler to make one")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c"], check=True)
    return folder / "shim.so"


@pytest.mark.parametrize(
    ("trust", "number"),
    [("local", number) for number in (errno.ENOLCK, errno.EOPNOTSUPP, 524, errno.ENOSYS)]
    + [("untrusted", number) for number in (errno.ENOLCK, errno.ENOSYS)],
)
def test_where_there_are_no_locks_the_file_is_read_without(tmp_path, shim, trust, number):
    path = tmp_path / "export.h5"
    data = write_hdf5_export(path, some_data(SHAPE), **LAYOUTS["direct"])
    environment = os.environ | {"LD_PRELOAD": str(shim), "FLOCK_ERRNO": str(number)}
    command = [sys.executable, "-c", OPEN, str(path), trust]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said, values = done.stdout.rsplit(" ", 1)
    assert values.strip() == data.tobytes().hex()[:64]
    # libhdf5 takes ENOSYS for "no locks here" on its own.
    assert ("LockingWarning" in said) == (number != errno.ENOSYS)


@pytest.mark.parametrize("trust", TRUSTS)
def test_a_file_that_nobody_may_write_is_read_and_stays_as_it_is(export, trust):
    export.chmod(0o444)
    export.parent.chmod(0o555)
    try:
        before = export.stat()
        digest = hashlib.sha256(export.read_bytes()).hexdigest()
        with h5py.File(export) as file:
            data = file["exported_data"][...]
        np.testing.assert_array_equal(il.open_dataarray(export, trust=trust).values, data)
        after = export.stat()
    finally:
        export.parent.chmod(0o755)
    assert hashlib.sha256(export.read_bytes()).hexdigest() == digest
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino)
    assert os.listdir(export.parent) == [export.name]
