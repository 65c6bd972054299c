"""Arguments of `to_ome_zarr`, and the report that it returns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from ilastik_lazy.core.spec import Storage
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.plan.pyramid import method_for
from tests.support.ome_zarr.fakes import ArrayBackedSource, small_plans, source_with


class TestMethod:
    @pytest.mark.parametrize(
        ("dtype", "more", "expected"),
        [
            ("float32", {}, "mean"),
            ("uint8", {"kind": "probabilities"}, "mean"),
            ("uint8", {"kind": "segmentation"}, "mode"),
            ("uint32", {"kind": "object identities"}, "mode"),
            ("uint32", {"display_mode": "random-colortable"}, "mode"),
            ("bool", {}, "mode"),
            ("uint8", {}, "mean"),
            ("uint16", {}, "mean"),
            ("int16", {}, "mean"),
            ("uint32", {"kind": "intensity"}, "mean"),
            ("uint8", {"kind": "uncertainty"}, "mean"),
            ("int32", {}, "nearest"),
            ("uint32", {}, "nearest"),
            ("int64", {}, "nearest"),
            ("uint64", {}, "nearest"),
            ("uint8", {"may_hold_ids": True}, "nearest"),
        ],
    )
    def test_invents_no_label(self, dtype: str, more: Any, expected: str) -> None:
        spec = ArrayBackedSource(np.zeros((2, 2), dtype), "yx", **more).spec
        assert method_for(spec, "auto")[0] == expected

    @pytest.mark.parametrize(
        ("path", "inside", "expected"),
        [
            ("/labels/brain.h5", "exported_data", "mean"),
            ("/data/img_cp_masks.tif", "", "nearest"),
            ("/data/brain.h5", "/vol/labels", "nearest"),
            ("/data/Segmentation.png", "", "nearest"),
            ("/data/raw.h5", "/data", "mean"),
        ],
    )
    def test_believes_names_that_people_give_to_ids(self, path: str, inside: str, expected: str) -> None:
        spec = ArrayBackedSource(np.zeros((2, 2), np.uint8), "yx").spec
        assert method_for(replace(spec, storage=Storage(path + inside, path)), "auto")[0] == expected

    @pytest.mark.parametrize(
        ("dtype", "more", "says"),
        [
            ("uint8", {}, "no file, name or role says"),
            ("uint32", {}, "integers of more than 16 bits without a kind may be ids"),
            ("uint8", {"kind": "segmentation"}, "the values are segmentation"),
            ("uint16", {"kind": "intensity"}, "the values are intensity"),
            ("bool", {}, "true or false"),
        ],
    )
    def test_is_told_with_its_reason(self, tmp_path: Path, dtype: str, more: Any, says: str) -> None:
        source = ArrayBackedSource(np.zeros((20, 20), dtype), "yx", **more)
        report = to_ome_zarr(source, tmp_path / "a.zarr", levels=2)
        assert f"made by {report.method}: {report.method_reason}" in str(report)
        assert says in report.method_reason

    def test_of_what_was_computed_from_probabilities_invents_no_class(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).random((16, 16, 5)).astype(np.float32)
        prob = xr.DataArray(values, dims=("y", "x", "c"), attrs={"ilastik_kind": "probabilities"})
        with xr.set_options(keep_attrs=True):
            classes = (prob.argmax("c") * 60).astype(np.uint8)
        report = to_ome_zarr(classes, tmp_path / "a.zarr", levels=2)
        assert report.method == "nearest"

    def test_is_what_the_caller_wants(self) -> None:
        spec = ArrayBackedSource(np.zeros((2, 2), np.uint8), "yx", kind="segmentation").spec
        assert method_for(spec, "mean")[0] == "mean"
        with pytest.raises(ArgumentError, match="median"):
            method_for(spec, "median")


class TestArguments:
    @pytest.mark.parametrize(
        "options",
        [
            {"version": "0.6"},
            {"codec": "lz4"},
            {"on_error": "skip"},
            {"memory": "much"},
            {"workers": 0},
            {"levels": 0},
            {"levels": 2.5},
            {"workers": 2.0},
            {"downsample": "median"},
            {"memory": 1000},
        ],
    )
    def test_that_cannot_be_are_refused_before_anything_is_touched(self, tmp_path: Path, options: Any) -> None:
        source = source_with("yx", "uint8")
        with pytest.raises(ArgumentError, match=str(next(iter(options)))):
            to_ome_zarr(source, tmp_path / "a.zarr", **options)
        assert list(tmp_path.iterdir()) == []
        assert source.regions == []

    def test_a_url_of_an_unknown_kind_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match="expected a URL with s3"):
            to_ome_zarr(source_with("yx", "uint8"), "ftp://bucket/a.zarr")

    @pytest.mark.skipif(np.dtype("longdouble").itemsize <= 8, reason="no longer float on this machine")
    def test_numbers_that_zarr_has_no_type_for_are_refused_before_a_voxel_is_read(self, tmp_path: Path) -> None:
        source = ArrayBackedSource(np.zeros((4, 4), "longdouble"), "yx")
        with pytest.raises(ArgumentError):
            to_ome_zarr(source, tmp_path / "a.zarr")
        assert source.regions == []

    @pytest.mark.parametrize("source", [None, 3, np.zeros((4, 4))])
    def test_what_is_no_source_is_refused(self, tmp_path: Path, source: Any) -> None:
        with pytest.raises(ArgumentError, match="expected a path, a DataArray or an ArraySource"):
            to_ome_zarr(source, tmp_path / "a.zarr")

    def test_a_bare_array_is_told_to_name_its_axes(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match=r"not ndarray: name its axes, .*dims=\['z', 'y', 'x'\]\)"):
            to_ome_zarr(np.zeros((2, 4, 4)), tmp_path / "a.zarr")  # type: ignore[arg-type]


class TestReport:
    def test_says_what_is_on_the_disk(self, tmp_path: Path) -> None:
        source = source_with("zyxc", "uint8")
        with small_plans(shard=1500):
            report = to_ome_zarr(source, tmp_path / "a.zarr")
        files = [f for f in (tmp_path / "a.zarr").rglob("*") if f.is_file() and "c" in f.relative_to(tmp_path).parts]
        shards = [f for f in files if "image" in f.parts]
        assert report.bytes_written == sum(f.stat().st_size for f in shards)
        assert report.bytes_decoded == source.data.nbytes
        assert report.target == str(tmp_path / "a.zarr")
        assert not report.verified
        assert "uint8" not in str(report)
        assert "c/z/y/x" in str(report)

    @pytest.mark.parametrize(
        ("name", "expected"), [("brain.zarr", "brain"), ("brain.ome.zarr", "brain"), ("brain", "brain")]
    )
    def test_the_image_is_called_after_the_folder(self, tmp_path: Path, name: str, expected: str) -> None:
        to_ome_zarr(source_with("yx", "uint8"), tmp_path / name)
        ome: Any = zarr.open_group(tmp_path / name, mode="r").attrs["ome"]
        assert ome["multiscales"][0]["name"] == expected
