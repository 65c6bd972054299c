"""Zarr arrays of versions 2 and 3: every codec, damaged chunks and shards, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import warnings

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr
from contract import SourceContract, Stored
from makers import SHAPE, some_data
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

from ilastik_lazy.errors import (
    CorruptChunkError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    SourceChangedError,
    UnfinishedWriteError,
    UnsafeFileError,
    UnsafePathError,
    UnsupportedFilterError,
)
from ilastik_lazy.limits import Limits
from ilastik_lazy.location import Location
from ilastik_lazy.sources import zarr as zarr_format
from ilastik_lazy.sources import zarr_direct
from ilastik_lazy.sources.zarr_direct import ZarrSource

CHUNKS, SHARDS = (3, 4, 4, 1), (6, 8, 8, 2)  # never divide the shape
WHOLE = tuple(slice(0, n) for n in SHAPE)
V2 = {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
V3 = {"zarr_format": 3, "dimension_names": tuple("zyxc")}

LAYOUTS = {
    "v2 blosc": V2 | {"compressors": numcodecs.Blosc("lz4", 5, 1)},
    "v2 zlib": V2 | {"compressors": numcodecs.Zlib(1)},
    "v2 gzip": V2 | {"compressors": numcodecs.GZip(1)},
    "v2 zstd": V2 | {"compressors": numcodecs.Zstd(1)},
    "v2 lz4": V2 | {"compressors": numcodecs.LZ4()},
    "v2 bz2": V2 | {"compressors": numcodecs.BZ2()},
    "v2 lzma": V2 | {"compressors": numcodecs.LZMA()},
    "v2 plain": V2 | {"compressors": None},
    "v2 dots": V2 | {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "v2 Fortran order": V2 | {"order": "F"},
    "v2 big-endian": V2 | {"dtype": ">u2"},
    "v2 bool": V2 | {"dtype": "?"},
    "v2 shuffle and zlib": V2 | {"filters": [numcodecs.Shuffle(4)], "compressors": numcodecs.Zlib(1)},
    "v2 delta": V2 | {"dtype": "<i4", "filters": [numcodecs.Delta("<i4")], "compressors": numcodecs.Zstd(1)},
    "v2 fill": V2 | {"fill_value": np.nan},
    "v3 zstd": V3 | {"compressors": ZstdCodec()},
    "v3 gzip": V3 | {"compressors": GzipCodec()},
    "v3 blosc": V3 | {"compressors": BloscCodec(cname="zstd")},
    "v3 plain": V3 | {"compressors": None},
    "v3 checksum": V3 | {"compressors": [ZstdCodec(), Crc32cCodec()]},
    "v3 transposed": V3 | {"filters": [TransposeCodec(order=(3, 1, 2, 0))]},
    "v3 big-endian": V3 | {"serializer": BytesCodec(endian="big"), "dtype": "i2"},
    "v3 bool": V3 | {"dtype": "?"},
    "v3 other keys": V3 | {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "v3 shards": V3 | {"shards": SHARDS, "compressors": ZstdCodec()},
    "v3 shards plain": V3 | {"shards": SHARDS, "compressors": None},
    "v3 shards transposed": V3 | {"shards": SHARDS, "filters": [TransposeCodec(order=(3, 2, 1, 0))]},
    "v3 shards index first": V3
    | {"chunks": SHARDS, "serializer": ShardingCodec(chunk_shape=CHUNKS, index_location="start"), "compressors": None},
}


def write_array(folder, layout="v2 blosc", data=None, **options):
    """Write an array of `SHAPE` with zarr-python, and return what must be read from it."""
    options = {"chunks": CHUNKS, "dtype": "<f4"} | LAYOUTS[layout] | options
    data = some_data(SHAPE, options["dtype"]) if data is None else data
    array = zarr.create_array(store=folder, shape=data.shape, config={"write_empty_chunks": True}, **options)
    array[...] = data
    return data


def metadata_of(folder):
    return next(path for path in (folder / "zarr.json", folder / ".zarray") if path.exists())


def opened(folder, axes="zyxc", **limits):
    return zarr_format.open_image(Location.parse(folder), axes, Limits(**limits))


def edit(path, **changes):
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "dots" not in name and "keys" not in name])
@pytest.mark.parametrize("share", [0, 0.5, 0.97])
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
    for _ in range(60):
        bad = bytearray(good)
        for place in rng.integers(0, min(len(bad), 64), 3):
            bad[place] = rng.integers(256)
        file.write_bytes(bad)
        try:
            found = source.read(WHOLE)
        except CorruptChunkError:
            continue
        assert found.shape == SHAPE  # without a checksum a changed value is no error


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


@pytest.mark.parametrize(("offset", "size"), [(10**6, 100), (2**63, 100), (0, 2**40), (2**64 - 1, 5), (0, 0)])
def test_an_index_that_points_past_its_shard_is_an_error_in_partial_reads_too(tmp_path, offset, size):
    # zarr-python 3.1.6 reads such a chunk as fill value.
    write_array(tmp_path / "a.zarr", "v3 shards")
    patched_index(tmp_path / "a.zarr/c/0/0/0/0", 0, offset, size)
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


# --- what is refused


@pytest.mark.parametrize("part", ["0/0/0/0", "0/0", "0"])
def test_links_out_of_the_store_are_refused_and_others_followed(tmp_path, part):
    data = write_array(tmp_path / "a.zarr", "v2 plain")
    source = opened(tmp_path / "a.zarr")
    outside = tmp_path / "outside"
    shutil.move(tmp_path / "a.zarr" / part, outside)
    (tmp_path / "a.zarr" / part).symlink_to(outside)
    with pytest.raises(UnsafePathError, match="symbolic link"):
        source.read(WHOLE)
    shutil.move(outside, tmp_path / "a.zarr/inside")
    (tmp_path / "a.zarr" / part).unlink()
    (tmp_path / "a.zarr" / part).symlink_to(tmp_path / "a.zarr/inside")
    np.testing.assert_array_equal(source.read(WHOLE), data)


def test_a_link_to_the_store_itself_is_followed(tmp_path):
    data = write_array(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").symlink_to(tmp_path / "a.zarr")
    np.testing.assert_array_equal(opened(tmp_path / "b.zarr").read(WHOLE), data)


REFUSED = {
    "objects": ({"dtype": "|O"}, UnsafeFileError),
    "pickles": ({"filters": [{"id": "pickle"}]}, UnsafeFileError),
    "unknown codec": ({"compressor": {"id": "zap"}}, UnsupportedFilterError),
    "two compressors": ({"filters": [{"id": "zlib"}]}, UnsupportedFilterError),
    "filter with objects": ({"filters": [{"id": "delta", "dtype": "O"}]}, MetadataError),
    "filter without options": ({"filters": [{"id": "delta"}]}, MetadataError),
    "complex": ({"dtype": "<c8"}, MetadataError),
    "compound": ({"dtype": [["a", "<f4"]]}, MetadataError),
    "text": ({"dtype": "<U5"}, MetadataError),
    "no type": ({"dtype": "(1,"}, MetadataError),
    "chunk length 0": ({"chunks": [0, 4, 4, 1]}, MetadataError),
    "negative shape": ({"shape": [-1, 4, 4, 1]}, MetadataError),
    "shape of text": ({"shape": "1234"}, MetadataError),
    "chunks of 3": ({"chunks": [3, 4, 4]}, MetadataError),
    "fill value": ({"fill_value": "x"}, MetadataError),
    "fill list": ({"fill_value": [1, 2]}, MetadataError),
    "separator": ({"dimension_separator": "../"}, MetadataError),
    "order": ({"order": "Z"}, MetadataError),
    "huge shape": ({"shape": [2**62] * 4}, LimitExceededError),
    "huge chunk": ({"chunks": [2**13] * 4}, LimitExceededError),
    "many chunks": ({"shape": [10**6] * 4, "chunks": [1] * 4}, LimitExceededError),
    "six dimensions": ({"shape": [1] * 6, "chunks": [1] * 6}, MetadataError),
    "version": ({"zarr_format": 7}, MetadataError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_metadata_that_make_no_sense_are_refused(tmp_path, name):
    changes, error = REFUSED[name]
    write_array(tmp_path / "a.zarr", "v2 zlib")
    edit(tmp_path / "a.zarr/.zarray", **changes)
    with pytest.raises(error, match=r"a\.zarr"):
        opened(tmp_path / "a.zarr", None)


REFUSED_3 = {
    "grid": ({"chunk_grid": {"name": "rectangular"}}, UnsupportedFilterError),
    "type": ({"data_type": {"name": "numpy.datetime64"}}, MetadataError),
    "transformers": ({"storage_transformers": [{"name": "x"}]}, UnsupportedFilterError),
    "codec": ({"codecs": [{"name": "bytes"}, {"name": "zap"}]}, UnsupportedFilterError),
    "no codecs": ({"codecs": []}, MetadataError),
    "pickles": ({"codecs": [{"name": "numcodecs.pickle"}, {"name": "bytes"}]}, UnsafeFileError),
    "keys": ({"chunk_key_encoding": {"name": "other"}}, UnsupportedFilterError),
    "neither": ({"node_type": "both"}, MetadataError),
    "torn shards": (
        {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [2, 4, 4, 1], "codecs": ["bytes"]}}]},
        MetadataError,
    ),
}


@pytest.mark.parametrize("name", REFUSED_3)
def test_metadata_of_version_3_that_make_no_sense_are_refused(tmp_path, name):
    changes, error = REFUSED_3[name]
    write_array(tmp_path / "a.zarr", "v3 zstd")
    edit(tmp_path / "a.zarr/zarr.json", **changes)
    with pytest.raises(error, match=r"a\.zarr"):
        opened(tmp_path / "a.zarr", None)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\xff", '{"shape": ' + "9" * 10_000 + "}"])
def test_metadata_that_are_no_json_object_are_an_error(tmp_path, text):
    write_array(tmp_path / "a.zarr", "v2 zlib")
    (tmp_path / "a.zarr/.zarray").write_text(text, encoding="latin-1")
    with pytest.raises(MetadataError, match=r"\.zarray"):
        opened(tmp_path / "a.zarr", None)


def test_two_versions_in_one_folder_warn_or_contradict(tmp_path):
    write_array(tmp_path / "a.zarr", "v2 zlib")
    write_array(tmp_path / "b.zarr", "v3 zstd")
    shutil.copy(tmp_path / "a.zarr/.zarray", tmp_path / "b.zarr")
    with pytest.warns(MetadataWarning, match="zarr.json is used"):
        assert isinstance(opened(tmp_path / "b.zarr"), ZarrSource)
    edit(tmp_path / "b.zarr/.zarray", shape=[1, 1, 1, 1])
    with pytest.raises(MetadataError, match="contradict"):
        opened(tmp_path / "b.zarr")


@pytest.mark.parametrize("version", [2, 3])
def test_consolidated_metadata_that_lie_are_an_error(tmp_path, version):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
    group.create_array("0", shape=(8, 8), chunks=(4, 4), dtype="u1")[...] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr-python says that others may not know version 3's
        zarr.consolidate_metadata(tmp_path / "a.zarr")
    assert opened(tmp_path / "a.zarr", "yx").spec.shape == (8, 8)
    edit(tmp_path / "a.zarr/0" / (".zarray" if version == 2 else "zarr.json"), shape=[8, 4])
    with pytest.raises(MetadataError, match="consolidated"):
        opened(tmp_path / "a.zarr", "yx")


def test_a_stopped_conversion_says_so(tmp_path):
    (tmp_path / "a.zarr/.ilz").mkdir(parents=True)
    assert zarr_format.recognises(Location.parse(tmp_path / "a.zarr"))
    with pytest.raises(UnfinishedWriteError, match="stopped"):
        opened(tmp_path / "a.zarr")


def test_other_folders_and_files_are_not_recognised(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "b.zarr").write_text("{}")
    assert not any(zarr_format.recognises(Location.parse(tmp_path / name)) for name in ("a.zarr", "b.zarr", "."))
