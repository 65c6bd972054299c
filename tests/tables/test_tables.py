"""What `open_table` opens: ilastik's own tables as their manifest says, tracks, divisions, and no other files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ilastik_lazy.errors import (
    DatasetNotFoundError,
    IlastikLazyError,
    SourceNotFoundError,
    UnknownFormatError,
)
from ilastik_lazy.tables import open_table, table_kind
from tests.support.shared_files import entries, over_files, shared_path
from tests.support.table_makers import TEXT, write_table

ENTRIES = [e for e in entries("workflows") if "columns" in e or "table" in e.get("datasets", {})]
HDF5 = [entry for entry in ENTRIES if entry["path"].endswith(".h5")]
CSV = [entry for entry in ENTRIES if entry["path"].endswith(".csv")]


def _in_hdf5(entry: dict[str, Any]) -> str:
    return entry["path"].replace("table_csv_table.csv", "table_h5_rois.h5")


BOTH = [entry for entry in CSV if _in_hdf5(entry) in [other["path"] for other in HDF5]]


def params(found: list[dict[str, Any]]) -> Any:
    return over_files("entry", found, lambda entry: f"workflows/{entry['path']}")


def path_of(entry: dict[str, Any]) -> Path:
    return shared_path("ilastik-files", "workflows", entry["path"])


def as_stored(column: pd.Series, dtype: str) -> bytes:
    """The bytes that the file holds for a column."""
    values = column.to_numpy()
    if dtype.startswith("|S"):
        values = np.array([text.encode() for text in values])
    return np.ascontiguousarray(values.astype(dtype)).tobytes()


@pytest.mark.shared
def test_the_tables_are_all_there():
    shared_path("ilastik-files", "workflows")
    assert (len(HDF5), len(CSV), len(BOTH)) == (10, 8, 4)


@params(HDF5)
def test_columns_types_and_values_of_hdf5_tables_are_as_stated(entry):
    stated = entry["datasets"]["table"]
    table = open_table(path_of(entry))
    assert [list(pair) for pair in zip(table.columns, map(str, table.dtypes), strict=True)] == [
        [name, TEXT if dtype.startswith("|S") else dtype] for name, dtype in stated["columns"]
    ]
    assert [len(table)] == stated["shape"]
    assert {
        name: hashlib.sha256(as_stored(table[name], dtype)).hexdigest() for name, dtype in stated["columns"]
    } == stated["sha256_columns"]
    assert isinstance(table.index, pd.RangeIndex)
    assert table.attrs == {"source": str(path_of(entry)), "kind": "objects"}


@params(CSV)
def test_columns_and_rows_of_csv_tables_are_as_stated_and_as_python_reads_them(entry):
    table = open_table(path_of(entry))
    assert list(table.columns) == entry["columns"]
    assert len(table) == entry["n_lines"] - 1
    lines = [line.split(",") for line in path_of(entry).read_text().splitlines()]
    for name, *stored in zip(*lines, strict=True):
        column = table[name]
        if name in ("User Label", "Predicted Class"):
            assert column.tolist() == stored
        elif column.dtype == np.int64:
            assert column.tolist() == [int(text) for text in stored]
        else:
            assert column.dtype == np.float64
            np.testing.assert_array_equal(column.to_numpy(), np.array([float(text) for text in stored]))
    assert table.attrs["kind"] == ("tracking" if "trackId" in table else "objects")


@params(BOTH)
def test_csv_and_hdf5_hold_the_same_objects(entry):
    csv, hdf5 = open_table(path_of(entry)), open_table(path_of({"path": _in_hdf5(entry)}))
    keys = ["object_id", "timestep", "labelimage_oid", "User Label"]
    pd.testing.assert_frame_equal(csv[keys], hdf5[keys], check_dtype=False)


@params(HDF5)
def test_images_of_objects_are_as_stated(entry):
    table, images = open_table(path_of(entry), images=True)
    stated = {name: dataset for name, dataset in entry["datasets"].items() if name != "table"}
    assert len(images) == len(table)
    for name, dataset in stated.items():
        _, *number, kind = name.split("/")
        array = images[int(number[0])][kind] if number else images.raw
        assert ("".join(map(str, array.dims)), list(array.shape)) == (dataset["axes"], dataset["shape"])
        assert hashlib.sha256(array.values.tobytes()).hexdigest() == dataset["sha256"]
    assert (images.raw is None) == ("images/raw" not in stated)
    sizes = [int(images[i]["labeling"].sum()) for i in images]
    assert sizes == table["Size in pixels"].tolist()


DIVISIONS = np.zeros(
    2,
    [
        (n, "<i8")
        for n in (
            "timestep",
            "lineage_id",
            "track_id",
            "child1_object_id",
            "child1_track_id",
            "child2_object_id",
            "child2_track_id",
        )
    ],
)


def test_manual_tracking_holds_tracks_and_divisions(tmp_path):
    tracks = np.zeros(3, [(name, "<i8") for name in ("object_id", "timestep", "labelimage_oid", "track_id1")])
    path = write_table(write_table(tmp_path / "t.h5", tracks), DIVISIONS, "divisions", "a")
    assert open_table(path).attrs["kind"] == "tracking"
    divisions = open_table(f"{path}/divisions")
    assert divisions.attrs == {"source": f"{path}/divisions", "kind": "divisions"}
    assert list(divisions) == list(DIVISIONS.dtype.names)


def test_the_only_table_is_taken_and_of_several_none(tmp_path):
    path = write_table(tmp_path / "t.h5", DIVISIONS, "divisions")
    assert len(open_table(path)) == 2
    write_table(path, DIVISIONS, "more", "a")
    with pytest.raises(DatasetNotFoundError, match=r"holds 2 tables: 'divisions', 'more'; add the name"):
        open_table(path)


def test_columns_of_other_tables_are_no_kind():
    assert table_kind(["frame", "area"]) is None


def test_what_is_no_table_file_is_refused(tmp_path):
    (tmp_path / "t.png").write_bytes(b"\x89PNG")
    with pytest.raises(UnknownFormatError, match=r"expected \.h5, \.csv or \.parquet"):
        open_table(tmp_path / "t.png")
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr/zarr.json").touch()
    with pytest.raises(UnknownFormatError, match=r"x\.zarr is a Zarr, not a table: .* that they came from"):
        open_table(tmp_path / "x.zarr")
    with pytest.raises(UnknownFormatError, match="is a folder"):
        open_table(tmp_path)
    with pytest.raises(SourceNotFoundError):
        open_table(tmp_path / "none.csv")


@pytest.mark.posix
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(IlastikLazyError, match="is not a regular file"):
        open_table(tmp_path / "t.csv")
