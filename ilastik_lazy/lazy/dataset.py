"""From an `ArraySource` to xarray and dask, without reading a voxel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from ilastik_lazy.core.axes import AXIS_NAMES
from ilastik_lazy.core.classes import COLORS
from ilastik_lazy.core.grid import block_lengths, block_shape
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.attributes import attributes_of, channel_coordinates
from ilastik_lazy.lazy.frames import series_of
from ilastik_lazy.lazy.indexing import CopiedWhenChanged, SourceArray

__all__ = [
    "Chunks", "chunked", "moved", "to_dataarray", "to_dataset", "variable_name", "variable_names",
]  # fmt: skip

Chunks = str | int | Mapping[Any, Any] | Sequence[Any] | None


def _encoding_of(source: ArraySource) -> dict[str, Any]:
    spec = source.spec
    filters = spec.storage.compression.split("+")
    encoding: dict[str, Any] = {
        "source": spec.storage.location,
        "original_shape": spec.shape,
        "preferred_chunks": dict(zip(spec.dims, spec.chunks, strict=True)),
        # In xarray's words, which netCDF engines take when the array is written again.
        "compression": "zlib" if "gzip" in filters else None,
        "zlib": "gzip" in filters,
        "shuffle": "shuffle" in filters,
        "fletcher32": "fletcher32" in filters,
    }
    if spec.storage.layout == "chunked":
        encoding["chunksizes"] = spec.chunks
    if (series := series_of(source)) is not None:
        encoding["frames"] = series
    if spec.packing is not None and spec.is_unpacked:
        # As xarray leaves it where it unpacks: what is written again is packed again.
        encoding |= {"dtype": spec.packing.stored} | spec.packing.attributes()
    return encoding


def _coordinates_of(spec: ArraySpec, dims: Mapping[str, str]) -> dict[str, xr.Variable]:
    """Return the coordinates of the axes whose positions, or names, are known; no other axis has any."""
    coordinates = {}
    for axis, length in zip(spec.axes, spec.shape, strict=True):
        if axis.name != "c" and (positions := axis.positions(length)) is not None:
            coordinates[dims[axis.name]] = xr.Variable(dims[axis.name], positions, axis.coordinate_attributes())
    return coordinates | channel_coordinates(spec, dims.get("c", "c"))


def variable_name(name: str) -> str:
    """Return `name`, changed if it is an axis: xarray takes a variable named like a dimension for its coordinate."""
    return f"image_{name}" if name in AXIS_NAMES else name


def variable_names(paths: Sequence[str]) -> dict[str, str]:
    """Name the images of a file by the last part of their paths, or by the whole path where that is not unique.

    >>> variable_names(["x", "vol/x", "raw"])
    {'image_x': 'x', 'vol_x': 'vol/x', 'raw': 'raw'}
    """
    last = [path.rsplit("/", 1)[-1] for path in paths]
    names = [
        variable_name(name if last.count(name) == 1 else path.replace("/", "_"))
        for name, path in zip(last, paths, strict=True)
    ]
    if len(set(names)) < len(names):
        # "a/b" beside "a_b": only the paths themselves are sure to differ.
        names = [variable_name(path) for path in paths]
    made: dict[str, str] = {}
    for name, path in zip(names, paths, strict=True):
        # "image_x" beside "x".
        while name in made or (name != path and name in paths):
            name += "_"
        made[name] = path
    return made


def _dims_beside(
    spec: ArraySpec, name: str, dataset: Mapping[str, xr.Variable], sizes: Mapping[str, int], names: Collection[str]
) -> dict[str, str]:
    """Name the dims of one array; one that differs from a dim in `dataset` gets another name, not one of `names`."""
    own = {axis.name: axis.name for axis in spec.axes}
    wanted = _coordinates_of(spec, own)
    for axis, length in zip(spec.axes, spec.shape, strict=True):
        fits = sizes.get(axis.name, length) == length
        along = (axis.name, COLORS) if axis.name == "c" else (axis.name,)
        same = all(_are_same(dataset.get(each), wanted.get(each)) for each in along)
        if axis.name in sizes and not (fits and same):
            dim = f"{axis.name}_{name}"
            while dim in sizes or dim in names:
                dim += "_"
            own[axis.name] = dim
    return own


def _are_same(one: xr.Variable | None, other: xr.Variable | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.identical(other))  # type: ignore[no-untyped-call]


def to_dataarray(source: ArraySource, chunks: Chunks = None) -> xr.DataArray:
    """Return a lazily indexed array, or one of dask with `chunks` (see `chunked`); nothing is read."""
    name = variable_name(source.spec.name)
    return chunked(to_dataset({name: source}), {name: source}, chunks)[name]


def to_dataset(sources: Mapping[str, ArraySource]) -> xr.Dataset:
    """Return a Dataset of lazily indexed variables, without dask; nothing is read.

    Where two arrays of a file differ in the length or positions of a dimension, the later one's
    is called after it, for instance ``c_raw``.
    """
    variables: dict[str, xr.Variable] = {}
    coordinates: dict[str, xr.Variable] = {}
    sizes: dict[str, int] = {}
    for name, source in sources.items():
        spec = source.spec
        dims = _dims_beside(spec, name, coordinates, sizes, sources)
        lazy: Any = indexing.LazilyIndexedArray(SourceArray(source))
        variables[name] = xr.Variable(
            list(dims.values()), CopiedWhenChanged(lazy), attributes_of(spec), _encoding_of(source)
        )
        variables[name].encoding["preferred_chunks"] = dict(zip(dims.values(), spec.chunks, strict=True))
        # Coordinates without a dimension would be those of all images.
        found = _coordinates_of(spec, dims)
        coordinates |= {each: along for each, along in found.items() if along.dims or len(sources) == 1}
        sizes |= dict(zip(dims.values(), spec.shape, strict=True))
    return xr.Dataset(variables, coordinates)


def _lengths_of_blocks(spec: ArraySpec, dims: Sequence[str], chunks: Chunks) -> tuple[tuple[int, ...], ...]:
    """Translate the ``chunks=`` of xarray's users to dask's ``chunks``."""
    auto = dict(zip(dims, block_shape(spec.shape, spec.chunks, spec.dtype.itemsize, spec.dims), strict=True))
    sizes = dict(zip(dims, spec.shape, strict=True))
    if isinstance(chunks, Mapping):
        wanted: dict[Any, Any] = dict(zip(dims, spec.chunks, strict=True)) | {
            k: v for k, v in chunks.items() if k in auto
        }
        if unknown := [k for k in chunks if k not in auto and k not in AXIS_NAMES]:
            raise ArgumentError(f"chunks names the dimension {unknown[0]!r}; there are {', '.join(dims)}")
    elif isinstance(chunks, int):
        wanted = dict.fromkeys(dims, chunks)
    elif isinstance(chunks, Sequence) and not isinstance(chunks, str) and len(chunks) == len(dims):
        wanted = dict(zip(dims, chunks, strict=True))
    else:
        raise ArgumentError(f"chunks={chunks!r}: expected 'auto', {{}}, a dict of dims, an int, a tuple, or None")
    lengths = []
    for dim, length in wanted.items():
        if length == "auto":
            length = auto[dim]
        if isinstance(length, Sequence) and not isinstance(length, str):
            if sum(length) != sizes[dim]:
                raise ArgumentError(f"chunks of {dim!r} add up to {sum(length)}, its length is {sizes[dim]}")
            lengths.append(tuple(int(part) for part in length))
            continue
        if length is None or length == -1:
            length = sizes[dim]
        if not isinstance(length, int | np.integer) or (length < 1 and sizes[dim] > 0):
            raise ArgumentError(f"chunks of {dim!r} are {length!r}: expected a positive length, -1 or 'auto'")
        lengths += block_lengths((sizes[dim],), (int(length),))
    return tuple(lengths)


def chunked(dataset: xr.Dataset, sources: Mapping[str, ArraySource], chunks: Chunks) -> xr.Dataset:
    """Turn the variables of `dataset` into dask arrays, and return it; None leaves them lazily indexed.

    Parameters
    ----------
    chunks
        ``"auto"`` groups storage chunks into blocks of 4 to 8 MiB, larger ones for images on servers
        (`block_bytes`); ``{}`` takes the storage chunks; else as in xarray.
    """
    if chunks is None:
        return dataset
    from ilastik_lazy.lazy.dask_array import to_dask

    for name, source in sources.items():
        array = dataset[name]
        dims = [str(dim) for dim in array.dims]
        # `assign` would compare all coordinates, which takes 1 ms.
        array.data = to_dask(source, None if chunks == "auto" else _lengths_of_blocks(source.spec, dims, chunks))
    return dataset


def moved(dataset: xr.Dataset, order: Sequence[str]) -> xr.Dataset:
    """Return `dataset` with its dims in `order`, as far as it has them; others come first."""
    dims = [dim for dim in order if dim in dataset.dims]
    others = [dim for dim in dataset.dims if dim not in dims]
    return dataset.transpose(*others, *dims)
