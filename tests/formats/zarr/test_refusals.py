"""Zarr folders that are refused, or said to be something else."""

from __future__ import annotations

import json
import os
import shutil
import warnings

import numpy as np
import pytest
import zarr

from ilastik_lazy.core.options import DEFAULTS
from ilastik_lazy.errors import (
    CorruptChunkError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    SourceIOError,
    UnfinishedWriteError,
    UnknownFormatError,
    UnsafeFileError,
    UnsafePathError,
    UnsupportedFilterError,
)
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats import zarr as zarr_format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.zarr.direct import ZarrSource
from tests.support.zarr_makers import WHOLE, edit, opened, write_array

# --- what is refused


@pytest.mark.parametrize("part", ["0/0/0/0", "0/0", "0"])
def test_links_out_of_the_store_are_refused_and_others_followed(tmp_path, part):
    data = write_array(tmp_path / "a.zarr", "v2 plain")
    source = opened(tmp_path / "a.zarr")
    outside = tmp_path / "outside"
    shutil.move(tmp_path / "a.zarr" / part, outside)
    (tmp_path / "a.zarr" / part).symlink_to(outside)
    with pytest.raises(UnsafePathError, match="symbolic link out of"):
        source.read(WHOLE)
    shutil.move(outside, tmp_path / "a.zarr/inside")
    (tmp_path / "a.zarr" / part).unlink()
    (tmp_path / "a.zarr" / part).symlink_to(tmp_path / "a.zarr/inside")
    np.testing.assert_array_equal(source.read(WHOLE), data)


def test_a_folder_that_may_not_be_looked_into_is_no_unknown_format(tmp_path, monkeypatch):
    # Root may look into all folders, so the permission itself cannot be tested everywhere.
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(UnknownFormatError):
        open_source(Location.parse(tmp_path / "a.zarr"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SourceIOError, match="permissions"):
        open_source(Location.parse(tmp_path / "a.zarr"))


def test_shards_that_are_transposed_as_a_whole_are_named(tmp_path):
    index = [{"name": "bytes", "configuration": {"endian": "little"}}]
    shards = {"chunk_shape": [2, 2], "codecs": index, "index_codecs": index}
    codecs = [
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {"name": "sharding_indexed", "configuration": shards},
    ]
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4), chunks=(4, 4), dtype="u1")
    edit(tmp_path / "a.zarr/zarr.json", codecs=codecs)
    with pytest.raises(UnsupportedFilterError, match="transposed"):
        opened(tmp_path / "a.zarr")


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
    "no byte order": ({"dtype": "float32"}, MetadataError),
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


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}

REFUSED_3 = {
    "grid": ({"chunk_grid": {"name": "rectangular"}}, UnsupportedFilterError),
    "type": ({"data_type": {"name": "numpy.datetime64"}}, MetadataError),
    "transformers": ({"storage_transformers": [{"name": "x"}]}, UnsupportedFilterError),
    "no byte order": ({"codecs": [{"name": "bytes", "configuration": {"endian": None}}]}, MetadataError),
    "no codec of elements": ({"codecs": [{"name": "gzip", "configuration": {"level": 1}}]}, MetadataError),
    "strange byte order": ({"codecs": [{"name": "bytes", "configuration": {"endian": "pdp"}}]}, MetadataError),
    "two byte orders": ({"codecs": [LITTLE, {"name": "bytes", "configuration": {"endian": "big"}}]}, MetadataError),
    "no configuration": ({"codecs": [{"name": "bytes", "configuration": "big"}]}, MetadataError),
    "codec": ({"codecs": [LITTLE, {"name": "zap"}]}, UnsupportedFilterError),
    "no codecs": ({"codecs": []}, MetadataError),
    "pickles": ({"codecs": [{"name": "numcodecs.pickle"}, LITTLE]}, UnsafeFileError),
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
    assert zarr_format.recognises(Location.parse(tmp_path / "a.zarr"), DEFAULTS)
    with pytest.raises(UnfinishedWriteError, match="stopped"):
        opened(tmp_path / "a.zarr")


def test_other_folders_and_files_are_not_recognised(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "b.zarr").write_text("{}")
    assert not any(
        zarr_format.recognises(Location.parse(tmp_path / name), DEFAULTS) for name in ("a.zarr", "b.zarr", ".")
    )


def test_a_filter_that_divides_by_zero_is_an_error_without_a_warning_of_numpy(tmp_path):
    write_array(tmp_path / "a.zarr", "v2 plain", dtype="<i4")
    edit(
        tmp_path / "a.zarr/.zarray",
        filters=[{"id": "fixedscaleoffset", "offset": 0, "scale": 0, "dtype": "<f4", "astype": "<i4"}],
        dtype="<f4",
    )
    with pytest.raises(CorruptChunkError, match=r"a\.zarr"):
        opened(tmp_path / "a.zarr").read(WHOLE)


def test_a_range_of_numbers_that_no_float_holds_is_ignored_with_a_warning(tmp_path):
    write_array(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/.zattrs").write_text('{"drange": [0, 1' + "0" * 400 + "]}")
    with pytest.warns(MetadataWarning, match=r"a\.zarr.*drange"):
        assert opened(tmp_path / "a.zarr").spec.drange is None


@pytest.mark.parametrize("key", ["order", "filters", "compressor", "fill_value", "dtype", "chunks", "shape"])
def test_metadata_of_version_2_without_a_part_are_refused(tmp_path, key):
    write_array(tmp_path / "a.zarr", "v2 Fortran order")
    path = tmp_path / "a.zarr/.zarray"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))
    with pytest.raises(MetadataError, match=rf"a\.zarr.* no '{key}'"):
        opened(tmp_path / "a.zarr")
