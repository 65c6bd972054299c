"""Metadata of a TIFF, read once by tifffile and kept as arrays and values, without an open handle.

Handles of tifffile cannot be shared between threads.  Where data are missing, tifffile writes to its log and returns
zeros; here that is an error.  No other file is opened.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ilastik_lazy.core.byte_cache import ByteCache
from ilastik_lazy.core.library_errors import translated
from ilastik_lazy.errors import CorruptFileError, MissingExtraError
from ilastik_lazy.formats.named_image import no_such_image, only_image
from ilastik_lazy.formats.tiff.ifds import page_layouts
from ilastik_lazy.formats.tiff.image import TiffImage, image_of, naming
from ilastik_lazy.formats.tiff.metadata import check_ome, parse_ome
from ilastik_lazy.storage.files import Stamp, opened, require_unchanged

try:
    import tifffile
except ImportError as missing:
    raise MissingExtraError("TIFF files are opened with tifffile: pip install 'ilastik_lazy[tiff]'") from missing

__all__ = ["TIFFFILE_ERRORS", "TiffImage", "image_names", "tiff_image"]

# Raised by tifffile and imagecodecs for damaged files: TiffFileError is a ValueError, codecs raise RuntimeError.
TIFFFILE_ERRORS = (
    OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
    ZeroDivisionError, AssertionError, StopIteration, EOFError, struct.error,
)  # fmt: skip


@contextlib.contextmanager
def _opened_tiff(path: str) -> Iterator[tuple[Any, dict[int, int]]]:
    """Open the file in tifffile, yield it with the layouts of its pages, and translate its errors."""
    layouts = page_layouts(path)
    # The indices of Micro-Manager and NDTiff point to other files; their stacks are also OME or ImageJ.
    with (
        translated(TIFFFILE_ERRORS, lambda error: CorruptFileError(_no_tiff(path, error)), path),
        tifffile.TiffFile(path, _multifile=False, is_mmstack=False, is_ndtiff=False) as file,
    ):
        yield file, layouts


def _no_tiff(path: str, error: BaseException) -> str:
    reason = f"{type(error).__name__}: {error}"[:200]
    return f"{path} cannot be read as a TIFF ({reason!a})"


def _all_series(file: Any, path: str) -> list[Any]:
    """Return the images that tifffile finds; refuse metadata that it would follow or ignore."""
    if file.is_ome:
        with naming(path):
            check_ome(parse_ome(file.ome_metadata or ""), os.path.basename(path))
    series = list(file.series)
    kinds = {one.kind for one in series}
    for kind in ("imagej", "ome"):
        # tifffile falls back to one plane if the rest of an ImageJ stack lies beyond the end of the file.
        if getattr(file, f"is_{kind}") and not kinds & {"imagej", "ome", "shaped"}:
            raise CorruptFileError(f"{path} contradicts its {kind} metadata: was it copied or exported completely?")
    return series


def _names_of(series: list[Any]) -> list[str]:
    """Return names of the images: their own where these are unique, else with a number."""
    if len(series) == 1:
        return [(series[0].name or "image").replace("/", "_")]
    own = [one.name.replace("/", "_") for one in series]
    times = Counter(own)
    return [name if times[name] == 1 and name else f"{name or 'image'}_{number}" for number, name in enumerate(own)]


def image_names(path: str) -> list[str]:
    """Return the names of the images in a TIFF, in file order."""
    with _opened_tiff(path) as (file, _):
        return _names_of(_all_series(file, path))


# Kept out of the sources' own state: dask would pickle it into every task.
_images: ByteCache[TiffImage] = ByteCache(lambda image: 2**14 + image.offsets.nbytes + image.counts.nbytes)


def tiff_image(path: str, choice: str | None, stamp: Stamp) -> TiffImage:
    """Return the image that `choice` names, or the only one, from the version of the file with `stamp`.

    Raises
    ------
    SourceChangedError
        The file has changed.
    DatasetNotFoundError
        The image does not exist, or there are several and none was named.
    CorruptFileError, MetadataError, UnsupportedFilterError, ExternalReferenceError, LimitExceededError
    """
    return _images.get((path, choice, stamp), lambda: _read_image(path, choice, stamp))


def _read_image(path: str, choice: str | None, stamp: Stamp) -> TiffImage:
    with opened(path, stamp):  # checks that it is a regular file, and the same one before and after
        require_unchanged(path, stamp)
        with _opened_tiff(path) as (file, layouts):
            series = _all_series(file, path)
            names = _names_of(series)
            number = _chosen(path, choice, series, names)
            image = image_of(file, series[number], number, names[number], layouts, path, stamp)
    require_unchanged(path, stamp)
    return image


def _chosen(path: str, choice: str | None, series: list[Any], names: list[str]) -> int:
    shown = [f"{name} {one.axes} {one.shape} {one.dtype}" for name, one in zip(names[:8], series[:8], strict=True)]
    if choice is None:
        return names.index(only_image(path, names, shown))
    if choice in names:
        return names.index(choice)
    if choice is not None and choice.isdecimal() and len(choice) < 9 and int(choice) < len(series):
        return int(choice)
    raise no_such_image(f"image {choice!r}", path, shown)
