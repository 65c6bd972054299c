"""Single pictures: png, jpg, bmp, gif, ppm and similar formats, decoded by Pillow.

These formats have no chunks: a read decodes the whole picture, in the calling thread.  Where Pillow would drop
bits, another decoder is used, or the picture is refused.
"""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ilastik_lazy.core.axes import Axis, parse_axis_names
from ilastik_lazy.core.classes import class_colors_in
from ilastik_lazy.core.display import samples_of
from ilastik_lazy.core.grid import Region, check_region, region_shape
from ilastik_lazy.core.kinds import WHOLE_NUMBERS, kind_from_name
from ilastik_lazy.core.library_errors import require_package, translated
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.errors import (
    CorruptChunkError,
    CorruptFileError,
    DatasetNotFoundError,
    LimitExceededError,
    MetadataError,
    UnsupportedFilterError,
    remedy,
)
from ilastik_lazy.formats.format import Format
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.png import inflated_png
from ilastik_lazy.formats.suffixes import PICTURE_SUFFIXES
from ilastik_lazy.storage.files import Stamp, opened, read_exactly, read_up_to, stamp_of

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FORMAT", "PictureSource", "images", "open_image", "recognises"]

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")

# Not all formats of Pillow: some start other programs (EPS starts ghostscript).
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "SUN")
_NAME = "image"

# Raised by Pillow for damaged files; SyntaxError stands for a bad header.
_PILLOW_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, OverflowError,
                  RuntimeError, struct.error)  # fmt: skip

# For each mode of Pillow: number of samples (0: no axis), dtype, and the mode to convert to first.
_MODES = {
    "1": (0, "u1", "L"),
    "L": (0, "u1", None),
    "LA": (2, "u1", None),
    "P": (3, "u1", "RGB"),
    "RGB": (3, "u1", None),
    "RGBA": (4, "u1", None),
    "CMYK": (4, "u1", None),
    "YCbCr": (3, "u1", "RGB"),
    "I;16": (0, "u2", None),
    "I;16B": (0, "u2", None),
    "I": (0, "u2", None),
}
_PNG_SAMPLES = {"RGB;16B": 3, "RGBA;16B": 4, "LA;16B": 2}


def recognises(location: Location, options: OpenOptions) -> bool:
    """Return whether the file is a picture, by its name or its first bytes."""
    if not os.path.isfile(location.path):
        return False
    if location.suffix in PICTURE_SUFFIXES:
        return True
    with opened(location.path) as fd:
        return read_up_to(fd, 8, 0, location.path).startswith(_SIGNATURES)


def images(location: Location, options: OpenOptions) -> list[str]:
    """Return the name of the one image of a picture, which has no name of its own."""
    return [_NAME]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Shape and dtype of the pixels, and how they are decoded."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mode: str | None = None
    """Mode of Pillow to convert to."""
    decoder: str = "pillow"
    """``pillow``, or ``png`` and ``ppm`` for 16 bits per colour, of which Pillow drops eight."""
    offset: int = 0
    """Offset of the pixels of a ``ppm`` in bytes."""
    palette: bytes = b""
    """Colours of the indices that are stored in place of colours."""

    def of_classes(self) -> _Layout:
        """Return the layout of the indices themselves, which are numbers of classes."""
        return replace(self, shape=self.shape[:2], mode=None)


def open_image(location: Location, options: OpenOptions) -> ArraySource:
    """Open a picture; only its header is read.

    Parameters
    ----------
    location
        The file.
    options
        Names of the axes; by default ``yx``, or ``yxc`` for several samples.

    Raises
    ------
    MissingExtraError
        Pillow is not installed, or the picture has 16 bits per colour and imagecodecs is not installed.
    CorruptFileError, MetadataError, UnsupportedFilterError, LimitExceededError
    """
    if location.internal_path not in (None, _NAME):
        raise DatasetNotFoundError(f"{location.path} is a picture, and has no image {location.internal_path!r}")
    axes, limits = options.axes, options.limits
    stamp = stamp_of(location.path)
    layout = _layout_of_file(location.path, stamp)
    stated = options.kind or kind_from_name(location.path, layout.dtype, layout.shape[-1])
    if has_classes := bool(layout.palette) and stated in WHOLE_NUMBERS:
        layout = layout.of_classes()
    nbytes = math.prod(layout.shape) * layout.dtype.itemsize
    if nbytes > limits.chunk_bytes:
        raise LimitExceededError(f"{location} is a picture of {nbytes} bytes, more than {limits.chunk_bytes}")
    if max(layout.shape) > limits.axis_length:
        raise LimitExceededError(f"{location} has shape {layout.shape}: more than {limits.axis_length} along an axis")
    names = parse_axis_names(axes if axes is not None else "yxc"[: len(layout.shape)], layout.shape, location)
    channels = layout.shape[names.index("c")] if "c" in names else 1
    # The file, inflated if it is a PNG, the picture in Pillow (four bytes for three samples), and its pixels.
    buffers = 4 if len(layout.shape) == 2 else 5
    kind = kind_from_name(location.path, layout.dtype, channels)
    named, colors = samples_of(channels if kind not in WHOLE_NUMBERS and stated not in WHOLE_NUMBERS else 0)
    spec = ArraySpec(
        name=_NAME,
        shape=layout.shape,
        dtype=layout.dtype,
        axes=tuple(map(Axis, names)),
        chunks=layout.shape,
        storage=Storage(
            location=str(location), path=location.path, compression=location.suffix.lstrip("."), buffers=buffers
        ),
        kind=kind,
        channel_names=named if names[-1] == "c" else (),
        channel_colors=class_colors_in(layout.palette) if has_classes else colors if names[-1] == "c" else (),
    )
    return PictureSource(spec, location, stamp, has_classes)


def _layout_of_file(path: str, stamp: Stamp) -> _Layout:
    require_package("PIL.Image", "images", f"{path} is a picture, which is opened with Pillow")
    with opened(path, stamp) as fd, os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        with translated(
            _PILLOW_ERRORS,
            lambda error: CorruptFileError(f"{path} cannot be read as a picture ({ascii(str(error))[:200]})"),
            path,
        ):
            return _layout_of(_opened_picture(file, path), path)


def _opened_picture(file: Any, path: str) -> Image:
    from PIL.Image import DecompressionBombError, DecompressionBombWarning, open

    try:
        # `Limits` decides how large a picture may be; Pillow warns from 89 million pixels on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DecompressionBombWarning)
            return open(file, formats=_FORMATS)
    except DecompressionBombError as error:
        advice = remedy("; set PIL.Image.MAX_IMAGE_PIXELS higher for a file that you trust")
        raise LimitExceededError(f"{path}: Pillow refuses it: {error}{advice}") from error


def _layout_of(picture: Image, path: str) -> _Layout:
    width, height = picture.size
    if (frames := getattr(picture, "n_frames", 1)) != 1:
        raise MetadataError(f"{path} holds {frames} pictures: save each as a file, and open them as a stack")
    # Offset and encoding of the pixels; only pictures from files have these.
    tiles: Any = getattr(picture, "tile", ())
    raw, offset = (tiles[0].args, tiles[0].offset) if tiles else (None, 0)
    if picture.format == "PNG" and raw in _PNG_SAMPLES:
        require_package("imagecodecs", "images,fast", f"{path} has 16 bits per colour, which needs imagecodecs")
        return _Layout((height, width, _PNG_SAMPLES[raw]), np.dtype("u2"), decoder="png")
    if picture.format == "PPM" and isinstance(raw, tuple):
        if raw == ("RGB", 65535):
            return _Layout((height, width, 3), np.dtype("u2"), decoder="ppm", offset=offset)
        if raw[1] != 255:
            raise UnsupportedFilterError(f"{path} has values up to {raw[1]}, which Pillow would scale: save it as png")
    if picture.mode not in _MODES or (picture.mode == "I" and raw != "I;16B"):
        raise UnsupportedFilterError(f"{path} is a picture of mode {picture.mode!r}, which is not supported")
    samples, dtype, mode = _MODES[picture.mode]
    if picture.mode == "P" and "transparency" in picture.info:
        samples, mode = 4, "RGBA"
    palette = bytes(picture.getpalette() or ()) if picture.mode == "P" else b""
    return _Layout((height, width, samples) if samples else (height, width), np.dtype(dtype), mode, palette=palette)


@dataclass(frozen=True, slots=True)
class PictureSource:
    """One picture."""

    spec: ArraySpec
    location: Location
    stamp: Stamp
    has_classes: bool = False
    """Whether the indices of its palette are the values."""

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        if 0 in region_shape(region):
            return np.empty(region_shape(region), self.spec.dtype)
        path = self.location.path
        with opened(path, self.stamp) as fd:
            data = read_exactly(fd, self.stamp.size, 0, path)
        with translated(
            _PILLOW_ERRORS,
            lambda error: CorruptChunkError(f"{path} cannot be decoded ({ascii(str(error))[:200]})"),
            path,
            self.spec.nbytes,
        ):
            whole = _decoded(data, path, has_classes=self.has_classes)
        if whole.shape != self.spec.shape:
            raise CorruptChunkError(f"{path} decodes to shape {whole.shape} instead of {self.spec.shape}: damaged")
        return np.array(whole[region], self.spec.dtype, order="C")


def _decoded(data: bytes, path: str, *, has_classes: bool) -> np.ndarray[Any, Any]:
    """Decode the pixels of a picture from the bytes of its file."""
    if data.startswith(_SIGNATURES[0]):
        try:
            data = inflated_png(data)
        except CorruptChunkError as error:
            raise CorruptChunkError(f"{path} cannot be decoded: {error}") from error
    picture = _opened_picture(io.BytesIO(data), path)
    layout = _layout_of(picture, path)
    layout = layout.of_classes() if has_classes else layout
    if layout.decoder == "png":
        from imagecodecs import png_decode

        # libpng adds alpha behind the samples if a colour is declared transparent (tRNS).
        return np.asarray(png_decode(data))[..., : layout.shape[-1]]
    if layout.decoder == "ppm":
        return np.frombuffer(data, ">u2", math.prod(layout.shape), layout.offset).reshape(layout.shape)
    return np.asarray(picture if layout.mode is None else picture.convert(layout.mode))


FORMAT = Format("pictures", recognises, images, open_image)
