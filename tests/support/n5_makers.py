"""Small N5 folders, written with nothing but the specification at hand: every compression, every kind of edge."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import blosc, lz4, zstd

from ilastik_lazy.core.options import DEFAULTS, Limits, OpenOptions
from ilastik_lazy.formats import n5
from ilastik_lazy.formats.location import Location
from tests.support.makers import axistags

SHAPE, CHUNKS = (7, 9, 10, 2), (3, 4, 4, 1)  # never divides the shape


def _streamed_zstd(data: bytes) -> bytes:
    """A frame without its size, as streaming writers make: one stored block (RFC 8878)."""
    return b"\x28\xb5\x2f\xfd\x00\x58" + (len(data) << 3 | 1).to_bytes(3, "little") + data


COMPRESSIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "raw": ({"type": "raw"}, bytes),
    "gzip": ({"type": "gzip", "level": 1}, gzip.compress),
    "zlib": ({"type": "gzip", "useZlib": True}, zlib.compress),
    "bzip2": ({"type": "bzip2"}, bz2.compress),
    "xz": ({"type": "xz"}, lzma.compress),
    "zstd": ({"type": "zstd"}, zstd.compress),
    "streamed zstd": ({"type": "zstd"}, _streamed_zstd),
    "lz4": ({"type": "lz4"}, lambda data: lz4.compress(data)[4:]),
    "blosc": (
        {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
        lambda data: blosc.compress(data, b"lz4", 5, 1),
    ),
}


def write_dataset(
    folder: Path,
    data: np.ndarray[Any, Any],
    *,
    axes: str | None = "zyxc",
    chunks: tuple[int, ...] = CHUNKS,
    compression: str = "gzip",
    padded: bool = False,
    attributes: dict[str, Any] | None = None,
) -> np.ndarray[Any, Any]:
    """Write one dataset as z5 does; blocks of zeros are left out."""
    said, encode = COMPRESSIONS[compression]
    folder.mkdir(parents=True, exist_ok=True)
    stated = {
        "dimensions": data.shape[::-1],
        "blockSize": chunks[::-1],
        "dataType": data.dtype.name,
        "compression": said,
    }
    if axes is not None:
        stated |= {"axes": axes[::-1], "axistags": axistags(axes)}
    (folder / "attributes.json").write_text(json.dumps(stated | (attributes or {})))
    for index in itertools.product(*(range(-(-n // c)) for n, c in zip(data.shape, chunks, strict=True))):
        block = data[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))]
        if not block.any():
            continue
        if padded:
            whole = np.zeros(chunks, data.dtype)
            whole[tuple(map(slice, block.shape))] = block
            block = whole
        head = struct.pack(f">HH{data.ndim}I", 0, data.ndim, *block.shape[::-1])
        path = folder.joinpath(*map(str, index[::-1]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + encode(block.astype(block.dtype.newbyteorder(">")).tobytes()))
    return data


def write_n5(path: Path, data: np.ndarray[Any, Any], internal_path: str = "exported_data", **options: Any) -> Any:
    """Write an N5 with one dataset."""
    path.mkdir(exist_ok=True)
    (path / "attributes.json").write_text('{"n5": "2.0.0"}')
    return write_dataset(path / internal_path, data, **options)


def opened(path: Path, inside: str | None = None, axes: str | None = None, limits: Limits | None = None) -> Any:
    location = Location.parse(path, inside)
    assert n5.recognises(location, DEFAULTS)
    return n5.open_image(location, OpenOptions(axes, limits or Limits()))


def values_of(source: Any) -> np.ndarray[Any, Any]:
    return source.read(tuple(slice(0, n) for n in source.spec.shape))
