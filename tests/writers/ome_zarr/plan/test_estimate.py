"""The estimate of time and size: close where the image is alike everywhere, and exact for a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.plan.estimate import estimate_conversion
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion, plan_pyramid
from tests.support.makers import some_data
from tests.support.ome_zarr.fakes import ArrayBackedSource, FailingSource, small_plans


def chunk_bytes(store: Path) -> int:
    return sum(path.stat().st_size for path in store.glob("scale*/image/*/**/*") if path.is_file())


def planned(source: ArrayBackedSource, **options: Any) -> Plan:
    with small_plans(shard=4000, smallest=5):
        return plan_pyramid(source.spec, **options)


@pytest.mark.parametrize("axes", ["yx", "xyc"])
def test_of_a_small_image_its_size_is_exact(tmp_path: Path, axes: str) -> None:
    data = some_data((30, 40, 2)[: len(axes)], "uint16")
    source = ArrayBackedSource(data, axes)
    found = estimate_conversion(source, plan_conversion(source, version="0.4", levels=3))
    to_ome_zarr(source, tmp_path / "a.zarr", version="0.4", levels=3)
    assert found.nbytes == chunk_bytes(tmp_path / "a.zarr")
    assert found.measured == data.nbytes


def test_of_a_large_image_it_reads_a_few_shards_and_is_close(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 50, (300, 400), np.uint8)
    source = ArrayBackedSource(data, "yx", chunks=(20, 30))
    plan = planned(source, workers=2, version="0.4")
    found = estimate_conversion(source, plan)
    assert np.prod(plan.levels[0].grid) > 20
    assert found.measured < data.nbytes / 4
    assert source.times_read.sum() < data.size / 3
    with small_plans(shard=4000, smallest=5):
        to_ome_zarr(source, tmp_path / "a.zarr", version="0.4", workers=2)
    assert found.nbytes == pytest.approx(chunk_bytes(tmp_path / "a.zarr"), rel=0.15)


def test_it_says_that_it_is_one() -> None:
    source = ArrayBackedSource(np.ones((30, 40), np.uint8), "yx")
    found = estimate_conversion(source, planned(source))
    assert found.seconds > 0
    assert "an estimate" in str(found)
    assert "nothing was written" in str(found)


def test_a_damaged_chunk_is_an_error_and_not_a_short_time() -> None:
    source = FailingSource(np.ones((30, 40), np.uint8), "yx", (0, 0))
    with pytest.raises(CorruptChunkError):
        estimate_conversion(source, planned(source))
