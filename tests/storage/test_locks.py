"""Files that other programs hold, and file systems without locks: real processes, and a `flock` that fails."""

from __future__ import annotations

import errno
import hashlib
import json
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
from tests.support.children import run_forked
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
# Opens a file in a fork for each number of an error that comes instead of a lock.
OPEN = """
import json, os, sys, warnings
import dask.array, h5py, pandas, xarray
import ilastik_lazy as il, ilastik_lazy.formats.hdf5, ilastik_lazy.lazy.dataset  # before the forks
for trust, number in json.loads(sys.argv[2]):
    os.environ["FLOCK_ERRNO"] = str(number)
    if os.fork() == 0:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values = il.open_dataarray(sys.argv[1], trust=trust).values
        said = [warning.category.__name__ for warning in caught]
        print(json.dumps([trust, number, said, values.tobytes().hex()[:64]]), flush=True)
        os._exit(0)
    os.wait()
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


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_file_that_is_being_written_is_busy(export, libver):
    writer = subprocess.Popen([sys.executable, "-c", HOLD, str(export), libver], stdin=-1, stdout=-1, text=True)
    with writer:
        assert writer.stdout.readline() == "open\n"
        for trust in TRUSTS:
            with pytest.raises((FileBusyError, UnfinishedWriteError), match=r"export\.h5"):
                il.open_dataarray(export, trust=trust)
        writer.stdin.write("\n")
    for trust in TRUSTS:
        np.testing.assert_array_equal(il.open_dataarray(export, trust=trust).values, some_data(SHAPE))


def test_ilastik_can_write_once_the_file_was_opened(export):
    arrays = [il.open_dataarray(export, trust=trust) for trust in TRUSTS]
    for array in arrays:
        array.compute()
    assert run_forked(WRITE, export).returncode == 0
    for trust in TRUSTS:
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


def test_where_there_are_no_locks_the_file_is_read_without(tmp_path, shim):
    path = tmp_path / "export.h5"
    data = write_hdf5_export(path, some_data(SHAPE), **LAYOUTS["direct"])
    cases = [["local", number] for number in (errno.ENOLCK, errno.EOPNOTSUPP, 524, errno.ENOSYS)]
    cases += [["untrusted", number] for number in (errno.ENOLCK, errno.ENOSYS)]
    environment = os.environ | {"LD_PRELOAD": str(shim), "FLOCK_ERRNO": "0"}
    command = [sys.executable, "-c", OPEN, str(path), json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [outcome[:2] for outcome in outcomes] == cases, done.stderr
    for _, number, said, values in outcomes:
        assert values == data.tobytes().hex()[:64]
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
