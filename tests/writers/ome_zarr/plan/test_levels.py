"""The levels of the pyramid: how many, their factors and their positions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given

import ilastik_lazy as il
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from tests.support.ome_zarr.fakes import ArrayBackedSource, spec_of
from tests.support.ome_zarr.planning import a_plan, plans


def coordinates(plan: Plan, level: int) -> list[np.ndarray[Any, Any]]:
    """Positions along each axis by the level's own metadata, also of axes whose scale is not known."""
    made = plan.levels[level]
    return [
        axis.translation + (axis.scale or 1.0) * np.arange(n) for axis, n in zip(made.axes, made.shape, strict=True)
    ]


class TestLevels:
    def test_go_on_until_no_axis_of_space_is_longer_than_256(self) -> None:
        assert [level.shape for level in a_plan((512, 1025, 300)).levels] == [
            (512, 1025, 300),
            (256, 512, 150),
            (128, 256, 75),
        ]

    @pytest.mark.parametrize("version", ["0.5", "0.4"])
    def test_of_nearest_stand_where_their_voxels_were_taken(self, tmp_path: Path, version: Any) -> None:
        ramp = np.add.outer(10.0 * np.arange(21), np.arange(18.0))
        axes = (Axis("y", 10.0, 0.0, "micrometer"), Axis("x", 1.0, 0.0, "micrometer"))
        for method in ("nearest", "mean"):
            target = tmp_path / f"{method}.zarr"
            to_ome_zarr(ArrayBackedSource(ramp, axes), target, levels=4, downsample=method, version=version)  # type: ignore[arg-type]
            for number in range(4):
                found = xr.open_zarr(target / f"scale{number}", consolidated=False, chunks=None)["image"]
                # The value of a voxel is its position.
                np.testing.assert_allclose(found.values, np.add.outer(found.y.values, found.x.values))
                opened = il.open_dataarray(target, f"scale{number}")
                np.testing.assert_allclose(opened.values, np.add.outer(opened.y.values, opened.x.values))

    def test_of_a_small_image_are_one(self) -> None:
        assert len(a_plan((256, 256, 256)).levels) == 1

    def test_are_as_many_as_asked_for(self) -> None:
        assert len(a_plan((64, 64, 64), levels=4).levels) == 4
        assert len(a_plan((5000, 5000), "yx", levels=1).levels) == 1

    @pytest.mark.parametrize("levels", [0, -1, 17])
    def test_in_an_impossible_number_are_refused(self, levels: int) -> None:
        with pytest.raises(ArgumentError, match="levels"):
            a_plan((64, 64, 64), levels=levels)

    @given(plans())
    def test_never_halve_time_channels_or_a_single_voxel(self, plan: Plan) -> None:
        for lower, upper in zip(plan.levels, plan.levels[1:], strict=False):
            for axis, n, factor in zip(lower.axes, lower.shape, upper.factors, strict=True):
                assert factor in (1, 2)
                assert factor == 1 or (axis.name in "zyx" and n > 1)

    @given(plans())
    def test_each_is_coarser_than_the_one_before(self, plan: Plan) -> None:
        shapes = [math.prod(level.shape) for level in plan.levels]
        assert shapes == sorted(set(shapes), reverse=True)

    def test_of_flat_voxels_become_isotropic(self) -> None:
        plan = a_plan((200, 2000, 2000), scales={"z": 2.0, "y": 0.25, "x": 0.25})
        assert [level.factors for level in plan.levels] == [(1, 1, 1), *[(1, 2, 2)] * 3]
        assert {axis.scale for axis in plan.levels[-1].axes} == {2.0}

    def test_of_isotropic_voxels_halve_all_axes(self) -> None:
        plan = a_plan((600, 600, 600), scales={"z": 1.2, "y": 1.0, "x": 1.0})
        assert plan.levels[1].factors == (2, 2, 2)

    def test_compare_steps_in_the_same_unit(self) -> None:
        steps = {"z": 500.0, "y": 0.5, "x": 0.5}
        units = {"z": "nanometer", "y": "micrometer", "x": "micrometer"}
        assert a_plan((600, 600, 600), scales=steps, units=units).levels[1].factors == (2, 2, 2)

    @given(plans())
    def test_positions_of_each_are_the_means_of_the_positions_before(self, plan: Plan) -> None:
        for number in range(1, len(plan.levels)):
            before, here = coordinates(plan, number - 1), coordinates(plan, number)
            for old, new, factor in zip(before, here, plan.levels[number].factors, strict=True):
                means = old[: len(new) * factor].reshape(-1, factor).mean(1)
                np.testing.assert_allclose(new, means, rtol=1e-12, atol=1e-12)

    @given(plans())
    def test_positions_are_the_means_of_those_of_level_0(self, plan: Plan) -> None:
        first = coordinates(plan, 0)
        for number, level in enumerate(plan.levels):
            for i, (old, new) in enumerate(zip(first, coordinates(plan, number), strict=True)):
                times = math.prod(upper.factors[i] for upper in plan.levels[1 : number + 1])
                means = old[: level.shape[i] * times].reshape(-1, times).mean(1)
                np.testing.assert_allclose(new, means, rtol=1e-12, atol=1e-9)

    def test_begin_where_the_source_begins(self) -> None:
        axes = (Axis("y", 0.5, 100.0, "micrometer"), Axis("x", 0.5, -3.0, "micrometer"))
        plan = plan_pyramid(spec_of((600, 600), "uint8", axes))
        assert plan.levels[0].axes == axes
        assert [axis.translation for axis in plan.levels[1].axes] == [100.25, -2.75]

    def test_have_the_axes_in_the_order_of_ome_zarr(self) -> None:
        plan = a_plan((2, 30, 4, 50, 60), "xtcyz")
        assert [axis.name for axis in plan.levels[0].axes] == list("tczyx")
        assert plan.levels[0].shape == (30, 4, 60, 50, 2)
