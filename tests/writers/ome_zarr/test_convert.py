"""`to_ome_zarr`: the voxels of every level, and how it finds a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from ilastik_lazy.errors import VerificationError
from ilastik_lazy.writers.ome_zarr.conversion import shards as shards_module
from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion
from tests.support.makers import some_data
from tests.support.ome_zarr.answers import coarser, in_ome_order
from tests.support.ome_zarr.fakes import ArrayBackedSource, read_by_tensorstore, small_plans, source_with

ORDERS = [
    "yx", "xy", "cyx", "xyc", "yxc", "tyx", "zyx", "xyz", "zxy",
    "czyx", "zyxc", "tzyx", "cxzy", "tcyx", "txyzc", "tzyxc", "ctzyx", "xzcyt",
]  # fmt: skip
DTYPES = ["uint8", "bool", ">u2", "uint64", "<f4"]


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
    @pytest.mark.parametrize(("axes", "dtype"), [(axes, DTYPES[i % 5]) for i, axes in enumerate(ORDERS)])
    def test_are_those_of_the_source_in_every_order_of_axes(self, tmp_path: Path, axes: str, dtype: str) -> None:
        source = source_with(axes, dtype)
        with small_plans(shard=3000 * source.data.itemsize):
            report = to_ome_zarr(source, tmp_path / "a.zarr", downsample="nearest", workers=3)
        assert_holds(tmp_path / "a.zarr", source.data, axes, "nearest")
        assert report.dims == tuple(axis for axis in "tczyx" if axis in axes)
        labels, found = read_by_tensorstore(tmp_path / "a.zarr" / "scale0" / "image")
        np.testing.assert_array_equal(found, in_ome_order(source.data, axes))
        assert labels == report.dims

    # The methods themselves are compared in all types by `test_downsample.py`.
    @pytest.mark.parametrize(
        ("method", "dtype"),
        [("mean", dtype) for dtype in ("bool", ">i4", "uint64", "<f2")]
        + [("mode", dtype) for dtype in (">i4", "<f8")]
        + [("nearest", dtype) for dtype in ("bool", ">f4")],
    )
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
        with pytest.raises(ValueError, match=r"(\d+) MB would do") as refused:
            plan_conversion(source, memory=1, workers=2, levels=4)
        least = 10**6 * int(str(refused.value).split(": ")[1].split()[0])
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

        def encode(self: Any, shard: Any, intake: Any) -> Any:
            region = shard.region
            if shard.number == 0 and region[0].start <= 17 < region[0].stop and region[1].start <= 9 < region[1].stop:
                intake.block[17 - region[0].start, 9 - region[1].start] += 1
            return original(self, shard, intake)

        original = shards_module.ShardWriter.encode
        monkeypatch.setattr(shards_module.ShardWriter, "encode", encode)
        with small_plans(shard=64), pytest.raises(VerificationError, match=r"voxel \[17, 9\] of scale0/image"):
            to_ome_zarr(source, tmp_path / "a.zarr", verify=True)
        assert not list(tmp_path.rglob("zarr.json"))

    def test_finds_a_wrong_bit_of_a_nan(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def with_other_nans(block: Any, *more: Any) -> list[bytes]:
            return encode(np.full_like(block, np.float32(-np.nan)), *more)

        encode = shards_module.encode_shard
        monkeypatch.setattr(shards_module, "encode_shard", with_other_nans)
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
        assert not list(tmp_path.rglob("zarr.json"))

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
