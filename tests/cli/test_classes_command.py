"""``ilastik-lazy classes``: the table of `measure_classes`, of many files."""

from __future__ import annotations

import pandas as pd
import pytest

import ilastik_lazy as il
from ilastik_lazy.cli import main
from ilastik_lazy.demo import sample


@pytest.fixture
def run(capsys):
    """Exit code and output of the command in this process."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["classes", *map(str, arguments), "--project", sample("project")])
        written = capsys.readouterr()
        return ended.value.code, written.out, written.err

    return call


@pytest.mark.parametrize("by", ["", "z"])
def test_maps_and_segmentations_are_measured_into_one_table(run, tmp_path, by):
    files = [sample("probabilities"), sample("segmentation")]
    code, _, errors = run(*files, "--by", by, "--out", tmp_path / "a.csv")
    assert code == 0, errors
    table = pd.read_csv(tmp_path / "a.csv")
    made = il.measure_classes(il.open_dataarray(sample("segmentation"), project=sample("project")), by)
    for file in files:
        rows = table[table["source"] == file].drop(columns="source").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows.drop(columns="area_unit"), made, check_dtype=False)
        assert set(rows["area_unit"]) == {made.attrs["units"]["area"]}


def test_the_table_of_one_file_is_printed(run):
    code, out, errors = run(sample("segmentation"), "-q")
    assert (code, errors) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["1", "nucleus", "46473"],
        ["2", "background", "772727"],
    ]
    assert "source" not in out
    code, _, errors = run(sample("probabilities"), "--by", "zyx")
    assert (code, "too many to print: add --out" in errors) == (2, True)
    code, _, errors = run(sample("segmentation"), "--by", "t")
    assert (code, "no dim 't' to measure by" in errors) == (2, True)
