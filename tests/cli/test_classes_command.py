"""``ilastik-lazy classes``: the table of `measure_classes`, of many files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import ilastik_lazy as il
from ilastik_lazy.cli import main
from ilastik_lazy.demo import sample
from tests.support.makers import write_hdf5_export


@pytest.fixture
def run(capsys):
    """Exit code and output of the command in this process."""

    def call(*arguments, is_named=True):
        named = ["--project", sample("project")] if is_named else []
        with pytest.raises(SystemExit) as ended:
            main(["classes", *map(str, arguments), *named])
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


def test_a_damaged_file_does_not_stop_the_others(run, tmp_path):
    damaged, table = tmp_path / "damaged.h5", tmp_path / "a.csv"
    damaged.write_bytes(b"nothing")
    code, out, errors = run(damaged, sample("segmentation"), "--out", table, "-q")
    assert (code, out) == (1, f"{table}: 2 rows\n")
    assert set(pd.read_csv(table)["source"]) == {sample("segmentation")}
    first, last = errors.splitlines()
    assert str(damaged) in first
    assert last == "ilastik-lazy: error: 1 of 2 files could not be measured"
    code, out, errors = run(damaged, "--out", tmp_path / "b.csv")
    assert (code > 1, out, str(damaged) in errors) == (True, "", True)
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.parametrize(
    ("name", "options"), [("nuclei_Simple Segmentation.h5", ()), ("a.h5", ("--kind", "segmentation"))]
)
def test_a_segmentation_may_be_stored_as_floating_point_numbers(run, tmp_path, name, options):
    values = np.array([[1, 1, 1], [1, 2, 2]], "f4")[..., np.newaxis]
    write_hdf5_export(tmp_path / name, values, axes="yxc", chunks=(1, 2, 1))
    code, out, errors = run(tmp_path / name, "-q", *options)
    assert (code, errors) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["1", "nucleus", "4"], ["2", "background", "2"]]


def test_floating_point_numbers_that_are_no_classes_are_refused(run, tmp_path):
    write_hdf5_export(tmp_path / "a.h5", np.full((4, 5, 1), 1.5, "f4"), axes="yxc", chunks=(2, 2, 1))
    for options, message in {
        (): "pass --kind probabilities, or --kind segmentation if its values are the numbers of classes",
        ("--kind", "segmentation"): "a.h5/exported_data holds 1.5, and values of the kind segmentation are whole",
        (
            "--kind",
            "probabilities",
        ): "has one channel, and not the probabilities of several classes: pass --kind segmentation if",
    }.items():
        code, out, errors = run(tmp_path / "a.h5", "-q", *options, is_named=False)
        assert (code, out, message in errors) == (2, "", True), errors
