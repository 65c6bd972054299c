"""What a conversion says of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ilastik_lazy.writers.ome_zarr import ConversionReport, to_ome_zarr
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.makers import some_data
from tests.support.ome_zarr.fakes import ArrayBackedSource, FailingSource
from tests.support.ome_zarr.targets import convert

REPORT = ConversionReport(
    "/data/brain.zarr", ((2, 40, 900), (2, 40, 450)), ("c", "y", "x"), "mean", "gzip", 9_000_000, 3_000_000, 75.0, True
)


def test_tells_levels_size_and_time() -> None:
    assert str(REPORT).splitlines() == [
        "/data/brain.zarr",
        "  2 levels, c/y/x: 2x40x900, 2x40x450; made by mean",
        "  3 MB on disk, 3.0 times less than in memory; gzip",
        "  1 min 15 s, 120 kB/s; every voxel verified",
    ]


def test_says_that_no_voxel_size_is_known(tmp_path: Path) -> None:
    plain = ArrayBackedSource(np.ones((1, 4, 5), "u1"), "zyx", scales={"x": 0.5})
    report = to_ome_zarr(plain, tmp_path / "a.zarr", labels={"cells": ArrayBackedSource(np.ones((4, 5), "u1"), "yx")})
    unknown = "voxel size along y unknown: if you know it, state it with voxel_size="
    assert str(report).count(unknown) == 1
    assert unknown in report._repr_html_()
    assert json.loads(json.dumps(report.as_json()))["unknown_steps"] == ["y"]


def test_tells_why_levels_were_made_so() -> None:
    assert "; made by mean: the values are intensity\n" in str(
        replace(REPORT, method_reason="the values are intensity")
    )


def test_of_one_level_tells_no_method() -> None:
    assert str(replace(REPORT, levels=((2, 40, 900),))).splitlines()[1] == "  1 level, c/y/x: 2x40x900"


def test_tells_why_chunks_were_moved() -> None:
    moved = replace(REPORT, reason="gzip chunks are moved as they are")
    assert "; gzip: gzip chunks are moved as they are\n" in str(moved)


def test_of_noise_tells_that_it_grew() -> None:
    assert "2.0 times more than in memory" in str(replace(REPORT, bytes_written=18_000_000))


def test_of_a_resumed_conversion_tells_no_rate() -> None:
    text = str(replace(REPORT, resumed=1, parts=1000, verified=False))
    assert text.endswith("  1 min 15 s; 1 of 1,000 parts written by an earlier run")
    assert "/s" not in text.splitlines()[-1]


def test_tells_voxels_of_classes_and_their_shares() -> None:
    assert str(replace(REPORT, voxels_per_class={"nucleus": 1_000, "Zellkörper": 3_000})).endswith(
        "  voxels: nucleus 1,000 (25 %), Zellkörper 3,000 (75 %)"
    )
    many = replace(REPORT, voxels_per_class={str(value): 1 for value in range(200)})
    assert str(many).endswith("11 1 (0.5 %), and 188 more values")


def test_names_some_chunks_that_are_filled_and_how_many_more() -> None:
    lines = str(replace(REPORT, masked=tuple(f"chunk {i} is damaged" for i in range(14)))).splitlines()
    assert lines[4] == "  chunks that cannot be decoded and are filled: 14"
    assert lines[5:15] == [f"    chunk {i} is damaged" for i in range(10)]
    assert lines[15:] == ["    and 4 more, in `masked`"]


def test_is_plain_json_for_programs(tmp_path: Path) -> None:
    data = np.array([[1, 1, 2], [0, 2, 2]], np.uint8)
    source = ArrayBackedSource(data, "yx", kind="segmentation", channel_names=("a", "b"))
    found = json.loads(json.dumps(to_ome_zarr(source, tmp_path / "a.zarr").as_json()))
    assert found["target"] == str(tmp_path / "a.zarr")
    assert found["levels"] == [[2, 3]]
    assert found["voxels_per_class"] == {"0": 1, "a": 2, "b": 3}
    assert found["bytes_decoded"] == 6
    assert found["ratio"] == 6 / found["bytes_written"]


@pytest.mark.parametrize("damaged", [0, 1])
def test_of_what_was_done_already_tells_all_voxels(tmp_path: Path, damaged: int) -> None:
    data = np.random.default_rng(0).integers(0, 4, (65, 100), "uint8")

    def source() -> ArrayBackedSource:
        return ArrayBackedSource(data, "yx", kind="segmentation", chunks=(7, 9))

    first = convert(tmp_path / "a.zarr", source=source())
    for shard in sorted((tmp_path / "a.zarr/scale0/image/c").rglob("*/*"))[:damaged]:
        shard.unlink()
    again = convert(tmp_path / "a.zarr", source=source(), resume=True)
    assert again.voxels_per_class == first.voxels_per_class
    assert first.voxels_per_class == {str(value): int((data == value).sum()) for value in range(4)}
    verify_image(tmp_path / "a.zarr", source())


@pytest.mark.parametrize("damaged", [0, 1])
def test_of_what_was_done_already_tells_what_was_filled(tmp_path: Path, damaged: int) -> None:
    def source() -> FailingSource:
        return FailingSource(some_data((65, 100), "uint8"), "yx", (64, 99), chunks=(7, 9))

    first = convert(tmp_path / "a.zarr", source=source(), on_error="mask")
    for shard in sorted((tmp_path / "a.zarr/scale0/image/c").rglob("*/*"))[:damaged]:
        shard.unlink()
    again = convert(tmp_path / "a.zarr", source=source(), on_error="mask", resume=True)
    assert len(first.masked) == 1
    assert again.masked == first.masked
