"""What the how-tos claim beside what the build of the site runs."""

from __future__ import annotations

import shlex
import warnings

import pytest

import ilastik_lazy as il
from tests.support.children import run_command
from tests.support.pages import DOCS, cells, run_python

HOWTO = DOCS / "howto"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, which the page about counting fills."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        yield tmp_path


def test_nuclei_are_counted_as_the_command_of_the_page_counts_them(folder):
    names = run_python(HOWTO / "count_nuclei.md")
    assert not names["failed"]
    (command,) = [cell for cell in cells(HOWTO / "count_nuclei.md") if cell.startswith("%%sh\n")]
    result = run_command(*shlex.split(command.replace("\\\n", " "))[2:], cwd=folder)
    assert result.returncode == 0, result.stderr
    made, page_has = il.open_table("nuclei.csv"), names["cells"]
    assert len(made) > 40
    for column in ("label", "area", "intensity_mean"):
        assert made[column].tolist() == pytest.approx(page_has[column].tolist())


def test_a_damaged_export_is_listed_and_does_not_stop_the_others(folder):
    make, *rest = cells(HOWTO / "count_nuclei.md")
    names = {"__name__": "page"}
    exec(make, names)
    export = folder / "exports" / "control_2_Probabilities.h5"
    data = export.read_bytes()
    export.write_bytes(data[: len(data) // 2])
    for cell in rest:
        if not cell.startswith("%%"):
            exec(cell, names)
    assert isinstance(names["failed"]["control_2_Probabilities.h5"], il.errors.CorruptFileError)
    assert set(names["tables"]) == {"control_1", "treated_1"}


@pytest.mark.parametrize(("page", "package"), [("look_at_it", "neuroglancer"), ("bioio", "bioio")])
def test_a_page_about_another_program_is_true(page, package, folder):
    pytest.importorskip(package, reason="pip install 'ilastik_lazy[test]'")
    run_python(HOWTO / f"{page}.md")
