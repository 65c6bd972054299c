"""The files of a store that are no voxels: metadata of groups and arrays, and coordinates."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import zarr
import zarr.storage
from zarr.codecs import ZstdCodec

from ilastik_lazy.ome_zarr.plan import Level, Plan
from ilastik_lazy.ome_zarr.shard import ZSTD_LEVEL

__all__ = ["metadata_documents"]


def metadata_documents(plan: Plan, attributes: dict[str, Any], image_attributes: dict[str, Any]) -> dict[str, bytes]:
    """All files of the store but the shards: metadata, and coordinates beside the images."""
    # zarr-python itself makes them, in memory, so that they are what it would write.
    made: dict[str, Any] = {}
    store = zarr.storage.MemoryStore(made)
    root = zarr.open_group(store, mode="w", zarr_format=3)
    root.attrs["ome"] = attributes
    for level in plan.levels:
        group = root.create_group(level.path.rsplit("/", 1)[0])
        array = group.create_array(
            level.path.rsplit("/", 1)[1],
            shape=level.shape,
            dtype=plan.dtype,
            chunks=level.chunks,
            shards=level.shards,
            compressors=ZstdCodec(level=ZSTD_LEVEL),
            fill_value=0,
            dimension_names=[axis.name for axis in level.axes],
        )
        array.attrs.update(image_attributes)
        _write_coordinates(group, level, plan)
    with warnings.catch_warnings():
        # Not yet in the Zarr v3 specification, and marked as optional: xarray opens faster with it.
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        zarr.consolidate_metadata(store)
    documents = {key: bytes(value.to_bytes()) for key, value in made.items()}
    return {
        key: json.dumps(json.loads(data), indent=2).encode() if key.endswith("zarr.json") else data
        for key, data in documents.items()
    }


def _write_coordinates(group: zarr.Group, level: Level, plan: Plan) -> None:
    """Positions and class names beside the image, where plain xarray finds them."""
    for axis, length in zip(level.axes, level.shape, strict=True):
        if axis.name == "c":
            names = plan.spec.channel_names
            if len(names) == length and not plan.spec.is_label_image:
                _write_array(group, "c", np.array(names, dtype=np.dtypes.StringDType()), {"long_name": "class"})
        elif _is_known(plan, axis.name) and (positions := axis.positions(length)) is not None:
            attributes = {"axis": axis.name.upper()} | ({"units": axis.unit} if axis.unit else {})
            _write_array(group, axis.name, positions, attributes)


def _is_known(plan: Plan, name: str) -> bool:
    """Whether the source knows the step of an axis; downsampling gives every axis one."""
    return plan.spec.axes[plan.spec.dims.index(name)].scale is not None


def _write_array(group: zarr.Group, name: str, values: np.ndarray[Any, Any], attributes: dict[str, Any]) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=values.shape, compressors=None, dimension_names=[name]
    )
    array[...] = values
    array.attrs.update(attributes)
