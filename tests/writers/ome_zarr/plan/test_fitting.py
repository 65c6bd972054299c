"""Label images lie on their image, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.errors import ArgumentError, MetadataWarning
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.writers.ome_zarr.plan.fitting import fitted
from tests.support.ome_zarr.fakes import ArrayBackedSource, spec_of

MICROMETER = {"y": "micrometer", "x": "micrometer"}
IMAGE = spec_of((2, 1, 8, 6), "uint16", "czyx", scales={"y": 0.5, "x": 0.25}, units=MICROMETER)


def labels(shape: tuple[int, ...] = (8, 6), axes: Any = "yx", dtype: str = "uint16", **more: Any) -> Any:
    return fitted(ArrayBackedSource(np.ones(shape, dtype), axes, **more), IMAGE, "cells")


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"shape": (8, 6, 1), "axes": "yxc"},
        {"shape": (1, 8, 6, 1, 1), "axes": "tyxzc"},
        {"scales": {"y": 0.5, "x": 0.25}},
        {"scales": {"y": 500.0, "x": 250.1}, "units": {"y": "nanometer", "x": "nanometer"}},
    ],
    ids=["without voxel size", "one channel", "single axes", "without unit", "in nanometer"],
)
def test_labels_take_the_axes_of_the_image(source: Any) -> None:
    found = labels(**source).spec
    here = {axis.name: axis for axis in found.axes}
    assert set(found.dims) - {"z"} == {"y", "x"}
    assert (here["y"], here["x"]) == (Axis("y", 0.5, 0.0, "micrometer"), Axis("x", 0.25, 0.0, "micrometer"))


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("bool", "uint8"), ("int64", "uint64"), ("int32", "int32"), ("u2", "u2")]
)
def test_types_are_those_that_every_viewer_reads(dtype: str, wanted: str) -> None:
    found = labels(dtype=dtype)
    assert found.spec.dtype == wanted
    values = found.read((slice(0, 8), slice(0, 6)))
    np.testing.assert_array_equal(values, np.ones((8, 6), wanted), strict=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"shape": (8, 6, 2), "axes": "yxc"}, "2 channels"),
        ({"shape": (3, 8, 6), "axes": "tyx"}, "axis 't'"),
        ({"shape": (8, 5)}, "5 voxels along 'x', and a numpy array has 6"),
        ({"dtype": "float32"}, "labels are whole numbers"),
        ({"scales": {"y": 0.5, "x": 0.5}}, "a step of 0.5"),
        ({"axes": (Axis("y", 0.5, 4.0, "micrometer"), Axis("x"))}, "from 4 on"),
        ({"scales": {"y": 0.5}, "units": {"y": "millimeter"}}, "millimeter"),
        ({"shape": (8, 3), "axes": (Axis("y"), Axis("x", 0.25, 1.5, "micrometer"))}, "extends"),
    ],
)
def test_what_does_not_fit_is_refused(source: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        labels(**source)


def test_a_missing_axis_along_which_the_image_extends_is_refused() -> None:
    image = spec_of((4, 8, 6), "uint16", "tyx")
    with pytest.raises(ArgumentError, match="no axis 't'"):
        fitted(ArrayBackedSource(np.ones((8, 6), "u1"), "yx"), image, "cells")


@pytest.mark.parametrize(
    ("length", "axis"),
    [(3, Axis("x", 0.5, 0.125, "micrometer")), (4, Axis("x", 250, 500, "nanometer"))],
    ids=["binned", "cropped"],
)
def test_a_part_or_another_resolution_keeps_its_positions(length: int, axis: Axis) -> None:
    found = labels((8, length), (Axis("y"), axis)).spec.axes[1]
    assert found.unit == "micrometer"
    assert (found.scale, found.translation) == ((0.5, 0.125) if length == 3 else (0.25, 0.5))


def test_labels_with_a_voxel_size_on_an_image_without_lie_on_it_with_a_warning() -> None:
    source = ArrayBackedSource(np.ones((8, 6), "u1"), "yx", scales={"y": 0.5})
    with pytest.warns(MetadataWarning, match="states a voxel size along 'y'"):
        found = fitted(source, spec_of((8, 6), "u1", "yx"), "cells")
    assert [axis.scale for axis in found.spec.axes] == [None, None]


def test_integers_of_unknown_meaning_are_ids_and_masks_are_a_class() -> None:
    array = xr.DataArray(np.eye(6, dtype="uint8")[[0, 1, 2, 3, 4, 5, 0, 0]], dims=("y", "x"))
    assert fitted(as_source(array), IMAGE, "a").spec.kind == "object identities"
    assert fitted(as_source(array > 0), IMAGE, "a").spec.kind == "segmentation"
