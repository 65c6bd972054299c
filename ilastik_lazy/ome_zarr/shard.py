"""One shard of a Zarr v3 array, as bytes.

A shard holds its chunks one after the other, then an index of (offset, size) pairs, then the
CRC-32C of the index: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np

from ilastik_lazy.chunks import grid_shape
from ilastik_lazy.ome_zarr.chunk_encoding import Codec, encode_chunks

__all__ = ["encode_shard"]

_MISSING = 2**64 - 1


def encode_shard(
    block: np.ndarray[Any, Any], chunks: Sequence[int], shards: Sequence[int], codec: Codec = "zstd"
) -> list[bytes]:
    """Encode `block`, the part of a shard that lies inside the array, as the parts of one file.

    Parameters
    ----------
    block, chunks, codec
        As in `encode_chunks`.
    shards
        Shape of a whole shard.
    """
    index = np.full((*grid_shape(shards, chunks), 2), _MISSING, "<u8")
    parts: list[bytes] = []
    offset = 0
    for place, encoded in encode_chunks(block, chunks, codec):
        index[place] = offset, len(encoded)
        offset += len(encoded)
        parts.append(encoded)
    table = index.tobytes()
    return [*parts, table, struct.pack("<I", google_crc32c.value(table))]
