"""How the command line ends: one line and an exit code, whatever was in the file, and at Ctrl-C."""

from __future__ import annotations

import ast
import io
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
from ilastik_lazy import errors
from ilastik_lazy.cli import cli, running
from tests.support.children import run_command as run
from tests.support.damage import damage
from tests.support.makers import axistags, some_data, write_hdf5_export
from tests.support.table_makers import write_table


@pytest.fixture
def export(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6, 2)), chunks=(2, 3, 3, 1), filters="gzip")
    return tmp_path / "a.h5"


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
    assert "(1 value in no bin: outside their range, or not a number)" in result.stdout
    result = invoke("reduce", tmp_path / "n.h5", "histogram", "--bins", "2", "--range", "0", "6", "-q")
    assert "18 values in no bin" in result.stdout


def test_memory_is_an_option_where_it_is_advised(export, tmp_path):
    result = run("reduce", export, "mean", "--memory", "1kB")
    assert result.returncode == 2
    assert result.stderr.endswith("more than --memory '1 kB': allow more memory\n")
    result = run("reduce", export, "mean", "--memory", "1kB", "--over", "z")
    assert result.stderr.endswith("more than --memory '1 kB': allow more memory, or reduce over more axes\n")
    write_table(tmp_path / "t.h5", np.zeros(9, [("object_id", "i4"), ("timestep", "i4"), ("labelimage_oid", "i4")]))
    for command in ("table", "info"):
        result = run(command, tmp_path / "t.h5", "--memory", "10")
        assert result.returncode == 2
        assert "raise --memory to read it" in result.stderr


OPTIONS = {"--help", "--version"} | {
    name for command in cli.commands.values() for each in command.params for name in (*each.opts, *each.secondary_opts)
}
# Functions, methods and arguments of Python; only `remedy` may name them where a command can raise the message.
PYTHON = re.compile(r"\bopen_\w+\(|\.(?:astype|rename|sel)\(|\b(?:limits|internal_path|label|storage_options)=")
# Functions that no command calls; values of options, such as z=10:40, that look like arguments.
PYTHON_ONLY = {
    "cli/options", "core/views/selected",
    "demo", "formats/location", "lazy/blocks", "lazy/dataset", "lazy/from_xarray", "lazy/indexing",
    "reductions/normalise", "storage/allowed", "storage/object_store/urls", "tables/images", "tables/paint",
    "viewing/napari/images",
}  # fmt: skip


def messages():
    """Module and text of all messages of the package, without the values in them and what `remedy` says in Python."""
    package = Path(ilastik_lazy.__file__).parent
    for path in sorted(package.rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        skipped = {node.value for node in nodes if isinstance(node, ast.Expr)}
        remedies = (node.args[0] for node in nodes if isinstance(node, ast.Call) and called(node) == "remedy")
        skipped |= {part for each in remedies for part in ast.walk(each)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
                yield path.relative_to(package).with_suffix("").as_posix(), node.value


def called(node):
    return node.func.id if isinstance(node.func, ast.Name) else ""


def test_messages_advise_nothing_in_the_shell_that_only_python_has():
    arguments = "|".join(option.lstrip("-").replace("-", "_") for option in OPTIONS)
    names = re.compile(rf"\b(?:pass|with|without|raise|or|say) (?:{arguments})=")
    found = [(module, text) for module, text in messages() if PYTHON.search(text) or names.search(text)]
    assert [each for each in found if " " in each[1] and each[0] not in PYTHON_ONLY] == []


def test_every_option_that_a_message_names_is_one(monkeypatch):
    monkeypatch.setattr(errors, "audience", "shell")
    named = {name for _, text in messages() for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
    for path in Path(ilastik_lazy.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and called(node) == "option" and isinstance(node.args[0], ast.Constant):
                named.add(errors.option(node.args[0].value))
    assert named - OPTIONS == {"--format"}, "the one option of another program, aws"


def test_paths_stay_as_they_are(tmp_path):
    folder = tmp_path / "version=2" / "axes=zyx"
    folder.mkdir(parents=True)
    path = folder / "memory=1, pass overwrite=True.h5"
    write_hdf5_export(path, some_data((4, 5, 6)), axes="zyx")
    assert f"no dataset 'axes=x' in {path}; " in run("info", path, "--dataset", "axes=x").stderr


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8", "3 µm × 2 → Zelle Ω"), ("cp1252", "3 µm × 2 -> Zelle \\u03a9"), ("cp437", "3 µm x 2 -> Zelle Ω")],
)
def test_what_an_old_encoding_lacks_is_spelt_in_ascii_and_never_an_error(monkeypatch, encoding, printed):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])

    @click.group()
    def group():
        pass

    @group.command()
    def speak():
        click.echo("3 µm × 2 → Zelle Ω")
        print("3 µm × 2 → Zelle Ω")
        running.say("error", "3 µm × 2 → Zelle Ω")

    with pytest.raises(SystemExit, match="0"):
        running.run(group, ["speak"])
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams if not stream.flush())
    assert out.splitlines() == [printed, printed]
    assert err.splitlines() == [f"ilastik-lazy: error: {printed}"]
