"""Gzip chunks of HDF5 that become gzip chunks of Zarr without being compressed again."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.verbatim import gzip_from_zlib
from tests.support.makers import some_data, write_hdf5_export
from tests.support.ome_zarr.fakes import read_by_tensorstore, small_plans

CHUNKS = {"t": 1, "c": 1, "z": 4, "y": 6, "x": 8}
LENGTHS = {"t": 2, "c": 2, "z": 9, "y": 20, "x": 27}


def export(path: Path, axes: str, dtype: str, **more: Any) -> np.ndarray[Any, Any]:
    data = some_data([LENGTHS[axis] for axis in axes], dtype)
    options = {"chunks": tuple(CHUNKS[axis] for axis in axes), "filters": "gzip"} | more
    write_hdf5_export(path, data, axes=axes, **options)
    return data


def convert(source: Any, target: Path, **more: Any) -> Any:
    with small_plans(shard=4000):
        return to_ome_zarr(source, target, **more)


def codec_of(target: Path, level: int = 0) -> str:
    (codec,) = zarr.open_array(target / f"scale{level}" / "image", mode="r").compressors
    return type(codec).__name__


class TestStream:
    @given(st.binary(max_size=3000), st.integers(0, 9))
    def test_is_what_gzip_reads(self, data: bytes, level: int) -> None:
        moved = gzip_from_zlib(zlib.compress(data, level), np.frombuffer(data, np.uint8))
        assert moved is not None
        assert gzip.decompress(moved) == data

    @given(st.binary(max_size=300), st.binary(min_size=1, max_size=20))
    def test_with_something_behind_it_is_made_anew(self, data: bytes, more: bytes) -> None:
        stream = zlib.compress(data)
        moved = gzip_from_zlib(stream + more, np.frombuffer(data, np.uint8))
        assert moved is None or more[-4:] == stream[-4:]

    @pytest.mark.parametrize("stream", [b"", b"\x78\x9c", b"\x79\x9c\x03\x00\x00\x00\x00\x01", b"\x78\xbb" + bytes(9)])
    def test_of_another_kind_is_made_anew(self, stream: bytes) -> None:
        assert gzip_from_zlib(stream, np.empty(0, np.uint8)) is None


class TestChunks:
    @pytest.mark.parametrize(
        ("axes", "dtype"),
        [(axes, "uint8") for axes in ("yx", "zyx", "zyxc", "tzyxc", "cyx", "yxc", "tczyx", "txyzc", "xyc", "cxy")]
        + [(axes, dtype) for dtype in ("float32", "bool", ">u2") for axes in ("zyxc", "txyzc")],
    )
    def test_are_those_of_the_source_in_every_reader(self, tmp_path: Path, axes: str, dtype: str) -> None:
        data = export(tmp_path / "a.h5", axes, dtype)
        report = convert(tmp_path / "a.h5", tmp_path / "a.zarr", verify=True, levels=2)
        order = [axes.index(axis) for axis in "tczyx" if axis in axes]
        expected = data.transpose(order)
        image = tmp_path / "a.zarr" / "scale0" / "image"
        np.testing.assert_array_equal(zarr.open_array(image, mode="r")[...], expected)
        np.testing.assert_array_equal(read_by_tensorstore(image)[1], expected)
        space = "".join(axis for axis in axes if axis in "zyx")
        is_moved = space == "".join(sorted(space, reverse=True)) and dtype in ("uint8", "float32")
        assert (report.reason == "gzip chunks are moved as they are") == is_moved, report.reason
        assert codec_of(tmp_path / "a.zarr") == ("GzipCodec" if is_moved else "ZstdCodec")
        assert codec_of(tmp_path / "a.zarr", 1) == codec_of(tmp_path / "a.zarr")

    def test_are_the_same_bits(self, tmp_path: Path) -> None:
        export(tmp_path / "a.h5", "zyx", "float32")
        convert(tmp_path / "a.h5", tmp_path / "a.zarr")
        shards = b"".join(
            path.read_bytes() for path in (tmp_path / "a.zarr/scale0/image/c").rglob("*") if path.is_file()
        )
        with h5py.File(tmp_path / "a.h5") as file:
            dataset = file["exported_data"]
            for k in range(dataset.id.get_num_chunks()):
                _, stored = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(k).chunk_offset)
                assert stored[2:-4] in shards

    def test_that_were_never_written_or_are_not_compressed_are_made(self, tmp_path: Path) -> None:
        data = some_data((8, 18, 24), "uint16")
        expected = write_hdf5_export(
            tmp_path / "a.h5", data, axes="zyx", chunks=(4, 6, 8), filters="gzip", fill=7,
            missing=[(0, 6, 8)], masks={(4, 0, 0): 1},
        )  # fmt: skip
        with pytest.warns(il.errors.IncompleteSourceWarning):
            source = il.open_dataarray(tmp_path / "a.h5")
        with pytest.raises(il.errors.UnfinishedWriteError, match=r"1 chunk was never written.*on_error='mask'"):
            convert(source, tmp_path / "a.zarr")
        assert not (tmp_path / "a.zarr").exists()
        report = convert(source, tmp_path / "a.zarr", verify=True, on_error="mask")
        assert "moved" in report.reason
        assert "1 chunk never written" in str(report)
        found = zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...]
        np.testing.assert_array_equal(found, expected)

    def test_of_a_part_of_the_image_are_made_anew(self, tmp_path: Path) -> None:
        data = export(tmp_path / "a.h5", "zyx", "uint8")
        part = il.open_dataarray(tmp_path / "a.h5").isel(z=slice(1, 8), x=slice(3, None))
        report = convert(part, tmp_path / "a.zarr", verify=True)
        assert "moved" not in report.reason
        np.testing.assert_array_equal(
            zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...], data[1:8, :, 3:]
        )

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ({"filters": "shuffle+gzip"}, "compressed by shuffle+gzip, not by gzip alone"),
            ({"filters": "none"}, "the source is not compressed"),
            ({"chunks": (9, 20, 27)}, ""),
        ],
    )
    def test_are_moved_only_where_they_can_be(self, tmp_path: Path, more: dict[str, Any], why: str) -> None:
        export(tmp_path / "a.h5", "zyx", "uint8", **more)
        report = convert(tmp_path / "a.h5", tmp_path / "a.zarr", verify=True)
        assert why in report.reason

    def test_that_are_gzip_and_not_moved_are_not_said_to_be_none(self, tmp_path: Path) -> None:
        export(tmp_path / "a.h5", "zyx", "uint8", chunks=(8, 20, 27))
        convert(tmp_path / "a.h5", tmp_path / "a.zarr", codec="gzip")
        report = convert(str(tmp_path / "a.zarr"), tmp_path / "b.zarr")
        assert "compressed by" not in report.reason
        assert "of one HDF5 dataset" in report.reason

    @pytest.mark.parametrize(("codec", "name"), [("zstd", "ZstdCodec"), ("blosc", "BloscCodec"), ("gzip", "GzipCodec")])
    def test_are_compressed_as_the_caller_wants(self, tmp_path: Path, codec: str, name: str) -> None:
        export(tmp_path / "a.h5", "zyx", "uint8")
        report = convert(tmp_path / "a.h5", tmp_path / "a.zarr", codec=codec, verify=True)
        assert report.reason == f"codec={codec!r} was asked for"
        assert codec_of(tmp_path / "a.zarr") == name


def test_a_damaged_checksum_stops_the_conversion_with_the_chunk_named(tmp_path: Path) -> None:
    export(tmp_path / "a.h5", "zyx", "float32")
    with h5py.File(tmp_path / "a.h5") as file:
        info = file["exported_data"].id.get_chunk_info(5)
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[info.byte_offset + info.size - 2] ^= 1
    (tmp_path / "a.h5").write_bytes(raw)
    with pytest.raises(il.errors.CorruptChunkError, match=rf"chunk at \({info.chunk_offset[0]}, "):
        convert(tmp_path / "a.h5", tmp_path / "a.zarr")
    report = convert(tmp_path / "a.h5", tmp_path / "b.zarr", on_error="mask", verify=True)
    assert len(report.masked) == 1
    assert "cannot be decoded and are filled" in str(report)
    found = np.asarray(zarr.open_array(tmp_path / "b.zarr/scale0/image", mode="r")[...])
    z, y, x = (slice(start, start + n) for start, n in zip(info.chunk_offset, (4, 6, 8), strict=True))
    assert np.isnan(found[z, y, x]).all()
