"""Tables in CSV: every number and name as it stands, or an error that names the line."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

from ilastik_lazy.errors import (
    CorruptFileError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
)
from ilastik_lazy.tables import open_table
from tests.support.table_makers import HEADER, LINES, SHORT, csv_file


def test_points_of_clusters_are_separated_by_tabs(tmp_path):
    (tmp_path / "block-pointcloud.csv").write_text("x_px\ty_px\tz_px\tsize_px\n1.5\t2\t3\t40\n")
    table = open_table(tmp_path / "block-pointcloud.csv")
    assert (table.attrs["kind"], table.iloc[0].tolist()) == ("points", [1.5, 2, 3, 40])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_numbers_are_numbers_and_class_names_stay_text(tmp_path, end, encoding):
    table = open_table(csv_file(tmp_path, LINES, encoding=encoding, end=end))
    assert table["Predicted Class"].tolist() == ["02", "1", "NA"]
    assert table["User Label"].tolist() == ["0", "1", "0"]
    assert next(iter(table)) == "object_id"
    assert [str(table[name].dtype) for name in ("labelimage_oid", "Size")] == ["int64", "float64"]
    np.testing.assert_array_equal(table["Size"], [8.1, np.nan, np.inf])


def test_quotes_are_letters_since_ilastik_quotes_nothing(tmp_path):
    table = open_table(csv_file(tmp_path, ['0,0,1,0,5" cell,0.25,0.75,8.1', '1,0,2,0,"big",1,0,3']))
    assert table["Predicted Class"].tolist() == ['5" cell', '"big"']


# Classes of the header, and of the rows.
COMMAS = {
    "in a row": ("a", ["a", "a,b"], "line 3 has 9 values for 8 columns"),
    "in the header, not in the row": ("a,b", ["c"], "line 2 has 8 values for 9 columns"),
    "in all lines": ("a,b", ["a,b"], "line 2 has 'b' in column 'Probability of a', not a number"),
    "in all lines, and a number": ("1,2", ["1,2"], "line 2 has probabilities that add up to 2.75"),
}


@pytest.mark.parametrize("case", COMMAS)
def test_a_class_with_a_comma_is_an_error_that_names_the_line(tmp_path, case):
    name, predicted, message = COMMAS[case]
    header = HEADER.replace("Probability of 1", f"Probability of {name}")
    lines = [LINES[0].replace(",02,", f",{text},") for text in predicted]
    with pytest.raises(MetadataError, match=message) as caught:
        open_table(csv_file(tmp_path, lines, header))
    assert "t.csv" in str(caught.value)
    assert "HDF5" in str(caught.value)


BAD_CSV = {
    "short row": ([LINES[0], "1,0,2"], "line 3 has 3 values for 8 columns"),
    "blank line": ([LINES[0], "", LINES[1]], "line 3 has 1 values"),
    "not a number": ([LINES[0].replace("8.1", "8,1".replace(",", ";"))], "line 2 has '8;1' in column 'Size'"),
    "empty field": ([LINES[0].replace("8.1", "")], "line 2 has '' in column 'Size'"),
    "beyond int64": ([f"{10**30}" + LINES[0][1:]], "line 2 has '1000"),
    "lone carriage return": ([LINES[0] + "\r" + LINES[1]], "line 2 has"),
    "code": ([LINES[0].replace("8.1", "__import__('os')")], "not a number"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_damaged_csv_is_an_error_that_names_the_line(tmp_path, case):
    lines, message = BAD_CSV[case]
    with pytest.raises(MetadataError, match=message):
        open_table(csv_file(tmp_path, lines))


def test_two_columns_of_one_name_are_an_error(tmp_path):
    with pytest.raises(MetadataError, match="two columns 'Size'"):
        open_table(csv_file(tmp_path, [], HEADER + ",Size"))


def test_a_csv_of_windows_is_read_with_a_warning(tmp_path):
    with pytest.warns(MetadataWarning, match="Windows-1252"):
        table = open_table(csv_file(tmp_path, [LINES[0].replace("02", "große")], encoding="cp1252"))
    assert table["Predicted Class"].tolist() == ["große"]


def test_a_csv_that_was_cut_off_warns_or_is_an_error(tmp_path):
    path = csv_file(tmp_path, LINES)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                rows = len(open_table(path))
            except (MetadataError, CorruptFileError):
                continue
        if not whole[:end].endswith(b"\n"):
            assert [warning.category for warning in caught] == [IncompleteSourceWarning], (rows, whole[:end])


def test_every_number_is_read_to_its_last_digit(tmp_path):
    numbers = np.random.default_rng(0).normal(size=5000) * 10.0 ** np.random.default_rng(1).integers(-20, 20, 5000)
    table = open_table(csv_file(tmp_path, [f"{i},0,{i + 1},{x!r}" for i, x in enumerate(numbers.tolist())], SHORT))
    np.testing.assert_array_equal(table["Size"], numbers)


def test_a_csv_with_other_columns_is_no_table_of_ilastik(tmp_path):
    with pytest.raises(MetadataError, match=r"not an ilastik table \(its columns are 'name', 'sum'"):
        open_table(csv_file(tmp_path, ["a,1"], "name,sum"))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"object_id,\0\n1,2\n"], ids=["empty", "blank", "zero bytes"])
def test_a_csv_without_text_is_corrupt(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(CorruptFileError):
        open_table(tmp_path / "t.csv")


def test_a_million_columns_are_refused(tmp_path):
    names = ",".join(map(str, range(1_000_000)))
    with pytest.raises(LimitExceededError, match="1000000 columns"):
        open_table(csv_file(tmp_path, [], names))


def test_of_a_large_file_of_zero_bytes_the_start_is_read(tmp_path):
    path = csv_file(tmp_path, LINES)
    os.truncate(path, 2**31)
    with pytest.raises(CorruptFileError, match="zero bytes"):
        open_table(path)
