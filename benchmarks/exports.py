"""Write files as ilastik writes them, as large as a benchmark wants, in seconds.

Chunk shape, compression and attributes follow ilastik's exporter.  Probabilities are multiples of
1/100, as a random forest of 100 trees gives them; "masks" are 0 and 1 alone, and 8 GB of them 0.2 GB
on disk.  Beyond `DISTINCT` chunks the same compressed streams are used again: decoding does not
notice, and 8 GB are there within a minute.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import h5py
import numpy as np

DISTINCT = 96
FLAGS = {"t": 8, "z": 2, "y": 2, "x": 2, "c": 1}


def ilastik_chunks(shape: Sequence[int], axes: str, itemsize: int) -> tuple[int, ...]:
    """ilastik's rule (``lazyflow/roi.py``, ``determineBlockShape``): about 512 kB, one t and one c."""
    most = [1 if axis in "tc" else length for length, axis in zip(shape, axes, strict=True)]
    order = sorted(range(len(shape)), key=lambda i: (most[i], i))
    chunks, volume, left = [1] * len(shape), 1, len(shape)
    for i in order:
        remaining = (512_000.0 / itemsize) // volume
        chunks[i] = min(int(remaining ** (1 / left) + 0.5), most[i])
        volume *= chunks[i]
        left -= 1
    return tuple(chunks)


def axistags(axes: str, resolution: dict[str, float] | None = None) -> str:
    """The JSON that vigra writes."""
    return json.dumps(
        {
            "axes": [
                {"key": a, "typeFlags": FLAGS[a], "resolution": (resolution or {}).get(a, 0), "description": ""}
                for a in axes
            ]
        },
        indent=2,
    )


def field(origin: Sequence[int], shape: Sequence[int], seed: int, kind: str) -> np.ndarray[Any, Any]:
    """Smooth blobs: probabilities in hundredths with a little noise, classes 1..3, masks of 0 and 1, or a raw image."""
    rng = np.random.default_rng((seed, *origin))
    total = np.zeros(shape, np.float32)
    for axis, (start, length) in enumerate(zip(origin, shape, strict=True)):
        wave = np.sin((np.arange(start, start + length) + 3 * seed) / (7.0 + axis)).astype(np.float32)
        total += wave.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    if kind == "segmentation":
        return (1 + (total > 0) + (total > 1)).astype(np.uint8)
    if kind == "masks":
        return (total > 0).astype(np.float32)
    if kind == "raw":
        return (1000 + 200 * total).astype(np.uint16) + rng.integers(0, 64, shape, dtype=np.uint16)
    smooth = 1 / (1 + np.exp(-4 * total))
    noise = rng.integers(-2, 3, shape, dtype=np.int8) * ((smooth > 0.02) & (smooth < 0.98))
    return (np.clip(np.rint(smooth * 100) + noise, 0, 100) / np.float32(100)).astype(np.float32)


def write_export(
    path: str,
    shape: Sequence[int],
    axes: str = "zyxc",
    *,
    kind: Literal["probabilities", "segmentation", "masks", "raw"] = "probabilities",
    compression: Literal["gzip"] | None = "gzip",
    chunks: tuple[int, ...] | None = None,
    distinct: int = DISTINCT,
    scales: dict[str, float] | None = None,
    seed: int = 0,
) -> str:
    """Write one export with the dataset ``exported_data``, and return its path."""
    dtype = np.dtype({"segmentation": "u1", "raw": "u2"}.get(kind, "f4"))
    chunks = chunks or ilastik_chunks(shape, axes, dtype.itemsize)

    def stored(origin: tuple[int, ...]) -> bytes:
        return encoded(field(origin, chunks, seed, kind), compression)

    with ThreadPoolExecutor() as pool:
        patterns = list(pool.map(stored, itertools.islice(origins_of(shape, chunks), distinct)))
    streams = itertools.cycle(patterns)
    return write_streams(path, shape, axes, dtype, chunks, streams, compression=compression, scales=scales)


def origins_of(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The first voxel of each chunk, in raster order."""
    return itertools.product(*(range(0, length, chunk) for length, chunk in zip(shape, chunks, strict=True)))


def encoded(chunk: np.ndarray[Any, Any], compression: Literal["gzip"] | None = "gzip") -> bytes:
    """A chunk as HDF5 stores it."""
    return zlib.compress(chunk.tobytes(), 1) if compression else chunk.tobytes()


def write_streams(
    path: str,
    shape: Sequence[int],
    axes: str,
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    streams: Iterable[bytes],
    *,
    compression: Literal["gzip"] | None = "gzip",
    scales: dict[str, float] | None = None,
) -> str:
    """Write one export from encoded chunks in raster order, and return its path."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "exported_data", tuple(shape), dtype, chunks=chunks,
            compression=compression, compression_opts=1 if compression else None,
        )  # fmt: skip
        dataset.attrs["axistags"] = axistags(axes, scales or {"z": 0.5, "y": 0.1, "x": 0.1})
        dataset.attrs["axis_units"] = json.dumps({"z": "µm", "y": "µm", "x": "µm", "c": ""})
        dataset.attrs["drange"] = np.array([0, 1], dtype)
        dataset.attrs["display_mode"] = "default"
        for dimension, axis in zip(dataset.dims, axes, strict=True):
            dimension.label = axis
        for origin, stream in zip(origins_of(shape, chunks), streams, strict=False):
            dataset.id.write_direct_chunk(origin, stream)
    return path
