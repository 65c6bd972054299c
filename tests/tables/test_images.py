"""The cut-outs beside a table: as stored, squeezed ones too, and none before it is asked for."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ilastik_lazy.errors import (
    ArgumentError,
    DatasetNotFoundError,
    ExternalReferenceError,
)
from ilastik_lazy.tables import open_table
from ilastik_lazy.tables.images import open_object_images
from tests.support.makers import axistags
from tests.support.table_makers import LINES, csv_file, write_table, written


def write_images(path: Path, masks: dict[int, str], raw: bool = False) -> Path:
    """A table with images whose masks have the named axes; each axis is 3 or more long."""
    write_table(path, written()[: len(masks)])
    with h5py.File(path, "a") as file:
        for number, axes in masks.items():
            shape = tuple(range(3, 3 + len(axes)))
            file[f"images/{number}/labeling"] = np.full(shape, number + 1, np.uint8)
            file[f"images/{number}/labeling"].attrs["axistags"] = axistags(axes)
            if not raw:
                file[f"images/{number}/raw"] = np.ones((*shape, 3), np.float32)
                file[f"images/{number}/raw"].attrs["axistags"] = axistags(axes + "c")
        if raw:
            file["images/raw"] = np.ones((6, 5), np.uint8)
            file["images/raw"].attrs["axistags"] = axistags("xy")
    return path


def test_an_object_of_one_pixel_width_has_an_image_too(tmp_path):
    images = open_object_images(write_images(tmp_path / "t.h5", {0: "xy", 1: "y", 2: ""}, raw=True))
    assert [images[i]["labeling"].dims for i in images] == [("x", "y"), ("y",), ()]
    assert [images[i]["labeling"].values.tolist() for i in (1, 2)] == [[2, 2, 2], 3]
    assert images.raw is not None
    assert images.raw.dims == ("x", "y")


def test_mask_and_crop_share_their_dims_and_are_read_when_asked_for(tmp_path):
    path = write_images(tmp_path / "t.h5", {0: "xyz", 1: "xy"})
    table, images = open_table(path, images=True)
    assert (len(table), len(images), images.raw) == (2, 2, None)
    assert dict(images[0].sizes) == {"x": 3, "y": 4, "z": 5, "c": 3}
    assert not images[0]["raw"].variable._in_memory
    with pytest.raises(KeyError, match="0 to 1, not 2"):
        images[2]


def test_images_are_not_followed_out_of_the_file(tmp_path):
    path = write_images(tmp_path / "t.h5", {0: "xy"})
    with h5py.File(path, "a") as file:
        file["images/1/labeling"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(ExternalReferenceError):
        open_object_images(path)[1]
    with h5py.File(path, "a") as file:
        del file["images"]
        file["images"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(DatasetNotFoundError, match="no images"):
        open_object_images(path)


def test_a_csv_has_no_images(tmp_path):
    with pytest.raises(ArgumentError, match="holds no images"):
        open_table(csv_file(tmp_path, LINES), images=True)
