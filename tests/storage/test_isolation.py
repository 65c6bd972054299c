"""A child that crashes, hangs, lies or takes all memory is an error here, and nothing else."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import pytest

from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.errors import CorruptFileError
from ilastik_lazy.formats import hdf5
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage import isolation
from ilastik_lazy.storage.isolation import in_child
from tests.support.children import run_forked, run_python
from tests.support.makers import some_data, write_hdf5_export

no_limit_of_memory = pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit the address space")
_REAL = isolation._started


@pytest.fixture(autouse=True)
def real_children(monkeypatch):
    """Each child is an interpreter of its own, as outside of tests."""
    monkeypatch.setattr(isolation, "_started", _REAL)


@pytest.fixture
def path(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((3, 4, 5, 2)))
    return tmp_path / "a.h5"


def images(path):
    return in_child(str(path), hdf5.images, Location.parse(path), DEFAULTS)


def test_a_call_gives_what_the_function_returns(path):
    assert images(path) == ["exported_data"]


def answer(notes, text=b"[]", lengths=None):
    """Code of a child that answers with these bytes, whatever it is asked."""
    lengths = lengths or (len(notes), len(text), 0)
    return f"import sys; sys.stdout.buffer.write({struct.pack('<QQQ', *lengths) + notes + text!r})"


FINE = b"[[], null]"
CHILDREN = {
    "aborts": ("import os; os.abort()", "crashed on this file (SIGABRT)"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "crashed on this file (SIGSEGV)"),
    "exits": ("raise SystemExit(3)", "crashed on this file (exit code 3)"),
    "sleeps": ("import time; time.sleep(60)", "hung on this file"),
    "closes its output": ("import os, time; os.close(1); time.sleep(60)", "crashed on this file"),
    "computes": ("import resource as r; r.setrlimit(r.RLIMIT_CPU, (1, 2))\nwhile True: pass", "hung on this file"),
    "announces a terabyte": (answer(FINE, lengths=(2, 2, 2**40)), "too large"),
    "announces long notes": (answer(FINE, lengths=(2**40, 2, 0)), "too large"),
    "stops early": (answer(FINE, lengths=(10, 3, 0)), "crashed on this file"),
    "another type": (answer(FINE, b"{}"), "nonsense"),
    "numbers for names": (answer(FINE, b"[1]"), "nonsense"),
    "no notes": (answer(b"null"), "nonsense"),
    "bytes that nobody asked for": (answer(FINE, b"[]x", lengths=(10, 2, 1)), "nonsense"),
    "an array for names": (answer(FINE, b'{"\\u0000array": ["|O8", [1], 8]}'), "nonsense"),
    "deep brackets": (answer(FINE, b"[" * 10**5), "nonsense"),
}


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_that_dies_or_lies_is_a_corrupt_file(path, monkeypatch, child):
    code, message = CHILDREN[child]
    monkeypatch.setattr(isolation, "_START", code)
    monkeypatch.setattr(isolation, "WALL_SECONDS", 20.0 if child == "computes" else 1.5)
    with pytest.raises(CorruptFileError, match=r"a\.h5") as caught:
        images(path)
    assert message in str(caught.value)
    assert len(str(caught.value)) <= 500


@no_limit_of_memory
@pytest.mark.parametrize("mebibytes", [30, 60, 120])
def test_a_child_without_memory_says_so(path, monkeypatch, mebibytes):
    monkeypatch.setattr(isolation, "MEMORY_BYTES", mebibytes * 2**20)
    try:
        said = str(images(path))
    except CorruptFileError as error:
        said = str(error)
    # What h5py and numpy take differs between their versions; 40 MiB are too few for all of them.
    enough = mebibytes > 40 and said == "['exported_data']"
    assert enough or f"ran out of memory on this file (more than {mebibytes} MiB)" in said


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "Exception", "__all__", "annotations"])
def test_a_child_cannot_choose_any_exception(path, monkeypatch, name):
    notes = [[[name, "a\x1b[2J"]], [name, "x\0y"]]
    monkeypatch.setattr(isolation, "_START", answer(json.dumps(notes).encode()))
    with pytest.warns(Warning, match=r"a\?\[2J"), pytest.raises(CorruptFileError, match=r"x\?y"):
        images(path)


def test_a_child_is_gone_after_the_call(path, monkeypatch):
    started = []
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[-1])
    images(path)
    monkeypatch.setattr(isolation, "_START", "import time; time.sleep(60)")
    monkeypatch.setattr(isolation, "WALL_SECONDS", 0.2)
    with pytest.raises(CorruptFileError):
        images(path)
    assert [child.returncode is not None for child in started] == [True, True]


def test_nothing_is_imported_from_the_current_folder_or_the_environment(path, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("h5py", "numpy", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    code = (
        "import sys; sys.path = [p for p in sys.path if p]\n"
        "import ilastik_lazy, os; os.chdir(sys.argv[1]); os.environ['PYTHONPATH'] = sys.argv[1]\n"
        "print(ilastik_lazy.open_dataarray(sys.argv[2], trust='untrusted').shape)"
    )
    done = run_forked(code, folder, path)
    assert done.stdout == "(3, 4, 5, 2)\n", done.stderr
    assert not (tmp_path / "ran").exists()


def test_no_plugin_is_loaded(path, tmp_path, monkeypatch):
    # The environment of the child, as the child itself sees it.
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    code = f"import os, json; json.dump(dict(os.environ), open({str(tmp_path / 'seen')!r}, 'w'))"
    monkeypatch.setattr(isolation, "_START", code)
    with pytest.raises(CorruptFileError):
        images(path)
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["HDF5_PLUGIN_PRELOAD"] == "::"
    assert "HDF5_PLUGIN_PATH" not in seen


@no_limit_of_memory
def test_stricter_limits_of_the_caller_are_kept(path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 * 2**29, 3 * 2**29))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "import ilastik_lazy; print(ilastik_lazy.open_dataarray(sys.argv[1], trust='untrusted').shape)"
    )
    assert run_python(code, str(path)) == b"(3, 4, 5, 2)\n"
