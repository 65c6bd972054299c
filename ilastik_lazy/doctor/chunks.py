"""Checks of the chunks themselves: those that were never written, and those that cannot be read.

Without `full`, a few chunks are read, spread over the image; with it, all of them, in threads.  What is read is also
compared with what the values should be.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, chunk_region, grid_shape, regions_of_blocks
from ilastik_lazy.core.parallel import Progress, in_order, threads_for, work_block
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import ArraySource, ArraySpec, CountedChunks, Storage
from ilastik_lazy.core.views.view import leaves_of
from ilastik_lazy.doctor.finding import Finding, Place
from ilastik_lazy.doctor.refusals import remedy_of
from ilastik_lazy.doctor.values import Seen
from ilastik_lazy.doctor.warned import never_written
from ilastik_lazy.errors import (
    CorruptChunkError,
    FormatError,
    IlastikLazyError,
    SourceIOError,
    UnsafeFileError,
    option,
    remedy,
)
from ilastik_lazy.formats.hdf5.chunks.absent import incomplete_message

__all__ = ["Reading", "damaged_chunks", "masked_chunks", "missing_chunks", "read_all", "read_some"]

# A chunk that cannot be read; other errors, such as a file that changed, end the check.
_OF_ONE_CHUNK = (FormatError, SourceIOError, UnsafeFileError)
_SAMPLES, _SAMPLE_BYTES = 5, 64 * 2**20
_MOST_PLACES = 1000


@dataclass(slots=True)
class Reading:
    """What came of reading chunks of one image."""

    spec: ArraySpec
    chunks: int = 0
    """Chunks that were read, or could not be."""
    damaged: int = 0
    first: IlastikLazyError | None = None
    """Error of the first chunk that could not be read."""
    places: list[Place] = field(default_factory=list)
    samples: list[np.ndarray[Any, Any]] = field(default_factory=list)
    """Values of a few chunks."""
    seen: Seen = field(default_factory=Seen)

    @property
    def is_complete(self) -> bool:
        """Whether all chunks were read."""
        return self.chunks >= self.count

    @property
    def count(self) -> int:
        """Number of all chunks of the image."""
        return math.prod(self.spec.grid)

    def add(self, region: Region, outcome: Seen | IlastikLazyError) -> None:
        """Note what came of `region`: its values, or the error of the one chunk that it is."""
        self.chunks += math.prod(grid_shape([part.stop - part.start for part in region], self.spec.chunks))
        if isinstance(outcome, Seen):
            self.seen.add(outcome)
            return
        self.damaged += 1
        self.first = self.first or outcome
        if len(self.places) < _MOST_PLACES:
            start, stop = tuple(part.start for part in region), tuple(part.stop for part in region)
            self.places.append(Place(start, stop, type(outcome).__name__, str(outcome)))


def missing_chunks(source: ArraySource) -> Iterator[Finding]:
    """Find chunks that were never written, of formats whose writers write all; reads their index.

    Raises
    ------
    IlastikLazyError
        The index is damaged.
    """
    for leaf in leaves_of(source):
        if isinstance(leaf, CountedChunks) and not isinstance(leaf, Storage) and (absent := leaf.count_absent()):
            spec, masked = leaf.spec, option("on_error", "mask")
            refused = remedy("to_ome_zarr and to_ilastik refuse", "convert and export refuse")
            message = incomplete_message(spec.storage.location, absent, math.prod(spec.grid))
            yield never_written(message, f"export the image again; {refused} it without {masked}")


def masked_chunks(path: str) -> Iterator[Finding]:
    """Find chunks that a conversion filled because the file it read was damaged: the converted image lists them."""
    from ilastik_lazy.writers.ome_zarr.commit.manifest import read_manifest
    from ilastik_lazy.writers.ome_zarr.commit.target import open_store

    if not os.path.isdir(path):
        return
    learned = (read_manifest(open_store(path, None)) or {}).get("learned")
    masked = learned.get("masked") if isinstance(learned, dict) else None
    if isinstance(masked, list) and masked:
        yield Finding(
            "masked-chunks",
            "warning",
            f"{counted(len(masked), 'chunk')} of the source could not be read when this image was made: {masked[0]}",
            f"their voxels are NaN, or 0 in images of integers ({option('on_error', 'mask')})",
            "convert an undamaged copy of the source again",
        )


def read_some(source: ArraySource) -> Reading:
    """Read up to five chunks: the first, the last, and some between them."""
    spec = source.spec
    made = Reading(spec)
    if not spec.nbytes:
        return made
    most = max(1, min(_SAMPLES, _SAMPLE_BYTES // (math.prod(spec.chunks) * spec.dtype.itemsize)))
    for number in sorted({int(number) for number in np.linspace(0, made.count - 1, most)}):
        position = list(map(int, np.unravel_index(number, spec.grid)))
        region = chunk_region(position, spec.chunks, spec.shape)
        for part, outcome in _outcomes(source, region, made.samples):
            made.add(part, outcome)
    return made


def read_all(source: ArraySource, *, workers: int | None = None, progress: Progress | None = None) -> Reading:
    """Read every chunk, in threads."""
    spec = source.spec
    made = read_some(source)
    made = Reading(spec, samples=made.samples)
    if not spec.nbytes:
        return made
    block, nbytes = work_block(spec), 0
    blocks = math.prod(grid_shape(spec.shape, block))
    regions = regions_of_blocks(spec.shape, block)
    results = in_order(lambda region: list(_outcomes(source, region)), regions, threads_for(workers))
    for done, (region, outcomes) in enumerate(results, 1):
        for part, outcome in outcomes:
            made.add(part, outcome)
        nbytes += math.prod(part.stop - part.start for part in region) * spec.dtype.itemsize
        if progress is not None:
            progress(done, blocks, nbytes)
    return made


def _outcomes(
    source: ArraySource, region: Region, samples: list[np.ndarray[Any, Any]] | None = None
) -> Iterator[tuple[Region, Seen | IlastikLazyError]]:
    """Read `region`, and what can be read of it if some chunk cannot: halved until the damaged chunks are alone."""
    try:
        values = source.read(region)
    except _OF_ONE_CHUNK as error:
        halves = _halves(region, source.spec.chunks)
        if not halves:
            yield region, error
        for half in halves:
            yield from _outcomes(source, half, samples)
        return
    if samples is not None:
        samples.append(values)
    yield region, Seen.of(values, source.spec)


def _halves(region: Region, chunks: Sequence[int]) -> list[Region]:
    """Split a region along the border of chunks in its middle; into nothing if it is one chunk."""
    counts = [-(-(part.stop - part.start) // chunk) for part, chunk in zip(region, chunks, strict=True)]
    axis = max(range(len(counts)), key=counts.__getitem__)
    if counts[axis] == 1:
        return []
    part = region[axis]
    middle = part.start + counts[axis] // 2 * chunks[axis]
    return [
        (*region[:axis], half, *region[axis + 1 :]) for half in (slice(part.start, middle), slice(middle, part.stop))
    ]


def damaged_chunks(reading: Reading) -> Iterator[Finding]:
    """Report the chunks that cannot be read."""
    if reading.first is None:
        return
    of = f"of {reading.count:,}" if reading.is_complete else f"of {reading.chunks:,} that were tried"
    how = remedy_of(reading.first)
    if isinstance(reading.first, CorruptChunkError):
        location = reading.spec.storage.location
        how += "; or go on with these chunks filled and listed: " + remedy(
            f"il.to_ome_zarr({location!r}, 'new.zarr', on_error='mask')",
            f"ilastik-lazy convert {shlex.quote(location)} new.zarr --on-error mask",
        )
    if not reading.is_complete:
        how += "; " + remedy("full=True finds all of them", "--full finds all of them")
    yield Finding(
        "damaged-chunks",
        "error",
        f"{counted(reading.damaged, 'chunk')} {of} cannot be read: {reading.first}",
        "reading a region that contains one of them fails with this error; all other chunks can be read",
        how,
        error=type(reading.first).__name__,
        places=tuple(reading.places),
    )
