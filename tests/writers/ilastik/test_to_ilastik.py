"""An image written for ilastik and opened again is the same image."""

from __future__ import annotations

import itertools
import os
import threading
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
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.spec import ArraySpec, Storage
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import (
    ArgumentError,
    AxesError,
    MetadataWarning,
)
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.writers.ilastik import hdf5 as ilastik_hdf5
from ilastik_lazy.writers.ilastik import to_ilastik
from tests.support.in_memory import DTYPES, ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export, write_ilp

STORED = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"]
LONG = "ILASTIK_LAZY_LONG" in os.environ
ORDERS = ["".join(order) for ndim in range(2, 6) for order in itertools.permutations("tzyxc", ndim)]

ignore_dims = pytest.mark.filterwarnings("ignore:.*ilastik opens only images with x and y")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> tuple[int, ...]:
    """Chunks of (5, 6, 7, 1), so that a small image has many."""
    monkeypatch.setattr(
        ilastik_hdf5, "ilastik_chunks", lambda shape, names, itemsize: tuple(map(min, shape, (5, 6, 7, 1)))
    )
    return 5, 6, 7, 1


def assert_same(found: xr.DataArray, expected: xr.DataArray) -> None:
    xr.testing.assert_identical(found.compute(), expected.compute())
    assert found.dtype == expected.dtype


@st.composite
def images(draw: st.DrawFn) -> ArrayInMemory:
    names = draw(st.sampled_from(ORDERS))
    shape = [draw(st.integers(1, 7)) for _ in names]
    steps = st.none() | st.floats(1e-12, 1e12)
    units = st.sampled_from(["", "micrometer", "nanometer", "second", "angstrom", "furlong", "minute"])
    made = ArrayInMemory(
        some_data(shape, draw(st.sampled_from(STORED))), names, tuple(draw(st.integers(1, 8)) for _ in names)
    )
    axes = tuple(Axis(n) if n == "c" else Axis(n, draw(steps), unit=draw(units)) for n in names)
    known = {"drange": draw(st.none() | st.tuples(st.floats(-1e6, 0), st.integers(1, 70000)))}
    made.spec = ArraySpec(
        name="data", shape=made.spec.shape, dtype=made.spec.dtype, axes=axes, chunks=made.spec.chunks,
        storage=Storage("memory"), display_mode=draw(st.sampled_from(["", "default", "rgba"])), **known,
    )  # fmt: skip
    return made


class TestRoundTrip:
    @ignore_dims
    @pytest.mark.parametrize("ndim", [2, 3, 4, 5])
    def test_is_the_identity_for_every_order_of_axes(self, tmp_path: Path, ndim: int) -> None:
        orders = [order for order in ORDERS if len(order) == ndim]
        # Twenty for each number of axes, with ILASTIK_LAZY_LONG=1 all.  7 has no common factor with the number of
        # orders: a step that divides it would leave the last axes in the same order every time.
        for number in range(len(orders) if LONG else 20):
            order = orders[7 * number % len(orders)]
            data = some_data((4, 3, 5, 2, 6)[:ndim], STORED[number % 10], seed=number)
            write_hdf5_export(
                tmp_path / "a.h5", data, axes=order, chunks=(2,) * ndim, filters="gzip",
                resolution={"t": 120, "z": 0.8, "y": 0.1, "x": 1 / 3},
                units={"t": "s", "z": "µm", "y": "nm", "x": "micron"},
                attributes={"drange": np.array([0, 100], data.dtype), "display_mode": "grayscale"},
            )  # fmt: skip
            array = il.open_dataarray(tmp_path / "a.h5")
            to_ilastik(array, tmp_path / "b.h5", overwrite=True)
            assert_same(il.open_dataarray(tmp_path / "b.h5"), array)
            with h5py.File(tmp_path / "b.h5") as file:
                np.testing.assert_array_equal(file["exported_data"][...], data, strict=True)

    @ignore_dims
    @given(images())
    def test_is_the_identity_for_any_image(
        self, tmp_path_factory: pytest.TempPathFactory, image: ArrayInMemory
    ) -> None:
        path = tmp_path_factory.mktemp("any") / "a.h5"
        to_ilastik(image, path)
        found = il.open_dataarray(path)
        np.testing.assert_array_equal(found.values, image.data, strict=True)
        spec = as_source(path).spec
        assert spec.axes == image.spec.axes
        assert spec.drange == image.spec.drange
        assert spec.display_mode == image.spec.display_mode

    @pytest.mark.parametrize("compression", ["gzip", None])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_every_value_of_every_dtype(self, tmp_path: Path, dtype: str, compression: Any) -> None:
        data = some_data((6, 7, 8), dtype)
        report = to_ilastik(xr.DataArray(data, dims=tuple("zyx")), tmp_path / "a.h5", compression=compression)
        stored = {"?": "u1", "e": "f4"}.get(data.dtype.char, data.dtype.newbyteorder("<").str)
        found = il.open_dataarray(tmp_path / "a.h5")
        assert found.dtype == report.dtype == np.dtype(stored)
        np.testing.assert_array_equal(found.values, data.astype(stored), strict=True)

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("compression", ["gzip", None])
    @pytest.mark.parametrize("chunks", [(1, 1, 40, 1), (5, 6, 7, 1), (30, 30, 30, 2), (4, 9, 40, 3)])
    def test_holds_for_chunks_that_never_fit(
        self, tmp_path: Path, small_chunks: tuple[int, ...], chunks: tuple[int, ...], compression: Any
    ) -> None:
        source = ArrayInMemory(some_data((13, 23, 31, 3)), "zyxc", chunks)
        to_ilastik(source, tmp_path / "a.h5", compression=compression, workers=3)
        with h5py.File(tmp_path / "a.h5") as file:
            assert file["exported_data"].chunks == small_chunks
            assert file["exported_data"].id.get_num_chunks() == 3 * 4 * 5 * 3
            np.testing.assert_array_equal(file["exported_data"][...], source.data, strict=True)


class TestComputed:
    @pytest.mark.parametrize("chunks", ["auto", {}, None])
    def test_results_keep_positions_and_units(self, tmp_path: Path, chunks: Any) -> None:
        prob = il.open_dataarray(sample("probabilities"), chunks=chunks)
        expected = (prob.isel(c=0) > 0.5).transpose("x", "z", "y")
        to_ilastik(expected, tmp_path / "a.h5")
        found = il.open_dataarray(tmp_path / "a.h5")
        assert found.dims == ("x", "z", "y")
        np.testing.assert_array_equal(found.values, expected.values.astype("u1"), strict=True)
        for dim in "zyx":
            np.testing.assert_allclose(found.coords[dim], prob.coords[dim], rtol=1e-12)
            assert found.coords[dim].attrs["units"] == "micrometer"

    def test_class_names_are_told_to_be_lost(self, tmp_path: Path) -> None:
        write_hdf5_export(tmp_path / "p.h5", some_data((4, 5, 6, 2)), chunks=(2, 2, 2, 1))
        prob = il.open_dataarray(tmp_path / "p.h5", project=write_ilp(tmp_path / "p.ilp"))
        report = to_ilastik(prob, tmp_path / "a.h5")
        assert report.not_stored == ("class names", "class colours")
        assert "class names" in str(report)

    def test_an_origin_is_lost_with_a_warning(self, tmp_path: Path) -> None:
        prob = il.open_dataarray(sample("probabilities"))
        with pytest.warns(MetadataWarning, match=r"no place for an origin.* z = 4 micrometer") as caught:
            report = to_ilastik(prob.isel(z=slice(5, None)), tmp_path / "a.h5")
        assert caught[0].filename == __file__
        assert report.not_stored == ("origin of z",)
        assert float(il.open_dataarray(tmp_path / "a.h5").z[0]) == 0

    def test_a_dtype_that_dask_was_told_wrongly_is_an_error(self, tmp_path: Path) -> None:
        lied = da.zeros((8, 9), chunks=4).map_blocks(lambda block: block + 0.5, dtype="u1")
        with pytest.raises(ArgumentError, match=r"gives float64 values that uint8 cannot hold"):
            to_ilastik(xr.DataArray(lied, dims=tuple("yx")), tmp_path / "a.h5")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("dtype", "high", "is_kept"), [("u1", 255, True), ("u2", 65535, True), ("u1", 2, False)])
    def test_drange_of_integers_in_memory_is_kept_where_it_holds(
        self, tmp_path: Path, dtype: str, high: int, is_kept: bool
    ) -> None:
        drange = np.array([0, high], dtype)
        write_hdf5_export(tmp_path / "a.h5", some_data((4, 5), dtype), axes="yx", attributes={"drange": drange})
        to_ilastik(il.open_dataarray(tmp_path / "a.h5").load(), tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as file:
            assert tuple(file["exported_data"].attrs.get("drange", ())) == ((0, high) if is_kept else ())

    def test_drange_of_probabilities_is_not_that_of_their_classes(self, tmp_path: Path) -> None:
        probabilities = il.open_dataarray(sample("probabilities")).load()
        assert probabilities.attrs["drange"] == [0.0, 1.0]
        to_ilastik(probabilities.argmax("c"), tmp_path / "b.h5")
        assert "drange" not in il.open_dataarray(tmp_path / "b.h5").attrs

    def test_drange_of_labels_is_left_out(self, tmp_path: Path) -> None:
        write_hdf5_export(
            tmp_path / "a_Simple Segmentation.h5", some_data((4, 5), "u1"), axes="yx",
            attributes={"drange": np.array([0, 1], "u1")},
        )  # fmt: skip
        to_ilastik(tmp_path / "a_Simple Segmentation.h5", tmp_path / "b.h5")
        assert "drange" not in il.open_dataarray(tmp_path / "b.h5").attrs


class TestArguments:
    array = xr.DataArray(np.arange(6, dtype="u1").reshape(2, 3), dims=tuple("yx"), name="image")

    @pytest.mark.parametrize(
        ("dtype", "drange", "stored"),
        [("u1", (0, 255), "u1"), ("u1", (0, 300), "f8"), ("i2", (0, 0.5), "f8"), ("f4", (0, 0.1), "f8")],
    )
    def test_drange_has_the_dtype_of_the_image_where_that_can_hold_it(
        self, tmp_path: Path, dtype: str, drange: tuple[float, float], stored: str
    ) -> None:
        to_ilastik(self.array.astype(dtype), tmp_path / "a.h5", drange=drange, display_mode="grayscale")
        with h5py.File(tmp_path / "a.h5") as file:
            attributes = file["exported_data"].attrs
            assert attributes["drange"].dtype == stored
            assert tuple(attributes["drange"].tolist()) == drange
            assert attributes["display_mode"] == "grayscale"

    @pytest.mark.parametrize(("given", "inside"), [("volume/data", "volume/data"), ("/a\\b/", "a/b"), ("x y", "x y")])
    def test_internal_path_is_as_ilastik_takes_it(self, tmp_path: Path, given: str, inside: str) -> None:
        report = to_ilastik(self.array, tmp_path / "a.h5", given)
        assert report.internal_path == inside
        with h5py.File(tmp_path / "a.h5") as file:
            assert inside in file

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"path": "a.tif"}, "ends in .h5"),
            ({"path": "a.ilp"}, "ends in .h5"),
            ({"path": "a.h5/volume/data"}, "internal_path="),
            ({"path": "s3://bucket/a.h5"}, "URL"),
            ({"path": 3}, "is of type int"),
            ({"internal_path": ""}, "internal_path=''"),
            ({"internal_path": "a/../b"}, "internal_path"),
            ({"internal_path": "a\0b"}, "internal_path"),
            ({"internal_path": None}, "internal_path=None"),
            ({"compression": "lzf"}, "compression='lzf'"),
            ({"drange": (1, 0)}, "lower one first"),
            ({"drange": (0, float("nan"))}, "two numbers"),
            ({"drange": "01"}, "two numbers"),
            ({"display_mode": "pretty"}, "ilastik knows default, grayscale"),
            ({"workers": 0}, "workers=0"),
            ({"array": array.rename(y="q")}, "rename"),
            ({"array": array.isel(y=0)}, "2 to 5"),
            ({"array": array.isel(y=slice(0))}, "no voxel"),
            ({"array": array.astype("c8")}, "expected numbers"),
            ({"array": array.astype("longdouble")}, "astype"),
            ({"array": array.to_dataset()}, "pick a variable"),
            ({"array": xr.DataTree.from_dict({"scale0": array.to_dataset()})}, r"such as tree\['scale0/"),
        ],
    )
    def test_what_ilastik_would_not_open_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], says: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ArgumentError, match=says):
            to_ilastik(**({"array": self.array, "path": "a.h5"} | options))
        assert list(tmp_path.iterdir()) == []

    def test_one_dimension_is_an_error_of_axes(self, tmp_path: Path) -> None:
        with pytest.raises(AxesError):
            to_ilastik(self.array.isel(y=0), tmp_path / "a.h5")

    def test_an_image_without_x_and_y_warns(self, tmp_path: Path) -> None:
        with pytest.warns(MetadataWarning, match="only images with x and y"):
            to_ilastik(self.array.rename(y="z"), tmp_path / "a.h5")

    def test_a_display_mode_that_would_stop_ilastik_is_left_out(self, tmp_path: Path) -> None:
        with pytest.warns(MetadataWarning, match="display_mode 'pretty'"):
            to_ilastik(self.array.assign_attrs(display_mode="pretty"), tmp_path / "a.h5")
        assert "display_mode" not in il.open_dataarray(tmp_path / "a.h5").attrs

    def test_report_and_progress_tell_bytes(self, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        threads: set[int] = set()

        def progress(done: int, total: int) -> None:
            told.append((done, total))
            threads.add(threading.get_ident())

        array = xr.DataArray(some_data((60, 200, 210)), dims=tuple("zyx"))
        report = to_ilastik(array, tmp_path / "deep" / "a.h5", progress=progress)
        assert told[0] == (0, array.nbytes)
        assert told[-1] == (array.nbytes, array.nbytes)
        assert told == sorted(told)
        assert threads == {threading.get_ident()}
        assert report.path == str(tmp_path / "deep" / "a.h5")
        assert report.bytes_written == (tmp_path / "deep" / "a.h5").stat().st_size
        assert report.bytes_decoded == array.nbytes
        assert report.seconds > 0
        assert "z/y/x: 60x200x210 float32" in str(report)
