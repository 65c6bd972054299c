"""Write an image as ilastik's exporter does: the same HDF5 layout, attributes and chunks, compressed in threads.

h5py compresses one chunk at a time, behind one lock.  Here threads read and compress blocks of
chunks, and the calling thread alone hands the finished bytes to libhdf5, in order.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import h5py
import numpy as np

from ilastik_lazy.core.axes import Axis, axis_names
from ilastik_lazy.core.grid import BLOCK_BYTES_MOST, Region, overlaps, region_shape, regions_of_blocks
from ilastik_lazy.core.parallel import in_order, work_block
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.core.units import full_unit_name
from ilastik_lazy.core.views.packing import Packing
from ilastik_lazy.core.views.whole_chunks import cell_of, chunks_held, interleaved
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.formats.hdf5.file import H5PY_ERRORS
from ilastik_lazy.storage.compression.deflating import Deflate, zlib_deflater
from ilastik_lazy.storage.new_file import NewFile
from ilastik_lazy.writers.progress import Counter, Progress

__all__ = [
    "ImageLayout",
    "axis_units_text",
    "axistags_text",
    "block_of",
    "checked_read",
    "ilastik_chunks",
    "regions_in_turn",
    "write_image",
]

# vigra's AxisType: channels 1, space 2, time 8.
_TYPE_FLAGS = {"t": 8, "z": 2, "y": 2, "x": 2, "c": 1}

# ilastik stores the text that its readers return, for TIFF these symbols, and writes that text into the OME-XML of a
# TIFF, where "micrometer" is not a valid unit.  Any other unit is spelled in full.
_SYMBOLS = {
    "meter": "m", "centimeter": "cm", "millimeter": "mm", "micrometer": "µm", "nanometer": "nm", "picometer": "pm",
    "angstrom": "Å", "inch": "in", "day": "d", "hour": "h", "minute": "min", "second": "s", "millisecond": "ms",
    "microsecond": "µs", "nanosecond": "ns",
}  # fmt: skip


def ilastik_chunks(shape: Sequence[int], names: Sequence[str], itemsize: int) -> tuple[int, ...]:
    """Chunk shape of an export of ilastik: about 512 kB, near a cube, one time point and one channel.

    Parameters
    ----------
    shape
        Shape of an array with at least one element.
    names
        One of ``t``, ``z``, ``y``, ``x``, ``c`` for each axis.
    itemsize
        Bytes of one element.

    Examples
    --------
    >>> ilastik_chunks((3, 40, 300, 310, 2), "tzyxc", 4)
    (1, 40, 57, 56, 1)
    """
    # lazyflow's determineBlockShape; float division and rounding as there, since 715 is not 716.
    most = [1 if name in ("t", "c") else length for length, name in zip(shape, names, strict=True)]
    chunks, volume = [1] * len(most), 1
    for done, axis in enumerate(sorted(range(len(most)), key=lambda axis: (most[axis], axis))):
        remaining = (512_000.0 / itemsize) // volume
        chunks[axis] = min(int(remaining ** (1 / (len(most) - done)) + 0.5), most[axis])
        volume *= chunks[axis]
    return tuple(chunks)


def axistags_text(axes: Sequence[Axis]) -> str:
    """The ``axistags`` attribute, to the byte what vigra's ``AxisTags::toJSON`` writes.

    >>> print(axistags_text([Axis("x", 0.1)]))
    {
      "axes": [
        {
          "key": "x",
          "typeFlags": 2,
          "resolution": 0.10000000000000001,
          "description": ""
        }
      ]
    }
    """
    entries = [
        f'    {{\n      "key": "{axis.name}",\n      "typeFlags": {_TYPE_FLAGS[axis.name]},\n'
        # 17 significant digits, and 0 for "not set".
        f'      "resolution": {axis.scale or 0:.17g},\n      "description": ""\n    }}'
        for axis in axes
    ]
    return '{\n  "axes": [\n' + ",\n".join(entries) + "\n  ]\n}"


def axis_units_text(axes: Sequence[Axis]) -> str | None:
    """The ``axis_units`` attribute; None where no unit is known.

    >>> axis_units_text([Axis("y", 0.5, unit="micrometer"), Axis("c")])
    '{"y": "\\\\u00b5m", "c": ""}'
    """
    units = {axis.name: full_unit_name(axis.unit) for axis in axes}
    if not any(units.values()):
        return None
    # ilastik's own files have this order, and an empty text for c.
    return json.dumps({name: _SYMBOLS.get(units[name], units[name]) for name in "zyxct" if name in units})


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """The layout of an image in its file."""

    internal_path: str
    axes: tuple[Axis, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """As stored: little-endian, one that ilastik exports."""

    compression: Literal["gzip"] | None
    drange: tuple[float, float] | None
    display_mode: str
    packing: Packing | None = None
    """How the numbers become values, unless they are values."""

    @property
    def chunks(self) -> tuple[int, ...]:
        return ilastik_chunks(self.shape, axis_names(self.axes), self.dtype.itemsize)

    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the dataset, except for its dimension labels."""
        found: dict[str, Any] = {"axistags": axistags_text(self.axes)}
        if (units := axis_units_text(self.axes)) is not None:
            found["axis_units"] = units
        if self.drange is not None:
            found["drange"] = _drange_array(self.drange, self.dtype)
        if self.display_mode:
            found["display_mode"] = self.display_mode
        return found | (self.packing.attributes() if self.packing is not None else {})

    def create(self, file: h5py.File) -> h5py.Dataset:
        """Make the dataset, without any chunk."""
        dataset = file.create_dataset(
            self.internal_path, self.shape, self.dtype, chunks=self.chunks,
            compression=self.compression, compression_opts=1 if self.compression else None,
        )  # fmt: skip
        for name, value in self.attributes().items():
            dataset.attrs[name] = value
        for dimension, axis in zip(dataset.dims, self.axes, strict=True):
            dimension.label = axis.name
        return dataset


def _drange_array(drange: tuple[float, float], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """`drange` in the dtype of the image, as in ilastik's files; in float64 where that would change it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            found = np.array(drange, dtype)
        return found if found.tolist() == list(drange) else np.array(drange, np.float64)
    bounds = np.iinfo(dtype)
    if all(end == int(end) and bounds.min <= end <= bounds.max for end in drange):
        return np.array([int(end) for end in drange], dtype)
    return np.array(drange, np.float64)


_Bytes = bytes | bytearray | np.ndarray[Any, Any]


def block_of(spec: ArraySpec, layout: ImageLayout) -> tuple[int, ...]:
    """Block that one thread reads and compresses: whole chunks of the target that cover chunks of the source.

    A source chunk that two blocks share is decoded twice.
    """
    times = [-(-theirs // ours) for theirs, ours in zip(spec.chunks, layout.chunks, strict=True)]
    itemsize = max(spec.dtype.itemsize, layout.dtype.itemsize)

    def block() -> tuple[int, ...]:
        sides = zip(times, layout.chunks, layout.shape, strict=True)
        return tuple(min(count * chunk, length) for count, chunk, length in sides)

    # Four times the usual block, where the source has chunks of such a size.
    while np.prod(block(), dtype=float) * itemsize > 4 * BLOCK_BYTES_MOST and max(times) > 1:
        longest = times.index(max(times))
        times[longest] = -(-times[longest] // 2)
    return work_block(replace(spec, chunks=block()))


def regions_in_turn(spec: ArraySpec, layout: ImageLayout, workers: int) -> Iterable[Region]:
    """Regions of all blocks; where they share chunks of the source, those of one chunk for each worker in turn."""
    block = block_of(spec, layout)
    regions = regions_of_blocks(layout.shape, block)
    if not chunks_held(block, spec.chunks, spec.shape):
        return regions

    def chunk_of(region: Region) -> tuple[int, ...]:
        return cell_of(region, spec.chunks)

    return interleaved(sorted(regions, key=chunk_of), chunk_of, workers)


def checked_read(source: ArraySource, region: Region) -> np.ndarray[Any, Any]:
    """Read `region`, which must be what the spec says.

    Raises
    ------
    ArgumentError
        The values have another dtype or shape.
    """
    values, spec = source.read(region), source.spec
    if values.shape != region_shape(region) or values.dtype.newbyteorder("=") != spec.dtype.newbyteorder("="):
        # dask does not check the dtype that a caller declares; silently cast values would be wrong.
        raise ArgumentError(
            f"{spec.storage.location} gives {values.dtype} {values.shape} for {spec.dtype} {region_shape(region)}: "
            "correct its dtype and chunks, for instance with meta= of map_blocks"
        )
    return values


def _encoded_block(
    source: ArraySource, layout: ImageLayout, encode: Deflate | None, region: Region
) -> list[tuple[tuple[int, ...], _Bytes]]:
    """Origin and stored bytes of each chunk in `region`."""
    values = checked_read(source, region)
    found: list[tuple[tuple[int, ...], _Bytes]] = []
    for overlap in overlaps(region, layout.chunks):
        origin = tuple(index * chunk for index, chunk in zip(overlap.chunk, layout.chunks, strict=True))
        chunk = np.ascontiguousarray(values[overlap.target], layout.dtype)
        if not overlap.whole:
            # What lies beyond the edge is fill value, as libhdf5 has it.
            padded = np.zeros(layout.chunks, layout.dtype)
            padded[overlap.inside] = chunk
            chunk = padded
        found.append((origin, chunk if encode is None else encode(chunk)))
    return found


def write_image(
    file: NewFile,
    source: ArraySource,
    layout: ImageLayout,
    *,
    workers: int,
    progress: Progress | None = None,
    adds: bool = False,
) -> None:
    """Write `source` into a new file, which is empty unless it `adds` to others; memory is bound by `workers`.

    Raises
    ------
    DestinationError
        The system refused to write; the contents of the file are then useless.
    """
    try:
        # Superblock 0, as in every file of ilastik.
        with h5py.File(file, "r+" if adds else "w", libver="earliest") as opened:
            _write_chunks(layout.create(opened), file, source, layout, workers, progress)
    except H5PY_ERRORS:
        file.check()
        raise
    file.check()


def _write_chunks(
    dataset: h5py.Dataset,
    file: NewFile,
    source: ArraySource,
    layout: ImageLayout,
    workers: int,
    progress: Progress | None,
) -> None:
    spec = source.spec
    encode = functools.partial(_encoded_block, source, layout, zlib_deflater() if layout.compression else None)
    regions = regions_in_turn(spec, layout, workers)
    counter = Counter(spec.nbytes, progress)
    # Closed at once when a block fails, or `progress` raises: no thread outlives this call.
    with contextlib.closing(in_order(encode, regions, workers)) as results:
        for region, chunks in results:
            for origin, data in chunks:
                dataset.id.write_direct_chunk(origin, data)
            file.check()
            counter.add(math.prod(region_shape(region)) * spec.dtype.itemsize)
