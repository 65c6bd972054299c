"""`ilastik-lazy info` on what is not an image: tables and projects."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from tests.support.children import run_command as run
from tests.support.table_makers import LINES, csv_file, write_table, written


def test_info_tells_the_columns_of_tables(tmp_path):
    csv = csv_file(tmp_path, LINES)
    for path in (csv, write_table(tmp_path / "cells_table.h5", written())):
        said = run("info", path)
        assert said.returncode == 0, said.stderr
        assert "table    objects, " in said.stdout
        assert "labelimage_oid" in said.stdout
        (found,) = json.loads(run("info", "--json", path).stdout)
        assert found["table"] == "objects"
        assert "Size" in found["columns"]
        assert found["rows"] > 1


def test_info_counts_what_was_labelled_in_a_project():
    said = run("info", sample("project")).stdout
    (found,) = json.loads(run("info", "--json", sample("project")).stdout)
    (labels,) = [lane["labels"] for lane in found["lanes"].values()]
    tree = il.open_datatree(sample("project"))
    drawn = tree["lane0000/labels/labels"].values
    assert labels["labelled_voxels"] == {"nucleus": int((drawn == 1).sum()), "background": int((drawn == 2).sum())}
    assert f"{labels['labelled_voxels']['nucleus']:,} nucleus" in said


def test_info_describes_a_table_in_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install 'ilastik_lazy[parquet]'")
    pd.DataFrame({"label": [1, 2], "num_pixels": [3, 4]}).to_parquet(tmp_path / "nuclei.parquet")
    said = run("info", tmp_path / "nuclei.parquet", "--trust", "local")
    assert said.returncode == 0, said.stderr
    assert "measurements, 2 rows, 2 columns" in said.stdout
