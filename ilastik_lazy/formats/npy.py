"""Images in ``.npy`` files: arrays without any metadata on their axes.

The header is matched, never evaluated: for some headers of 9 kB numpy's own parser raises `MemoryError`.  Regions are
read run by run: with a memory map, SIGBUS would end the process if another program cut the file meanwhile.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import itertools
import math
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ilastik_lazy.core.grid import Region, check_region, region_shape
from ilastik_lazy.core.kinds import kind_from_name
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.errors import (
    CorruptFileError,
    DatasetNotFoundError,
    LimitExceededError,
    MetadataError,
    SourceError,
)
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.conventions import settled_axes
from ilastik_lazy.formats.metadata.values import channel_count, check_shape, pieces
from ilastik_lazy.storage.files import Stamp, opened, read_into, read_up_to, stamp_of

__all__ = ["FORMAT", "NpySource", "contiguous_source", "images", "open_image", "recognises"]

_MAGIC = b"\x93NUMPY"

_ENTRY = r"""(?:'descr':\s*'(?P<descr>[<>|=][a-zA-Z]\d+)'|
                'fortran_order':\s*(?P<fortran>True|False)|
                'shape':\s*\((?P<shape>[\d\s,L]*)\))"""
_NAMES = ("descr", "fortran", "shape")
_SPACE = " \t\n\r"
_LENGTH = re.compile(r"0|[1-9][0-9]{,18}")
# The limit of numpy itself.
_MOST_HEADER = 10_000

# A `pread` costs about 2.5 us in Python, as much as copying 16 KiB: rows up to that size are read
# whole, even if only a part of each is wanted.
_ROW_BYTES = 16 * 2**10
_SCRATCH_BYTES = 2**20


def recognises(location: Location, options: OpenOptions) -> bool:
    """Return whether the file is a numpy array, by its name or its first bytes."""
    if not os.path.isfile(location.path):
        return False
    if location.suffix == ".npy":
        return True
    try:
        with opened(location.path) as fd:
            return read_up_to(fd, len(_MAGIC), 0, location.path) == _MAGIC
    except SourceError:
        return False


def images(location: Location, options: OpenOptions) -> list[str]:
    """Return the name of the only array, which is that of the file."""
    return [Path(location.path).stem]


def open_image(location: Location, options: OpenOptions) -> ArraySource:
    """Open the array; only its header is read.

    Parameters
    ----------
    location
        The file; its internal path, if any, must be the name from `images`.
    options
        Names of the axes; without them they are guessed, since the file has none.

    Raises
    ------
    DatasetNotFoundError
        An internal path was given, and such a file has none.
    CorruptFileError
        The file is not a numpy array, or was cut off.
    MetadataError, LimitExceededError
    """
    path = location.path
    name = Path(path).stem
    if location.internal_path not in (None, name):
        raise DatasetNotFoundError(f"no dataset {location.internal_path!a} in {path}: it is one array, without paths")
    stamp = stamp_of(path)
    header = _read_header(path, stamp, min(options.limits.attribute_bytes, _MOST_HEADER))
    check_shape(path, header.shape, options.limits)
    needed = header.start + math.prod(header.shape) * header.stored.itemsize
    if needed > stamp.size:
        raise CorruptFileError(
            f"{path} has {stamp.size} bytes, and {needed} were written (shape {header.shape}): "
            "was it copied or exported completely?"
        )
    tagged, guessed, *_ = settled_axes(path, header.shape, options.axes)
    dtype = header.stored.newbyteorder("=")
    spec = ArraySpec(
        name=name,
        shape=header.shape,
        dtype=dtype,
        axes=tagged,
        chunks=tuple(max(1, length) for length in _pieces(header)),
        storage=Storage(path, path, "contiguous"),
        axes_guessed=guessed,
        kind=kind_from_name(path, dtype, channel_count(tagged, header.shape)),
    )
    return NpySource(spec, path, stamp, header)


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a file."""

    stored: np.dtype[Any]
    is_fortran: bool
    shape: tuple[int, ...]
    start: int
    """Offset of the elements in bytes."""


def _read_header(path: str, stamp: Stamp, most: int) -> _Header:
    with opened(path, stamp) as fd:
        head = read_up_to(fd, 12, 0, path)
        if len(head) < 12 or not head.startswith(_MAGIC):
            what = "is empty" if not head else "is not a numpy file (its first bytes say so)"
            raise CorruptFileError(f"{path} {what}: was it copied or exported completely?")
        version, minor = head[6:8]
        if version not in (1, 2, 3) or minor:
            raise MetadataError(f"{path} has version {version}.{minor} of the format, expected 1.0, 2.0 or 3.0")
        length, start = struct.unpack_from("<H", head, 8)[0], 10
        if version > 1:
            length, start = struct.unpack_from("<I", head, 8)[0], 12
        if length > most:
            raise LimitExceededError(f"{path} has a header of {length} bytes, more than {most}")
        text = read_up_to(fd, length, start, path)
    # A shifted header would shift the elements; the format ends it with a line end.
    if len(text) == length and not text.endswith(b"\n"):
        raise CorruptFileError(f"{path} is damaged: its header of {length} bytes does not end with a line end")
    if len(text) < length:
        raise CorruptFileError(f"{path} ends within its header: was it copied or exported completely?")
    dtype, is_fortran, shape = _parse_header(path, text.decode("latin-1"))
    return _Header(dtype, is_fortran, shape, start + length)


def _parse_header(path: str, text: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Parse the text of a dict with three entries, in any order, as `numpy.save` writes it."""
    found: dict[str, str] = {}
    # ASCII spaces only: Unicode has others, which are signs of damage.
    rest = text.strip(_SPACE).removeprefix("{").removesuffix("}").replace('"', "'").strip(_SPACE)
    while rest:
        match = re.match(_ENTRY + r"\s*,?\s*", rest, re.VERBOSE | re.ASCII)
        if match is None:
            hint = "; Python objects are never unpickled" if "O" in rest else ""
            raise MetadataError(f"{path} is no image: its header has {ascii(rest)[:60]}{hint}")
        found |= {name: value for name, value in match.groupdict().items() if value is not None}
        rest = rest[match.end() :]
    if set(found) != set(_NAMES):
        raise MetadataError(f"{path} is no image: its header lacks descr, fortran_order or shape")
    try:
        dtype = np.dtype(found["descr"])
    except TypeError as error:
        raise MetadataError(f"{path} is no image: there is no type {found['descr']!a}") from error
    if dtype.kind not in "biuf":
        hint = ": Python objects are never unpickled" if dtype.kind == "O" else ""
        raise MetadataError(f"{path} is no image: its elements are {dtype}{hint}")
    return dtype, found["fortran"] == "True", _parse_shape(path, found["shape"])


def _parse_shape(path: str, text: str) -> tuple[int, ...]:
    # Python 2 wrote long integers with an L.  The comma at the end does not add a dimension.
    lengths = [length.strip().removesuffix("L") for length in text.strip().removesuffix(",").split(",")]
    if not all(_LENGTH.fullmatch(length) for length in lengths):
        raise MetadataError(f"{path} is no image: its shape is ({ascii(text)[1:-1][:60]})")
    return tuple(map(int, lengths))


def _pieces(header: _Header) -> tuple[int, ...]:
    if header.is_fortran:
        return pieces(header.shape[::-1], header.stored.itemsize)[::-1]
    return pieces(header.shape, header.stored.itemsize)


@dataclass(frozen=True, slots=True)
class NpySource:
    """The array of one file."""

    spec: ArraySpec
    path: str
    stamp: Stamp
    header: _Header

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`)."""
        check_region(region, self.spec.shape)
        # A Fortran array with its axes reversed is an array in C order.
        order = slice(None, None, -1) if self.header.is_fortran else slice(None)
        out = np.empty(region_shape(region[order]), self.header.stored)
        if out.size:
            with opened(self.path, self.stamp) as fd:
                self._fill(fd, out, region[order], self.spec.shape[order])
        if out.dtype != self.spec.dtype:
            out = out.byteswap(inplace=True).view(self.spec.dtype)
        if out.dtype.kind == "b":
            # Any byte but 0 is true; bytes above 1 would not equal True in numpy.
            np.not_equal(out.view(np.uint8), 0, out=out)
        return out.T if self.header.is_fortran else out

    def _fill(self, fd: int, out: np.ndarray[Any, Any], region: Region, shape: tuple[int, ...]) -> None:
        """Read `region` of an array in C order, in runs that are contiguous in the file."""
        axis, is_exact = _run_axis(region, shape, out.itemsize)
        rows = region[axis]
        pitches = [out.itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
        step = rows.stop - rows.start if is_exact else max(1, _SCRATCH_BYTES // pitches[axis])
        inside = (slice(None), *region[axis + 1 :])
        for outer in itertools.product(*(range(part.start, part.stop) for part in region[:axis])):
            target = out[tuple(i - part.start for i, part in zip(outer, region, strict=False))]
            base = self.header.start + sum(i * pitch for i, pitch in zip(outer, pitches, strict=False))
            for first in range(rows.start, rows.stop, step):
                last = min(first + step, rows.stop)
                part = target[first - rows.start : last - rows.start]
                run = part if is_exact else np.empty((last - first, *shape[axis + 1 :]), out.dtype)
                read_into(fd, run.reshape(-1).view(np.uint8).data, base + first * pitches[axis], self.path)
                if not is_exact:
                    part[...] = run[inside]


def contiguous_source(spec: ArraySpec, path: str, stamp: Stamp, start: int) -> NpySource:
    """Return the source of an array without compression, in C order, from byte `start` of any file."""
    return NpySource(spec, path, stamp, _Header(spec.dtype, False, spec.shape, start))


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


FORMAT = Format("numpy", recognises, images, open_image)
