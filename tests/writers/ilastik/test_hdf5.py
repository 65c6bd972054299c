"""Layout and attributes to the byte as ilastik writes them; threads that hold few blocks."""

from __future__ import annotations

import importlib
import json
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.core import parallel as blockwise
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.parallel import AHEAD
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS, full_unit_name
from ilastik_lazy.writers.ilastik import hdf5 as ilastik_hdf5
from ilastik_lazy.writers.ilastik import to_ilastik
from ilastik_lazy.writers.ilastik.hdf5 import axis_units_text, axistags_text, ilastik_chunks
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import axistags, some_data
from tests.support.shared_files import entries, over_files, shared_path

ignore_dims = pytest.mark.filterwarnings("ignore:.*ilastik opens only images with x and y")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> tuple[int, ...]:
    """Chunks of (5, 6, 7, 1), so that a small image has many."""
    monkeypatch.setattr(
        ilastik_hdf5, "ilastik_chunks", lambda shape, names, itemsize: tuple(map(min, shape, (5, 6, 7, 1)))
    )
    return 5, 6, 7, 1


def described(path: Path, internal_path: str) -> dict[str, Any]:
    """All that HDF5 tells of a dataset, to the bytes of its attributes."""
    with h5py.File(path) as file:
        dataset = file[internal_path]
        created = dataset.id.get_create_plist()
        found: dict[str, Any] = {
            "dtype": dataset.dtype.str if dataset.dtype.kind != "b" else "bool",
            "shape": dataset.shape,
            "maxshape": dataset.maxshape,
            "chunks": dataset.chunks,
            "filters": [created.get_filter(i) for i in range(created.get_nfilters())],
            "fill": (created.fill_value_defined(), created.get_fill_time(), created.get_alloc_time()),
            "dimension labels": [dimension.label for dimension in dataset.dims],
            "superblock": file.id.get_create_plist().get_version(),
            "root": (sorted(file.attrs), sorted(file) if "/" not in internal_path.strip("/") else None),
        }
        for name in dataset.attrs:
            stored = dataset.attrs.get_id(name)
            value = dataset.attrs[name]
            found[f"attribute {name}"] = (
                stored.get_type().encode(),
                stored.shape,
                value.tolist() if isinstance(value, np.ndarray) else value,
            )
        found["values"] = dataset[...].tobytes()
    return found


# What differs, and why: the rest is equal to the byte.
DIFFERENCES = {
    "dtype_zyxc_bool": {"dtype"},  # ilastik's exporter offers no bool, its writer stores HDF5's enumeration
    "dtype_zyxc_float16": {"dtype", "values"},  # nor float16
    "meta_description": {"attribute axistags"},  # texts of vigra's that nobody reads
    "meta_description_quote": {"attribute axistags"},  # and here are not JSON
    "direct_raw": {"attribute drange"},  # float64 given to the writer by hand; exports have the image's dtype
    "direct_gzip": {"attribute drange"},
}


class TestAgainstIlastik:
    @ignore_dims
    @pytest.mark.filterwarnings("ignore:.*axistags is not valid JSON")
    @pytest.mark.parametrize("given_as", ["path", "array"])
    @over_files("entry", entries("writer", ".h5"), lambda entry: f"writer/{entry['path']}")
    def test_writes_what_ilastik_wrote(self, tmp_path: Path, entry: dict[str, Any], given_as: str) -> None:
        theirs, inside = shared_path("ilastik-files", "writer", entry["path"]), entry["internal_path"]
        compression = "gzip" if entry["format"] == "compressed hdf5" or "gzip" in entry["name"] else None
        if given_as == "path":
            source: Any = f"{theirs}/{inside.strip('/')}"
        else:
            source = il.open_dataarray(theirs, inside)
        to_ilastik(source, tmp_path / "ours.h5", inside, compression=compression)
        expected, found = described(theirs, inside), described(tmp_path / "ours.h5", inside)
        if entry["path"].endswith("multi.h5") or len(expected["root"][1] or ()) > 1:
            expected["root"] = found["root"]
        different = {key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)}
        assert different == DIFFERENCES.get(entry["name"], set())

    @pytest.mark.parametrize(
        ("shape", "names", "itemsize", "chunks"),
        [
            ((3, 40, 300, 310, 2), "tzyxc", 4, (1, 40, 57, 56, 1)),
            ((100, 120, 2), "yxc", 4, (100, 120, 1)),
            ((1024, 1344, 1), "yxc", 1, (716, 715, 1)),
            ((50, 60, 55, 1), "zyxc", 4, (50, 50, 51, 1)),
            ((10, 495, 534, 1), "txyc", 4, (1, 358, 357, 1)),
            ((1, 1), "yx", 8, (1, 1)),
        ],
    )
    def test_chunks_follow_its_rule(
        self, shape: tuple[int, ...], names: str, itemsize: int, chunks: tuple[int, ...]
    ) -> None:
        assert ilastik_chunks(shape, names, itemsize) == chunks

    @given(
        st.integers(2, 5).flatmap(lambda n: st.tuples(*[st.integers(1, 5000)] * n)),
        st.permutations("tzyxc"),
        st.sampled_from([1, 2, 4, 8]),
    )
    def test_chunks_are_never_large_nor_beyond_the_shape(
        self, shape: tuple[int, ...], names: list[str], itemsize: int
    ) -> None:
        chunks = ilastik_chunks(shape, names[: len(shape)], itemsize)
        assert all(1 <= chunk <= length for chunk, length in zip(chunks, shape, strict=True))
        assert np.prod(chunks) * itemsize < 540_000

    @pytest.mark.parametrize(
        ("scale", "text"),
        [(None, "0"), (0.1, "0.10000000000000001"), (6.0, "6"), (1e-7, "9.9999999999999995e-08")],
    )  # fmt: skip
    def test_resolution_has_17_digits(self, scale: float | None, text: str) -> None:
        assert f'"resolution": {text},' in axistags_text([Axis("x", scale)])

    def test_axistags_are_the_json_of_any_other_writer(self) -> None:
        axes = [Axis("t", 2.0), Axis("z", 0.5), Axis("y"), Axis("c")]
        assert json.loads(axistags_text(axes)) == json.loads(axistags("tzyc", {"t": 2, "z": 0.5}))

    @pytest.mark.parametrize("unit", [*sorted(OME_SPACE_UNITS | OME_TIME_UNITS), "furlong", "px²"])
    def test_a_unit_comes_back_as_it_was(self, unit: str) -> None:
        text = axis_units_text([Axis("x", 1.0, unit=unit), Axis("c")])
        assert text is not None
        assert text.isascii()
        assert full_unit_name(json.loads(text)["x"]) == unit

    @pytest.mark.parametrize("unit", ["", "pixel"])
    def test_no_unit_is_no_attribute(self, unit: str) -> None:
        assert axis_units_text([Axis("x", 1.0, unit=unit)]) is None


class Counting(ArrayInMemory):
    """Counts the blocks that it gave away and that somebody still holds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.alive, self.most, self.reads, self.lock = 0, 0, 0, threading.Lock()

    def read(self, region: Any) -> np.ndarray[Any, Any]:
        values = super().read(region)
        with self.lock:
            self.alive += 1
            self.reads += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(values, self.freed)
        return values

    def freed(self) -> None:
        with self.lock:
            self.alive -= 1


class TestMemory:
    @pytest.mark.usefixtures("small_blocks", "small_chunks")
    @pytest.mark.parametrize("workers", [1, 3])
    @pytest.mark.parametrize(("compression", "most"), [("gzip", 1), (None, AHEAD + 1)])
    def test_few_blocks_are_alive_while_the_disk_is_slow(
        self, tmp_path: Path, workers: int, compression: Any, most: int
    ) -> None:
        source = Counting(some_data((50, 60, 70), "u2"), "zyx", (5, 6, 7))
        to_ilastik(
            source, tmp_path / "a.h5", compression=compression, workers=workers,
            progress=lambda done, total: time.sleep(0.001),
        )  # fmt: skip
        assert source.reads > 100
        assert source.most <= most * workers + 1

    def test_does_not_grow_with_the_image(self, tmp_path: Path) -> None:
        def peak(length: int) -> int:
            blocks = da.full((length, 300, 300), 7, chunks=(50, 300, 300), dtype="u1")
            tracemalloc.start()
            try:
                to_ilastik(xr.DataArray(blocks, dims=tuple("zyx")), tmp_path / f"{length}.h5", workers=2)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        peak(100)
        small, large = peak(1000), peak(3000)
        assert large < 120e6
        assert large < small + 40e6

    @pytest.mark.parametrize("chunks", [(64, 512, 512), (4000, 4000, 4000), (1, 4000, 4000), (3, 5, 7)])
    def test_blocks_stay_small_whatever_the_source_has(self, chunks: tuple[int, ...]) -> None:
        source = ArrayInMemory(np.empty((0, 0, 0), "f4"), "zyx", chunks)
        spec = ArraySpec(
            name="data", shape=(4000, 4000, 4000), dtype=np.dtype("f4"), axes=source.spec.axes, chunks=chunks,
            storage=Storage("memory"),
        )  # fmt: skip
        layout = ilastik_hdf5.ImageLayout("a", spec.axes, spec.shape, spec.dtype, "gzip", None, "")
        block = ilastik_hdf5.block_of(spec, layout)
        assert np.prod(block) * 4 <= 4 * blockwise.BLOCK_BYTES_MOST
        assert all(b % c == 0 or b == n for b, c, n in zip(block, layout.chunks, spec.shape, strict=True))


def test_reading_takes_every_source_chunk_once_where_the_grids_agree(tmp_path: Path) -> None:
    seen: list[Any] = []
    data = some_data((120, 110, 105))
    source = ArrayInMemory(data, "zyx", ilastik_chunks(data.shape, "zyx", 4), seen.append)
    to_ilastik(source, tmp_path / "a.h5")
    assert sum(np.prod([part.stop - part.start for part in region]) for region in seen) == data.size
    assert all(
        part.start % chunk == 0 for region in seen for part, chunk in zip(region, source.spec.chunks, strict=True)
    )


def test_the_benchmark_runs_on_tiny_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imagecodecs", reason="the table of reading, whose helpers it takes, needs it")
    bars = importlib.import_module("benchmarks.writing_bars")
    monkeypatch.setattr(bars, "SHAPE", (60, 70, 80))
    assert len(bars.writing(tmp_path, 1)) == 6
