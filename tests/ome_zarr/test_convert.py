"""`to_ome_zarr` as a whole: what other programs find in the result."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import ngff_zarr
import numpy as np
import pytest
import xarray as xr
import zarr
from answers import coarser, in_ome_order
from fakes import ArrayBackedSource, read_by_tensorstore, small_plans
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import some_data, write_hdf5_export, write_ilp
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

import ilastik_lazy as il
from ilastik_lazy.axes import Axis
from ilastik_lazy.errors import ArgumentError, VerificationError
from ilastik_lazy.ome_zarr import writer as writer_module
from ilastik_lazy.ome_zarr.convert import method_for, plan_conversion, to_ome_zarr

LENGTHS = {"t": 2, "c": 3, "z": 11, "y": 21, "x": 26}
CHUNKS = {"t": 1, "c": 1, "z": 4, "y": 5, "x": 7}
ORDERS = [
    "yx", "xy", "cyx", "xyc", "yxc", "tyx", "zyx", "xyz", "zxy",
    "czyx", "zyxc", "tzyx", "cxzy", "tcyx", "txyzc", "tzyxc", "ctzyx", "xzcyt",
]  # fmt: skip
DTYPES = ["uint8", "bool", ">u2", "uint64", "<f4"]


def source_with(axes: str, dtype: str, **more: Any) -> ArrayBackedSource:
    """Random voxels in `axes`; 64-bit integers below 2^50, so that numpy's float64 means are exact."""
    data = some_data([LENGTHS[axis] for axis in axes], dtype)
    if data.dtype.itemsize == 8 and data.dtype.kind in "iu":
        data = (data % 2**50).astype(dtype)
    chunks = [CHUNKS[axis] for axis in axes]
    return ArrayBackedSource(data, axes, chunks=chunks, scales={"z": 1.0, "y": 0.5, "x": 0.5}, **more)


def assert_holds(path: Path, data: np.ndarray[Any, Any], axes: str, method: str) -> None:
    """Every level is what numpy makes of the one before; level 0 is bit for bit the source."""
    group = zarr.open_group(path, mode="r")
    ome: Any = group.attrs["ome"]
    expected = in_ome_order(data, axes)
    scale = None
    for dataset in ome["multiscales"][0]["datasets"]:
        before, scale = scale, dataset["coordinateTransformations"][0]["scale"]
        if before is not None:
            factors = [round(new / old) for old, new in zip(before, scale, strict=True)]
            expected = coarser(expected, factors, method)
        found = np.asarray(group[dataset["path"]][...])  # type: ignore[index]
        assert found.dtype == data.dtype.newbyteorder("<")
        if method == "mean" and data.dtype.kind == "f" and before is not None:
            tolerance = 8 * float(np.finfo(data.dtype).eps)
            largest = np.nanmax(np.abs(expected), initial=0).astype(float)
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * largest)
            expected = found
        else:
            np.testing.assert_array_equal(found, expected)


class TestVoxels:
    @pytest.mark.parametrize(
        ("axes", "dtype"), [(axes, DTYPES[(i + k) % 5]) for i, axes in enumerate(ORDERS) for k in (0, 2)]
    )
    def test_are_those_of_the_source_in_every_order_of_axes(self, tmp_path: Path, axes: str, dtype: str) -> None:
        source = source_with(axes, dtype)
        with small_plans(shard=3000 * source.data.itemsize):
            report = to_ome_zarr(source, tmp_path / "a.zarr", downsample="nearest", workers=3)
        assert_holds(tmp_path / "a.zarr", source.data, axes, "nearest")
        assert report.dims == tuple(axis for axis in "tczyx" if axis in axes)
        labels, found = read_by_tensorstore(tmp_path / "a.zarr" / "scale0" / "image")
        np.testing.assert_array_equal(found, in_ome_order(source.data, axes))
        assert labels == report.dims

    @pytest.mark.parametrize("method", ["mean", "mode", "nearest"])
    @pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", ">i4", "uint64", "<f2", ">f4", "<f8"])
    def test_of_each_level_are_what_numpy_makes_of_the_one_before(
        self, tmp_path: Path, method: Any, dtype: str
    ) -> None:
        source = source_with("zyxc", dtype)
        if method == "mean" and dtype == "uint64":
            # Whole eighths: how halves of 64-bit integers are rounded has a test of its own.
            source.data = source.data // 2**10 * 2**10
        if source.data.dtype.kind == "f":
            source.data = (np.nan_to_num(source.data) % 1000).astype(dtype)
        with small_plans(shard=1500 * source.data.itemsize, smallest=3):
            report = to_ome_zarr(source, tmp_path / "a.zarr", downsample=method, workers=4)
        assert len(report.levels) >= 4
        assert_holds(tmp_path / "a.zarr", source.data, "zyxc", method)

    @settings(max_examples=15)
    @given(st.data())
    def test_are_right_for_any_shape_and_chunks(self, data: Any) -> None:
        import tempfile

        axes = "".join(data.draw(st.permutations(["y", "x", *data.draw(st.sampled_from(["", "z", "c", "zt"]))])))
        shape = [data.draw(st.integers(1, 3 if axis in "tc" else 17)) for axis in axes]
        chunks = [data.draw(st.integers(1, 1 if axis in "tc" else 6)) for axis in axes]
        scales = {axis: data.draw(st.sampled_from([0.5, 1.0, 3.0])) for axis in "zyx"}
        source = ArrayBackedSource(some_data(shape, "uint16"), axes, chunks=chunks, scales=scales)
        with small_plans(data.draw(st.sampled_from([100, 400])), 2), tempfile.TemporaryDirectory() as folder:
            to_ome_zarr(source, Path(folder, "a.zarr"), downsample="mean", workers=data.draw(st.integers(1, 4)))
            assert_holds(Path(folder, "a.zarr"), source.data, axes, "mean")
        assert (source.times_read == 1).all()

    @pytest.mark.parametrize(
        ("shape", "chunks", "dtype"),
        [
            ((1501, 1603), (512, 512), "uint8"),
            ((1501, 1603), (1501, 1603), "uint16"),
            ((1, 1100, 900, 3), (1, 300, 300, 3), "float32"),
            ((70, 150, 160), (64, 64, 64), "float32"),
        ],
    )
    def test_are_right_with_chunks_and_shards_of_the_usual_size(
        self, tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
    ) -> None:
        axes = {2: "yx", 3: "zyx", 4: "zyxc"}[len(shape)]
        source = ArrayBackedSource(np.nan_to_num(some_data(shape, dtype)), axes, chunks=chunks)
        with pytest.raises(ValueError, match=r"(\d+) bytes would do") as refused:
            plan_conversion(source.spec, memory=1, workers=2, levels=4)
        least = int(str(refused.value).split(": ")[1].split()[0])
        to_ome_zarr(source, tmp_path / "a.zarr", memory=least, workers=2, levels=4, downsample="nearest")
        assert_holds(tmp_path / "a.zarr", source.data, axes, "nearest")

    @pytest.mark.parametrize("axes", ["yx", "zyxc", "tzyxc"])
    def test_of_an_image_of_one_voxel_are_kept(self, tmp_path: Path, axes: str) -> None:
        source = ArrayBackedSource(np.full((1,) * len(axes), 7, np.uint16), axes)
        to_ome_zarr(source, tmp_path / "a.zarr", levels=3, verify=True)
        found = zarr.open_array(tmp_path / "a.zarr" / "scale0" / "image", mode="r")
        assert found.shape == (1,) * len(axes)
        assert np.asarray(found[...]).item() == 7

    def test_nan_payloads_infinities_and_negative_zero_are_kept_bit_for_bit(self, tmp_path: Path) -> None:
        bits = np.array([[0x7FC00001, 0xFFC12345, 0x7F800000], [0xFF800000, 0x80000000, 1]], np.uint32)
        to_ome_zarr(ArrayBackedSource(bits.view(np.float32), "yx"), tmp_path / "a.zarr", verify=True)
        found = np.asarray(zarr.open_array(tmp_path / "a.zarr" / "scale0" / "image", mode="r")[...])
        np.testing.assert_array_equal(found.view(np.uint32), bits)

    def test_zeros_are_stored_and_not_left_to_the_fill_value(self, tmp_path: Path) -> None:
        with small_plans(shard=64):
            to_ome_zarr(ArrayBackedSource(np.zeros((20, 20), np.uint8), "yx", chunks=(4, 4)), tmp_path / "a.zarr")
        shards = [file for file in (tmp_path / "a.zarr" / "scale0" / "image" / "c").rglob("*") if file.is_file()]
        assert len(shards) == 9  # of 8 x 8 voxels


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
        with xr.open_datatree(tmp_path / "a.zarr", engine="zarr", chunks=None) as tree:
            yield tree

    def test_finds_a_group_for_each_level(self, tree: xr.DataTree) -> None:
        assert list(tree.children) == [f"scale{n}" for n in range(len(tree.children))]
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
        assert attributes["class_colors"] == [[1, 2, 3], [4, 5, 6]]

    @pytest.mark.parametrize("dtype", ["uint8", "bool", "int64", "float16"])
    def test_keeps_the_dtype_although_zeros_are_the_fill_value(self, tmp_path: Path, dtype: str) -> None:
        data = some_data((9, 10), dtype)
        data[:2] = 0
        to_ome_zarr(ArrayBackedSource(data, "yx"), tmp_path / "b.zarr")
        with xr.open_dataset(tmp_path / "b.zarr", group="scale0", engine="zarr", chunks=None) as dataset:
            np.testing.assert_array_equal(dataset["image"].values, data, strict=True)

    def test_opens_it_without_a_look_at_each_array(self, tmp_path: Path) -> None:
        to_ome_zarr(ArrayBackedSource(np.zeros((9, 10), np.uint8), "yx"), tmp_path / "b.zarr")
        root = json.loads((tmp_path / "b.zarr" / "zarr.json").read_text())
        assert "scale0/image" in root["consolidated_metadata"]["metadata"]


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
        assert found.images[1].translation == {"c": 0, "z": 100.0, "y": -4.0, "x": 0.125}
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
            {"type": "translation", "translation": [0.0, 100.0, -4.0, 0.125]},
        ]
        assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "z", "y", "x"]
        assert node.metadata["channel_names"] == ["a", "b"]


class TestDataArrays:
    """What `open_dataarray` returned, and what users make of it."""

    @pytest.fixture
    def export(self, tmp_path: Path) -> tuple[str, np.ndarray[Any, Any]]:
        data = np.nan_to_num(some_data((11, 24, 30, 2)))
        write_hdf5_export(
            tmp_path / "p.h5", data, chunks=(4, 5, 7, 1), filters="gzip",
            resolution={"z": 2.0, "y": 0.5, "x": 0.25}, units={"z": "µm", "y": "µm", "x": "µm"},
        )  # fmt: skip
        write_ilp(tmp_path / "p.ilp")
        return str(tmp_path / "p.h5"), data

    @staticmethod
    def level0(path: Path) -> xr.DataArray:
        with xr.open_dataset(path, group="scale0", engine="zarr", chunks=None) as dataset:
            return dataset["image"].load()

    def test_what_was_opened_is_converted_with_names_and_positions(self, export: Any, tmp_path: Path) -> None:
        array = il.open_dataarray(export[0], project=tmp_path / "p.ilp")
        to_ome_zarr(array, tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        xr.testing.assert_equal(found, array.transpose("c", "z", "y", "x").compute())

    def test_a_path_and_what_was_opened_of_it_give_the_same_files(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(export[0], tmp_path / "a" / "p.zarr")
        to_ome_zarr(il.open_dataarray(export[0]), tmp_path / "b" / "p.zarr")
        files = [{f.relative_to(tmp_path / k): f.read_bytes() for f in (tmp_path / k).rglob("*") if f.is_file()}
                 for k in "ab"]  # fmt: skip
        assert files[0] == files[1]

    def test_one_plane_keeps_the_step_that_the_file_states(self, tmp_path: Path) -> None:
        write_hdf5_export(tmp_path / "p.h5", some_data((1, 9, 8)), axes="zyx", chunks=(1, 4, 4),
                          resolution={"z": 2.0, "y": 0.5, "x": 0.5}, units=dict.fromkeys("zyx", "µm"))  # fmt: skip
        to_ome_zarr(tmp_path / "p.h5", tmp_path / "path.zarr")
        to_ome_zarr(il.open_dataarray(tmp_path / "p.h5"), tmp_path / "array.zarr")
        scales = []
        for name in ("path", "array"):
            ome: Any = zarr.open_group(tmp_path / f"{name}.zarr", mode="r").attrs["ome"]
            scales.append(ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"])
        assert scales == [[2.0, 0.5, 0.5]] * 2

    @pytest.mark.parametrize("chunks", ["auto", {}, None, {"z": 3, "x": 10}])
    def test_a_part_keeps_its_positions(self, export: Any, tmp_path: Path, chunks: Any) -> None:
        part = il.open_dataarray(export[0], chunks=chunks).isel(z=slice(3, 9), x=slice(5, None))
        to_ome_zarr(part, tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found, in_ome_order(export[1][3:9, :, 5:], "zyxc"))
        assert (found.z.values[0], found.y.values[0], found.x.values[0]) == (6.0, 0.0, 1.25)
        ome: Any = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]
        assert ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] == [
            {"type": "scale", "scale": [1.0, 2.0, 0.5, 0.25]},
            {"type": "translation", "translation": [0.0, 6.0, 0.0, 1.25]},
        ]

    @pytest.mark.parametrize("chunks", ["auto", {}, None])
    def test_a_threshold_of_one_class_is_converted(self, export: Any, tmp_path: Path, chunks: Any) -> None:
        prob = il.open_dataarray(export[0], project=tmp_path / "p.ilp", chunks=chunks)
        report = to_ome_zarr(prob.sel(c="nucleus") > 0.5, tmp_path / "a.zarr", verify=True)
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found, export[1][..., 0] > 0.5, strict=True)
        assert found.dims == ("z", "y", "x")
        assert report.method == "mode"
        assert found.x.values[1] == 0.25

    def test_every_second_plane_has_twice_the_step(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(il.open_dataarray(export[0])[1::2], tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found.z, [2, 6, 10, 14, 18])
        np.testing.assert_array_equal(found, in_ome_order(export[1][1::2], "zyxc"))

    def test_dims_in_another_order_are_converted(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(il.open_dataarray(export[0], order="xcyz"), tmp_path / "a.zarr")
        np.testing.assert_array_equal(self.level0(tmp_path / "a.zarr"), in_ome_order(export[1], "zyxc"))

    def test_values_that_were_assigned_are_converted_and_not_those_of_the_file(
        self, export: Any, tmp_path: Path
    ) -> None:
        array = il.open_dataarray(export[0])
        to_ome_zarr(array.copy(data=da.zeros_like(array.data)), tmp_path / "a.zarr")
        assert not self.level0(tmp_path / "a.zarr").any()

    def test_class_names_that_were_assigned_are_written(self, export: Any, tmp_path: Path) -> None:
        to_ome_zarr(il.open_dataarray(export[0]).assign_coords(c=["in", "out"]), tmp_path / "a.zarr")
        assert self.level0(tmp_path / "a.zarr").c.values.tolist() == ["in", "out"]

    def test_an_array_in_memory_without_coordinates_is_converted(self, tmp_path: Path) -> None:
        data = some_data((9, 10), ">i2")
        to_ome_zarr(xr.DataArray(data, dims=("y", "x")), tmp_path / "a.zarr")
        found = self.level0(tmp_path / "a.zarr")
        np.testing.assert_array_equal(found, data)
        assert not found.coords

    def test_an_image_can_be_replaced_by_what_is_computed_of_it(self, tmp_path: Path) -> None:
        data = np.arange(20, dtype=np.uint8).reshape(4, 5)
        to_ome_zarr(ArrayBackedSource(data, "yx"), tmp_path / "a.zarr")
        with xr.open_dataset(tmp_path / "a.zarr", group="scale0", engine="zarr", chunks={}) as dataset:
            to_ome_zarr(dataset["image"] + 1, tmp_path / "a.zarr", overwrite=True)
        np.testing.assert_array_equal(self.level0(tmp_path / "a.zarr"), data + 1)


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
            ("uint16", {}, "nearest"),
        ],
    )
    def test_invents_no_label(self, dtype: str, more: Any, expected: str) -> None:
        spec = ArrayBackedSource(np.zeros((2, 2), dtype), "yx", **more).spec
        assert method_for(spec, "auto") == expected

    def test_is_what_the_caller_wants(self) -> None:
        spec = ArrayBackedSource(np.zeros((2, 2), np.uint8), "yx", kind="segmentation").spec
        assert method_for(spec, "mean") == "mean"
        with pytest.raises(ArgumentError, match="median"):
            method_for(spec, "median")


class TestArguments:
    @pytest.mark.parametrize(
        "options",
        [
            {"version": "0.4"},
            {"memory": "much"},
            {"workers": 0},
            {"levels": 0},
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

    def test_a_url_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match="URL"):
            to_ome_zarr(source_with("yx", "uint8"), "s3://bucket/a.zarr")

    @pytest.mark.skipif(np.dtype("longdouble").itemsize <= 8, reason="no longer float on this machine")
    def test_numbers_that_zarr_has_no_type_for_are_refused_before_a_voxel_is_read(self, tmp_path: Path) -> None:
        source = ArrayBackedSource(np.zeros((4, 4), "longdouble"), "yx")
        with pytest.raises(ArgumentError):
            to_ome_zarr(source, tmp_path / "a.zarr")
        assert source.regions == []

    @pytest.mark.parametrize("source", [None, 3, np.zeros((4, 4))])
    def test_what_is_no_source_is_refused(self, tmp_path: Path, source: Any) -> None:
        with pytest.raises(ArgumentError, match="cannot convert"):
            to_ome_zarr(source, tmp_path / "a.zarr")


class TestVerify:
    def test_passes_nan_and_big_endian(self, tmp_path: Path) -> None:
        data = np.full((20, 20), np.nan, ">f4")
        with small_plans(shard=64):
            report = to_ome_zarr(ArrayBackedSource(data, "xy", chunks=(3, 5)), tmp_path / "a.zarr", verify=True)
        assert report.verified

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    @pytest.mark.parametrize("axes", ["yx", "xy"])
    def test_finds_one_wrong_voxel_and_says_where(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, axes: str
    ) -> None:
        source = source_with(axes, dtype)
        source.data = np.nan_to_num(source.data)

        def write_shard(self: Any, level: Any, shard: Any, block: Any) -> int:
            region = level.region(shard)
            if level.number == 0 and region[0].start <= 17 < region[0].stop and region[1].start <= 9 < region[1].stop:
                block = block.copy()
                block[17 - region[0].start, 9 - region[1].start] += 1
            return original(self, level, shard, block)

        original = writer_module.LocalTarget.write_shard
        monkeypatch.setattr(writer_module.LocalTarget, "write_shard", write_shard)
        with small_plans(shard=64), pytest.raises(VerificationError, match=r"voxel \[17, 9\] of scale0/image"):
            to_ome_zarr(source, tmp_path / "a.zarr", verify=True)
        assert list(tmp_path.iterdir()) == []

    def test_finds_a_wrong_bit_of_a_nan(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from ilastik_lazy.ome_zarr import target as target_module

        def with_other_nans(block: Any, chunks: Any, shards: Any) -> list[bytes]:
            return encode(np.full_like(block, np.float32(-np.nan)), chunks, shards)

        encode = target_module.encode_shard
        monkeypatch.setattr(target_module, "encode_shard", with_other_nans)
        source = ArrayBackedSource(np.full((4, 4), np.nan, np.float32), "yx")
        with pytest.raises(VerificationError):
            to_ome_zarr(source, tmp_path / "a.zarr", verify=True)

    def test_finds_a_flipped_byte_on_the_disk(self, tmp_path: Path) -> None:
        """The source, when it is read for the second time, damages what was written in the meantime."""
        target = tmp_path / "a.zarr"

        class Saboteur(ArrayBackedSource):
            def read(self, region: Any) -> Any:
                chunk = target / "scale0" / "image" / "c" / "0" / "0"
                if chunk.exists():
                    data = bytearray(chunk.read_bytes())
                    data[12] ^= 255
                    chunk.write_bytes(data)
                return super().read(region)

        data = np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)
        with pytest.raises(VerificationError):
            to_ome_zarr(Saboteur(data, "yx"), target, verify=True)
        assert list(tmp_path.iterdir()) == []

    def test_is_done_before_the_image_is_published(self, tmp_path: Path) -> None:
        target = tmp_path / "a.zarr"

        class Watching(ArrayBackedSource):
            published: list[bool]

            def read(self, region: Any) -> Any:
                self.published.append((target / "zarr.json").exists())
                return super().read(region)

        source = Watching(np.ones((4, 4), np.uint8), "yx")
        source.published = []
        to_ome_zarr(source, target, verify=True)
        assert source.published == [False, False]


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
