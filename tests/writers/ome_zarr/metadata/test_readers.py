"""What plain xarray and other programs find in what `to_ome_zarr` wrote."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import ngff_zarr
import numpy as np
import pytest
import xarray as xr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from tests.support.makers import some_data
from tests.support.ome_zarr.answers import in_ome_order
from tests.support.ome_zarr.fakes import ArrayBackedSource, small_plans


class TestPlainXarray:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Any:
        axes = (
            Axis("t", 30.0, 0.0, "second"),
            Axis("z", 2.0, 100.0, "micrometer"),
            Axis("y", 0.5, -4.0, "micrometer"),
            Axis("x", None, 0.0, "micrometer"),
            Axis("c"),
        )
        data = some_data((2, 9, 20, 22, 2))
        more: dict[str, Any] = {
            "channel_names": ("nucleus", "Zellkörper"),
            "channel_colors": ((1, 2, 3), (4, 5, 6)),
            "kind": "probabilities",
            "drange": (0.0, 1.0),
        }
        with small_plans(smallest=5):
            to_ome_zarr(ArrayBackedSource(data, axes, **more), tmp_path / "a.zarr")
        with xr.open_datatree(tmp_path / "a.zarr", engine="zarr", consolidated=False, chunks=None) as tree:
            yield tree

    def test_finds_a_group_for_each_level(self, tree: xr.DataTree) -> None:
        assert sorted(tree.children) == [f"scale{n}" for n in range(len(tree.children))]
        assert all(list(child.data_vars) == ["image"] for child in tree.children.values())
        assert tree["scale0/image"].dims == ("t", "c", "z", "y", "x")

    def test_finds_physical_positions_with_units(self, tree: xr.DataTree) -> None:
        image = tree["scale0/image"]
        np.testing.assert_array_equal(image.z, 100 + 2.0 * np.arange(9))
        np.testing.assert_array_equal(image.y, -4 + 0.5 * np.arange(20))
        assert image.z.attrs == {"axis": "Z", "units": "micrometer"}
        assert image.t.attrs["units"] == "second"

    def test_finds_times_as_numbers(self, tree: xr.DataTree) -> None:
        np.testing.assert_array_equal(tree["scale0/image"].t, [0.0, 30.0])

    def test_finds_no_positions_that_nobody_knows(self, tree: xr.DataTree) -> None:
        assert all("x" not in child.coords for child in tree.children.values())

    def test_finds_class_names_to_select_by(self, tree: xr.DataTree) -> None:
        for child in tree.children.values():
            assert child["c"].values.tolist() == ["nucleus", "Zellkörper"]
            assert child["image"].sel(c="Zellkörper").ndim == 4

    def test_finds_positions_of_coarse_levels_that_are_means(self, tree: xr.DataTree) -> None:
        fine, coarse = tree["scale0"].y.values, tree["scale1"].y.values
        np.testing.assert_allclose(coarse, fine[: 2 * len(coarse)].reshape(-1, 2).mean(1))

    def test_finds_what_ilastik_noted(self, tree: xr.DataTree) -> None:
        attributes = tree["scale1/image"].attrs
        assert attributes["ilastik_kind"] == "probabilities"
        assert attributes["drange"] == [0.0, 1.0]
        assert tree["scale1/image"].coords["class_color"].values.tolist() == ["#010203", "#040506"]

    @pytest.mark.parametrize("dtype", ["uint8", "bool", "int64", "float16"])
    def test_keeps_the_dtype_although_zeros_are_the_fill_value(self, tmp_path: Path, dtype: str) -> None:
        data = some_data((9, 10), dtype)
        data[:2] = 0
        to_ome_zarr(ArrayBackedSource(data, "yx"), tmp_path / "b.zarr")
        with xr.open_zarr(tmp_path / "b.zarr", group="scale0", consolidated=False, chunks=None) as dataset:
            np.testing.assert_array_equal(dataset["image"].values, data, strict=True)


class TestOtherReaders:
    def converted(self, folder: Path) -> tuple[Path, np.ndarray[Any, Any]]:
        axes = (
            Axis("z", 2.0, 100.0, "micrometer"),
            Axis("y", 0.5, -4.0, "micrometer"),
            Axis("x", 0.25, 0.0, "micrometer"),
            Axis("c"),
        )
        data = some_data((9, 21, 40, 2), "uint8")
        with small_plans(smallest=5):
            to_ome_zarr(
                ArrayBackedSource(data, axes, channel_names=("a", "b")), folder / "a.zarr", downsample="nearest"
            )
        return folder / "a.zarr", data

    def test_ngff_zarr_finds_scale_translation_and_units(self, tmp_path: Path) -> None:
        path, data = self.converted(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ngff_zarr.from_ngff_zarr(path, validate=True)
            level0 = np.asarray(found.images[0].data)
        np.testing.assert_array_equal(level0, in_ome_order(data, "zyxc"))
        assert found.images[0].scale == {"c": 1, "z": 2.0, "y": 0.5, "x": 0.25}
        assert found.images[0].translation == {"c": 0, "z": 100.0, "y": -4.0, "x": 0.0}
        assert found.images[1].translation == {"c": 0, "z": 100.0, "y": -4.0, "x": 0.0}
        assert found.images[1].scale["x"] == 0.5
        assert found.images[0].axes_units == {"z": "micrometer", "y": "micrometer", "x": "micrometer", "c": None} or (
            found.images[0].axes_units == {"z": "micrometer", "y": "micrometer", "x": "micrometer"}
        )

    def test_ome_zarr_py_finds_scale_translation_and_channels(self, tmp_path: Path) -> None:
        path, data = self.converted(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            location = parse_url(str(path))
            assert location is not None
            node = next(iter(Reader(location)()))
            level0 = np.asarray(node.data[0])
        np.testing.assert_array_equal(level0, in_ome_order(data, "zyxc"))
        assert node.metadata["coordinateTransformations"][1] == [
            {"type": "scale", "scale": [1.0, 2.0, 0.5, 0.5]},
            {"type": "translation", "translation": [0.0, 100.0, -4.0, 0.0]},
        ]
        assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "z", "y", "x"]
        assert node.metadata["channel_names"] == ["a", "b"]
