"""Small TIFF files in every layout, and how they are opened."""

from __future__ import annotations

from typing import Any

import pytest

from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.formats import tiff
from ilastik_lazy.formats.location import Location
from tests.support.makers import some_data

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")


def opened(path, inside=None, axes=None, limits=None):
    return tiff.open_image(Location.parse(path, inside), OpenOptions(axes, limits or Limits()))


def whole(source):
    return tuple(slice(0, length) for length in source.spec.shape)


def dims(source):
    return "".join(source.spec.dims)


SHAPE = (3, 4, 40, 50)
LAYOUTS: dict[str, dict[str, Any]] = {
    "ome": {"ome": True, "metadata": {"axes": "ZCYX"}},
    "ome big-endian": {"ome": True, "metadata": {"axes": "ZCYX"}, "byteorder": ">", "dtype": "u2"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZCYX"}},
    "bigtiff": {"bigtiff": True, "metadata": {"axes": "TZYX"}},
    "lzw strips": {"compression": "lzw", "rowsperstrip": 7, "metadata": {"axes": "TZYX"}},
    "lzw predictor": {
        "compression": "lzw", "predictor": True, "ome": True, "metadata": {"axes": "TZYX"}, "dtype": "u2"
    },
    "deflate tiles": {"compression": "zlib", "tile": (16, 32), "metadata": {"axes": "TZYX"}},
    "float predictor": {"compression": "zlib", "predictor": True, "metadata": {"axes": "TZYX"}},
    "zstd": {"compression": "zstd", "rowsperstrip": 9, "metadata": {"axes": "TZYX"}, "dtype": "i4"},
    "packbits": {"compression": "packbits", "metadata": {"axes": "TZYX"}, "dtype": "u1"},
    "plain tiles": {"tile": (16, 16), "metadata": {"axes": "TZYX"}, "dtype": "f8", "byteorder": ">"},
    "plain strips": {"rowsperstrip": 6, "metadata": {"axes": "TZYX"}},
}  # fmt: skip
SAMPLES: dict[str, dict[str, Any]] = {
    "contiguous": {"planarconfig": "contig", "axes": "TYXS", "shape": (3, 30, 31, 3)},
    "separate": {"planarconfig": "separate", "axes": "TSYX", "shape": (3, 3, 30, 31)},
    "separate tiles": {"planarconfig": "separate", "axes": "TSYX", "shape": (3, 3, 30, 31), "tile": (16, 16)},
    "contiguous lzw": {"planarconfig": "contig", "axes": "TYXS", "shape": (3, 30, 31, 3), "compression": "lzw"},
    "separate lzw": {"planarconfig": "separate", "axes": "TSYX", "shape": (3, 3, 30, 31), "compression": "lzw"},
}


def write(path, shape=SHAPE, dtype="f4", **options):
    data = some_data(shape, dtype)
    tifffile.imwrite(path, data, **({"photometric": "minisblack"} | options))
    return data
