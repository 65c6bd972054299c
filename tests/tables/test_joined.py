"""Several tables as one: `open_table` of a list or a pattern, and the command."""

from __future__ import annotations

import pandas as pd
import pytest

from ilastik_lazy.cli import main
from ilastik_lazy.errors import ArgumentError, LimitExceededError, MetadataError, MetadataWarning, SourceNotFoundError
from ilastik_lazy.tables import open_table
from tests.support.table_makers import write_table, written

START = "object_id,timestep,labelimage_oid"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tables ``t1.csv``, ``t2.csv`` and ``t10.csv`` of one, two and ten rows in the current folder."""
    monkeypatch.chdir(tmp_path)
    for count in (1, 2, 10):
        rows = "".join(f"{row},0,{row + 1},{row + 0.5}\n" for row in range(count))
        (tmp_path / f"t{count}.csv").write_text(f"{START},Size\n{rows}")
    return tmp_path


def test_many_tables_are_one_with_the_file_of_each_row_in_natural_order(folder):
    table = open_table("t*.csv")
    assert table["source"].tolist() == ["t1.csv"] + ["t2.csv"] * 2 + ["t10.csv"] * 10
    assert list(table.columns) == ["source", *START.split(","), "Size"]
    assert table.index.tolist() == list(range(13))
    assert table["object_id"].dtype == "int64"
    alone = pd.concat([pd.read_csv(f"t{count}.csv") for count in (1, 2, 10)], ignore_index=True)
    pd.testing.assert_frame_equal(table.drop(columns="source"), alone)
    assert table.attrs == {"source": ["t1.csv", "t2.csv", "t10.csv"], "kind": "objects"}
    pd.testing.assert_frame_equal(open_table([folder / "t2.csv", "t1.csv"]).tail(1)[["source"]].reset_index(drop=True),
                                  pd.DataFrame({"source": ["t1.csv"]}, dtype=str))  # fmt: skip


def test_text_that_was_added_to_a_table_is_allowed(folder):
    (folder / "a.csv").write_text(f"condition,{START},Predicted Class,Probability of 1,dose\nwt,0,0,1,1,1.0,10 nM\n")
    (folder / "b.csv").write_text(f"condition,{START},Predicted Class,Probability of 1,dose\n,0,0,1,1,1.0,2024-05-01\n"
                                  "drug x,1,0,2,1,1.0,B2\n")  # fmt: skip
    table = open_table("[ab].csv")
    assert table["condition"].tolist() == ["wt", "", "drug x"]
    assert table["dose"].tolist() == ["10 nM", "2024-05-01", "B2"]


def test_columns_that_a_table_lacks_are_missing_values_with_a_warning(folder):
    (folder / "wide.csv").write_text(f"{START},Size,Mean\n7,0,1,2.5,3\n")
    with pytest.warns(MetadataWarning, match=r"1 of 2 tables lack columns that others have, such as t1.csv 'Mean'"):
        table = open_table(["t1.csv", "wide.csv"])
    assert table["Mean"].isna().tolist() == [True, False]


def test_hdf5_and_csv_and_tables_without_rows_are_joined(folder):
    write_table(folder / "h.h5", written())
    (folder / "none.csv").write_text(f"{START},Size\n")
    with pytest.warns(MetadataWarning, match="lack columns"):
        table = open_table(["none.csv", "t1.csv", "h.h5"])
    assert set(table["source"]) == {"t1.csv", "h.h5"}
    assert table["object_id"].dtype == "int64"
    assert open_table(["none.csv"]).shape == (0, 5)


def test_tables_of_measured_objects_keep_the_image_of_each_row(folder):
    for name in "ab":
        (folder / f"{name}.csv").write_text(f"source,label,area,length_unit,area_unit\n{name}.h5,1,2.5,um,um^2\n")
    table = open_table(["a.csv", "b.csv"])
    assert table["source"].tolist() == ["a.h5", "b.h5"]
    assert table["table"].tolist() == ["a.csv", "b.csv"]
    assert table.attrs["units"] == {"area": "um^2"}


WRONG = {
    "kinds": (["t1.csv", "m.csv"], MetadataError, "t1.csv is a table of objects, and m.csv of measurements"),
    "text": (["t1.csv", "x.csv"], MetadataError, "column 'Size' holds text in x.csv, and not in t1.csv"),
    "nothing": ("no*.csv", SourceNotFoundError, "no file matches"),
    "empty": ([], ArgumentError, "the list is empty"),
    "twice": (["t1.csv", "t*.csv"], ArgumentError, "t1.csv is named twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_tables_that_cannot_be_joined_are_an_error(folder, case):
    (folder / "m.csv").write_text("label,area\n1,2\n")
    (folder / "x.csv").write_text(f"{START},Size\n0,0,1,large\n")
    path, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        open_table(path)


def test_all_tables_together_must_fit_into_memory(folder):
    with pytest.raises(LimitExceededError, match="together: raise memory="):
        open_table("t*.csv", memory=400)


def test_the_command_prints_and_writes_many_tables(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["table", "t*.csv", "--out", "all.csv"])
    assert ended.value.code == 0
    assert "3 tables\n  objects: 13 rows, 5 columns" in capsys.readouterr().out
    assert pd.read_csv("all.csv")["source"].value_counts().to_dict() == {"t1.csv": 1, "t2.csv": 2, "t10.csv": 10}


@pytest.mark.parametrize("others", ["nan", "inf", "3.5"])
def test_a_word_beside_numbers_is_damage_and_no_column_of_words(folder, others):
    (folder / "t.csv").write_text(f"{START},Size\n0,0,1,eight\n1,0,2,{others}\n2,0,3,{others}\n")
    with pytest.raises(MetadataError, match="line 2 has 'eight' in column 'Size', not a number"):
        open_table("t.csv")
