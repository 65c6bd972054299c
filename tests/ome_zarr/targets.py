"""Conversions of a small image, and what lies in the target after them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from fakes import ArrayBackedSource, small_plans
from makers import some_data

from ilastik_lazy.ome_zarr import to_ome_zarr

HERE = Path(__file__).parent


def a_source(seed: int = 0) -> ArrayBackedSource:
    """An image of five levels in about forty shards."""
    return ArrayBackedSource(some_data((65, 100), "uint8", seed), "yx", chunks=(7, 9))


def convert(target: Path, **options: Any) -> Any:
    with small_plans(shard=200, smallest=5):
        return to_ome_zarr(options.pop("source", None) or a_source(), target, workers=2, **options)


def contents(folder: Path, *, hidden: bool = True) -> dict[str, bytes]:
    """Every file and its bytes, links by where they point; `hidden` entries of the folder itself too."""
    return {
        str(path.relative_to(folder)): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for entry in folder.iterdir()
        if hidden or not entry.name.startswith(".")
        for path in (entry, *entry.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def assert_whole(target: Path, data: np.ndarray[Any, Any] | None = None) -> None:
    found = zarr.open_array(target / "scale0" / "image", mode="r")[...]
    np.testing.assert_array_equal(found, a_source().data if data is None else data)
    assert not (target / ".ilz").exists()


def assert_no_image(target: Path) -> None:
    """Every program that opens images refuses the folder."""
    with pytest.raises((FileNotFoundError, ValueError)):
        zarr.open_group(target, mode="r")
    with pytest.raises((FileNotFoundError, ValueError)):
        xr.open_zarr(target, chunks=None)
    with pytest.raises((FileNotFoundError, ValueError)):
        xr.open_datatree(target, engine="zarr")


def assert_resumes(target: Path, **options: Any) -> Any:
    """What an error or a death has left is no image, or the old one, and becomes the image by `resume`."""
    if target.exists() and not (target / "zarr.json").exists():
        assert_no_image(target)
    report = convert(target, resume=True, **options)
    assert_whole(target)
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(f".{target.name}")] == []
    return report
