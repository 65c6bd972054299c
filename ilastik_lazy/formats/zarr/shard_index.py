"""Decode the index of a Zarr shard, which states where its chunks lie.

https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

from ilastik_lazy.errors import CorruptChunkError

__all__ = ["NO_CHUNK", "ShardIndex"]

NO_CHUNK = 2**64 - 1
"""Offset and size, in the index of a shard, of a chunk that was left out."""


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Format of the index of a shard."""

    shape: tuple[int, ...]
    """Shape of the grid of chunks in one shard."""
    at_start: bool
    has_checksum: bool

    @property
    def nbytes(self) -> int:
        """Stored bytes: an offset and a size for each chunk, then the checksum."""
        return 16 * math.prod(self.shape) + 4 * self.has_checksum

    def decoded(self, stored: bytes, size: int, where: str) -> np.ndarray[Any, Any]:
        """Return offset and size of each chunk, an array with one more axis than the grid.

        Parameters
        ----------
        stored
            The first or last `nbytes` bytes of the shard, which has `size` bytes.
        where
            The shard, for messages.

        Raises
        ------
        CorruptChunkError
            The index is cut off, or its checksum is wrong.
        """
        if len(stored) < self.nbytes:
            raise CorruptChunkError(f"{where}: a shard of {size} bytes cannot hold its index of {self.nbytes}: cut off")
        table = stored[: 16 * math.prod(self.shape)]
        if self.has_checksum and int.from_bytes(stored[-4:], "little") != google_crc32c.value(table):
            raise CorruptChunkError(f"{where}: the index of the shard is damaged or cut off (its checksum is wrong)")
        return np.frombuffer(table, "<u8").reshape(*self.shape, 2)
