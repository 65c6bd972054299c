"""Undo HDF5's filters on the bytes of one chunk, in any thread, and never trust them.

A chunk inflates to exactly its size or is an error: h5py returns uninitialised memory for a
stream that ends early, and a naive reader lets 8 kB grow to a gigabyte.
Filters are numbered as in https://support.hdfgroup.org/documentation/index.html (registered filters).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ilastik_lazy.core.library_errors import require_room
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.storage.compression.inflating import Bytes, StreamError, inflate

__all__ = ["PLUGIN_NAMES", "Pipeline"]

_DEFLATE, _SHUFFLE, _FLETCHER32, _SCALEOFFSET = 1, 2, 3, 6
_FILTER_NAMES = {
    _DEFLATE: "gzip", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32",
    4: "szip", 5: "nbit", _SCALEOFFSET: "scaleoffset", 32000: "lzf",
}  # fmt: skip
PLUGIN_NAMES = {
    307: "bzip2", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz",
    32018: "fcidecomp", 32024: "sz3", 32026: "blosc2", 32028: "sperr",
}  # fmt: skip
"""Filters that the package hdf5plugin brings."""


def _unshuffle(data: Bytes, out: Bytes, itemsize: int) -> None:
    """Undo the shuffle filter: byte k of all elements lies together in `data`; bytes of no whole element are copied."""
    count = out.size // itemsize
    planes, elements = data[: count * itemsize].reshape(itemsize, count), out[: count * itemsize]
    for k in range(itemsize):
        elements[k::itemsize] = planes[k]
    out[count * itemsize :] = data[count * itemsize :]


def _checked_fletcher32(data: Bytes) -> Bytes:
    """Verify the checksum in the last 4 bytes and cut it off; numcodecs makes a copy meanwhile."""
    from numcodecs.fletcher32 import Fletcher32

    if data.size <= 4:
        raise StreamError(f"{data.size} bytes are too few to hold their own checksum")
    try:
        Fletcher32().decode(np.ascontiguousarray(data))
    except RuntimeError as error:
        raise StreamError("its fletcher32 checksum is wrong") from error
    return data[:-4]


def _check_scaleoffset(data: Bytes, count: int, itemsize: int) -> None:
    """Raise unless all `count` elements are there: 21 bytes, of which 4 say how many bits each has, and the bits.

    libhdf5 reads on behind a stream that ends early (H5Zscaleoffset.c in https://github.com/HDFGroup/hdf5).
    """
    bits = int.from_bytes(data[:4].tobytes(), "little")
    least = 21 + (count * bits + 7) // 8
    if bits > 8 * itemsize or data.size < least:
        raise StreamError(f"its {data.size} bytes are too few for {count} elements of {bits} bits")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The filters of one dataset, in the order of writing, and the size of its elements."""

    filters: tuple[int, ...]
    itemsize: int

    @property
    def name(self) -> str:
        """Such as ``shuffle+gzip``; ``none`` without filters."""
        return "+".join((_FILTER_NAMES | PLUGIN_NAMES).get(f, f"filter {f}") for f in self.filters) or "none"

    @property
    def of_plugins(self) -> tuple[int, ...]:
        """Filters that HDF5 itself lacks."""
        return tuple(f for f in self.filters if f not in _FILTER_NAMES)

    @property
    def buffers(self) -> int:
        """See `Storage.buffers`: as stored, decoded, and between two filters; of a checksum, what is checked."""
        return 2 + len(self.filters) - (bool(self.filters) and self.filters[0] != _FLETCHER32)

    @property
    def is_supported(self) -> bool:
        """Whether `decode_into` can undo all of these filters."""
        known = (_DEFLATE, _SHUFFLE, _FLETCHER32)
        return all(f in known for f in self.filters) and self.filters.count(_DEFLATE) <= 1

    @property
    def is_checkable(self) -> bool:
        """Whether `check` detects streams that libhdf5 reads beyond their end."""
        return self.is_supported or self.filters == (_SCALEOFFSET,)

    def check(self, data: bytes, mask: int, scratch: Bytes) -> None:
        """Raise `CorruptChunkError` where `decode_into` would, or where libhdf5 would read beyond the stream."""
        if self.is_supported:
            self.decode_into(data, mask, scratch)
            return
        try:
            if mask & 1:
                self._decode(np.frombuffer(data, np.uint8), [], scratch)
            else:
                _check_scaleoffset(np.frombuffer(data, np.uint8), scratch.size // self.itemsize, self.itemsize)
        except StreamError as error:
            raise CorruptChunkError(str(error)) from error

    def decode_into(self, data: bytes, mask: int, out: Bytes) -> None:
        """Decode the stored bytes `data` of one chunk into `out`, a contiguous view of all its bytes.

        Parameters
        ----------
        data
            The chunk as stored.
        mask
            Bit k says that filter k was left out for this chunk.
        out
            Where the decoded bytes go; must be filled exactly.

        Raises
        ------
        CorruptChunkError
            The stream is damaged, too short or too long, or a checksum is wrong.
        """
        active = [f for k, f in enumerate(self.filters) if not mask >> k & 1]
        try:
            if active == [_DEFLATE]:
                inflate(data, out)
                return
            self._decode(np.frombuffer(data, np.uint8), active, out)
        except StreamError as error:
            require_room(out.size)
            raise CorruptChunkError(str(error)) from error

    def _decode(self, data: Bytes, active: list[int], out: Bytes) -> None:
        for position in range(len(active) - 1, -1, -1):
            if active[position] == _FLETCHER32:
                data = _checked_fletcher32(data)
            elif active[position] == _DEFLATE:
                # A checksum filter before gzip adds its 4 bytes to what gzip saw.
                extra = 4 * active[:position].count(_FLETCHER32)
                inflated = np.empty(out.size + extra, np.uint8) if position else out
                inflate(data, inflated)
                data = inflated
            else:
                assert active[position] == _SHUFFLE  # see `is_supported`
                unshuffled = out if position == 0 and data.size == out.size else np.empty_like(data)
                _unshuffle(data, unshuffled, self.itemsize)
                data = unshuffled
        if data.size != out.size:
            raise StreamError(f"it holds {data.size} bytes instead of {out.size}")
        if data is not out:
            out[:] = data
