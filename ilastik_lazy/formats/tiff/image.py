"""One image of a TIFF as arrays and values: axes, codec, offsets of strips or tiles."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ilastik_lazy.core.grid import grid_shape
from ilastik_lazy.core.library_errors import require_package
from ilastik_lazy.errors import CorruptFileError, IlastikLazyError, MetadataError, UnsupportedFilterError
from ilastik_lazy.formats.tiff.metadata import Notes, imagej_notes, ome_notes, parse_ome
from ilastik_lazy.storage.files import Stamp

if TYPE_CHECKING:
    import tifffile

__all__ = ["TiffImage", "image_of", "naming"]

# Codecs that fill a buffer of a given size.  Those of whole pictures, such as JPEG, take it from their own header.
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "gzip", 32946: "gzip", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
_PALETTE = 3
_PREDICTORS = {1: "", 2: "horizontal+", 3: "float+"}

# Kinds of images with all pages in the main chain.
_PLAIN_CHAIN = ("uniform", "generic", "shaped", "ome", "imagej")


@dataclass(frozen=True, slots=True, eq=False)
class TiffImage:
    """One image of a TIFF; all its pages have the same shape and layout."""

    name: str
    letters: str
    """Axes, in letters of tifffile."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """As stored; `read` returns the byte order of the machine."""

    notes: Notes
    compression: str
    is_plain: bool
    """Whether the pixels of a page are contiguous and uncompressed."""

    page_shape: tuple[int, int, int, int, int]
    """Separate samples, depth, length, width, contiguous samples; 1 for an axis that the page does not have."""

    segment: tuple[int, int, int, int, int]
    """Shape of a strip or tile."""

    offsets: np.ndarray[Any, np.dtype[np.int64]]
    """Offset of each strip or tile, as (page, segment), or (page, 1) for a plain image."""

    counts: np.ndarray[Any, np.dtype[np.int64]]
    """Stored bytes of each strip or tile."""

    decode: Callable[[bytes, int], Any]
    """Decode the bytes of one strip or tile, given its number; safe in threads."""

    is_rgb: bool = False
    """Whether its samples are red, green, blue, and perhaps alpha."""

    palette: bytes = b""
    """Colours that its values stand for; empty where they stand for themselves."""


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the name of the file before a message about "its" metadata."""
    try:
        yield
    except IlastikLazyError as error:
        raise type(error)(f"{path}: {error}") from error


def image_of(
    file: Any, series: Any, number: int, name: str, layouts: dict[int, int], path: str, stamp: Stamp
) -> TiffImage:
    """Describe image `number`, given as a `series` of tifffile; raise if it cannot be decoded here."""
    page = series.keyframe
    compression = _checked_compression(page, path)
    if series.transform is not None:
        raise UnsupportedFilterError(f"{path}: images of the kind {series.kind!r} are not opened")
    dtype = series.dtype.newbyteorder(file.byteorder)
    page_shape = tuple(int(n) for n in page.shaped)
    per_page = math.prod(page_shape)
    if not per_page or page.dtype is None or series.dtype != page.dtype:
        raise MetadataError(f"{path} is not an image: its pages have shape {page_shape} and dtype {page.dtype}")
    pages, left = divmod(math.prod(series.shape), per_page)
    if left or not pages:
        raise MetadataError(f"{path}: pages of shape {page_shape} do not make up an image of shape {series.shape}")
    segment = _segment_of(page)
    if min(segment) < 1:
        raise MetadataError(f"{path}: its strips or tiles have shape {segment}, with a length below 1")
    offsets, counts, is_plain = _places_of(series, pages, per_page * dtype.itemsize, layouts, path, stamp)
    if not is_plain and offsets.shape[1] != math.prod(grid_shape(page_shape, segment)):
        raise CorruptFileError(f"{path}: {offsets.shape[1]} strips or tiles of shape {segment} do not make a page")
    decode = page.decode
    letters, shape = _all_axes(file, series, number)
    return TiffImage(
        name, letters, shape, dtype, _notes_of(file, series, number, path),
        compression, is_plain, page_shape,  # type: ignore[arg-type]
        segment, offsets, counts, lambda data, index: decode(data, index)[0], page.photometric == 2 and "S" in letters,
        _palette_of(page),
    )  # fmt: skip


def _palette_of(page: Any) -> bytes:
    """Return red, green, blue of each value of up to 8 bits."""
    table = page.colormap if page.photometric == _PALETTE else None
    if table is None or table.ndim != 2 or table.shape[0] != 3 or not 0 < table.shape[1] <= 256:
        return b""
    # 0 to 65535 by the specification; some programs write 0 to 255.
    return bytes((table.T >> (8 if table.max() > 255 else 0)).astype(np.uint8))


def _all_axes(file: tifffile.TiffFile, series: Any, number: int) -> tuple[str, tuple[int, ...]]:
    """Return axes and shape of an image; OME states all five axes, and those of length 1 are kept.

    tifffile drops these, so that a stack of one channel would lose an axis that a stack of two channels has.
    """
    if series.kind != "ome":
        return series.axes, tuple(int(n) for n in series.shape)
    if hasattr(series, "get_axes"):  # tifffile before 2026.5.2
        axes, shape = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
    else:
        found: Any = file.series
        whole = found(squeeze=False)[number]
        axes, shape = whole.axes, whole.shape
    samples = dict(zip(axes, shape, strict=True)).get("S", 1)
    kept = [
        (letter, int(length))
        for letter, length in zip(axes, shape, strict=True)
        # The samples of a pixel are its channels; a C axis of length 1 beside them is dropped.
        if length > 1 or (letter in "TZCYX" and not (letter == "C" and samples > 1))
    ]
    return "".join(letter for letter, _ in kept), tuple(length for _, length in kept)


def _checked_compression(page: Any, path: str) -> str:
    known = _COMPRESSIONS.get(int(page.compression))
    predictor = _PREDICTORS.get(int(page.predictor))
    if known is None or predictor is None or page.is_subsampled:
        what = getattr(page.compression, "name", page.compression)
        raise UnsupportedFilterError(
            f"{path} is compressed with {what} (predictor {int(page.predictor)}), which is not supported: "
            "save it again, uncompressed or with LZW or deflate"
        )
    if known != "none" or predictor or int(page.fillorder) != 1:
        # tifffile's own decoders inflate without bounds, and it has none for LZW.
        require_package("imagecodecs", "tiff", f"{path} is compressed, which needs imagecodecs")
    return predictor + known


def _segment_of(page: Any) -> tuple[int, int, int, int, int]:
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    if page.is_tiled:
        return 1, int(page.tiledepth), int(page.tilelength), int(page.tilewidth), int(samples)
    return 1, 1, int(min(page.rowsperstrip, page.imagelength)), int(page.imagewidth), int(samples)


def _places_of(
    series: Any, pages: int, page_nbytes: int, layouts: dict[int, int], path: str, stamp: Stamp
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]], bool]:
    """Return offsets and byte counts of all strips or tiles, and whether pages are plain (`TiffImage.is_plain`)."""
    is_plain = bool(series.keyframe.is_final)
    if (start := series.dataoffset) is not None:
        if start + pages * page_nbytes > stamp.size:
            raise CorruptFileError(f"{path} ends in the middle of its pixels: was it copied or exported completely?")
        offsets = start + page_nbytes * np.arange(pages, dtype=np.int64)[:, np.newaxis]
        return offsets, np.full_like(offsets, page_nbytes), True
    found = list(series)
    if len(found) != pages or any(page is None for page in found):
        there = sum(page is not None for page in found)
        raise CorruptFileError(f"{path} holds {there} of the {pages} planes that its metadata state")
    layout = layouts.get(series.keyframe.offset)
    for page in found:
        if series.kind in _PLAIN_CHAIN and layouts.get(page.offset, layout) != layout:
            raise MetadataError(f"{path}: page {page.index} is not stored like page {series.keyframe.index}")
    strips = {(len(page.dataoffsets), len(page.databytecounts)) for page in found}
    wanted = math.prod(series.keyframe.chunked)
    if len(strips) != 1 or not all(wanted <= n for n in strips.pop()):
        raise CorruptFileError(f"{path}: some strips or tiles of a page are missing: {wanted} make a page")
    offsets = np.array([page.dataoffsets[:wanted] for page in found], np.int64)
    counts = np.array([page.databytecounts[:wanted] for page in found], np.int64)
    if is_plain and wanted > 1 and (offsets[:, :-1] + counts[:, :-1] != offsets[:, 1:]).any():
        is_plain = False
    if is_plain:
        counts = counts.sum(axis=1, keepdims=True)
        return offsets[:, :1], counts, True
    return offsets, counts, False


def _notes_of(file: Any, series: Any, number: int, path: str) -> Notes:
    if series.kind == "ome":
        with naming(path):
            return ome_notes(parse_ome(file.ome_metadata or ""), number, series.name)
    if series.kind == "imagej" or (file.is_imagej and series.kind == "shaped"):
        tags = file.pages.first.tags
        resolutions = [tags[name].value if name in tags else None for name in ("XResolution", "YResolution")]
        return imagej_notes(file.imagej_metadata or {}, *resolutions)
    return Notes()
