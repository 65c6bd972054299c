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
