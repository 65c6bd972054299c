"""Conversions of a small image, and what lies in the target after them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from ilastik_lazy.errors import DestinationBusyError
from ilastik_lazy.storage.stores import Store
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from tests.support.makers import some_data
from tests.support.ome_zarr.fakes import ArrayBackedSource, small_plans

HERE = Path(__file__).parents[2]
SHAPE = (65, 100)


def a_source(seed: int = 0, shape: tuple[int, int] | None = None) -> ArrayBackedSource:
    """An image of five levels in about forty shards; in a dozen, if its `shape` is half of `SHAPE`."""
    return ArrayBackedSource(some_data(shape or SHAPE, "uint8", seed), "yx", chunks=(7, 9))


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


def put_by_others(target: Path, zarr_format: Any = 3) -> dict[str, bytes]:
    """Labels, a table, a note in a level and a link, as others put them into an image; their files and bytes."""
    labels = zarr.create_group(target / "labels", zarr_format=zarr_format, attributes={"labels": ["cells"]})
    labels.create_array("cells", data=np.arange(12).reshape(3, 4), chunks=(2, 2))
    (target / "tables" / "empty").mkdir(parents=True)
    (target / "tables" / "cells.csv").write_text("id,size\n1,2\n")
    (target / "scale0" / "notes.txt").write_text("seen by me")
    (target / "link").symlink_to("tables/cells.csv")
    return of_others(target)


def of_others(target: Path) -> dict[str, bytes]:
    """What of `put_by_others` is there."""
    ours = ("labels/", "tables/", "scale0/notes.txt", "link")
    return {key: data for key, data in contents(target).items() if key.startswith(ours)}


def two_take_over(*stores: Store) -> list[str]:
    """What becomes of locks taken 0.2 s after each other: ``held`` or ``busy``; held ones are given back."""
    held = []

    def take(number: int, store: Store) -> str:
        time.sleep(0.2 * number)
        try:
            held.append(store.lock(patient=True))
        except DestinationBusyError:
            return "busy"
        return "held"

    with ThreadPoolExecutor(len(stores)) as pool:
        found = list(pool.map(take, range(len(stores)), stores))
    for lock in held:
        lock.release()
    return found


def assert_whole(target: Path, data: np.ndarray[Any, Any] | None = None) -> None:
    found = zarr.open_array(target / "scale0" / "image", mode="r")[...]
    np.testing.assert_array_equal(found, a_source().data if data is None else data)
    assert not (target / ".ilz").exists()


def assert_no_image(target: Path) -> None:
    """Every program that opens images refuses the folder."""
    with pytest.raises((FileNotFoundError, ValueError)):
        zarr.open_group(target, mode="r")
    with pytest.raises((FileNotFoundError, ValueError)):
        xr.open_zarr(target, chunks=None, consolidated=False)
    with pytest.raises((FileNotFoundError, ValueError)):
        xr.open_datatree(target, engine="zarr", consolidated=False)


def assert_resumes(target: Path, **options: Any) -> Any:
    """What an error or a death has left is not an image, or the old one, and becomes the image by `resume`."""
    if target.exists() and not (target / "zarr.json").exists():
        assert_no_image(target)
    report = convert(target, resume=True, **options)
    assert_whole(target)
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(f".{target.name}")] == []
    return report
