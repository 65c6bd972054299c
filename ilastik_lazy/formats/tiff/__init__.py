"""TIFF files: multipage OME-TIFF as ilastik writes it, stacks of ImageJ, and others that tifffile understands.

tifffile finds the offsets of strips and tiles once (`tiff/file.py`); a read is then a `pread` of those that
the region touches, decoded in the calling thread.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ilastik_lazy.core.axes import Axis, default_axes, parse_axis_names
from ilastik_lazy.core.classes import class_colors_in
from ilastik_lazy.core.display import samples_of
from ilastik_lazy.core.grid import Overlap, Region, check_region, grid_shape, overlaps, region_shape
from ilastik_lazy.core.kinds import WHOLE_NUMBERS, kind_from_name
from ilastik_lazy.core.library_errors import translated
from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.errors import CorruptChunkError, MetadataError, option
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.settled_axes import warn_of_guess
from ilastik_lazy.formats.metadata.values import channel_count, check_shape, check_sizes
from ilastik_lazy.formats.suffixes import TIFF_SUFFIXES
from ilastik_lazy.formats.tiff.ifds import has_signature
from ilastik_lazy.formats.tiff.metadata import Notes, axis_letters
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, read_into, stamp_of
from ilastik_lazy.warning import warn

if TYPE_CHECKING:
    from ilastik_lazy.formats.tiff.file import TiffImage

__all__ = ["FORMAT", "TiffSource", "images", "open_image", "recognises"]

# Chunks are groups of strips and tiles, near ilastik's own chunk size; plain pages are read in such pieces too.
_PIECE_BYTES = 2**20


def recognises(location: Location, options: OpenOptions) -> bool:
    """Return whether the file is a TIFF, by its name or its first bytes."""
    if not os.path.isfile(location.path):
        return False
    return location.suffix in TIFF_SUFFIXES or has_signature(location.path)


def images(location: Location, options: OpenOptions) -> list[str]:
    """Return the names of the images in file order; pyramids are opened at full resolution."""
    from ilastik_lazy.formats.tiff.file import image_names

    return image_names(location.path)


def open_image(location: Location, options: OpenOptions) -> ArraySource:
    """Open one image; only metadata are read.

    Parameters
    ----------
    location
        The file; the internal path is the name or number of an image, and is optional if there is only one.
    options
        Names of the axes, which replace those in the file; all axes of length 1 may be left out.

    Raises
    ------
    DatasetNotFoundError
        The image does not exist, or there are several and none was named.
    MissingExtraError
        tifffile is not installed, or the file is compressed and imagecodecs is not installed.
    MetadataError, UnsupportedFilterError, ExternalReferenceError, LimitExceededError, CorruptFileError
    """
    from ilastik_lazy.formats.tiff.file import tiff_image

    stamp = stamp_of(location.path)
    image = tiff_image(location.path, location.internal_path, stamp)
    axes = options.axes
    if axes is not None:
        image = _without_ones(image, len(axes))
    _check_image(image, location, options.limits)
    found, guessed = _axes_of_image(image, location, axes)
    channels = channel_count(found, image.shape)
    dtype = image.dtype.newbyteorder("=")
    kind = kind_from_name(location.path, dtype, channels)
    has_values = (options.kind or kind) in WHOLE_NUMBERS
    named, colors = ((), ()) if has_values else (image.notes.channel_names, image.notes.channel_colors)
    if image.is_rgb and len(named) != channels and not has_values:
        named, colors = samples_of(channels)
    # Without classes, a palette is a way to show intensities (ImageJ's LUT).
    palette = class_colors_in(image.palette) if has_values else ()
    spec = ArraySpec(
        name=image.name,
        shape=image.shape,
        dtype=dtype,
        axes=found,
        chunks=_chunks_of(image),
        storage=Storage(
            location=str(location),
            path=location.path,
            layout="contiguous" if image.is_plain else "chunked",
            compression=image.compression,
            buffers=2 if image.is_plain else 3,
        ),
        axes_guessed=guessed,
        channel_names=named if len(named) == channels else (),
        channel_colors=palette or (colors if len(colors) == channels else ()),
        kind=kind,
        remarks=tuple(image.notes.problems),
    )
    return TiffSource(spec, location, stamp)


def _without_ones(image: TiffImage, ndim: int) -> TiffImage:
    """Drop the axes of length 1 other than y and x, if the caller names exactly the axes that remain."""
    pairs = [(a, n) for a, n in zip(image.letters, image.shape, strict=True) if n > 1 or a in "YX"]
    if len(pairs) != ndim or ndim == len(image.shape):
        return image
    return replace(image, letters="".join(a for a, _ in pairs), shape=tuple(n for _, n in pairs))


def _check_image(image: TiffImage, location: Location, limits: Limits) -> None:
    if image.dtype.kind not in "biuf":
        raise MetadataError(f"{location} is not an image: its elements are {image.dtype}")
    check_shape(location, image.shape, limits)
    nbytes = 0 if image.is_plain else math.prod(image.segment) * image.dtype.itemsize
    check_sizes(location, "strips or tiles", nbytes, image.offsets.size, limits)


def _axes_of_image(image: TiffImage, location: Location, axes: str | None) -> tuple[tuple[Axis, ...], bool]:
    chosen = parse_axis_names(axes, image.shape, location) if axes is not None else None
    stored: Sequence[str | None] | None
    try:
        stored = axis_letters(image.letters)
    except MetadataError as error:
        if chosen is None:
            what_now = f"pass {option('axes')} with one letter of 'tzyxc' per dimension"
            raise MetadataError(f"{location}: {error}; {what_now}") from error
        stored = None
    for problem in image.notes.problems:
        warn(f"{location}: {problem}")
    if chosen is not None:
        known = stored or [None] * len(chosen)
        # A step is used only where the caller and the file name the same axis.
        agreed = {name for name, other in zip(chosen, known, strict=True) if name == other}
        return tuple(_with_notes(name, image.notes) if name in agreed else Axis(name) for name in chosen), False
    if stored is not None:
        return tuple(_with_notes(name, image.notes) for name in stored if name), False
    guessed = default_axes(image.shape)
    warn_of_guess(location, image.shape, guessed)
    return guessed, True


def _with_notes(name: str, notes: Notes) -> Axis:
    return Axis(name, notes.steps.get(name), notes.origins.get(name, 0.0), notes.units.get(name, ""))


def _chunks_of(image: TiffImage) -> tuple[int, ...]:
    """Return chunks of one page, or of as many whole strips, tiles or rows as fit into 1 MiB."""
    _, depth, length, width, samples = image.segment
    if image.is_plain:
        depth, length, width = 1, 1, image.page_shape[3]
    size = depth * length * width * samples * image.dtype.itemsize
    across = max(1, min(-(-image.page_shape[3] // width), _PIECE_BYTES // size))
    width, size = width * across, size * across
    down = max(1, min(-(-image.page_shape[2] // length), _PIECE_BYTES // size))
    of_page = [1, depth, length * down, width, samples]
    _, inner = _inner_axes(image.shape, image.page_shape)
    chunks = [1] * len(image.shape)
    for place, axis in zip(inner, [i for i in range(5) if image.page_shape[i] > 1], strict=True):
        chunks[place] = min(of_page[axis], image.shape[place])
    return tuple(chunks)


def _inner_axes(shape: tuple[int, ...], page_shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the axes that number the pages, and those within a page; axes of length 1 are neither."""
    long = [axis for axis, length in enumerate(shape) if length > 1]
    in_page = [length for length in page_shape if length > 1]
    split = len(long) - len(in_page)
    if split < 0 or [shape[axis] for axis in long[split:]] != in_page:
        raise MetadataError(f"pages of shape {tuple(page_shape)} do not make up an image of shape {shape}")
    return long[:split], long[split:]


@dataclass(frozen=True, slots=True)
class TiffSource:
    """One image of a TIFF."""

    spec: ArraySpec
    location: Location
    stamp: Stamp

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        from ilastik_lazy.formats.tiff.file import tiff_image

        check_region(region, self.spec.shape)
        out = np.empty(region_shape(region), self.spec.dtype)
        if not out.size:
            return out
        image = tiff_image(self.location.path, self.location.internal_path, self.stamp)
        lead, inner = _inner_axes(self.spec.shape, image.page_shape)
        parts = iter([region[axis] for axis in inner])
        in_page = tuple(next(parts) if length > 1 else slice(0, 1) for length in image.page_shape)
        targets = out.reshape(-1, *region_shape(in_page))
        read_page = self._plain_page if image.is_plain else self._segments_of_page
        with opened(self.location.path, self.stamp) as fd:
            for number, target in zip(_page_numbers(region, self.spec.shape, lead), targets, strict=True):
                read_page(fd, image, number, in_page, target)
        return out

    def _plain_page(self, fd: int, image: TiffImage, page: int, part: Region, target: np.ndarray[Any, Any]) -> None:
        """Read whole rows in one call, and parts of rows in pieces of up to 1 MiB."""
        _, depth, length, width, samples = image.page_shape
        start, pixel = int(image.offsets[page, 0]), samples * image.dtype.itemsize
        nbytes = math.prod(image.page_shape) * image.dtype.itemsize
        if int(image.counts[page, 0]) < nbytes or start + nbytes > self.stamp.size or start <= 0:
            raise CorruptChunkError(f"{self.location}: page {page} has fewer than {nbytes} bytes: damaged or cut off")
        (rows, columns, wanted) = part[2:]
        is_whole = columns == slice(0, width) and wanted == slice(0, samples)
        step = max(1, _PIECE_BYTES // (width * pixel))
        for sample, layer in itertools.product(*(range(p.start, p.stop) for p in part[:2])):
            plane = target[sample - part[0].start, layer - part[1].start]
            first = start + (sample * depth + layer) * length * width * pixel
            if is_whole and image.dtype.isnative:
                view = plane.reshape(-1).view(np.uint8)
                read_into(fd, view.data, first + rows.start * width * pixel, self.location.path)
                continue
            for top in range(rows.start, rows.stop, step):
                count = min(step, rows.stop - top)
                # From the first wanted pixel to the last one, with everything between them.
                skipped = columns.start * pixel
                size = (count - 1) * width * pixel + (columns.stop - columns.start) * pixel
                data = read_exactly(fd, size, first + top * width * pixel + skipped, self.location.path)
                strided = np.lib.stride_tricks.as_strided(
                    np.frombuffer(data, image.dtype),
                    (count, columns.stop - columns.start, samples),
                    (width * pixel, pixel, image.dtype.itemsize),
                    writeable=False,
                )
                plane[top - rows.start : top - rows.start + count] = strided[:, :, wanted]

    def _segments_of_page(
        self, fd: int, image: TiffImage, page: int, part: Region, target: np.ndarray[Any, Any]
    ) -> None:
        """Decode the strips or tiles that `part` touches."""
        grid = grid_shape(image.page_shape, image.segment)
        for overlap in overlaps(part, image.segment):
            number = int(np.ravel_multi_index(overlap.chunk, grid))
            target[overlap.target] = self._segment(fd, image, page, number, overlap)

    def _segment(self, fd: int, image: TiffImage, page: int, number: int, overlap: Overlap) -> np.ndarray[Any, Any]:
        """Decode one strip or tile and return the wanted part."""
        from ilastik_lazy.formats.tiff.file import TIFFFILE_ERRORS

        name = f"{self.location}: strip or tile {number} of page {page}"
        offset, size = int(image.offsets[page, number]), int(image.counts[page, number])
        if size <= 0 or offset <= 0:
            raise CorruptChunkError(f"{name} was never written")
        if offset + size > self.stamp.size:
            raise CorruptChunkError(f"{name} lies outside the file, which is damaged or cut off")
        # LZW stores up to 12 bits for a byte; nothing larger is read.
        nbytes = math.prod(image.segment) * image.dtype.itemsize
        if size > 2 * nbytes + 2**16:
            raise CorruptChunkError(f"{name} has {size} compressed bytes for {nbytes}: damaged")
        data = read_exactly(fd, size, offset, self.location.path)
        with translated(
            TIFFFILE_ERRORS,
            lambda error: CorruptChunkError(f"{name} cannot be decoded ({ascii(str(error))[:200]})"),
            name,
            nbytes,
        ):
            decoded: np.ndarray[Any, Any] | None = image.decode(data, number)
        part = None if decoded is None else decoded[overlap.inside[1:]]
        if part is None or part.shape != region_shape(overlap.inside[1:]):
            raise CorruptChunkError(f"{name} decodes to too few pixels: damaged or cut off")
        return part[np.newaxis]


def _page_numbers(region: Region, shape: tuple[int, ...], lead: Sequence[int]) -> Sequence[int]:
    """Return the numbers of the pages that `region` touches, in C order."""
    numbers = np.zeros((), np.int64)
    for axis in lead:
        along = np.arange(region[axis].start, region[axis].stop)
        numbers = numbers[..., np.newaxis] * shape[axis] + along
    return [int(number) for number in numbers.reshape(-1)]


FORMAT = Format("TIFF", recognises, images, open_image)
