"""Arrays that lie in a file as they lie in memory: what raw formats, numpy's and HDF5's contiguous layout share.

Regions are read run by run: with a memory map, SIGBUS would end the process if another program cut the file meanwhile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region, check_region, region_shape
from ilastik_lazy.core.kinds import kind_from_name
from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.errors import CorruptFileError
from ilastik_lazy.formats.metadata.values import channel_count, check_shape, pieces
from ilastik_lazy.storage.files import Stamp, opened, read_into

__all__ = ["ContiguousSource", "contiguous_image"]

# A `pread` costs about 2.5 us in Python, as much as copying 16 KiB: rows up to that size are read
# whole, even if only a part of each is wanted.
_ROW_BYTES = 16 * 2**10
_SCRATCH_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ContiguousSource:
    """An array that lies in a file as it lies in memory: uncompressed, in C or Fortran order, from one byte on."""

    spec: ArraySpec
    path: str
    stamp: Stamp
    start: int
    """Offset of the elements in bytes."""

    stored: np.dtype[Any]
    """The dtype of `spec`, in the byte order of the file."""

    is_fortran: bool = False

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        # A Fortran array with its axes reversed is an array in C order.
        order = slice(None, None, -1) if self.is_fortran else slice(None)
        out = np.empty(region_shape(region[order]), self.stored)
        if out.size:
            with opened(self.path, self.stamp) as fd:
                self._fill(fd, out, region[order], self.spec.shape[order])
        if out.dtype != self.spec.dtype:
            out = out.byteswap(inplace=True).view(self.spec.dtype)
        if out.dtype.kind == "b":
            # Any byte but 0 is true; bytes above 1 would not equal True in numpy.
            np.not_equal(out.view(np.uint8), 0, out=out)
        return out.T if self.is_fortran else out

    def _fill(self, fd: int, out: np.ndarray[Any, Any], region: Region, shape: tuple[int, ...]) -> None:
        """Read `region` of an array in C order, in runs that are contiguous in the file."""
        axis, is_exact = _run_axis(region, shape, out.itemsize)
        rows = region[axis]
        pitches = [out.itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
        step = rows.stop - rows.start if is_exact else max(1, _SCRATCH_BYTES // pitches[axis])
        inside = (slice(None), *region[axis + 1 :])
        for outer in itertools.product(*(range(part.start, part.stop) for part in region[:axis])):
            target = out[tuple(i - part.start for i, part in zip(outer, region, strict=False))]
            base = self.start + sum(i * pitch for i, pitch in zip(outer, pitches, strict=False))
            for first in range(rows.start, rows.stop, step):
                last = min(first + step, rows.stop)
                part = target[first - rows.start : last - rows.start]
                run = part if is_exact else np.empty((last - first, *shape[axis + 1 :]), out.dtype)
                read_into(fd, run.reshape(-1).view(np.uint8).data, base + first * pitches[axis], self.path)
                if not is_exact:
                    part[...] = run[inside]


def contiguous_image(
    path: str,
    stamp: Stamp,
    *,
    shape: tuple[int, ...],
    stored: np.dtype[Any],
    axes: Sequence[Axis],
    start: int,
    limits: Limits,
    is_fortran: bool = False,
    axes_guessed: bool = False,
) -> ContiguousSource:
    """Check the sizes of the only image of a file, and return its source.

    Parameters
    ----------
    path, stamp
        The file, and the version of it that the header was read from.
    shape, axes
        Shape of the image, the slowest axis first unless `is_fortran`.
    stored
        Type of the elements, in the byte order of the file.
    start
        Offset of the elements in bytes.
    limits
        `OpenOptions.limits`.
    axes_guessed
        Whether the axes are a guess from the shape alone.

    Raises
    ------
    MetadataError
        It has fewer than 2 dimensions, or more than 5.
    LimitExceededError
        An axis is too long.
    CorruptFileError
        The file ends before the elements do.
    """
    check_shape(path, shape, limits)
    needed = start + math.prod(shape) * stored.itemsize
    if needed > stamp.size:
        raise CorruptFileError(
            f"{path} has {stamp.size} bytes, and {needed} were written (shape {shape}): "
            "was it copied or exported completely?"
        )
    order = slice(None, None, -1) if is_fortran else slice(None)
    dtype = stored.newbyteorder("=")
    spec = ArraySpec(
        name=Path(path).stem,
        shape=shape,
        dtype=dtype,
        axes=tuple(axes),
        chunks=tuple(max(1, length) for length in pieces(shape[order], dtype.itemsize)[order]),
        storage=Storage(path, path, "contiguous"),
        axes_guessed=axes_guessed,
        kind=kind_from_name(path, dtype, channel_count(axes, shape)),
    )
    return ContiguousSource(spec, path, stamp, start, stored, is_fortran)


def _run_axis(region: Region, shape: tuple[int, ...], itemsize: int) -> tuple[int, bool]:
    """Return the axis along which rows are read whole, and whether all of each row is wanted.

    >>> _run_axis((slice(0, 9), slice(0, 100), slice(1, 2)), (9, 100, 3), 4)
    (0, False)
    >>> _run_axis((slice(0, 9), slice(0, 100), slice(5, 9)), (9, 100, 20_000), 4)
    (2, True)
    """
    axis, is_exact, row = len(shape) - 1, True, itemsize
    while axis > 0:
        row *= shape[axis]
        is_full = region[axis] == slice(0, shape[axis])
        if not is_full and row > _ROW_BYTES:
            break
        is_exact &= is_full
        axis -= 1
    return axis, is_exact
