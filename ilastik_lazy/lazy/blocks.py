"""Lengths of the blocks of a dask array over a window of a source."""

from __future__ import annotations

import itertools
import math

from ilastik_lazy.core.grid import block_shape
from ilastik_lazy.core.parallel import block_bytes, threads_for
from ilastik_lazy.errors import LimitExceededError
from ilastik_lazy.lazy.indexing import SourceArray

__all__ = ["Lengths", "planned_lengths"]

Lengths = tuple[tuple[int, ...], ...]
"""Lengths of the blocks along each axis."""

# Below this share of wanted voxels in the chunks that are read, blocks are sized by what they
# decode and no longer by what they return.
_SPARSE = 0.25
_SPARSE_BYTES_MOST = 32 * 2**20
# dask keeps about 1 kB for each task; a 1 TB export takes 200,000.
_MOST_BLOCKS = 2_000_000
# Copying a plain chunk costs about an eighth of inflating one.
_PLAIN_COST = 8


def planned_lengths(array: SourceArray) -> Lengths:
    """Lengths of blocks along each axis of a window, at chunk borders of the source."""
    spec = array.source.spec
    spans = [part if isinstance(part, slice) else slice(part, part + 1) for part in array.window]
    first = [span.start // chunk * chunk for span, chunk in zip(spans, spec.chunks, strict=True)]
    touched = [
        min(-(-span.stop // chunk) * chunk, length) - start
        for span, chunk, length, start in zip(spans, spec.chunks, spec.shape, first, strict=True)
    ]
    wanted = math.prod(span.stop - span.start for span in spans)
    itemsize, cores = float(spec.dtype.itemsize), threads_for(None)
    least, most = block_bytes(spec)
    if wanted < _SPARSE * math.prod(touched):
        if spec.storage.compression == "none":
            # In a plain chunk only the slab along its first axis is read.
            slab = spec.storage.order.index(0) if spec.storage.order else 0
            itemsize *= (spans[slab].stop - spans[slab].start) / touched[slab] / _PLAIN_COST
        # A block for each core, or for each 32 MiB that are decoded: more of them cost more than they share.
        least = max(least, int(min(math.prod(touched) * itemsize / cores, _SPARSE_BYTES_MOST)))
    block = block_shape(touched, spec.chunks, itemsize, spec.dims, least=least, most=max(least, most))
    count = math.prod(-(-extent // max(length, 1)) for extent, length in zip(touched, block, strict=True))
    if count > _MOST_BLOCKS:
        raise LimitExceededError(
            f"{spec.storage.location} would take {count:,} tasks (shape {spec.shape}): pass chunks= with larger blocks"
        )
    lengths = []
    for part, span, start, length in zip(array.window, spans, first, block, strict=True):
        step = max(length, 1)
        if isinstance(part, slice):
            borders = [span.start, *range(start + step, span.stop, step), span.stop]
            lengths.append(tuple(high - low for low, high in itertools.pairwise(borders)))
    return tuple(lengths)
