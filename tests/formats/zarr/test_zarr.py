"""Zarr arrays of versions 2 and 3: every codec, damaged chunks and shards, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import struct

import google_crc32c
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import (
    CorruptChunkError,
    IncompleteSourceWarning,
    SourceChangedError,
)
from ilastik_lazy.formats.zarr import direct as zarr_direct
from tests.support.contract import SourceContract, Stored
from tests.support.faults import LONG
from tests.support.makers import SHAPE
from tests.support.zarr_makers import CHUNKS, LAYOUTS, SHARDS, WHOLE, metadata_of, opened, write_array


class TestZarrSource(SourceContract):
    @pytest.fixture(params=LAYOUTS)
    def stored(self, request, tmp_path):
        data = write_array(tmp_path / "a.zarr", request.param)
        return Stored(metadata_of(tmp_path / "a.zarr"), opened(tmp_path / "a.zarr"), data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reads_what_zarr_python_reads(tmp_path, layout):
    write_array(tmp_path / "a.zarr", layout)
    source = opened(tmp_path / "a.zarr")
    np.testing.assert_array_equal(source.read(WHOLE), zarr.open_array(tmp_path / "a.zarr", mode="r")[...])
    assert source.spec.chunks == CHUNKS
    assert source.spec.storage.access == "direct"


def test_equal_sources_are_equal_also_with_nan_as_fill_value(tmp_path):
    write_array(tmp_path / "a.zarr", "v2 fill")
    source = opened(tmp_path / "a.zarr")
    assert source == pickle.loads(pickle.dumps(source))
    assert hash(source) == hash(opened(tmp_path / "a.zarr"))


# --- chunks that are damaged, short, or not there


def first_file(folder, layout):
    return folder / ("c/0/0/0/0" if layout.startswith("v3") else "0/0/0/0")


CUT = [name for name in LAYOUTS if "dots" not in name and "keys" not in name]


# An empty file is the same to all codecs; shards end with their index.
@pytest.mark.parametrize(
    ("layout", "share"),
    [
        (CUT[0], 0),
        ("v3 shards", 0),
        ("v3 shards", 0.5),
        *((layout, 0.97 - 0.47 * (i % 2)) for i, layout in enumerate(CUT)),
    ],
)
def test_a_file_that_was_cut_is_an_error(tmp_path, layout, share):
    write_array(tmp_path / "a.zarr", layout)
    source, file = opened(tmp_path / "a.zarr"), first_file(tmp_path / "a.zarr", layout)
    os.truncate(file, int(file.stat().st_size * share))
    with pytest.raises(CorruptChunkError, match=r"a.zarr/.*0/0/0/0"):
        source.read(WHOLE)


@pytest.mark.parametrize("layout", ["v2 blosc", "v2 zlib", "v2 gzip", "v2 zstd", "v2 lz4", "v2 bz2", "v2 lzma"])
def test_a_chunk_that_decodes_to_another_size_is_an_error(tmp_path, layout):
    codec = LAYOUTS[layout]["compressors"]
    write_array(tmp_path / "a.zarr", layout)
    source = opened(tmp_path / "a.zarr")
    for size in (0, 4, 188, 196, 1_000_000):
        first_file(tmp_path / "a.zarr", layout).write_bytes(codec.encode(b"\1" * size))
        with pytest.raises(CorruptChunkError):
            source.read(WHOLE)


@pytest.mark.parametrize("layout", ["v2 blosc", "v2 zlib", "v2 gzip", "v2 zstd", "v2 lz4", "v3 checksum", "v3 shards"])
def test_random_bytes_never_crash_the_decoder(tmp_path, layout):
    write_array(tmp_path / "a.zarr", layout)
    source, file = opened(tmp_path / "a.zarr"), first_file(tmp_path / "a.zarr", layout)
    good, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(300 if LONG else 20):
        bad = bytearray(good)
        for place in rng.integers(0, min(len(bad), 64), 3):
            bad[place] = rng.integers(256)
        file.write_bytes(bad)
        try:
            found = source.read(WHOLE)
        except CorruptChunkError:
            continue
        assert found.shape == SHAPE  # without a checksum a changed value is not an error


def test_a_wrong_checksum_is_an_error(tmp_path):
    write_array(tmp_path / "a.zarr", "v3 checksum")
    file = tmp_path / "a.zarr/c/0/0/0/0"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptChunkError, match="checksum"):
        opened(tmp_path / "a.zarr").read(WHOLE)


def patched_index(file, entry, offset, size):
    """Give a chunk another place in the index of a shard, whose checksum is right again."""
    data = bytearray(file.read_bytes())
    start = len(data) - 4 - 16 * 16  # 2 x 2 x 2 x 2 chunks
    struct.pack_into("<QQ", data, start + 16 * entry, offset, size)
    struct.pack_into("<I", data, len(data) - 4, google_crc32c.value(bytes(data[start:-4])))
    file.write_bytes(data)


@pytest.mark.parametrize(("offset", "size"), [(10**6, 100), (2**63, 100), (0, 2**40), (2**64 - 1, 5), (0, 0), (-1, 8)])
def test_an_index_that_points_past_its_shard_is_an_error_in_partial_reads_too(tmp_path, offset, size):
    # zarr-python 3.1.6 reads such a chunk as fill value.
    write_array(tmp_path / "a.zarr", "v3 shards")
    file = tmp_path / "a.zarr/c/0/0/0/0"
    in_index = file.stat().st_size - 16 * 16 - 4 - 7  # the last of 8 bytes is the index's
    patched_index(file, 0, in_index if offset < 0 else offset, size)
    source = opened(tmp_path / "a.zarr")
    for region in (WHOLE, tuple(slice(0, 1) for _ in SHAPE)):
        with pytest.raises(CorruptChunkError, match=r"\(0, 0, 0, 0\)"):
            source.read(region)
    source.read((slice(3, 6), *WHOLE[1:]))  # other chunks of the shard are there


def test_a_damaged_index_is_an_error(tmp_path):
    write_array(tmp_path / "a.zarr", "v3 shards")
    file = tmp_path / "a.zarr/c/0/0/0/0"
    data = bytearray(file.read_bytes())
    data[-10] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptChunkError, match="index"):
        opened(tmp_path / "a.zarr").read(WHOLE)


@pytest.mark.parametrize("layout", ["v2 zlib", "v2 dots", "v3 zstd", "v3 shards", "v2 fill"])
def test_missing_files_warn_at_opening_and_read_as_fill_value(tmp_path, layout):
    data = write_array(tmp_path / "a.zarr", layout)
    dots = tmp_path / "a.zarr/0.0.0.0"
    (dots if dots.exists() else first_file(tmp_path / "a.zarr", layout)).unlink()
    with pytest.warns(IncompleteSourceWarning, match="1 of"):
        source = opened(tmp_path / "a.zarr")
    expected = data.copy()
    size = SHARDS if "shards" in layout else CHUNKS
    expected[tuple(slice(0, n) for n in size)] = np.nan if layout == "v2 fill" else 0
    np.testing.assert_array_equal(source.read(WHOLE), expected)


def test_missing_files_of_an_array_too_large_to_count_warn_at_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_direct, "COUNTED_AT_OPENING", 3)
    write_array(tmp_path / "a.zarr", "v2 zlib")
    (tmp_path / "a.zarr/0/0/0/0").unlink()
    source = opened(tmp_path / "a.zarr")
    with pytest.warns(IncompleteSourceWarning, match="never written"):
        source.read(WHOLE)


def test_a_file_that_goes_after_opening_is_no_fill_value(tmp_path):
    write_array(tmp_path / "a.zarr", "v2 zlib")
    source = opened(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/0/0/0/0").unlink()
    with pytest.raises(SourceChangedError, match="is gone"):
        source.read(WHOLE)


def test_chunks_left_out_of_a_shard_are_fill_value(tmp_path):
    data = np.zeros(SHAPE, "<f4")
    data[0, 0, 0, 0] = 1
    array = zarr.create_array(store=tmp_path / "a.zarr", shape=SHAPE, dtype="<f4", chunks=CHUNKS, shards=(9, 12, 12, 2))
    array[...] = data  # zarr-python leaves chunks of nothing but zeros out
    np.testing.assert_array_equal(opened(tmp_path / "a.zarr").read(WHOLE), data)


def test_a_fill_value_beyond_the_type_is_infinite_as_in_zarr_python(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(2, 3), chunks=(2, 3), dtype="f4", dimension_names=["y", "x"])
    document = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text()) | {"fill_value": 1e300}
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(document))
    with pytest.warns(il.errors.IncompleteSourceWarning):
        found = il.open_dataarray(tmp_path / "a.zarr").values
    assert np.isposinf(found).all()
