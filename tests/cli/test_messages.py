"""How the command line ends: one line and an exit code, whatever was in the file, and at Ctrl-C."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import ilastik_lazy
from ilastik_lazy.cli import cli
from ilastik_lazy.cli import messages as shell
from tests.support.makers import axistags, some_data, write_hdf5_export
from tests.support.table_makers import write_table

MAIN = [sys.executable, "-m", "ilastik_lazy"]


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
        "from ilastik_lazy.storage import isolation; isolation._START = 'import time; time.sleep(60)'\n"
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


def invoke(*arguments: object):
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.mark.parametrize("over", [("z", "c"), ("zc",), ("z,c",), ("c", "z", "z"), ("Z, C",)])
def test_over_counts_all_axes_however_they_are_given(export, tmp_path, over):
    options = [part for axes in over for part in ("--over", axes)]
    out = tmp_path / "m.npy"
    result = invoke("reduce", export, "mean", *options, "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(out), np.nanmean(some_data((4, 5, 6, 2)), (0, 3)), rtol=1e-5)


SINGLE = [
    (name, option)
    for name, command in sorted(cli.commands.items())
    for option in command.params
    if isinstance(option, click.Option) and not option.multiple and not option.is_flag
]


@pytest.mark.parametrize(("name", "option"), SINGLE, ids=lambda value: getattr(value, "name", value))
def test_no_option_of_one_value_forgets_one_of_two(name, option):
    value = {click.Choice: lambda: option.type.choices[0]}.get(type(option.type), lambda: "1")()
    given = [option.opts[0], *[value] * option.nargs]
    result = invoke(name, *given, *given, "a", "b")
    assert result.exit_code == 2
    assert f"{option.opts[0]} is given 2 times" in result.output


def test_contradicting_flags_are_refused(export):
    assert "is given 2 times" in invoke("reduce", export, "mean", "--skipna", "--no-skipna").output
    assert invoke("reduce", export, "mean", "--quiet", "--quiet").exit_code == 0


def test_nan_is_skipped_or_not(tmp_path):
    data = np.arange(24, dtype="f4").reshape(2, 3, 4)
    data[0, 0, 0] = np.nan
    write_hdf5_export(tmp_path / "n.h5", data, axes="zyx")
    assert float(invoke("reduce", tmp_path / "n.h5", "mean", "-q").stdout) == np.nanmean(data)
    assert float(invoke("reduce", tmp_path / "n.h5", "mean", "-q", "--skipna").stdout) == np.nanmean(data)
    assert invoke("reduce", tmp_path / "n.h5", "mean", "-q", "--no-skipna").stdout == "nan\n"
    result = invoke("reduce", tmp_path / "n.h5", "histogram", "--bins", "2", "-q")
    assert result.exit_code == 0, result.output
    assert "(1 value in none: beyond all bins, or not a number)" in result.stdout
    result = invoke("reduce", tmp_path / "n.h5", "histogram", "--bins", "2", "--range", "0", "6", "-q")
    assert "18 values in none" in result.stdout


def test_memory_is_an_option_where_it_is_advised(export, tmp_path):
    result = run("reduce", export, "mean", "--memory", "1kB")
    assert result.returncode == 2
    assert result.stderr.endswith("more than --memory 1 kB: allow more memory\n")
    result = run("reduce", export, "mean", "--memory", "1kB", "--over", "z")
    assert result.stderr.endswith("more than --memory 1 kB: allow more memory, or reduce over more axes\n")
    write_table(tmp_path / "t.h5", np.zeros(9, [("object_id", "i4"), ("timestep", "i4"), ("labelimage_oid", "i4")]))
    for command in ("table", "info"):
        result = run(command, tmp_path / "t.h5", "--memory", "10")
        assert result.returncode == 2
        assert "raise --memory if that is right" in result.stderr


# Messages of functions that no command calls.
PYTHON_ONLY = {
    "cli.info", "cli.messages", "demo", "engine", "formats.location", "lazy.dask_array", "lazy.dataset",
    "lazy.from_xarray", "lazy.indexing", "reductions.normalise", "reductions.percentile", "storage.allowed",
    "storage.isolation", "storage.objects.__init__", "tables.images", "tables.paint",
    "writers.ome_zarr.conversion.cluster",
}  # fmt: skip
NOT_IN_SHELL = re.compile(r"(?:pass|with|without|raise|or|say) \w+=|\bopen_\w+\(|\.(?:astype|rename|sel)\(")
# Arguments of `paint`, `to_ilastik` and `open_table`.
ARGUMENTS = re.compile(r"\b(?:meta|label|time|what|background|images|stack_along|X)=")


def messages():
    """All texts of the package with a blank in them, the values in them replaced by X."""

    def text_of(node):
        if isinstance(node, ast.Constant):
            return str(node.value)
        return "".join(text_of(each) if isinstance(each, ast.Constant) else "X" for each in node.values)

    package = Path(ilastik_lazy.__file__).parent
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        no_message = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        no_message |= {each for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for each in node.values}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Constant) and isinstance(node.value, str)
            )
            if is_text and node not in no_message and " " in text_of(node):
                yield ".".join(path.relative_to(package).with_suffix("").parts), text_of(node)


def test_messages_in_the_shell_advise_nothing_that_only_python_has():
    left = [
        f"{module}: {shell.in_shell(text)}"
        for module, text in messages()
        if module not in PYTHON_ONLY and NOT_IN_SHELL.search(ARGUMENTS.sub("", shell.in_shell(text)))
    ]
    assert left == []


def test_paths_stay_as_they_are():
    text = "no such file: /data/version=2/axes=zyx/internal_path/memory=1.h5: pass axes='yx', or table= x"
    assert shell.in_shell(text) == (
        "no such file: /data/version=2/axes=zyx/internal_path/memory=1.h5: pass --axes yx, or --table x"
    )


def test_every_option_that_a_message_names_is_one():
    options = {name for command in cli.commands.values() for option in command.params for name in option.opts}
    options |= {"--help", "--version"}
    named = {name for _, text in messages() for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*", shell.in_shell(text))}
    assert named - options == set()
