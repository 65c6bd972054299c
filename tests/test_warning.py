"""Warnings are shown at the line of the caller, whatever in the package has found their cause."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import IlastikLazyWarning


@pytest.fixture
def unnamed(tmp_path: Path) -> Path:
    """An image whose axes are guessed."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((5, 6, 7), "u1")
    return tmp_path / "a.h5"


CALLS: dict[str, Callable[[Path], object]] = {
    "open_dataarray": lambda path: il.open_dataarray(path),
    "open_dataset": lambda path: il.open_dataset(path),
    "a stack": lambda path: il.open_dataarray([path, path.with_name("b.h5")], stack_along="t"),
    "to_ome_zarr": lambda path: il.to_ome_zarr(path, path.with_name("o.zarr")),
    "overwrite": lambda path: il.to_ome_zarr(sample("raw"), path.with_name("r.zarr"), overwrite=True, version="0.4"),
    "to_ilastik": lambda path: il.to_ilastik(
        il.open_dataarray(sample("raw")).isel(z=slice(3, 9)), path.with_name("c.h5")
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_names_the_line_that_called_the_package(unnamed: Path, name: str) -> None:
    if name == "a stack":
        unnamed.with_name("b.h5").write_bytes(unnamed.read_bytes())
    if name == "overwrite":
        il.to_ome_zarr(sample("raw"), unnamed.with_name("r.zarr"))
        zarr.open_group(unnamed.with_name("r.zarr"), mode="a").create_group("labels")
    with pytest.warns(IlastikLazyWarning) as found:
        CALLS[name](unnamed)
    assert {each.filename for each in found} == {__file__}


def test_no_module_counts_frames_itself() -> None:
    package = Path(il.__file__).parent
    calls = {
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
    }
    assert calls == {"warning.py"}
