"""Positions in N5 of other programs: COSEM, n5-viewer, paintera; by hand."""

from __future__ import annotations

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import MetadataWarning
from tests.support.makers import some_data
from tests.support.n5_makers import opened, write_n5

SHAPE = (4, 5, 3)  # the last one would be guessed to be colour
COSEM = {
    "transform": {"axes": ["z", "y", "x"], "scale": [10, 8, 6], "translate": [3.5, 4, 4.5], "units": ["nm"] * 3},
    "pixelResolution": {"dimensions": [3, 4, 5], "unit": "nm"},
}
VIEWER = {"pixelResolution": {"dimensions": [0.1, 0.2, 0.5], "unit": "um"}, "downsamplingFactors": [2, 4, 1]}
PAINTERA = {
    "resolution": [0.1, 0.2, 0.5],
    "offset": [1, 2, 3],
    "units": ["um", "um", "mm"],
    "downsamplingFactors": [2] * 3,
}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (COSEM, {"z": (10, 3.5, "nanometer"), "y": (8, 4, "nanometer"), "x": (6, 4.5, "nanometer")}),
        # A voxel of two covers the first two: its centre lies half a fine voxel from the first one's.
        (VIEWER, {"z": (0.5, 0, "micrometer"), "y": (0.8, 0.3, "micrometer"), "x": (0.2, 0.05, "micrometer")}),
        ({"pixelResolution": [1, 2, 3]}, {"z": (3, 0, ""), "y": (2, 0, ""), "x": (1, 0, "")}),
        (PAINTERA, {"z": (0.5, 3, "millimeter"), "y": (0.2, 2, "micrometer"), "x": (0.1, 1, "micrometer")}),
        (PAINTERA | {"axes": ["y", "x", "z"]}, {"z": (0.5, 3, "millimeter"), "x": (0.2, 2, "micrometer"),
                                               "y": (0.1, 1, "micrometer")}),
    ],
)  # fmt: skip
def test_positions_of_other_programs(tmp_path, attributes, expected):
    data = write_n5(tmp_path / "a.n5", some_data(SHAPE), axes=None, chunks=(2, 2, 2), attributes=attributes)
    array = il.open_dataarray(tmp_path / "a.n5")
    assert list(array.dims) == list(expected)
    for dim, (step, origin, unit) in expected.items():
        np.testing.assert_allclose(array[dim], origin + step * np.arange(array.sizes[dim]))
        assert array[dim].attrs.get("units", "") == unit
    np.testing.assert_array_equal(array.values, data)


@pytest.mark.parametrize(
    "attributes",
    [
        {"resolution": [1, 2]},
        {"resolution": [1, 2, 0]},
        {"resolution": [1, 2, True]},
        {"resolution": "fine"},
        {"pixelResolution": {"dimensions": [1, 2, 3e99]}},
        {"transform": {"axes": ["z", "y", "y"], "scale": [1, 1, 1]}},
        {"transform": {"axes": ["z", "y", "x"], "scale": [1, 1, 1], "translate": [0, 0, "0"]}},
    ],
)
def test_what_makes_no_sense_is_unknown_and_told(tmp_path, attributes):
    write_n5(tmp_path / "a.n5", some_data((4, 5, 6)), axes=None, chunks=(2, 2, 2), attributes=attributes)
    with pytest.warns(MetadataWarning) as caught:
        source = opened(tmp_path / "a.n5")
    assert "positions are taken as unknown" in str(caught[0].message)
    assert all(axis.scale is None for axis in source.spec.axes)


def test_axes_of_the_caller_count_and_those_of_ilastik_before_others(tmp_path):
    write_n5(tmp_path / "a.n5", some_data(SHAPE), axes=None, chunks=(2, 2, 2), attributes=VIEWER)
    assert [(a.name, a.scale) for a in opened(tmp_path / "a.n5", axes="tyx").spec.axes] == [
        ("t", None), ("y", 0.8), ("x", 0.2)
    ]  # fmt: skip
    write_n5(tmp_path / "b.n5", some_data(SHAPE), axes="tyx", chunks=(2, 2, 2), attributes=VIEWER)
    assert [(a.name, a.scale) for a in opened(tmp_path / "b.n5").spec.axes] == [("t", None), ("y", None), ("x", None)]
