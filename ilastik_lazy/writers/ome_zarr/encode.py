"""Encode and decode chunks and shards of Zarr.

A chunk is stored whole, in C order, compressed.  In Zarr v2 each chunk is a file; a shard of Zarr v3 holds its
chunks one after the other, then an index of (offset, size) pairs, then the CRC-32C of the index:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import google_crc32c
import numpy as np
from numcodecs import blosc
from numcodecs.zstd import compress as zstd_compress

from ilastik_lazy.core.grid import grid_shape, overlaps, region_shape
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.formats.zarr.codecs import chunk_codec
from ilastik_lazy.formats.zarr.shard_index import NO_CHUNK, ShardIndex
from ilastik_lazy.storage.compression.deflating import gzip_deflater
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = [
    "BLOSC_LEVEL",
    "CODECS",
    "ZSTD_LEVEL",
    "Codec",
    "blosc_shuffles",
    "compressor_of",
    "decode_chunks",
    "decode_shard",
    "encode_chunks",
    "encode_shard",
    "whole_chunks",
]

Codec = Literal["zstd", "gzip", "blosc", "none"]
"""How each chunk is compressed; ``blosc`` is zstd inside Blosc's frame, which the oldest readers of Zarr support."""

CODECS: tuple[Codec, ...] = get_args(Codec)

# Level 1 takes as long as 3 on these data (libzstd is limited by the matching), and compresses less.
ZSTD_LEVEL = 3
# Blosc's level 3 is zstd's 5: half as fast as 1 for a fifth less.
BLOSC_LEVEL = 1


Array = np.ndarray[Any, Any]


def blosc_shuffles(dtype: np.dtype[Any]) -> bool:
    """Whether Blosc sorts the bits: labels then take 0.6 of the bytes, probabilities in hundredths 2.3 times more."""
    return dtype.kind != "f"


def compressor_of(codec: Codec, dtype: np.dtype[Any]) -> Callable[[Array], bytes]:
    """Return the function that encodes one whole chunk in C order."""
    if codec == "zstd":
        return lambda chunk: bytes(zstd_compress(chunk, ZSTD_LEVEL))
    if codec == "gzip":
        deflated = gzip_deflater()
        return lambda chunk: bytes(deflated(chunk))  # libdeflate returns a bytearray, which google_crc32c refuses
    if codec == "blosc":
        shuffle = blosc.BITSHUFFLE if blosc_shuffles(dtype) else blosc.NOSHUFFLE
        return lambda chunk: bytes(blosc.compress(chunk, b"zstd", BLOSC_LEVEL, shuffle))
    return lambda chunk: chunk.tobytes()


def whole_chunks(block: Array, chunks: Sequence[int]) -> Iterator[tuple[Index, Array]]:
    """Each chunk of `block` and its place there; a chunk at the end of the array is filled up with zeros."""
    region = tuple(slice(0, length) for length in block.shape)
    for overlap in overlaps(region, chunks):
        piece = block[overlap.target]
        if not overlap.whole:
            whole = np.zeros(tuple(chunks), block.dtype)
            whole[tuple(slice(0, n) for n in region_shape(overlap.inside))] = piece
            piece = whole
        yield overlap.chunk, np.ascontiguousarray(piece)


def encode_chunks(
    block: Array, chunks: Sequence[int], codec: Codec, streams: Mapping[Index, bytes] | None = None
) -> Iterator[tuple[Index, bytes]]:
    """Encode each chunk of `block`; yields its place there and its bytes.

    Parameters
    ----------
    block
        Little-endian values in C order of axes, the part of a working block that lies inside the array.
    chunks
        Shape of a chunk; ragged chunks are filled up with zeros.
    streams
        Chunks that are encoded already, by place.
    """
    compress = compressor_of(codec, block.dtype)
    if not streams:
        for place, chunk in whole_chunks(block, chunks):
            yield place, compress(chunk)
        return
    region = tuple(slice(0, length) for length in block.shape)
    for overlap in overlaps(region, chunks):
        if (stream := streams.get(overlap.chunk)) is None:
            ((_, chunk),) = whole_chunks(block[overlap.target], chunks)
            stream = compress(chunk)
        yield overlap.chunk, stream


def decode_chunks(
    encoded: Iterable[tuple[Index, bytes]],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunks: Sequence[int],
    codec: Codec,
) -> Array:
    """Decode the block of `shape` that `encode_chunks` has encoded.

    Raises
    ------
    CorruptChunkError
        A chunk is damaged.
    """
    block, whole = np.empty(tuple(shape), dtype), np.empty(tuple(chunks), dtype)
    decoder = chunk_codec([] if codec == "none" else [(codec, {})], "what was written")
    for place, data in encoded:
        try:
            decoder.decode_into(data, whole.reshape(-1).view(np.uint8))
        except CorruptChunkError as error:
            raise CorruptChunkError(f"the chunk {place} is damaged ({error})") from error
        target = tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, chunks, strict=True))
        part = block[target]
        part[...] = whole[tuple(slice(0, n) for n in part.shape)]
    return block


def encode_shard(
    block: Array,
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
    index = np.full((*grid_shape(shards, chunks), 2), NO_CHUNK, "<u8")
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
) -> Array:
    """Decode the block of `shape` that `encode_shard` has encoded.

    Raises
    ------
    CorruptChunkError
        The shard is damaged, or holds too few chunks.
    """
    index = ShardIndex(grid_shape(shards, chunks), at_start=False, has_checksum=True)
    table = index.decoded(data[-index.nbytes :], len(data), "what was written")
    encoded = []
    for place in np.ndindex(grid_shape(shape, chunks)):
        offset, size = map(int, table[place])
        if offset + size > len(data):
            raise CorruptChunkError(f"the chunk {place} is missing in its shard")
        encoded.append((place, data[offset : offset + size]))
    return decode_chunks(encoded, shape, dtype, chunks, codec)
