"""Move chunks without compressing them again: HDF5's zlib streams become Zarr's gzip streams.

Both hold the same deflate bits, https://www.rfc-editor.org/rfc/rfc1950 and rfc1952: a zlib stream has 2 bytes
before and an Adler-32 after them, a gzip stream 10 bytes before, a CRC-32 and the length after.  The
CRC is computed from the bytes that are decoded for the pyramid anyway, and whose Adler-32 is right.
"""

from __future__ import annotations

import struct
from typing import Any

import deflate
import numpy as np

from ilastik_lazy.core.spec import COMPUTED, ArraySource, EncodedChunks
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index

__all__ = ["gzip_from_zlib", "is_zlib", "why_recompress"]

# No name, no time, "unknown" system: the same bytes for the same chunk.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def gzip_from_zlib(stream: bytes, decoded: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes | None:
    """Wrap the same deflate bits as a gzip stream; None if they have to be compressed again.

    Parameters
    ----------
    stream
        One zlib stream.
    decoded
        The bytes that it inflates to.
    """
    # If anything follows the stream, the checksum is not at its end.
    if not is_zlib(stream):
        return None
    if stream[-4:] != struct.pack(">I", deflate.adler32(decoded)):
        return None
    trailer = struct.pack("<II", deflate.crc32(decoded), decoded.size & 0xFFFFFFFF)
    return b"".join((_HEADER, memoryview(stream)[2:-4], trailer))


def is_zlib(stream: bytes) -> bool:
    """Whether `stream` begins as a zlib stream without a dictionary."""
    return len(stream) >= 6 and stream[0] & 15 == 8 and not stream[1] & 32


def why_recompress(source: ArraySource, permutation: Index, chunks: Index) -> str:
    """Say why the chunks of `source` cannot be moved as they are; empty if they can.

    Parameters
    ----------
    permutation
        ``target axis k`` is ``source axis permutation[k]``.
    chunks
        Chunks of the target.
    """
    spec = source.spec
    if not isinstance(source, EncodedChunks) or source.chunk_codec != "zlib":
        if spec.storage.access == COMPUTED:
            return "the array is computed by dask or in memory, so that there are no stored chunks"
        if spec.storage.compression == "none":
            return "the source is not compressed"
        if spec.storage.compression != "gzip":
            return f"the source is compressed by {spec.storage.compression}, not by gzip alone"
        if spec.storage.access != "direct":
            return (
                f"the source has chunks of gzip that are not chunks of the image (read through {spec.storage.access})"
            )
        return "only gzip chunks of one HDF5 dataset, whole or cut at the borders of its chunks, are kept"
    if spec.dtype != spec.dtype.newbyteorder("<"):
        return "the source is big-endian"
    if (found := tuple(spec.chunks[i] for i in permutation)) != chunks:
        before, after = ("x".join(map(str, lengths)) for lengths in (found, chunks))
        return f"chunks of {before} become chunks of {after}, which fit the image and viewers"
    # An axis of length 1 in the chunk may be anywhere: the order of the voxels stays.
    places = spec.storage.order or tuple(range(spec.ndim))
    long = [places[i] for i in permutation if spec.chunks[i] > 1]
    if long != sorted(long):
        stored = "".join(spec.dims[places.index(place)] for place in range(spec.ndim))
        return f"the source stores {stored}, in another order than OME-Zarr"
    return ""
