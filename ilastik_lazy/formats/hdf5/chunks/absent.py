"""Warn about chunks that were never written: an export that was stopped has them.

A file with few chunks is counted when it is opened, here; a larger one when the index of its chunks is read.
"""

from __future__ import annotations

import math

import h5py

from ilastik_lazy.core.grid import grid_shape
from ilastik_lazy.errors import IncompleteSourceWarning
from ilastik_lazy.formats.location import Location
from ilastik_lazy.warning import warn

__all__ = ["COUNTED_AT_OPENING", "incomplete_message", "warn_of_absent_chunks"]

COUNTED_AT_OPENING = 20_000
"""Up to so many chunks are counted when a file is opened (2 ms); of more, when its index is read."""


def incomplete_message(location: Location | str, absent: int, count: int) -> str:
    """Return the warning about chunks that were never written."""
    return (
        f"{location}: {absent} of {count} chunks were never written and read as the fill value"
        " (ilastik writes all of them, so the export may have been stopped)"
    )


def warn_of_absent_chunks(dataset: h5py.Dataset, location: Location, is_direct: bool) -> None:
    """Warn about chunks that were never written, since they read as the fill value."""
    if dataset.chunks is None:
        return
    count = math.prod(grid_shape(dataset.shape, dataset.chunks))
    # A direct source counts those of a larger file when it reads their index.
    if is_direct and count > COUNTED_AT_OPENING:
        return
    if (absent := count - dataset.id.get_num_chunks()) > 0:
        warn(incomplete_message(location, absent, count), IncompleteSourceWarning)
