"""Random arrays in random layouts: numpy, h5py and both of our paths must agree."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ilastik_lazy import open_dataarray
from ilastik_lazy.errors import IncompleteSourceWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.hdf5.h5py_source import H5pySource
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage.files import stamp_of
from tests.support.makers import chunk_slices, some_data, write_hdf5_export

# The formats stand and fall with these: more examples than other properties have.
most = settings(max_examples=10_000 if "ILASTIK_LAZY_LONG" in os.environ else 100)

DTYPES = [
    f"{order}{kind}{size}" for order in "<>" for kind in "iuf" for size in (1, 2, 4, 8) if f"{kind}{size}" != "f1"
]
DIRECT_FILTERS = ["none", "gzip", "shuffle+gzip", "gzip+fletcher32", "shuffle+gzip+fletcher32", "fletcher32"]


@dataclass(frozen=True)
class Case:
    """One export: how it is written, and what of it is read."""

    axes: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    dtype: str
    filters: str
    libver: str | None
    resizable: bool
    missing: tuple[tuple[int, ...], ...]
    fill: Any
    regions: tuple[tuple[slice, ...], ...]


@st.composite
def regions(draw, shape):
    bounds = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return tuple(slice(*pair) for pair in bounds)


@st.composite
def cases(draw, chunked=None):
    axes = "".join(draw(st.permutations("tzyxc")))[: draw(st.integers(2, 5))]
    shape = tuple(draw(st.integers(1, 9)) for _ in axes)
    if chunked is None:
        chunked = draw(st.booleans())
    chunks = tuple(draw(st.integers(1, n)) for n in shape) if chunked else None
    dtype = draw(st.sampled_from(DTYPES))
    firsts = list(chunk_slices(shape, chunks)) if chunks and math.prod(shape) < 2000 else []
    missing = draw(st.lists(st.sampled_from(firsts), max_size=3, unique=True)) if firsts else []
    return Case(
        axes, shape, chunks, dtype,
        draw(st.sampled_from([*DIRECT_FILTERS, "lzf"])) if chunks else "none",
        draw(st.sampled_from([None, "latest"])), bool(chunks) and draw(st.booleans()), tuple(missing),
        draw(st.sampled_from([None, 1, 100])), tuple(draw(st.lists(regions(shape), min_size=1, max_size=4))),
    )  # fmt: skip


def written(case: Case, path: Path) -> np.ndarray[Any, Any]:
    data = some_data(case.shape, case.dtype, seed=len(case.axes))
    return write_hdf5_export(
        path, data, axes=case.axes, chunks=case.chunks, filters=case.filters, libver=case.libver,
        resizable=case.resizable, missing=case.missing, fill=case.fill,
    )  # fmt: skip


@most
@given(cases())
def test_any_region_of_any_layout_reads_as_numpy_and_h5py_have_it(case):
    # A folder of its own for each example: fixtures are made once for all of them.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteSourceWarning)
        path = Path(folder, "export.h5")
        data = written(case, path)
        source = open_source(Location.parse(path))
        assert source.spec.dims == tuple(case.axes)
        assert isinstance(source, DirectHdf5Source) == (case.chunks is not None and case.filters != "lzf")
        through_h5py = H5pySource(source.spec, Location(str(path), "exported_data"), stamp_of(str(path)))
        with h5py.File(path) as file:
            for region in case.regions:
                found = source.read(region)
                np.testing.assert_array_equal(found, data[region], strict=True)
                assert found.tobytes() == file["exported_data"][region].tobytes()
                assert found.tobytes() == through_h5py.read(region).tobytes()


@most
@given(cases(), st.sampled_from(["auto", {}, None, 3, -1]), st.data())
def test_an_opened_array_indexes_as_numpy_does(case, chunks, data):
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteSourceWarning)
        path = Path(folder, "export.h5")
        expected = written(replace(case, fill=None), path)
        if case.chunks and math.prod(map(math.ceil, np.divide(case.shape, case.chunks))) > 300:
            chunks = "auto"  # a task a storage chunk would be thousands
        array = open_dataarray(path, chunks=chunks)
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array.compute(scheduler="synchronous").values, expected)
        for region in case.regions:
            part = array[region].compute(scheduler="synchronous")
            np.testing.assert_array_equal(part.values, expected[region])
        axis = data.draw(st.integers(0, len(case.axes) - 1))
        positions = data.draw(st.lists(st.integers(0, case.shape[axis] - 1), max_size=5))
        taken = array.isel({case.axes[axis]: positions}).compute(scheduler="synchronous")
        np.testing.assert_array_equal(taken.values, np.take(expected, positions, axis))
