"""Write an image to N5 as ilastik's exporter does: one file for each block, written by all threads.

The blocks are those of its HDF5 files, cut off at the edges of the image, with big-endian elements;
N5 lists dimensions from the fastest one (https://github.com/saalfeldlab/n5).
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import struct
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import axis_names
from ilastik_lazy.core.grid import Region, overlaps, region_shape
from ilastik_lazy.core.parallel import in_order
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.storage.compression.deflating import Deflate, gzip_deflater
from ilastik_lazy.storage.files import make_directories, write_new, writing
from ilastik_lazy.writers.ilastik.hdf5 import ImageLayout, checked_read, regions_in_turn
from ilastik_lazy.writers.progress import Counter, Progress

__all__ = ["n5_attributes", "write_n5"]

_FILE = "attributes.json"


def n5_attributes(layout: ImageLayout) -> dict[str, Any]:
    """The ``attributes.json`` of the dataset, as ilastik writes it."""
    found = {name: v.tolist() if hasattr(v, "tolist") else v for name, v in layout.attributes().items()}
    return found | {
        "axes": "".join(axis_names(layout.axes))[::-1],
        "blockSize": list(layout.chunks[::-1]),
        "compression": {"level": 1, "type": "gzip"} if layout.compression else {"type": "raw"},
        "dataType": layout.dtype.name,
        "dimensions": list(layout.shape[::-1]),
    }


def write_n5(
    folder: str,
    source: ArraySource,
    layout: ImageLayout,
    *,
    workers: int,
    progress: Progress | None = None,
) -> int:
    """Write `source` into a new, empty folder, and return the number of bytes; memory is bound by `workers`.

    Without an internal path in `layout`, the folder is that of the dataset, inside an N5.

    Raises
    ------
    DestinationError
        The system refused to write; the contents of the folder are then useless.
    """
    dataset = os.path.join(folder, *layout.internal_path.split("/"))
    with writing(folder):
        make_directories(dataset)
        root = json.dumps({"n5": "2.0.0"}, indent=4).encode()
        written = write_new(os.path.join(folder, _FILE), root) if layout.internal_path else 0
        text = json.dumps(n5_attributes(layout), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        written += write_new(os.path.join(dataset, _FILE), text.encode())
    make = functools.partial(_write_blocks, dataset, source, layout, gzip_deflater() if layout.compression else None)
    spec = source.spec
    counter = Counter(spec.nbytes, progress)
    # Closed at once when a block fails, or `progress` raises: no thread outlives this call.
    with contextlib.closing(in_order(make, regions_in_turn(spec, layout, workers), workers)) as results:
        for region, nbytes in results:
            written += nbytes
            counter.add(math.prod(region_shape(region)) * spec.dtype.itemsize)
    return written


def _write_blocks(
    dataset: str, source: ArraySource, layout: ImageLayout, encode: Deflate | None, region: Region
) -> int:
    """Write each block in `region`, also one of zeros, so that a missing block is a lost one."""
    values, written = checked_read(source, region), 0
    stored = layout.dtype.newbyteorder(">")
    for overlap in overlaps(region, layout.chunks):
        block = np.ascontiguousarray(values[overlap.target], stored)
        # Mode 0: every element is there, and nothing else.
        head = struct.pack(f">HH{block.ndim}I", 0, block.ndim, *block.shape[::-1])
        data = block.reshape(-1).view(np.uint8).data if encode is None else encode(block)
        path = os.path.join(dataset, *map(str, overlap.chunk[::-1]))
        with writing(path):
            make_directories(os.path.dirname(path))
            written += write_new(path, head, data)
    return written
