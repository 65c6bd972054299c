"""How the command line ends: one line and an exit code, whatever was in the file, and at Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from makers import axistags, some_data, write_hdf5_export
from table_makers import write_table

MAIN = [sys.executable, "-m", "ilastik_lazy.cli"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def export(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6, 2)), chunks=(2, 3, 3, 1), filters="gzip")
    return tmp_path / "a.h5"


def damage(path):
    with h5py.File(path) as file:
        info = file["exported_data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + 5] ^= 255
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def no_hdf5(path):
    path.write_bytes(b"nothing")


BAD_INPUT = {
    "a damaged chunk": (damage, ("reduce", "mean")),
    "a file that was cut": (cut, ("info",)),
    "no HDF5": (no_hdf5, ("info",)),
    "no such file": (lambda path: path.unlink(), ("info",)),
    "axes that do not fit": (lambda path: None, ("info", "--axes", "yx")),
    "no such dataset": (lambda path: None, ("info", "--dataset", "nothing")),
    "an option that is none": (lambda path: None, ("info", "--nothing")),
    "a level of trust that is none": (lambda path: None, ("info", "--trust", "yes")),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_2(export, case):
    change, (command, *options) = BAD_INPUT[case]
    change(export)
    result = run(command, export, *options)
    assert result.returncode == 2
    assert result.stderr
    if "option" not in case and "trust" not in case:  # click shows the usage then
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("ilastik-lazy: error: ")


def test_a_failure_is_one_line_and_exit_code_1(export):
    result = run("reduce", export, "mean", "--over", "z", "--out", export.parent / "nowhere" / "o.npy")
    assert result.returncode in (1, 2)
    locked = h5py.File(export, "r+")
    with locked:
        result = run("info", export)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("ilastik-lazy: error: ")
    assert len(result.stderr.splitlines()) == 1


def test_names_in_a_file_cannot_steer_the_terminal(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("\x1b[2J", "\u202egnp.exe", b"caf\xe9"):
            file[name] = np.zeros((4, 5, 6))
            file[name].attrs["axistags"] = axistags("zyx")
            file[name].attrs["display_mode"] = "\x1b[31m"
    rows = np.zeros(1, [("object_id", "i4"), ("timestep", "i4"), ("labelimage_oid", "i4"), ("\x1b[5m", "S8")])
    rows["\x1b[5m"] = b"\x1b]0;title"
    write_table(tmp_path / "t.h5", rows)
    for arguments in (("info", tmp_path / "a.h5"), ("table", tmp_path / "t.h5")):
        result = run(*arguments)
        assert result.returncode == 0, result.stderr
        assert all(line.isprintable() for line in (result.stdout + result.stderr).splitlines())
        assert "\\x1b" in result.stdout


def test_ctrl_c_while_another_process_looks_at_the_file(export):
    code = (
        "import signal, sys; signal.signal(2, signal.default_int_handler)\n"
        "from ilastik_lazy import isolation; isolation._START = 'import time; time.sleep(60)'\n"
        "from ilastik_lazy.cli import main; print('ready', flush=True); main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "info", str(export)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip() == "ilastik-lazy: interrupted"
