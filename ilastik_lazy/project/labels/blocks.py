"""Read the labels that were drawn on one lane of a project from their blocks.

ilastik stores only the bounding box of the labels in each block of an image; everything else is 0, unlabelled.
The attribute ``blockSlice`` states the position of a block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.axes import Axis, axis_names
from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.core.grid import Region, check_region, region_shape
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.errors import LimitExceededError, MetadataError
from ilastik_lazy.formats.hdf5 import open_image
from ilastik_lazy.formats.hdf5.attributes import text_attribute
from ilastik_lazy.formats.hdf5.file import dataset_at, names_in, open_hdf5, reading_chunks
from ilastik_lazy.formats.hdf5.sources import isolated
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.axistags import parse_axistags
from ilastik_lazy.formats.metadata.values import check_shape
from ilastik_lazy.project.fields import dataset_in, group_in, where_of
from ilastik_lazy.storage.files import Stamp, require_unchanged, unchanged
from ilastik_lazy.storage.isolation import ask_hdf5

__all__ = ["LabelBlocks", "LabelBlocksSource", "check_storage", "label_blocks", "open_labels", "read_region"]

# What ilastik's `slicingToString` writes; numbers of 15 digits cannot overflow.
_BLOCK_SLICE = re.compile(r"\[\d{1,15}:\d{1,15}(?:, ?\d{1,15}:\d{1,15})*\]")
_MOST_AXES = 5

# Label images have no chunks: they are read in pieces of about 1 MiB.
_PIECES = {1: (2**20,), 2: (1024, 1024), 3: (64, 128, 128)}


@dataclass(frozen=True, slots=True)
class LabelBlocks:
    """Positions of the blocks of one lane; made once per process and file version, and never pickled."""

    paths: tuple[str, ...]
    """Path of each block in the project, in the order of their numbers."""

    starts: np.ndarray[Any, np.dtype[np.int64]]
    """First voxel of each block, shape (blocks, axes)."""

    stops: np.ndarray[Any, np.dtype[np.int64]]

    order: tuple[str, ...] | None
    """Axes that the blocks name; None if they name none (before 1.4.0b20)."""

    @property
    def ends(self) -> tuple[int, ...]:
        """How far the blocks reach along each axis; () without blocks."""
        return tuple(int(end) for end in self.stops.max(0)) if self.paths else ()

    def touching(self, region: Region) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Numbers of the blocks that have a voxel in `region`."""
        if not self.paths:
            return np.zeros(0, np.int64)
        low, high = np.array([part.start for part in region]), np.array([part.stop for part in region])
        return np.flatnonzero((np.maximum(self.starts, low) < np.minimum(self.stops, high)).all(axis=1))


_lanes: ByteCache[LabelBlocks] = ByteCache(lambda blocks: 2048 + 2 * blocks.starts.nbytes + 256 * len(blocks.paths))


def label_blocks(location: Location, stamp: Stamp, options: OpenOptions) -> LabelBlocks:
    """Find the blocks in the group at `location`, and check each against its own slice.

    Raises
    ------
    MetadataError
        A ``blockSlice`` is malformed or does not match its block's shape, or the axes of blocks differ.
    ExternalReferenceError
        A block is a link into another file; it was not followed.
    """
    return _lanes.get((location, stamp, options), lambda: _checked_blocks(location, stamp, options))


def _checked_blocks(location: Location, stamp: Stamp, options: OpenOptions) -> LabelBlocks:
    """Find the blocks, and check the answer: a malicious file may control the child that gave it."""
    most_bytes = 2 * 8 * _MOST_AXES * options.limits.members
    arguments = (location, stamp, options.limits)
    found = ask_hdf5(options.trust, location.path, _read_blocks, *arguments, most_bytes=most_bytes)
    starts, stops = found.starts, found.stops
    if not (
        starts.dtype == stops.dtype == np.int64
        and starts.ndim == 2
        and starts.shape == stops.shape
        and len(starts) == len(found.paths)
        and (starts >= 0).all()
        and (starts <= stops).all()
    ):
        raise MetadataError(f"{location}: the HDF5 library returned impossible positions of its blocks")
    return found


def _read_blocks(location: Location, stamp: Stamp, limits: Limits) -> LabelBlocks:
    assert location.internal_path is not None
    require_unchanged(location.path, stamp)
    with open_hdf5(location.path) as file:
        group: h5py.Group = file["/"]
        for part in location.internal_path.split("/"):
            found = group_in(group, part)
            if found is None:
                raise MetadataError(f"{where_of(group, part)} is not a group of label blocks")
            group = found
        if len(group) > limits.members:
            raise LimitExceededError(f"{location} has {len(group)} blocks, more than {limits.members}")
        names = sorted(names_in(group), key=lambda name: (int(re.sub(r"\D", "", name)[:15] or 0), name))
        blocks = [_slice_of(group, name, limits) for name in names]
    orders = {order for _, order in blocks if order is not None}
    ndims = {len(slices) for slices, _ in blocks}
    if len(orders) > 1 or len(ndims) > 1:
        raise MetadataError(f"{location}: its blocks have different axes: save the project in a newer ilastik")
    bounds = np.array([slices for slices, _ in blocks], np.int64).reshape(len(blocks), max(ndims, default=0), 2)
    paths = tuple(f"{location.internal_path}/{name}" for name in names)
    return LabelBlocks(paths, bounds[..., 0], bounds[..., 1], next(iter(orders), None))


def _slice_of(group: h5py.Group, name: str, limits: Limits) -> tuple[list[tuple[int, int]], tuple[str, ...] | None]:
    """Read the bounds of one block along each axis, and its axes if it names them."""
    where = where_of(group, name)
    masked = group_in(group, name)
    # A masked block is a group, which has the attributes.
    node = masked if masked is not None else dataset_in(group, name)
    data = dataset_in(masked, "data") if masked is not None else node
    if node is None or data is None:
        raise MetadataError(f"{where} is not a block of labels: it has no data")
    text = text_attribute(node, "blockSlice", limits)
    if text is None or not _BLOCK_SLICE.fullmatch(text):
        raise MetadataError(f"{where}: blockSlice is {(text or '')[:60]!a}, expected a text such as '[0:4,10:20,0:1]'")
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    slices = list(zip(numbers[::2], numbers[1::2], strict=True))
    if data.shape != tuple(stop - start for start, stop in slices):
        raise MetadataError(f"{where}: blockSlice {text[:80]} does not match the block's shape {data.shape}")
    if not np.can_cast(data.dtype, np.uint8) or not 2 <= len(slices) <= _MOST_AXES:
        raise MetadataError(f"{where} holds {data.dtype} in {len(slices)} dimensions: expected uint8 in 2 to 5")
    if masked is not None and (mask := dataset_in(masked, "mask")) is not None and mask.shape != data.shape:
        raise MetadataError(f"{where}: its mask has shape {mask.shape}, its data {data.shape}")
    tags = text_attribute(node, "axistags", limits)
    try:
        axes = parse_axistags(tags, len(slices), where) if tags is not None else None
    except MetadataError as error:
        raise MetadataError(f"{where}: {error}") from error
    return slices, axis_names(axes) if axes is not None else None


def open_labels(
    location: Location,
    stamp: Stamp,
    axes: tuple[Axis, ...],
    shape: tuple[int, ...],
    *,
    names: tuple[str, ...] = (),
    colors: tuple[tuple[int, int, int], ...] = (),
    axes_guessed: bool = False,
    options: OpenOptions,
) -> ArraySource:
    """Open the label image of one lane; no block is read.

    Parameters
    ----------
    location
        The project, and the group that holds the blocks: ``PixelClassification/LabelSets/labels000``.
    axes, shape
        Axes and shape of the label image, in the order of the blocks.
    names, colors
        Names and colours of the classes; label ``k + 1`` is ``names[k]``.
    axes_guessed
        Whether other axes are equally likely.

    Raises
    ------
    MetadataError
        A block does not match its slice, or lies outside the image.
    LimitExceededError
        The image or a block is larger than `limits` allow.
    """
    blocks = label_blocks(location, stamp, options)
    for path, stop in zip(blocks.paths, blocks.stops.tolist(), strict=True):
        if len(stop) != len(shape) or any(end > length for end, length in zip(stop, shape, strict=True)):
            raise MetadataError(f"{location.path}: {path!a} reaches to {tuple(stop)}, outside the image {shape}")
    check_shape(location, shape, options.limits, range(6))
    names_of_axes = "".join(axis_names(axes))
    arguments = (location.path, blocks.paths, names_of_axes, options.in_child)
    ask_hdf5(options.trust, location.path, check_storage, *arguments)
    spatial = [i for i, axis in enumerate(axes) if axis.name in "zyx"]
    pieces = dict(zip(spatial, _PIECES.get(len(spatial), ()), strict=True))
    spec = ArraySpec(
        name="labels",
        shape=shape,
        dtype=np.dtype(np.uint8),
        axes=axes,
        chunks=tuple(max(1, min(pieces.get(i, 1), length)) for i, length in enumerate(shape)),
        storage=Storage(str(location), location.path, "virtual", "none", f"h5py ({len(blocks.paths)} label blocks)"),
        channel_names=names,
        channel_colors=colors if len(colors) == len(names) else (),
        axes_guessed=axes_guessed,
        kind="labels",
    )
    source = LabelBlocksSource(spec, location, stamp, options.in_child)
    return isolated(source, location.path, stamp, read_region, options)


def check_storage(path: str, blocks: Sequence[str], axes: str, options: OpenOptions) -> None:
    """Raise if a block cannot be read later: its filter is unknown, or it was never written."""
    with open_hdf5(path) as file:
        compressed = [inside for block in blocks for inside in _parts(file, block) if not _is_plain(file, inside)]
    for inside in compressed:
        open_image(Location(path, inside), replace(options, axes=axes))


def _parts(file: h5py.File, path: str) -> list[str]:
    """List the datasets of a block: itself, or data and mask."""
    if isinstance(file[path], h5py.Dataset):
        return [path]
    return [f"{path}/{name}" for name in ("data", "mask") if name in file[path]]


def _is_plain(file: h5py.File, path: str) -> bool:
    """Whether the bytes are stored as they are, so that nothing needs to be decoded."""
    dataset = dataset_at(file, path)
    # A dataset that was never written has no bytes, and would read as zeros.
    return dataset.chunks is None and not dataset.is_virtual and dataset.id.get_storage_size() > 0


@dataclass(frozen=True, slots=True)
class LabelBlocksSource:
    """The label image of one lane: 0 where nothing was drawn, ``k`` for class ``k``."""

    spec: ArraySpec
    location: Location
    stamp: Stamp
    options: OpenOptions

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read the blocks that `region` touches (see `ArraySource.read`)."""
        check_region(region, self.spec.shape)
        # Bytes that were read while another program wrote the file may be mixed from two versions.
        with unchanged(self.location.path, self.stamp):
            return self._read(region)

    def _read(self, region: Region) -> np.ndarray[Any, Any]:
        blocks = label_blocks(self.location, self.stamp, self.options)
        result = np.zeros(region_shape(region), self.spec.dtype)
        touched = blocks.touching(region)
        if len(touched):
            with open_hdf5(self.location.path) as file:
                for number in touched.tolist():
                    start, stop = blocks.starts[number].tolist(), blocks.stops[number].tolist()
                    self._place(file, blocks.paths[number], start, stop, region, result)
        return result

    def _place(
        self,
        file: h5py.File,
        path: str,
        start: list[int],
        stop: list[int],
        region: Region,
        result: np.ndarray[Any, Any],
    ) -> None:
        """Copy the part of one block that lies in `region` to its place in `result`."""
        low = [max(first, part.start) for first, part in zip(start, region, strict=True)]
        high = [min(last, part.stop) for last, part in zip(stop, region, strict=True)]
        inside = tuple(slice(a - first, b - first) for a, b, first in zip(low, high, start, strict=True))
        target = tuple(slice(a - part.start, b - part.start) for a, b, part in zip(low, high, region, strict=True))
        values, *mask = [self._values(file, part, inside) for part in _parts(file, path)]
        # Masked voxels have no label; the fill value of a masked array is not a label either.
        result[target] = np.where(mask[0].astype(bool), 0, values) if mask else values

    def _values(self, file: h5py.File, path: str, inside: Region) -> np.ndarray[Any, Any]:
        if not _is_plain(file, path):
            names = "".join(self.spec.dims)
            return open_image(Location(self.location.path, path), replace(self.options, axes=names)).read(inside)
        dataset = dataset_at(file, path)
        with reading_chunks(f"{self.location.path}: block {path!a}", dataset.nbytes):
            found: np.ndarray[Any, Any] = dataset[inside]
        return found


def read_region(source: LabelBlocksSource, region: Region) -> np.ndarray[Any, Any]:
    """Read `region` of `source` in the child process for an untrusted project."""
    return source.read(region)
