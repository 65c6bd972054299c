"""Images in ``.npy`` files: arrays without any metadata on their axes.

The header is matched, never evaluated: for some headers of 9 kB numpy's own parser raises `MemoryError`.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import CorruptFileError, LimitExceededError, MetadataError
from ilastik_lazy.formats.contiguous import contiguous_image
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.metadata.settled_axes import settled_axes
from ilastik_lazy.formats.metadata.values import check_shape
from ilastik_lazy.storage.files import Stamp, opened, read_up_to

__all__ = ["FORMAT"]

_MAGIC = b"\x93NUMPY"

_ENTRY = r"""(?:'descr':\s*'(?P<descr>[<>|=][a-zA-Z]\d+)'|
                'fortran_order':\s*(?P<fortran>True|False)|
                'shape':\s*\((?P<shape>[\d\s,L]*)\))"""
_NAMES = ("descr", "fortran", "shape")
_SPACE = " \t\n\r"
_LENGTH = re.compile(r"0|[1-9][0-9]{,18}")
# The limit of numpy itself.
_MOST_HEADER = 10_000


def _open_file(path: str, stamp: Stamp, options: OpenOptions) -> ArraySource:
    """Open the array; only its header is read.  Without names of the axes they are guessed, since the file has none."""
    header = _read_header(path, stamp, min(options.limits.attribute_bytes, _MOST_HEADER))
    # Before the axes: those that the caller names are compared with the shape.
    check_shape(path, header.shape, options.limits)
    axes, guessed, *_ = settled_axes(path, header.shape, options.axes)
    return contiguous_image(
        path,
        stamp,
        shape=header.shape,
        stored=header.stored,
        axes=axes,
        start=header.start,
        limits=options.limits,
        is_fortran=header.is_fortran,
        axes_guessed=guessed,
    )


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
            raise MetadataError(f"{path} is not an image: its header has {ascii(rest)[:60]}{hint}")
        found |= {name: value for name, value in match.groupdict().items() if value is not None}
        rest = rest[match.end() :]
    if set(found) != set(_NAMES):
        raise MetadataError(f"{path} is not an image: its header lacks descr, fortran_order or shape")
    try:
        dtype = np.dtype(found["descr"])
    except TypeError as error:
        raise MetadataError(f"{path} is not an image: there is no type {found['descr']!a}") from error
    if dtype.kind not in "biuf":
        hint = ": Python objects are never unpickled" if dtype.kind == "O" else ""
        raise MetadataError(f"{path} is not an image: its elements are {dtype}{hint}")
    return dtype, found["fortran"] == "True", _parse_shape(path, found["shape"])


def _parse_shape(path: str, text: str) -> tuple[int, ...]:
    # Python 2 wrote long integers with an L.  The comma at the end does not add a dimension.
    lengths = [length.strip().removesuffix("L") for length in text.strip().removesuffix(",").split(",")]
    if not all(_LENGTH.fullmatch(length) for length in lengths):
        raise MetadataError(f"{path} is not an image: its shape is ({ascii(text)[1:-1][:60]})")
    return tuple(map(int, lengths))


FORMAT = Format.of_single_images("numpy", _open_file, suffixes=(".npy",), magic=_MAGIC)
