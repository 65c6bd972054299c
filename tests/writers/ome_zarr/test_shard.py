"""Shards as bytes: what zarr-python and tensorstore find in a file that we wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from ilastik_lazy.writers.ome_zarr.encode import ZSTD_LEVEL, encode_shard
from tests.support.ome_zarr.fakes import read_by_tensorstore

DTYPES = ["|u1", "|i1", "|b1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8"]


def array_in(store: Any, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...], shards: tuple[int, ...]) -> Any:
    """A Zarr array with nothing in it."""
    return zarr.create_array(
        store, shape=shape, dtype=dtype, chunks=chunks, shards=shards, compressors=ZstdCodec(level=ZSTD_LEVEL)
    )


@st.composite
def cases(draw: Any) -> tuple[np.ndarray[Any, Any], tuple[int, ...], tuple[int, ...]]:
    """A block that fills a shard or less, the chunks, and the shards."""
    chunks = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    shards = tuple(c * draw(st.integers(1, 3)) for c in chunks)
    shape = tuple(draw(st.integers(1, s)) for s in shards)
    return draw(hnp.arrays(draw(st.sampled_from(DTYPES)), shape)), chunks, shards


@given(cases())
def test_zarr_reads_what_was_encoded(case: Any) -> None:
    block, chunks, shards = case
    array_in(MemoryStore(made := {}), block.shape, block.dtype, chunks, shards)
    key = "/".join(["c", *"0" * block.ndim])
    made[key] = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(
        b"".join(encode_shard(block, chunks, shards))
    )
    found = zarr.open_array(MemoryStore(made), mode="r")[...]
    assert np.asarray(found).tobytes() == block.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensorstore_reads_what_was_encoded(tmp_path: Path, dtype: str) -> None:
    block = np.arange(5 * 7 * 3).reshape(5, 7, 3).astype(dtype)
    chunks, shards = (2, 3, 1), (6, 9, 3)
    array_in(str(tmp_path / "a"), block.shape, block.dtype, chunks, shards)
    file = tmp_path / "a" / "c" / "0" / "0" / "0"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"".join(encode_shard(block, chunks, shards)))
    np.testing.assert_array_equal(read_by_tensorstore(tmp_path / "a")[1], block)


def test_chunks_outside_of_the_block_are_not_stored() -> None:
    whole = b"".join(encode_shard(np.ones((8, 8), np.uint8), (2, 2), (8, 8)))
    part = b"".join(encode_shard(np.ones((2, 2), np.uint8), (2, 2), (8, 8)))
    index = np.frombuffer(part[-4 - 256 : -4], "<u8").reshape(4, 4, 2)
    assert (index[0, 0] != 2**64 - 1).all()
    assert (index.reshape(-1, 2)[1:] == 2**64 - 1).all()
    assert len(part) < len(whole)


def test_the_index_counts_every_byte_once() -> None:
    block = np.random.default_rng(0).integers(0, 255, (9, 10), np.uint8)
    data = b"".join(encode_shard(block, (4, 4), (12, 12)))
    index = np.frombuffer(data[-4 - 9 * 16 : -4], "<u8").reshape(-1, 2)
    ends = [0, *(index[:, 0] + index[:, 1]).tolist()]
    assert index[:, 0].tolist() == ends[:-1]
    assert ends[-1] == len(data) - 4 - 9 * 16


def test_a_damaged_index_is_noticed_by_zarr(tmp_path: Path) -> None:
    block = np.ones((4, 4), np.uint16)
    array = array_in(str(tmp_path / "a"), block.shape, block.dtype, (2, 2), (4, 4))
    assert json.loads((tmp_path / "a" / "zarr.json").read_text())["codecs"][0]["name"] == "sharding_indexed"
    file = tmp_path / "a" / "c" / "0" / "0"
    file.parent.mkdir(parents=True)
    data = bytearray(b"".join(encode_shard(block, (2, 2), (4, 4))))
    data[-10] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        array[...]
