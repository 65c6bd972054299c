"""Interpret the metadata of one dataset, in any format: units, range, packing, sizes.

Each format finds them in its own way; what they mean, and how malformed values are handled, is defined here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import grid_shape
from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.views.packing import Packing, packing_from
from ilastik_lazy.errors import LimitExceededError, MetadataError, remedy
from ilastik_lazy.formats.metadata.json_text import json_value
from ilastik_lazy.warning import warn

__all__ = [
    "channel_count",
    "check_chunks",
    "check_shape",
    "check_sizes",
    "drange_from",
    "packing_of",
    "pieces",
    "text_from",
    "units_from",
]

# Pieces in which an array without chunks is read: near ilastik's own chunk size.
_PIECE_BYTES = 2**20


def check_shape(where: object, shape: Sequence[int], limits: Limits, ranks: Sequence[int] = (2, 3, 4, 5)) -> None:
    """Raise unless `shape` is that of an image whose coordinates fit into memory.

    Raises
    ------
    MetadataError
        The number of dimensions is not one of `ranks`.
    LimitExceededError
        An axis is too long.
    """
    if len(shape) not in ranks:
        raise MetadataError(f"{where} is not an image: it has {len(shape)} dimensions, expected 2 to 5")
    if max(shape, default=0) > limits.axis_length:
        raise LimitExceededError(
            f"{where} has an axis of {max(shape)} elements, more than {limits.axis_length}"
            + remedy(": pass limits= if that is meant")
        )


def check_chunks(where: object, shape: Sequence[int], chunks: Sequence[int], itemsize: int, limits: Limits) -> None:
    """Check the chunks of a grid (see `check_sizes`)."""
    check_sizes(where, "chunks", math.prod(chunks) * itemsize, math.prod(grid_shape(shape, chunks)), limits)


def check_sizes(where: object, what: str, nbytes: int, count: int, limits: Limits) -> None:
    """Raise `LimitExceededError` if a chunk is too large to decode, or there are too many to list.

    Parameters
    ----------
    what
        What the chunks of this format are called, in the plural.
    nbytes
        Decoded size of one.
    count
        Number of chunks.
    """
    if nbytes > limits.chunk_bytes:
        raise LimitExceededError(f"{where} has {what} of {nbytes} bytes, more than {limits.chunk_bytes}")
    if count > limits.chunk_count:
        raise LimitExceededError(f"{where} has {count} {what}, more than {limits.chunk_count}")


def pieces(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Choose whole trailing axes up to about 1 MiB: what lies together in a contiguous layout.

    >>> pieces((100, 1000, 1000), 4)
    (1, 262, 1000)
    """
    found, size = list(shape), itemsize
    for axis in reversed(range(len(shape))):
        found[axis] = max(1, min(shape[axis], _PIECE_BYTES // size))
        size *= found[axis]
    return tuple(found)


def channel_count(axes: Sequence[Axis], shape: Sequence[int]) -> int:
    """Return the length of the ``c`` axis; 1 without one."""
    return next((length for axis, length in zip(axes, shape, strict=True) if axis.name == "c"), 1)


def units_from(value: object, where: object) -> dict[str, object]:
    """Return the units by axis, from an ``axis_units`` attribute: a JSON object, or the text of one."""
    units = json_value(value) if isinstance(value, str) else value
    if value is not None and not isinstance(units, dict):
        warn(f"{where}: axis_units is not a JSON object: ignored")
    return units if isinstance(units, dict) else {}


def drange_from(value: object, where: object) -> tuple[float, float] | None:
    """Return the range for display, from a ``drange`` attribute: two numbers."""
    if value is None:
        return None
    # The comparison also refuses NaN, and integers that no float can hold.
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(number, int | float) and -1.7e308 < number < 1.7e308 for number in value)
    ):
        return value[0], value[1]
    warn(f"{where}: drange is not two numbers: ignored")
    return None


def packing_of(where: object, attributes: Mapping[str, Any], stored: np.dtype[Any]) -> Packing | None:
    """Return the packing that attributes state; warn about one that makes no sense, and read numbers as stored."""
    try:
        return packing_from(attributes, stored)
    except MetadataError as error:
        warn(f"{where}: {error}: values are as stored, not unpacked")
        return None


def text_from(value: object, name: str, where: object) -> str:
    """Return the text of an optional attribute, empty if there is none; warn if it is malformed."""
    if value is None or isinstance(value, str):
        return value or ""
    warn(f"{where}: {name} is not text: ignored")
    return ""
