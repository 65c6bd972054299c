"""Levels come finest first, in whatever order multiscales list them."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import DatasetNotFoundError
from tests.formats.zarr.test_ome import entry, scale
from tests.support.zarr_makers import edit

LENGTHS = {"fine": 16, "middle": 8, "coarse": 4}
FACTORS = {"fine": 1.0, "middle": 2.0, "coarse": 4.0}


def write(folder, paths, version=2, scales=None):
    """Write the levels of a 2D image, and list them as `paths`; values are the lengths of the levels."""
    group = zarr.create_group(folder, zarr_format=version)
    for path, length in LENGTHS.items():
        group.create_array(path, shape=(length, length), chunks=(4, 4), dtype="u1")[...] = length
    found = entry(*([scale(s, s)] if s else [] for s in scales or [None] * len(paths)), axes=["y", "x"])
    for dataset, path in zip(found["datasets"], paths, strict=True):
        dataset["path"] = path
    group.attrs.update(
        {"multiscales": [found]} if version == 2 else {"ome": {"version": "0.5", "multiscales": [found]}}
    )
    return folder


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("scaled", ["by factors", "not at all", "all by 1"])
@pytest.mark.parametrize("paths", [("coarse", "middle", "fine"), ("middle", "fine", "coarse"), tuple(LENGTHS)])
def test_the_finest_level_is_the_image(tmp_path, paths, scaled, version):
    scales = {"by factors": [FACTORS[path] for path in paths], "not at all": None, "all by 1": [1.0] * 3}[scaled]
    path = write(tmp_path / "a.zarr", paths, version, scales)
    assert il.open_dataarray(path).shape == (16, 16)
    tree = il.open_datatree(path)
    for level, length in enumerate(LENGTHS.values()):
        (array,) = tree[f"scale{level}"].data_vars.values()
        np.testing.assert_array_equal(array, np.full((length, length), length))


def test_positions_stay_with_their_level(tmp_path):
    path = write(tmp_path / "a.zarr", ("coarse", "middle", "fine"), scales=(2.0, 1.0, 0.5))
    for name, step in (("fine", 0.5), ("middle", 1.0), ("coarse", 2.0)):
        found = il.open_dataarray(path, name)
        np.testing.assert_allclose(found["y"], step * np.arange(LENGTHS[name]))


@pytest.mark.parametrize("damage", ["gone", "shape"])
def test_the_order_of_the_list_holds_where_a_level_says_nothing(tmp_path, damage):
    path = write(tmp_path / "a.zarr", ("middle", "fine", "coarse"))
    if damage == "gone":
        (path / "coarse/.zarray").unlink()
    else:
        edit(path / "coarse/.zarray", shape="large")
    assert il.open_dataarray(path).shape == (8, 8)


def test_a_missing_first_level_is_reported(tmp_path):
    path = write(tmp_path / "a.zarr", ("coarse", "middle", "fine"))
    (path / "coarse/.zarray").unlink()
    with pytest.raises(DatasetNotFoundError, match="coarse"):
        il.open_dataarray(path)
