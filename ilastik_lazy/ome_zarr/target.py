"""The folder that becomes an OME-Zarr, and does not look like one before it is whole.

Order of writing: chunks, then the arrays' metadata, then the root's.  A reader that comes early
finds no Zarr there; a process that dies leaves a folder without ``zarr.json`` and with ``.ilz``.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import zarr
import zarr.storage
from zarr.codecs import ZstdCodec

from ilastik_lazy.errors import DestinationError, DestinationExistsError
from ilastik_lazy.files import make_directories, write_atomically, writing
from ilastik_lazy.ome_zarr.plan import Level, Plan
from ilastik_lazy.ome_zarr.shard import ZSTD_LEVEL, encode_shard

__all__ = ["LocalTarget", "metadata_documents"]

_WORK = ".ilz"
_ROOT = "zarr.json"
_OF_ZARR = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_UNFINISHED = "an unfinished conversion is"


class LocalTarget:
    """A local folder under construction; leaves nothing behind when the block fails."""

    def __init__(self, path: str, *, overwrite: bool) -> None:
        self.path = os.path.abspath(path)
        self.overwrite = overwrite
        self.building = os.path.join(
            os.path.dirname(self.path), f".{os.path.basename(self.path)}.{uuid.uuid4().hex[:8]}"
        )

    def __enter__(self) -> LocalTarget:
        if os.path.lexists(self.path):
            self._check_existing()
        if not self.overwrite:
            # `mkdir` is atomic: of two conversions to the same target one gets it, the other an error.
            self.building = self.path
        with writing(self.building):
            make_directories(os.path.dirname(self.path))
            try:
                os.mkdir(self.building)
            except FileExistsError as error:
                raise DestinationExistsError(f"another conversion has just made {self.path}") from error
        try:
            with writing(self._temporary):
                make_directories(self._temporary)
        except DestinationError:
            shutil.rmtree(self.building, ignore_errors=True)
            raise
        return self

    def _check_existing(self) -> None:
        """Refuse what is there; with `overwrite`, all but an image, an unfinished one, and an empty folder."""
        names = os.listdir(self.path) if os.path.isdir(self.path) else None
        is_image = names is not None and any(name in names for name in _OF_ZARR)
        if not self.overwrite:
            what = _UNFINISHED if names is not None and _WORK in names and not is_image else "something is"
            raise DestinationExistsError(f"{what} at {self.path}: remove it, or pass overwrite=True")
        if names is None or (names and not is_image and _WORK not in names):
            raise DestinationExistsError(
                f"{self.path} is no Zarr image, so it is not replaced: remove it yourself, or choose another name"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            shutil.rmtree(self.building, ignore_errors=True)
            return
        shutil.rmtree(os.path.join(self.building, _WORK), ignore_errors=True)
        if self.building != self.path:
            with writing(self.path):
                self._exchange()

    def _exchange(self) -> None:
        """Put the new folder in the place of the old one, which is deleted only then."""
        old = f"{self.building}.old"
        if os.path.lexists(self.path):
            os.rename(self.path, old)
        os.rename(self.building, self.path)
        if os.path.islink(old) or os.path.isfile(old):
            os.unlink(old)
        else:
            shutil.rmtree(old, ignore_errors=True)

    @property
    def _temporary(self) -> str:
        return os.path.join(self.building, _WORK, "tmp")

    def _write(self, key: str, parts: Sequence[bytes]) -> int:
        path = os.path.join(self.building, *key.split("/"))
        with writing(path):
            make_directories(os.path.dirname(path))
            return write_atomically(path, parts, temporary=self._temporary)

    def write_shard(self, level: Level, shard: tuple[int, ...], block: np.ndarray[Any, Any]) -> int:
        """Encode and write one shard; returns its bytes."""
        key = "/".join([level.path, "c", *map(str, shard)])
        return self._write(key, encode_shard(block, level.chunks, level.shards))

    def write_arrays(self, documents: Mapping[str, bytes]) -> None:
        """Write all metadata but the root's: the arrays can be read by their paths, the folder is no image yet."""
        for key in sorted(documents, key=lambda key: (key.endswith("zarr.json"), -key.count("/"), key)):
            if key != _ROOT:
                self._write(key, [documents[key]])

    def publish(self, documents: Mapping[str, bytes]) -> None:
        """Write the root's metadata: from then on the folder is an image."""
        self._write(_ROOT, [documents[_ROOT]])


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
