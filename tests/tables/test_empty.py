"""Tables without a row, as of an image without objects: their types, and what is done with them."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

import ilastik_lazy as il
from ilastik_lazy.cli import cli
from ilastik_lazy.errors import IncompleteSourceWarning
from ilastik_lazy.tables.paint import mismatches, paint
from tests.support.table_makers import TEXT

OBJECTS = {
    "object_id": "int64",
    "timestep": "int64",
    "labelimage_oid": "int64",
    "User Label": TEXT,
    "Predicted Class": TEXT,
    "Probability of cell": "float64",
    "Size in pixels": "float64",
    "Bounding Box Minimum_0": "float64",
}
TABLES = {
    "objects": OBJECTS,
    "tracking": dict.fromkeys(
        ["frame", "labelimageId", "lineageId", "trackId", "parentTrackId", "mergerLabelId", "Center_of_the_object_0"],
        "int64",
    )
    | {"Object_Area_0": "float64"},
    "divisions": dict.fromkeys(
        ["timestep", "parent_id", "lineage_id", "child1_object_id", "child2_object_id"], "int64"
    ),
    "points": dict.fromkeys(["x_px", "y_px", "z_px", "size_px"], "float64"),
}
LABELS = xr.DataArray(np.arange(24, dtype="u4").reshape(2, 3, 4), dims=("t", "y", "x"))


def csv_table(folder, columns=OBJECTS, end="\n"):
    (folder / "e.csv").write_bytes((",".join(columns) + end).encode())
    return folder / "e.csv"


def hdf5_table(folder, **options):
    kinds = {"int64": "i4", TEXT: "S7", "float64": "f4"}
    with h5py.File(folder / "e.h5", "w") as file:
        file.create_dataset("table", (0,), [(name, kinds[kind]) for name, kind in OBJECTS.items()], **options)
    return folder / "e.h5"


MAKERS = {
    "csv": csv_table,
    "hdf5": hdf5_table,
    "hdf5, chunked": lambda folder: hdf5_table(folder, maxshape=(None,), chunks=(8,), compression="gzip"),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_of_csv_have_the_types_that_they_have_with_rows(tmp_path, kind, end):
    table = il.open_table(csv_table(tmp_path, TABLES[kind], end))
    assert table.attrs["kind"] == kind
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == TABLES[kind]


def test_a_header_that_is_cut_off_is_said_so(tmp_path):
    with pytest.warns(IncompleteSourceWarning, match="last name of a column may be cut off"):
        il.open_table(csv_table(tmp_path, end=""))


@pytest.mark.parametrize("made", MAKERS)
@pytest.mark.parametrize("labels", [LABELS, LABELS[0], LABELS.astype("f4"), LABELS.chunk(t=1)], ids=str)
@pytest.mark.parametrize(
    ("column", "background"), [("Size in pixels", np.nan), ("Predicted Class", 0), ("object_id", 0)]
)
def test_painting_gives_background(tmp_path, made, labels, column, background):
    painted = paint(labels, il.open_table(MAKERS[made](tmp_path)), column)
    assert painted.shape == labels.shape
    np.testing.assert_array_equal(painted, np.full(labels.shape, background))


@pytest.mark.parametrize("made", MAKERS)
def test_it_is_compared_and_joined_and_converted(tmp_path, made):
    table = il.open_table(MAKERS[made](tmp_path))
    assert len(mismatches(LABELS, table)) == 23
    nothing = mismatches(LABELS * 0, table)
    assert [str(dtype) for dtype in nothing.dtypes] == ["int64", "int64", TEXT]
    full = pd.DataFrame({"timestep": [0], "labelimage_oid": [1], "volume": [2.0]})
    assert len(full.merge(table, on=["timestep", "labelimage_oid"], how="left")) == 1
    il.to_ome_zarr(LABELS[0], tmp_path / "o.zarr", table=table)
    assert il.open_dataarray(tmp_path / "o.zarr").max() == 11


def test_rows_that_another_reader_gave_no_type(tmp_path):
    table = pd.read_csv(csv_table(tmp_path))
    assert table["labelimage_oid"].dtype == object
    np.testing.assert_array_equal(paint(LABELS, table, "labelimage_oid"), 0)


@pytest.mark.parametrize("made", MAKERS)
def test_the_commands_say_what_it_is(tmp_path, made):
    path = str(MAKERS[made](tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = CliRunner().invoke(cli, ["table", path])
    assert said.exit_code == 0, said.output
    assert "objects: 0 rows, 8 columns" in said.output
    assert "Empty" not in said.output
    assert "0 rows, 8 columns" in CliRunner().invoke(cli, ["info", path]).output
    out = tmp_path / "out.csv"
    assert CliRunner().invoke(cli, ["table", path, "--out", str(out)]).exit_code == 0
    assert list(il.open_table(out).columns) == list(OBJECTS)
