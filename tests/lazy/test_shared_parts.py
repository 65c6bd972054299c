"""What the blocks of a computed array share is computed once, as far as it is small; and never wrong."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.lazy import shared_parts
from ilastik_lazy.lazy.from_xarray import source_of
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.reductions import histogram, percentile, reduce
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ome_zarr.plan import pyramid as plan_module
from ilastik_lazy.writers.ome_zarr.plan import shapes as layout
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion

SHAPE, CHUNKS = (16, 32, 40), (4, 16, 40)
BLOCKS = 8


class Counted:
    """An array whose blocks count how often they are computed."""

    def __init__(self, shape: tuple[int, ...] = SHAPE, chunks: tuple[int, ...] = CHUNKS, dtype: str = "f8") -> None:
        self.runs: Counter[tuple[int, ...]] = Counter()
        self._lock = threading.Lock()
        self._lengths = da.core.normalize_chunks(chunks, shape)
        data = da.map_blocks(self._block, chunks=self._lengths, dtype=dtype, meta=np.empty((0,) * len(shape), dtype))
        self.array = xr.DataArray(data, dims=tuple("zyx"[-len(shape) :]), name="counted")

    def _block(self, block_id: tuple[int, ...] = ()) -> Any:
        with self._lock:
            self.runs[block_id] += 1
        shape = [lengths[i] for lengths, i in zip(self._lengths, block_id, strict=True)]
        values = np.arange(np.prod(shape)).reshape(shape) % 97 + 3 * sum(block_id)
        return values.astype(self.array.dtype)


COMPUTED: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "mean": lambda x: x - x.mean(),
    "range": lambda x: (x - x.min()) / (x.max() - x.min()),
    "standardised": lambda x: (x - x.mean()) / x.std(),
    "in two steps": lambda x: (x - x.mean()) / abs(x - x.mean()).max(),
    "planes": lambda x: x / x.max(("y", "x")),
    "columns": lambda x: x - x.mean("z"),
    "masked": lambda x: x.where(x > x.mean(), 0),
    "turned": lambda x: (x - x.mean()).transpose("x", "z", "y"),
    "rechunked": lambda x: (x - x.mean()).chunk(z=16, y=8, x=8),
    "overlapping": lambda x: x.copy(data=(x - x.mean()).data.map_overlap(lambda b: b, depth=1, boundary="reflect")),
    "shared by nobody": lambda x: x > 50,
    "one value": lambda x: x.mean(("y", "x")),
}


def read_by_blocks(source: Any) -> np.ndarray[Any, Any]:
    found = np.empty(source.spec.shape, source.spec.dtype)
    ranges = [range(0, n, step) for n, step in zip(source.spec.shape, source.spec.chunks, strict=True)]
    for start in itertools.product(*ranges):
        region = tuple(
            slice(i, min(i + step, n)) for i, step, n in zip(start, source.spec.chunks, source.spec.shape, strict=True)
        )
        found[region] = source.read(region)
    return found


@pytest.mark.parametrize("most_bytes", [0, 2**30])
@pytest.mark.parametrize("name", COMPUTED)
def test_gives_what_dask_computes(name: str, most_bytes: int) -> None:
    array = COMPUTED[name](Counted().array)
    found = read_by_blocks(with_shared_parts(source_of(array), 2, most_bytes))
    np.testing.assert_array_equal(found, array.compute().values, strict=True)


@pytest.mark.parametrize("name", ["mean", "range", "standardised", "masked"])
def test_large_blocks_are_computed_for_the_shared_part_and_for_themselves(name: str) -> None:
    counted = Counted((64, 64, 128), (16, 64, 64))  # 4 MiB, of which 2 MiB may be kept
    read_by_blocks(with_shared_parts(source_of(COMPUTED[name](counted.array)), 2, 0))
    assert set(counted.runs.values()) == {2}
    assert len(counted.runs) == BLOCKS


@pytest.mark.parametrize("name", [name for name in COMPUTED if name != "one value"])
def test_blocks_that_fit_are_computed_once(name: str) -> None:
    counted = Counted()
    read_by_blocks(with_shared_parts(source_of(COMPUTED[name](counted.array)), 2, 2**30))
    assert set(counted.runs.values()) == {1}


def test_each_step_is_one_pass() -> None:
    counted = Counted((64, 64, 128), (16, 64, 64))
    read_by_blocks(with_shared_parts(source_of(COMPUTED["in two steps"](counted.array)), 2, 0))
    assert set(counted.runs.values()) == {3}


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exported_data", data=np.arange(64.0).reshape(8, 8), chunks=(4, 4), compression="gzip")
    source = source_of(il.open_dataarray(tmp_path / "a.h5", axes="yx"))
    assert with_shared_parts(source, 2) is source


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 256 kB, and of 1 MB where they hold a chunk of the source."""
    monkeypatch.setattr(plan_module, "_SHARD_BYTES", 2**18)
    monkeypatch.setattr(layout, "_CHUNK_MOST", 2**16)


BLOCK = (64, 128, 128)  # 4 MiB of float32


@pytest.mark.usefixtures("small_shards")
class TestConverting:
    def test_a_mean_is_computed_once_for_all_shards(self, tmp_path: Path) -> None:
        counted = Counted((64, 128, 256), (32, 64, 64), "f4")
        array = counted.array - counted.array.mean()
        assert plan_conversion(source_of(array)).levels[0].grid == (2, 2, 4)
        il.to_ome_zarr(array, tmp_path / "a.zarr", memory="60MB", workers=2)
        assert max(counted.runs.values()) <= 2
        found = zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...]
        np.testing.assert_array_equal(found, array.compute().values)

    @pytest.mark.parametrize(
        ("workers", "options"),
        [
            (2, {}),
            (1, {"levels": 1, "version": "0.4"}),
            (3, {"memory": "35MB"}),
            (2, {"verify": True}),
        ],
    )
    def test_a_block_larger_than_a_shard_is_computed_once(self, tmp_path: Path, workers: int, options: Any) -> None:
        counted = Counted((128, 256, 256), BLOCK, "f4")
        array = counted.array * 2
        options = {"levels": 3} | options
        plan = plan_conversion(source_of(array), workers=workers, **{k: v for k, v in options.items() if k != "verify"})
        assert math.prod(plan.levels[0].grid) >= 4 * BLOCKS
        il.to_ome_zarr(array, tmp_path / "a.zarr", workers=workers, **options)
        assert len(counted.runs) == BLOCKS
        assert set(counted.runs.values()) <= ({1, 2} if "verify" in options else {1})
        found = il.open_dataarray(tmp_path / "a.zarr").values
        np.testing.assert_array_equal(found, (Counted((128, 256, 256), BLOCK, "f4").array * 2).values)

    def test_blocks_that_do_not_fit_the_shards_are_converted_right(self, tmp_path: Path) -> None:
        counted = Counted((70, 230, 330), (61, 130, 170), "f4")
        il.to_ome_zarr(counted.array * 2, tmp_path / "a.zarr", workers=2, verify=True, levels=3)
        np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.zarr").values, (counted.array * 2).values)

    def test_several_workers_compute_several_blocks_at_a_time(self, tmp_path: Path) -> None:
        together = threading.Barrier(2, timeout=60)

        def block(block_id: Any = ()) -> Any:
            together.wait()
            return np.full(BLOCK, sum(block_id), "f4")

        data = da.map_blocks(block, chunks=((64,), (128, 128), (128,)), dtype="f4", meta=np.empty((0,) * 3, "f4"))
        il.to_ome_zarr(xr.DataArray(data, dims=tuple("zyx")), tmp_path / "a.zarr", workers=2, levels=2)

    def test_a_block_that_fails_is_an_error(self, tmp_path: Path) -> None:
        def block(block_id: Any = ()) -> Any:
            raise RuntimeError("no such voxels")

        data = da.map_blocks(block, chunks=((64,), (128, 128), (128,)), dtype="f4", meta=np.empty((0,) * 3, "f4"))
        with pytest.raises(RuntimeError, match="no such voxels"):
            il.to_ome_zarr(xr.DataArray(data, dims=tuple("zyx")), tmp_path / "a.zarr", workers=2)


@pytest.mark.usefixtures("small_shards")
def test_a_picture_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    from ilastik_lazy.formats import picture

    image.fromarray(np.arange(3000 * 4000, dtype="u2").reshape(3000, 4000) % 999).save(
        tmp_path / "a.png", compress_level=1
    )
    decode, count = picture._decoded, []

    def counted(data: bytes, path: str, **more: Any) -> Any:
        count.append(path)
        return decode(data, path, **more)

    monkeypatch.setattr(picture, "_decoded", counted)
    il.to_ome_zarr(tmp_path / "a.png", tmp_path / "a.zarr", workers=2)
    assert len(count) == 1
    assert zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[2500, 3999] == (2500 * 4000 + 3999) % 65536 % 999


class TestReducing:
    @pytest.mark.parametrize(
        "work",
        [
            lambda a: reduce(a, "std"),
            lambda a: reduce(a, "max", "z"),
            lambda a: histogram(a, range=(-50, 50)),
        ],
    )
    def test_of_what_was_computed_takes_two_passes(self, work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_parts, "KEPT_BYTES", 100)
        counted = Counted((64, 64, 128), (16, 64, 64))
        work(counted.array - counted.array.mean())
        assert set(counted.runs.values()) == {2}

    def test_percentiles_take_four_passes_and_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_parts, "KEPT_BYTES", 100)
        counted = Counted((64, 64, 128), (16, 64, 64))
        percentile(counted.array - counted.array.mean(), 50)
        assert set(counted.runs.values()) == {5}


@pytest.mark.parametrize("name", ["a.h5", "a.n5"])
def test_an_export_computes_no_mean_twice(tmp_path: Path, name: str) -> None:
    counted = Counted((64, 128, 128), (16, 64, 128))
    to_ilastik(counted.array - counted.array.mean(), tmp_path / name)
    assert set(counted.runs.values()) == {1}
