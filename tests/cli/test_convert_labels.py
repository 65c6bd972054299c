"""``convert`` with label images and their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

import ilastik_lazy as il
from ilastik_lazy.cli import cli


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """A raw image, its label image of two objects, and their table."""
    raw = xr.DataArray(np.arange(72, dtype="u1").reshape(9, 8), dims=("y", "x"))
    il.to_ilastik(raw, tmp_path / "raw.h5")
    il.to_ilastik((raw // 24).astype("u4"), tmp_path / "raw_Object Identities.h5")
    (tmp_path / "cells.csv").write_text("object_id,timestep,labelimage_oid,Size\n0,0,1,24\n1,0,2,24\n")
    return str(tmp_path / "raw.h5"), str(tmp_path / "raw_Object Identities.h5"), str(tmp_path / "cells.csv")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["convert", *arguments])


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_writes_an_image_with_its_labels_and_adds_others_later(
    files: tuple[str, str, str], tmp_path: Path, version: str
) -> None:
    raw, cells, table = files
    target = str(tmp_path / "a.zarr")
    options = (raw, target, "--labels", cells, "--labels", f"cells={cells}", "--tables", f"cells={table}")
    for again in ((), ("--resume",)):
        result = invoke(*options, "--ome-version", version, *again)
        assert result.exit_code == 0, result.output
        assert "labels/cells" in result.output
        assert result.output.count("all written by an earlier run") == 3 * len(again)
    assert invoke(cells, f"{target}/labels/more", "--quiet").exit_code == 0
    groups = {name: zarr.open_group(f"{target}/labels/{name}", mode="r").attrs for name in ("", "cells")}
    found: Any = {name: each.get("ome", each) for name, each in groups.items()}
    assert found[""]["labels"] == ["raw_Object_Identities", "cells", "more"]
    assert [entry["Size"] for entry in found["cells"]["image-label"]["properties"]] == [24, 24]


def test_says_that_the_voxel_size_is_unknown_unless_it_is_named(files: tuple[str, str, str], tmp_path: Path) -> None:
    for size, is_unknown in (((), True), (("--voxel-size", "y=0.5um,x=0.5um"), False)):
        result = invoke(files[0], str(tmp_path / "a.zarr"), "--overwrite", *size)
        assert ("voxel size along y, x unknown" in result.output) == is_unknown, result.output
    many = invoke(files[0], files[1], "--out-dir", str(tmp_path / "out"))
    assert many.output.count("voxel size unknown") == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [("--tables", "--tables NAME="), ("--labels", "--labels NAME=FILE")],
)
def test_says_what_is_wrong_with_them(files: tuple[str, str, str], tmp_path: Path, option: str, message: str) -> None:
    raw, cells, _ = files
    result = invoke(raw, str(tmp_path / "a.zarr"), option, cells, option, cells)
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "a.zarr").exists()


@pytest.fixture
def movie(tmp_path: Path) -> tuple[str, str, str]:
    """Three frames, label images whose ids start again in each, and their table."""
    ids = np.array([[[0, 1, 2]], [[1, 1, 0]], [[2, 0, 1]]], "u2")
    il.to_ilastik(xr.DataArray(ids.astype("u1") + 7, dims=tuple("tyx")), tmp_path / "raw.h5")
    il.to_ilastik(xr.DataArray(ids, dims=tuple("tyx")), tmp_path / "raw_Object Identities.h5")
    lines = ["object_id,timestep,labelimage_oid,Size", "0,0,1,1", "1,0,2,1", "2,1,1,2", "3,2,1,1", "4,2,2,1"]
    (tmp_path / "raw_table.csv").write_text("\n".join([*lines, ""]))
    return str(tmp_path / "raw.h5"), str(tmp_path / "raw_Object Identities.h5"), str(tmp_path / "raw_table.csv")


def test_ids_that_start_again_in_each_frame_become_unique(movie: tuple[str, str, str], tmp_path: Path) -> None:
    raw, cells, table = movie
    unique = [[[0, 1, 2]], [[100001, 100001, 0]], [[200002, 0, 200001]]]
    cases = {
        "a.zarr/labels/cells": (raw, "a.zarr", "--labels", f"cells={cells}", "--tables", f"cells={table}"),
        "a.zarr/labels/more": (cells, "a.zarr/labels/more", "--table", table),
        "b.zarr": (cells, "b.zarr", "--table", table),
        "c.zarr": (cells, "c.zarr", "--table", table, "--select", "t=1:3"),
    }
    for made, (source, target, *more) in cases.items():
        result = invoke(source, str(tmp_path / target), *more, "--unique-ids", "--verify")
        assert result.exit_code == 0, result.output
        expected = unique[1:] if made == "c.zarr" else unique
        assert zarr.open_array(tmp_path / made / "scale0/image", mode="r")[...].tolist() == expected  # type: ignore[union-attr]
        attributes: Any = zarr.open_group(tmp_path / made, mode="r").attrs["ome"]
        rows = {row["label-value"]: (row["timestep"], row["Size"]) for row in attributes["image-label"]["properties"]}
        whole = {1: (0, 1), 2: (0, 1), 100001: (1, 2), 200001: (2, 1), 200002: (2, 1)}
        assert rows == {key: row for key, row in whole.items() if row[0] or made != "c.zarr"}
    for options, ends in ((["--unique-ids"], 0), ([], 1)):
        result = CliRunner().invoke(cli, ["verify", str(tmp_path / "b.zarr"), cells, *options])
        assert (result.exit_code != 0) == ends
    assert "with --unique-ids, or" in str(invoke(cells, str(tmp_path / "d.zarr"), "--table", table).exception)
    assert "uint32" in invoke(cells, str(tmp_path / "d.zarr"), "--unique-ids", "--dry-run").output


def test_a_target_in_a_file_is_refused_as_one_of_many_files(files: tuple[str, str, str]) -> None:
    """As when ``--out-dir`` is forgotten."""
    result = CliRunner().invoke(cli, ["convert", files[0], f"{files[1]}/exported_data"])
    assert isinstance(result.exception, il.errors.DestinationExistsError)
    assert "Identities.h5, which is a file: choose another name" in str(result.exception)
