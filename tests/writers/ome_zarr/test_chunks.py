"""Chunks as bytes: what the decoders of others make of them."""

from __future__ import annotations

import gzip
import math
from typing import Any

import numcodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ilastik_lazy.writers.ome_zarr.encode import CODECS, Codec, encode_chunks

DTYPES = ["|u1", "|b1", "<u2", "<i4", "<u8", "<f2", "<f4", "<f8"]
DECODERS: dict[Codec, Any] = {
    "zstd": numcodecs.Zstd().decode,
    "gzip": gzip.decompress,
    "blosc": numcodecs.Blosc().decode,
    "none": bytes,
}


@st.composite
def cases(draw: Any) -> tuple[np.ndarray[Any, Any], tuple[int, ...], Codec]:
    chunks = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    shape = tuple(draw(st.integers(1, 3 * c)) for c in chunks)
    return draw(hnp.arrays(draw(st.sampled_from(DTYPES)), shape)), chunks, draw(st.sampled_from(CODECS))


@given(cases())
def test_every_chunk_is_whole_and_there_once(case: Any) -> None:
    block, chunks, codec = case
    padding = [(0, -n % c) for n, c in zip(block.shape, chunks, strict=True)]
    expected = np.pad(block, padding)
    found = dict(encode_chunks(block, chunks, codec))
    assert len(found) == math.prod(n // c for n, c in zip(expected.shape, chunks, strict=True))
    for place, data in found.items():
        assert type(data) is bytes
        region = tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunks, strict=True))
        assert DECODERS[codec](data) == expected[region].tobytes()


def test_a_block_that_is_no_copy_is_encoded_as_it_looks() -> None:
    block = np.arange(60, dtype="<u2").reshape(3, 4, 5)[:, ::2].transpose(2, 0, 1)
    for codec in CODECS:
        (_, data), *_ = encode_chunks(block, (2, 2, 2), codec)
        assert DECODERS[codec](data) == block[:2, :2, :2].tobytes()


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_voxels_are_the_same_bytes(codec: Codec) -> None:
    block = np.linspace(0, 1, 1000, dtype="<f4").reshape(10, 100)
    assert list(encode_chunks(block, (4, 30), codec)) == list(encode_chunks(block.copy(), (4, 30), codec))
