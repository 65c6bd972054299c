"""`ilastik-lazy doctor`: what it prints, its JSON and its exit codes."""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path

import h5py
import numpy as np
import pytest

from ilastik_lazy.cli import main
from ilastik_lazy.demo import sample
from ilastik_lazy.doctor.finding import Check, Finding, Place, Report
from tests.support.children import run_command
from tests.support.makers import some_data, write_hdf5_export

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
STATED = {"resolution": {"z": 0.8, "y": 0.2, "x": 0.2}, "units": {"z": "µm", "y": "µm", "x": "µm"}}


@pytest.fixture
def doctor(capsys):
    """Run the command in this process: its exit code and what it printed."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *map(str, arguments)])
        written = capsys.readouterr()
        assert written.err == ""
        return ended.value.code, written.out

    return run


@pytest.fixture
def exports(tmp_path):
    """A good export, one without a voxel size, and one with a damaged chunk."""
    for name, options in {"good": STATED, "bare": {}, "damaged": STATED}.items():
        path = tmp_path / f"{name}.h5"
        write_hdf5_export(path, some_data((8, 9, 10), "u1"), axes="zyx", chunks=(4, 3, 5), filters="gzip", **options)
    with h5py.File(tmp_path / "damaged.h5") as file:
        offset = file["exported_data"].id.get_chunk_info_by_coord((4, 3, 5)).byte_offset
    content = bytearray((tmp_path / "damaged.h5").read_bytes())
    content[offset + 5] ^= 255
    (tmp_path / "damaged.h5").write_bytes(content)
    return tmp_path


def test_the_exit_code_is_that_of_the_worst_file(doctor, exports):
    good, bare = exports / "good.h5", exports / "bare.h5"
    assert doctor(good, "--trust", "local") == (
        0,
        f"{good}\n  nothing found in 5 of 12 chunks; the other 7 were not read: --full reads all\n",
    )
    assert doctor(good, "--trust", "local", "--full", "-q") == (0, f"{good}\n  nothing found\n")
    assert doctor(good, bare, "--trust", "local")[0] == 1
    code, out = doctor(exports / "nothing.h5", good, "--trust", "local")
    assert code == 2
    assert "no such file" in out
    assert f"{good}\n  nothing found" in out  # one bad file does not end the rest
    assert doctor(exports / "*.h5", "--trust", "local", "--full", "-q")[0] == 2


def test_a_finding_says_what_why_and_what_to_do(doctor, exports):
    code, out = doctor(exports / "bare.h5", "--trust", "local")
    assert code == 1
    first, *lines = out.splitlines()[1:]
    assert first == "  warning  exported_data: the file states no voxel size along z, y, x"
    assert lines[0].startswith("           Why: there are no positions")
    (advice,) = [line for line in lines if line.startswith("           Do: ")]
    assert "python -c 'import h5py" in advice


def test_places_of_damaged_chunks_are_listed(doctor, exports):
    code, out = doctor(exports / "damaged.h5", "--full", "-q")
    assert code == 2
    assert "\n           - 4:8, 3:6, 5:10\n" in out
    assert "--on-error mask" in out


def test_json_is_one_document_with_the_keys_that_are_documented(doctor, exports):
    code, out = doctor("--json", "--full", "-q", "--trust", "local", *sorted(exports.iterdir()), exports / "nothing.h5")
    document = json.loads(out)
    assert document.keys() == {"exit_code", "files"}
    assert code == document["exit_code"] == 2
    assert [Path(report["file"]).stem for report in document["files"]] == ["bare", "damaged", "good", "nothing"]
    assert [report["exit_code"] for report in document["files"]] == [1, 2, 0, 2]
    assert [report["holds"] for report in document["files"]] == [*["images"] * 3, "nothing that opens"]
    for report in document["files"]:
        assert report.keys() == {*Report.__slots__, "exit_code"}
        for finding in report["findings"]:
            assert finding.keys() == set(Finding.__slots__)
    ((place,),) = [f["places"] for report in document["files"] for f in report["findings"] if f["places"]]
    assert (place["start"], place["stop"], place["error"]) == ([4, 3, 5], [8, 6, 10], "CorruptChunkError")


def test_keys_and_checks_are_documented():
    keys = {"exit_code", "files", *Report.__slots__, *Finding.__slots__, *Place.__slots__}
    rows = set(re.findall(r"^\| `([a-z_-]+)` \|", PAGE, re.MULTILINE))
    assert rows == keys | set(typing.get_args(Check))


def test_options_of_opening_are_taken(doctor, exports):
    with h5py.File(exports / "good.h5", "r+") as file:
        file["b"] = np.zeros((4, 5, 6), "u1")
    trust = ("--trust", "local")
    assert "zyx are guessed" in doctor(exports / "good.h5", "--dataset", "b", *trust)[1]
    assert "guessed" not in doctor(exports / "good.h5", "--dataset", "b", "--axes", "zyx", *trust)[1]
    assert "no such file" in doctor(sample("probabilities"), "--project", exports / "nothing.ilp", *trust)[1]
    code, out = doctor(sample("probabilities"), "--project", sample("project"), *trust)
    assert (code, out.count("\n")) == (0, 2)


def test_a_pattern_that_fits_nothing_and_names_that_steer_terminals(doctor, exports):
    code, out = doctor(exports / "x*\x1b[2J.h5", "--trust", "local")
    assert code == 2
    assert all(line.isprintable() for line in out.splitlines())


def test_it_runs_as_a_command_and_trusts_nothing(exports):
    result = run_command("doctor", exports / "good.h5", "--full")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("nothing found\n")
