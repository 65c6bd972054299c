"""Images in MRC files (``.mrc``, ``.map``), the format of electron cryo-microscopy and tomography.

A header of 1,024 bytes, an extended header, and the voxels: https://www.ccpem.ac.uk/mrc_format/mrc2014.php; unsigned
bytes: https://bio3d.colorado.edu/imod/doc/mrc_format.txt.  The origin is not used: programs disagree on its unit
(voxels or angstrom) and its sign.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from ilastik_lazy.core.axes import Axis, parse_axis_names
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import CorruptFileError, MetadataError, UnsupportedFilterError
from ilastik_lazy.formats.contiguous import contiguous_image
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.suffixes import MRC_SUFFIXES
from ilastik_lazy.storage.files import Stamp, opened, read_up_to
from ilastik_lazy.warning import warn

__all__ = ["FORMAT"]

_HEADER_BYTES = 1024
_BYTE_ORDERS = {b"DD": "<", b"DA": "<", b"\x11\x11": ">"}
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHER_MODES = {3: "complex numbers", 4: "complex numbers", 16: "colours", 101: "4 bits per voxel"}
_IMOD_STAMP = 1146047817


def _open_file(path: str, stamp: Stamp, options: OpenOptions) -> ArraySource:
    """Open the image; only its header is read."""
    header, order = _read_header(path, stamp)

    def integers(count: int, at: int) -> tuple[int, ...]:
        return struct.unpack_from(f"{order}{count}i", header, at)

    columns, rows, sections, mode = integers(4, 0)
    intervals, (space_group, extended) = integers(3, 28), integers(2, 88)
    if min(columns, rows, sections) < 1 or extended < 0:
        raise MetadataError(
            f"{path} is damaged: {columns} x {rows} x {sections} voxels behind an extended header of {extended} bytes"
        )
    shape: tuple[int, ...] = (sections, rows, columns)
    names, steps = _axes(path, integers(3, 64), intervals, struct.unpack_from(f"{order}6f", header, 40))
    if 401 <= space_group <= 630:  # a stack of volumes
        depth = intervals[2]
        if depth < 1 or sections % depth:
            raise MetadataError(f"{path} is damaged: {sections} sections cannot be divided into volumes of {depth}")
        shape, names, steps = (sections // depth, depth, rows, columns), "t" + names, [None, *steps]
    elif space_group == 0 and sections == 1:  # a single image
        shape, names, steps = shape[1:], names[1:], steps[1:]
    elif space_group == 0 and intervals[2] == 1:  # a stack of images, such as a tilt series
        steps[0] = None
    if options.axes is not None:
        names = "".join(parse_axis_names(options.axes, shape, path))
    axes = [
        Axis(name, step, unit="angstrom") if step and name in "zyx" else Axis(name)
        for name, step in zip(names, steps, strict=True)
    ]
    stored = np.dtype(order + _type_of(path, mode, *integers(2, 152)))
    start = _HEADER_BYTES + extended
    return contiguous_image(path, stamp, shape=shape, stored=stored, axes=axes, start=start, limits=options.limits)


def _read_header(path: str, stamp: Stamp) -> tuple[bytes, str]:
    """Return the header and its byte order."""
    with opened(path, stamp) as fd:
        header = read_up_to(fd, _HEADER_BYTES, 0, path)
    if len(header) < _HEADER_BYTES:
        raise CorruptFileError(
            f"{path} has {len(header)} bytes, and the header of an MRC file has {_HEADER_BYTES}: "
            "was it copied or exported completely?"
        )
    if header[208:211] != b"MAP" or header[212:214] not in _BYTE_ORDERS:
        raise CorruptFileError(
            f"{path} is not an MRC2014 file: expected 'MAP ' and a byte order at byte 208, found {header[208:214]!a}; "
            "if an older program wrote it, save it with a newer one"
        )
    return header, _BYTE_ORDERS[header[212:214]]


def _type_of(path: str, mode: int, imod_stamp: int, imod_flags: int) -> str:
    flags = imod_flags if imod_stamp == _IMOD_STAMP else 1
    if mode == 0 and flags & 16:
        mode = 101
    if mode not in _TYPES:
        raise UnsupportedFilterError(
            f"{path} has mode {mode} ({_OTHER_MODES.get(mode, 'unknown')}), and this release reads modes "
            f"{', '.join(map(str, _TYPES))}: convert it to mode 2 (float32) with the program that wrote it"
        )
    return "u1" if mode == 0 and not flags & 1 else _TYPES[mode]


def _axes(
    path: str, order: tuple[int, ...], intervals: tuple[int, ...], cell: tuple[float, ...]
) -> tuple[str, list[float | None]]:
    """Return the names of sections, rows and columns, and their steps in angstrom, None where they are not stated.

    Parameters
    ----------
    order
        Axis of columns, rows and sections, 1 for x; zeros where a program left them out.
    intervals, cell
        Along x, y and z: voxels in the unit cell, and its lengths in angstrom, and its angles in degree.
    """
    order = order if any(order) else (1, 2, 3)
    if sorted(order) != [1, 2, 3]:
        raise MetadataError(f"{path} is damaged: its axes are {order}, expected 1, 2, 3 in any order")
    steps: list[float | None] = [None] * 3
    if any(round(angle, 2) not in (0, 90) for angle in cell[3:]):
        warn(f"{path}: the axes of its cell are oblique: positions are unknown")
    else:
        for axis, (length, count) in enumerate(zip(cell, intervals, strict=False)):
            # Both are rounded to single precision, which has seven digits: 1.34, not 1.3399999141693115.
            step = float(f"{length / count:.7g}") if count > 0 else 0.0
            steps[axis] = step if 0 < step < math.inf else None
    return "".join("xyz"[axis - 1] for axis in order[::-1]), [steps[axis - 1] for axis in order[::-1]]


FORMAT = Format.of_single_images("MRC", _open_file, suffixes=MRC_SUFFIXES, magic=b"MAP ", magic_at=208)
