"""Sources that are made of numpy arrays, and plans that are small enough for a test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region, check_region
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.writers.ome_zarr.plan import pyramid as plan_module
from ilastik_lazy.writers.ome_zarr.plan import shapes as layout_module
from tests.support.makers import some_data


def spec_of(
    shape: Sequence[int],
    dtype: Any,
    axes: str | Sequence[Axis],
    chunks: Sequence[int] | None = None,
    scales: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
    **more: Any,
) -> ArraySpec:
    """Spec of an array that lies nowhere."""
    made = tuple(
        axis if isinstance(axis, Axis) else Axis(axis, (scales or {}).get(axis), 0.0, (units or {}).get(axis, ""))
        for axis in axes
    )
    return ArraySpec(
        name="image",
        shape=tuple(shape),
        dtype=np.dtype(dtype),
        axes=made,
        chunks=tuple(chunks) if chunks is not None else tuple(max(1, n) for n in shape),
        storage=Storage("a numpy array"),
        **more,
    )


class ArrayBackedSource:
    """Serves a numpy array, and remembers which regions were asked for."""

    def __init__(self, data: np.ndarray[Any, Any], axes: str | Sequence[Axis], **more: Any) -> None:
        self.data = data
        self.spec = spec_of(data.shape, data.dtype, axes, **more)
        self.regions: list[Region] = []

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        check_region(region, self.spec.shape)
        self.regions.append(region)
        return self.data[region].copy()

    @property
    def times_read(self) -> np.ndarray[Any, Any]:
        """How often each voxel was read."""
        times = np.zeros(self.spec.shape, int)
        for region in self.regions:
            times[region] += 1
        return times

    @property
    def times_decoded(self) -> np.ndarray[Any, Any]:
        """How often each storage chunk was touched."""
        times = np.zeros(self.spec.grid, int)
        for region in self.regions:
            chunks = zip(region, self.spec.chunks, strict=True)
            times[tuple(slice(part.start // chunk, -(-part.stop // chunk)) for part, chunk in chunks)] += 1
        return times


LENGTHS = {"t": 2, "c": 3, "z": 11, "y": 21, "x": 26}
CHUNKS = {"t": 1, "c": 1, "z": 4, "y": 5, "x": 7}


def source_with(axes: str, dtype: str, **more: Any) -> ArrayBackedSource:
    """Random voxels in `axes`; 64-bit integers below 2^50, so that numpy's float64 means are exact."""
    data = some_data([LENGTHS[axis] for axis in axes], dtype)
    if data.dtype.itemsize == 8 and data.dtype.kind in "iu":
        data = (data % 2**50).astype(dtype)
    chunks = [CHUNKS[axis] for axis in axes]
    return ArrayBackedSource(data, axes, chunks=chunks, scales={"z": 1.0, "y": 0.5, "x": 0.5}, **more)


class FailingSource(ArrayBackedSource):
    """A source with one damaged voxel: whoever reads it gets the error of a damaged chunk."""

    def __init__(self, data: np.ndarray[Any, Any], axes: str, damaged: tuple[int, ...], **more: Any) -> None:
        super().__init__(data, axes, **more)
        self.damaged = damaged

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        if all(part.start <= i < part.stop for part, i in zip(region, self.damaged, strict=True)):
            raise CorruptChunkError(f"the chunk at {self.damaged} cannot be decoded")
        return super().read(region)


class GatedSource(ArrayBackedSource):
    """A source whose reads wait until the test opens the gate."""

    def __init__(self, data: np.ndarray[Any, Any], axes: str, **more: Any) -> None:
        super().__init__(data, axes, **more)
        self.asked, self.gate = threading.Event(), threading.Event()

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        self.asked.set()
        assert self.gate.wait(30)
        return super().read(region)


@contextlib.contextmanager
def small_plans(shard: int = 4096, smallest: int = 8) -> Iterator[None]:
    """Shards of about `shard` bytes, so that a small array has many; a chunk may have any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "_SHARD_BYTES", shard)
        patch.setattr(layout_module, "_CHUNK_LEAST", 1)
        patch.setattr(layout_module, "_SMALLEST_LEVEL", smallest)
        yield


def read_by_tensorstore(folder: Path) -> tuple[tuple[str, ...], np.ndarray[Any, Any]]:
    """Names of the axes and all voxels of a Zarr array; from memory, since tensorstore closes its files later."""
    context = tensorstore.Context()
    store = tensorstore.KvStore.open("memory://array/", context=context).result()
    for file in folder.rglob("*"):
        if file.is_file():
            store.write(file.relative_to(folder).as_posix(), file.read_bytes()).result()
    driver = "zarr3" if (folder / "zarr.json").exists() else "zarr"
    opened = tensorstore.open({"driver": driver, "kvstore": "memory://array/"}, context=context, read=True).result()
    return opened.domain.labels, opened.read().result()
