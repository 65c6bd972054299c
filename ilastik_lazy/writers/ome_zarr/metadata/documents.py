"""The files of a store that are not voxels: metadata of groups and arrays, and coordinates.

zarr-python makes them in memory, so that they are what it would write.  OME-Zarr 0.5 uses Zarr v3,
https://ngff.openmicroscopy.org/0.5/; 0.4 uses v2, https://ngff.openmicroscopy.org/0.4/.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Literal

import numcodecs
import numpy as np
import zarr
import zarr.storage
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from ilastik_lazy.lazy.attributes import channel_coordinates
from ilastik_lazy.storage.compression import deflating
from ilastik_lazy.writers.ome_zarr.encode import BLOSC_LEVEL, ZSTD_LEVEL, Codec, blosc_shuffles
from ilastik_lazy.writers.ome_zarr.plan.plan import Level, Plan, Version

__all__ = ["is_root", "metadata_documents", "with_attributes", "writing_order"]

_NAMES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""Names of metadata in the order of writing: those by which readers find voxels come first, attributes last."""

_Channels = tuple[str, tuple[str, ...], str | tuple[str, ...], str]


def is_root(key: str) -> bool:
    """Whether a document is one of those that make the folder an image, and that are written last."""
    return "/" not in key


def writing_order(keys: Iterable[str]) -> list[str]:
    """Coordinates, then metadata from the arrays up to the root."""

    def rank(key: str) -> tuple[int, int, int, str]:
        name = key.rsplit("/", 1)[-1]
        return name in _NAMES, -key.count("/"), _NAMES.index(name) if name in _NAMES else 0, key

    return sorted(keys, key=rank)


def metadata_documents(plan: Plan, attributes: dict[str, Any], image_attributes: dict[str, Any]) -> dict[str, bytes]:
    """All files of the store except the shards: metadata, and coordinates beside the images.

    Metadata are not consolidated: zarr-python and xarray would never find what others add later, such as labels.
    """
    is_v2 = plan.version == "0.4"
    of_root = attributes if is_v2 else {"ome": attributes}
    if not is_v2 and "omero" in attributes:
        # Neuroglancer looks for it here, up to version 2.41 also in 0.5; programs that follow 0.5 ignore the copy.
        of_root["omero"] = attributes["omero"]
    along_c = channel_coordinates(plan.spec)
    if beside := [name for name in along_c if name not in plan.spec.dims]:
        image_attributes = image_attributes | {"coordinates": " ".join(beside)}  # for xarray
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in image_attributes.items()}
    # Downsampling gives every axis a step, also if the source does not know it.
    known = frozenset(axis.name for axis in plan.spec.axes if axis.scale is not None)
    channels = tuple(
        (
            name,
            tuple(map(str, each.dims)),
            tuple(each.values.tolist()) if each.ndim else each.values.item(),
            json.dumps(each.attrs),
        )
        for name, each in along_c.items()
    )
    documents = with_attributes(_documents_of_root(plan.version), of_root)
    for level in plan.levels:
        documents |= _documents_of(level, plan.version, plan.dtype, json.dumps(plain), known, channels)
    return documents


@functools.cache
def _documents_of_root(version: Version) -> dict[str, bytes]:
    """Metadata of the root without its attributes."""
    made: dict[str, Any] = {}
    zarr.create_group(zarr.storage.MemoryStore(made), zarr_format=2 if version == "0.4" else 3)
    return _indented(made)


# zarr-python takes 10 ms for a level, and a conversion needs them twice; many images have the same.
@functools.lru_cache(maxsize=32)
def _documents_of(
    level: Level,
    version: Version,
    dtype: np.dtype[Any],
    attributes: str,
    known: frozenset[str],
    channels: tuple[_Channels, ...],
) -> dict[str, bytes]:
    """All files of a level except the shards.

    Parameters
    ----------
    attributes
        Those of the array, as JSON.
    known
        Axes that have coordinates.
    channels
        Name, dims, texts, and attributes as JSON, of each coordinate along ``c``; one text if there are no dims.
    """
    made: dict[str, Any] = {}
    store, path = zarr.storage.MemoryStore(made), level.path.rsplit("/", 1)[0]
    group = zarr.create_group(store, path=path, zarr_format=2 if version == "0.4" else 3)
    _create_image(group, level, dtype, json.loads(attributes))
    _write_coordinates(group, level, known, channels)
    return _indented({key: value for key, value in made.items() if not is_root(key)})


def _indented(made: Mapping[str, Any]) -> dict[str, bytes]:
    """Return what zarr-python has made as bytes, with JSON as every version of it would have it."""
    documents = {key: bytes(value.to_bytes()) for key, value in made.items()}
    return {
        key: json.dumps(json.loads(data), indent=2).encode() if key.rsplit("/", 1)[-1] in _NAMES else data
        for key, data in documents.items()
    }


def with_attributes(documents: Mapping[str, bytes], others: Mapping[str, Any]) -> dict[str, bytes]:
    """`documents` with the attributes `others` in the root, as far as it has none of these names."""
    if not others:
        return dict(documents)
    key = "zarr.json" if "zarr.json" in documents else ".zattrs"
    root = json.loads(documents[key])
    if key == "zarr.json":
        root["attributes"] = {**others, **root["attributes"]}
    else:
        root = {**others, **root}
    return {**documents, key: json.dumps(root, indent=2).encode()}


def _create_image(group: zarr.Group, level: Level, dtype: np.dtype[Any], attributes: dict[str, Any]) -> None:
    options: dict[str, Any] = {"shape": level.shape, "dtype": dtype, "chunks": level.chunks}
    if group.metadata.zarr_format == 3:
        options |= {"shards": level.shards if level.sharded else None, "fill_value": 0}
        options["compressors"] = _codec_of_v3(level.codec, dtype)
    else:
        options |= {"compressors": _codec_of_v2(level.codec, dtype), "fill_value": None}
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    # Zarr's own fill value is that of chunks that are not there: a mark for missing values has CF's other name.
    names = {"_FillValue": "missing_value"}
    named = {names.get(name, name): value for name, value in attributes.items()}
    _create(group, level.path.rsplit("/", 1)[1], [axis.name for axis in level.axes], options, named)


def _create(
    group: zarr.Group, name: str, dims: list[str], options: dict[str, Any], attributes: dict[str, Any]
) -> zarr.Array[Any]:
    """Create an array that names its axes: in a field of v3, or in xarray's attribute for v2.

    https://docs.xarray.dev/en/stable/internals/zarr-encoding-spec.html
    """
    if group.metadata.zarr_format == 3:
        return group.create_array(name, dimension_names=dims, attributes=attributes, **options)
    # xarray treats the fill value of v2 as a missing value, and would turn zeros into NaN: so none is set.
    attributes = {"_ARRAY_DIMENSIONS": dims, **attributes}
    return group.create_array(name, attributes=attributes, **options | {"fill_value": None})


def _codec_of_v3(codec: Codec, dtype: np.dtype[Any]) -> Any:
    if codec == "zstd":
        return ZstdCodec(level=ZSTD_LEVEL)
    if codec == "gzip":
        return GzipCodec(level=deflating.LEVEL)
    if codec == "blosc":
        shuffle: Literal["bitshuffle", "noshuffle"] = "bitshuffle" if blosc_shuffles(dtype) else "noshuffle"
        return BloscCodec(cname="zstd", clevel=BLOSC_LEVEL, shuffle=shuffle, typesize=dtype.itemsize)
    return None


def _codec_of_v2(codec: Codec, dtype: np.dtype[Any]) -> Any:
    if codec == "zstd":
        return numcodecs.Zstd(level=ZSTD_LEVEL)
    if codec == "gzip":
        return numcodecs.GZip(level=deflating.LEVEL)
    if codec == "blosc":
        shuffle = numcodecs.Blosc.BITSHUFFLE if blosc_shuffles(dtype) else numcodecs.Blosc.NOSHUFFLE
        return numcodecs.Blosc(cname="zstd", clevel=BLOSC_LEVEL, shuffle=shuffle)
    return None


def _write_coordinates(group: zarr.Group, level: Level, known: Container[str], channels: Sequence[_Channels]) -> None:
    """Write positions, and names and colours of channels, beside the image, where plain xarray finds them."""
    # Zarr v2 stores text of any length like a pickle; text of one length is plain bytes.
    text: Any = np.dtypes.StringDType() if group.metadata.zarr_format == 3 else np.str_
    for name, dims, values, attributes in channels:
        _write_array(group, name, list(dims), np.array(values, text), json.loads(attributes))
    for axis, length in zip(level.axes, level.shape, strict=True):
        if axis.name in known and axis.name != "c" and (positions := axis.positions(length)) is not None:
            _write_array(group, axis.name, [axis.name], positions, axis.coordinate_attributes())


def _write_array(
    group: zarr.Group, name: str, dims: list[str], values: np.ndarray[Any, Any], attributes: dict[str, Any]
) -> None:
    options = {"shape": values.shape, "dtype": values.dtype, "chunks": values.shape, "compressors": None}
    _create(group, name, dims, options, attributes)[...] = values
