"""One shard of a Zarr v3 array, as bytes.

A shard holds its chunks one after the other, then an index of (offset, size) pairs, then the
CRC-32C of the index: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np

from ilastik_lazy.core.grid import grid_shape
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.writers.ome_zarr.encode.chunks import Codec, decode_chunks, encode_chunks
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = ["decode_shard", "encode_shard"]

_MISSING = 2**64 - 1


def encode_shard(
    block: np.ndarray[Any, Any],
    chunks: Sequence[int],
    shards: Sequence[int],
    codec: Codec = "zstd",
    streams: Mapping[Index, bytes] | None = None,
) -> list[bytes]:
    """Encode `block`, the part of a shard that lies inside the array, as the parts of one file.

    Parameters
    ----------
    block, chunks, codec, streams
        As in `encode_chunks`.
    shards
        Shape of a whole shard.
    """
    index = np.full((*grid_shape(shards, chunks), 2), _MISSING, "<u8")
    parts: list[bytes] = []
    offset = 0
    for place, encoded in encode_chunks(block, chunks, codec, streams):
        index[place] = offset, len(encoded)
        offset += len(encoded)
        parts.append(encoded)
    table = index.tobytes()
    return [*parts, table, struct.pack("<I", google_crc32c.value(table))]


def decode_shard(
    data: bytes,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunks: Sequence[int],
    shards: Sequence[int],
    codec: Codec = "zstd",
) -> np.ndarray[Any, Any]:
    """The block of `shape` that `encode_shard` made `data` of.

    Raises
    ------
    CorruptChunkError
        The shard is damaged, or holds too few chunks.
    """
    grid = grid_shape(shards, chunks)
    table = data[-16 * math.prod(grid) - 4 : -4]
    if len(table) != 16 * math.prod(grid) or struct.pack("<I", google_crc32c.value(table)) != data[-4:]:
        raise CorruptChunkError("the index of a shard is damaged")
    index = np.frombuffer(table, "<u8").reshape(*grid, 2)
    encoded = []
    for place in np.ndindex(grid_shape(shape, chunks)):
        offset, size = (int(number) for number in index[place])
        if offset + size > len(data):
            raise CorruptChunkError(f"the chunk {place} is missing in its shard")
        encoded.append((place, data[offset : offset + size]))
    return decode_chunks(encoded, shape, dtype, chunks, codec)
