"""Encode the tiles of a shard, write them at the end of the file, and note where they lie."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import axis_names
from ilastik_lazy.core.grid import grid_shape, overlaps
from ilastik_lazy.storage.compression.deflating import Deflate
from ilastik_lazy.storage.new_file import NewFile
from ilastik_lazy.writers.ome_zarr.commit.journal import Unit
from ilastik_lazy.writers.ome_zarr.conversion.shards import Intake
from ilastik_lazy.writers.ome_zarr.metadata.statistics import Statistics
from ilastik_lazy.writers.ome_zarr.plan.plan import Plan, Shard
from ilastik_lazy.writers.ome_zarr.plan.shapes import Index
from ilastik_lazy.writers.tiff.container import tile_shape

__all__ = ["TileWriter"]

_Tiles = list[tuple[Index, bytes | bytearray | memoryview]]


class TileWriter:
    """Writes tiles in the order in which they come (see `write_shards`)."""

    def __init__(self, file: NewFile, plan: Plan, deflate: Deflate | None) -> None:
        self._file, self._deflate, self._lock = file, deflate, threading.Lock()
        self._places = [np.zeros((*grid_shape(level.shape, level.chunks), 2), np.int64) for level in plan.levels]
        # Pages are numbered by all axes before y.
        self._page_axes = axis_names(plan.levels[0].axes).index("y")

    def encode(self, shard: Shard, intake: Intake) -> _Tiles:
        """Return place and bytes of each tile; what lies beyond the edge of the image is 0."""
        found: _Tiles = []
        shape = tile_shape(shard.level)
        for overlap in overlaps(tuple(slice(0, n) for n in intake.block.shape), shard.level.chunks):
            tile = intake.block[overlap.target]
            if tile.shape != shape:
                padded = np.zeros(shape, tile.dtype)
                padded[tuple(slice(0, n) for n in tile.shape)] = tile
                tile = padded
            tile = np.ascontiguousarray(tile)
            data = tile.reshape(-1).view(np.uint8).data if self._deflate is None else self._deflate(tile)
            found.append((tuple(a + b for a, b in zip(shard.first_chunk, overlap.chunk, strict=True)), data))
        return found

    def write(
        self, shard: Shard, files: _Tiles, statistics: Statistics | None = None, masked: Sequence[str] = ()
    ) -> Unit:
        """Write the tiles that `encode` returned."""
        places, written = self._places[shard.number], 0
        with self._lock:
            start = self._file.tell()
            for place, data in files:
                places[place] = self._file.tell(), len(data)
                written += self._file.write(data)
            self._file.check()
        self._file.begin_sync(start, written)
        return Unit(shard.name, written, 0, statistics, tuple(masked))

    def places(self) -> list[np.ndarray[Any, Any]]:
        """Return offset and size of each tile of each level, as (pages, tiles, 2)."""
        return [table.reshape(math.prod(table.shape[: self._page_axes]), -1, 2) for table in self._places]
