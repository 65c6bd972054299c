"""The folder that becomes an OME-Zarr, and does not look like one before it is whole.

Order of writing: chunks, then the arrays' metadata, then the root's.  A reader that comes early
finds no Zarr there; a process that dies leaves a folder without ``zarr.json`` and with ``.ilz``.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ilastik_lazy.errors import DestinationError, DestinationExistsError
from ilastik_lazy.files import make_directories, write_atomically, writing
from ilastik_lazy.ome_zarr.chunk_encoding import encode_chunks
from ilastik_lazy.ome_zarr.documents import is_root, writing_order
from ilastik_lazy.ome_zarr.plan import Level
from ilastik_lazy.ome_zarr.shard import encode_shard

__all__ = ["LocalTarget"]

_WORK = ".ilz"
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
        """Encode and write one shard, as one file or as one for each of its chunks; returns their bytes."""
        if level.sharded:
            return self._write(level.shard_key(shard), encode_shard(block, level.chunks, level.shards, level.codec))
        return sum(
            self._write(level.chunk_key(shard, chunk), [encoded])
            for chunk, encoded in encode_chunks(block, level.chunks, level.codec)
        )

    def write_arrays(self, documents: Mapping[str, bytes]) -> None:
        """Write all metadata but the root's: the arrays can be read by their paths, the folder is no image yet."""
        for key in writing_order(documents):
            if not is_root(key):
                self._write(key, [documents[key]])

    def publish(self, documents: Mapping[str, bytes]) -> None:
        """Write the root's metadata: from then on the folder is an image."""
        for key in writing_order(documents):
            if is_root(key):
                self._write(key, [documents[key]])
