"""The how-tos are notebooks: their code runs from the top to the bottom, and prints what stands below it."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import warnings
from pathlib import Path

import pytest

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import MetadataWarning
from tests.support.children import run_command, run_python

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of exports that are parts of the sample, and its project."""
    monkeypatch.chdir(tmp_path)
    Path("exports").mkdir()
    shutil.copy(sample("project"), "nuclei.ilp")
    parts = {"control_1": slice(0, 80), "control_2": slice(80, 160), "treated_1": slice(40, 120)}
    with warnings.catch_warnings():
        # These files have no place for an origin.
        warnings.simplefilter("ignore", MetadataWarning)
        for name, part in parts.items():
            il.to_ilastik(il.open_dataarray(sample("raw")).isel(x=part), f"exports/{name}.h5")
            probabilities = il.open_dataarray(sample("probabilities")).isel(x=part)
            il.to_ilastik(probabilities, f"exports/{name}_Probabilities.h5")
    return tmp_path


def run(name):
    """Number of failures of the code of one page, and what was expected and found."""
    test = doctest.DocTestParser().get_doctest((HOWTO / name).read_text(), {}, name, name, 0)
    assert len(test.examples) == len(re.findall(r"^>>> ", (HOWTO / name).read_text(), re.MULTILINE))
    report: list[str] = []
    failed = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append).failed
    return failed, "".join(report)


def test_nuclei_are_counted_as_the_page_says(folder):
    failed, report = run("count_nuclei.md")
    assert not failed, report
    assert len((folder / "cells.csv").read_text().splitlines()) > 40


def test_the_command_of_the_page_makes_the_same_table(folder):
    page = (HOWTO / "count_nuclei.md").read_text()
    (command,) = re.findall(r"^\$ ilastik-lazy (.*)$", page, re.MULTILINE)
    result = run_command(*shlex.split(command), cwd=folder)
    assert result.returncode == 0, result.stderr
    failures, report = run("count_nuclei.md")
    assert not failures, report
    made, page_has = il.open_table("nuclei.csv"), il.open_table("cells.csv")
    for column in ("label", "area", "intensity_mean"):
        assert made[column].tolist() == page_has[column].tolist()


def test_a_damaged_export_is_listed_and_does_not_stop_the_others(folder):
    export = folder / "exports" / "control_2_Probabilities.h5"
    data = export.read_bytes()
    export.write_bytes(data[: len(data) // 2])
    _, report = run("count_nuclei.md")
    assert "{'control_2_Probabilities.h5': CorruptFileError(" in report


def test_the_page_about_looking_at_it_is_true():
    pytest.importorskip("neuroglancer", reason="pip install 'ilastik_lazy[view]'")
    failed, report = run("look_at_it.md")
    assert not failed, report


def test_the_page_about_bioio_is_true():
    pytest.importorskip("bioio", reason="pip install 'ilastik_lazy[test]'")
    failed, report = run("bioio.md")
    assert not failed, report


def test_the_page_about_other_engines_is_true(tmp_path, monkeypatch):
    for module in ("cubed_xarray", "dask_array"):
        pytest.importorskip(module, reason="pip install cubed cubed-xarray dask-array")
    code = "".join(re.findall(r"```python\n(.*?)```", (HOWTO / "engines.md").read_text(), re.DOTALL))
    monkeypatch.chdir(tmp_path)
    # A process of its own: dask-array changes what xarray does with every array.
    assert run_python(code).count(b"<xarray.DataArray") == 2


def test_every_page_is_run():
    assert sorted(path.name for path in HOWTO.iterdir()) == [
        "bioio.md",
        "count_nuclei.md",
        "engines.md",
        "look_at_it.md",
    ]
