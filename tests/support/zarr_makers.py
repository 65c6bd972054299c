"""Small Zarr arrays in every layout, and how they are opened."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.formats import zarr as zarr_format
from ilastik_lazy.formats.location import Location
from tests.support.makers import SHAPE, some_data

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
    if data is None and not options:
        data, files = _files_of(layout)
        for name, content in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        return data.copy()
    options = {"chunks": CHUNKS, "dtype": "<f4"} | LAYOUTS[layout] | options
    data = some_data(SHAPE, options["dtype"]) if data is None else data
    array = zarr.create_array(store=folder, shape=data.shape, config={"write_empty_chunks": True}, **options)
    array[...] = data
    return data


@functools.cache
def _files_of(layout):
    """An array and its files: zarr-python takes a tenth of a second to write them, and many tests begin with them."""
    data = some_data(SHAPE, LAYOUTS[layout].get("dtype", "<f4"))
    with tempfile.TemporaryDirectory() as folder:
        write_array(folder, layout, data)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return data, {path.relative_to(folder): path.read_bytes() for path in files}


def metadata_of(folder):
    return next(path for path in (folder / "zarr.json", folder / ".zarray") if path.exists())


def opened(folder, axes="zyxc", **limits):
    return zarr_format.open_image(Location.parse(folder), OpenOptions(axes, Limits(**limits)))


def edit(path, **changes):
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
