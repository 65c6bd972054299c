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
from numcodecs.zstd import compress

from ilastik_lazy.chunks import grid_shape, overlaps, region_shape

__all__ = ["ZSTD_LEVEL", "encode_shard"]

# Level 1 takes as long as 3 on these data (libzstd is limited by the matching), and packs worse.
ZSTD_LEVEL = 3

_MISSING = 2**64 - 1


def encode_shard(block: np.ndarray[Any, Any], chunks: Sequence[int], shards: Sequence[int]) -> list[bytes]:
    """Encode `block`, the part of a shard that lies inside the array, as the parts of one file.

    Parameters
    ----------
    block
        Little-endian values in C order of axes; may be shorter than `shards` at the array's end.
    chunks
        Shape of a chunk; ragged chunks are filled up with zeros.
    shards
        Shape of a whole shard.
    """
    grid = grid_shape(shards, chunks)
    index = np.full((*grid, 2), _MISSING, "<u8")
    parts: list[bytes] = []
    offset = 0
    region = tuple(slice(0, length) for length in block.shape)
    for overlap in overlaps(region, chunks):
        piece = block[overlap.target]
        if not overlap.whole:
            whole = np.zeros(tuple(chunks), block.dtype)
            whole[tuple(slice(0, n) for n in region_shape(overlap.inside))] = piece
            piece = whole
        encoded = compress(np.ascontiguousarray(piece), ZSTD_LEVEL)
        index[overlap.chunk] = offset, len(encoded)
        offset += len(encoded)
        parts.append(encoded)
    table = index.tobytes()
    return [*parts, table, struct.pack("<I", google_crc32c.value(table))]
