"""A DataArray as a source: whatever was computed with it, with its positions and names."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, AxesError, MetadataWarning
from ilastik_lazy.lazy.dataset import chunked, to_dataset
from ilastik_lazy.lazy.from_xarray import ComputedSource, as_labels, source_of
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export, write_ilp

SHAPE, CHUNKS = (9, 14, 15, 2), (4, 5, 7, 1)


@pytest.fixture
def data() -> np.ndarray[Any, Any]:
    return np.nan_to_num(some_data(SHAPE))


@pytest.fixture
def export(tmp_path: Path, data: np.ndarray[Any, Any]) -> Path:
    write_hdf5_export(
        tmp_path / "p.h5", data, chunks=CHUNKS, filters="gzip",
        resolution={"z": 2.0, "y": 0.5, "x": 0.25}, units=dict.fromkeys("zyx", "µm"),
    )  # fmt: skip
    write_ilp(tmp_path / "p.ilp")
    return tmp_path / "p.h5"


def whole(source: ArraySource) -> np.ndarray[Any, Any]:
    return source.read(tuple(slice(0, n) for n in source.spec.shape))


def regions(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(slice(*sorted(rng.integers(0, n + 1, 2).tolist())) for n in shape) for _ in range(8)]


class TestReading:
    @pytest.mark.parametrize("chunks", ["auto", {}, None, 3])
    @pytest.mark.parametrize(
        ("name", "compute"),
        [
            ("untouched", lambda a: a),
            ("threshold", lambda a: a.isel(c=0) > 0.5),
            ("part", lambda a: a.isel(z=slice(3, 8), x=slice(5, None))),
            ("steps", lambda a: a[1::3, ::2]),
            ("moved", lambda a: a.transpose("x", "c", "z", "y")),
            ("argmax", lambda a: a.argmax("c")),
            ("mean", lambda a: a.mean("z")),
            ("in memory", lambda a: a.compute()),
            ("rounded", lambda a: (a.clip(0, 1) * 255).round().astype("u1")),
        ],
    )
    def test_gives_what_xarray_computes(self, export: Path, chunks: Any, name: str, compute: Any) -> None:
        array = compute(il.open_dataarray(export, chunks=chunks))
        source, expected = source_of(array), array.compute().values
        assert isinstance(source, ArraySource)
        assert source.spec.shape == expected.shape
        assert source.spec.dtype == expected.dtype
        assert source.spec.dims == array.dims
        for region in regions(expected.shape):
            found = source.read(region)
            np.testing.assert_array_equal(found, expected[region], strict=True, err_msg=name)
            assert found.flags.writeable

    @pytest.mark.parametrize("chunks", ["auto", None])
    def test_gives_what_belongs_to_the_caller(self, export: Path, chunks: Any) -> None:
        source = source_of(il.open_dataarray(export, chunks=chunks) + 1)
        before = whole(source).copy()
        whole(source)[...] = 0
        np.testing.assert_array_equal(whole(source), before)

    def test_of_an_array_in_memory_leaves_the_array_alone(self) -> None:
        array = xr.DataArray(np.ones((3, 4)), dims=("y", "x"))
        whole(source_of(array))[...] = 0
        assert (array == 1).all()

    def test_refuses_regions_that_do_not_fit(self) -> None:
        source = source_of(xr.DataArray(np.ones((3, 4)), dims=("y", "x")))
        for region in [(slice(0, 4), slice(0, 4)), (slice(0, 1),), (slice(-1, 2), slice(0, 1))]:
            with pytest.raises(ArgumentError):
                source.read(region)

    def test_computes_only_the_blocks_that_a_region_touches(self) -> None:
        computed: list[Any] = []

        def note(block: Any, block_info: Any = None) -> Any:
            computed.append(block_info[0]["chunk-location"])
            return block

        array = da.zeros((20, 20), chunks=5).map_blocks(note, dtype=float, meta=np.empty((0, 0)))
        source = source_of(xr.DataArray(array, dims=("y", "x")))
        source.read((slice(5, 10), slice(4, 6)))
        assert sorted(computed) == [(1, 0), (1, 1)]

    def test_starts_no_threads_beside_those_of_the_caller(self) -> None:
        import threading

        seen: set[threading.Thread] = set()

        def note(block: Any) -> Any:
            seen.add(threading.current_thread())
            return block

        array = da.zeros((20, 20), chunks=2).map_blocks(note, dtype=float, meta=np.empty((0, 0)))
        with dask.config.set(scheduler="threads"):
            whole(source_of(xr.DataArray(array, dims=("y", "x"))))
        assert seen == {threading.current_thread()}

    def test_making_a_source_computes_nothing(self) -> None:
        def fail(block: Any) -> Any:
            raise AssertionError("computed")

        array = da.zeros((20, 20), chunks=5).map_blocks(fail, dtype=float, meta=np.empty((0, 0)))
        assert source_of(xr.DataArray(array, dims=("y", "x"))).spec.shape == (20, 20)

    def test_a_pickled_copy_reads_the_same(self, export: Path) -> None:
        source = source_of(il.open_dataarray(export) * 2)
        np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(source))), whole(source))


class TestWayBack:
    def test_what_was_opened_is_read_from_its_file_and_not_through_dask(self, export: Path) -> None:
        array = il.open_dataarray(export)
        source = source_of(array)
        assert not isinstance(source, ComputedSource)
        assert source.spec.chunks == CHUNKS
        assert str(export) in source.spec.storage.location

    @pytest.mark.parametrize(
        "changed",
        [
            lambda a: a + 0,
            lambda a: a.isel(z=slice(0, 4)),
            lambda a: a[::-1],
            lambda a: a.astype("f8"),
            lambda a: a.copy(data=da.ones_like(a.data)),
            lambda a: a.copy(data=np.ones(a.shape)),
        ],
    )
    def test_what_was_changed_is_never_mistaken_for_its_file(self, export: Path, changed: Any) -> None:
        array = changed(il.open_dataarray(export)).drop_vars("z")
        np.testing.assert_array_equal(whole(source_of(array)), array.compute(), strict=True)

    def test_class_names_with_blanks_are_those_of_the_file(self) -> None:
        source: Any = ArrayInMemory(
            np.ones((4, 5), "u1"), "yx", (2, 2), kind="labels", channel_names=("cell body", "b")
        )
        array = chunked(to_dataset({"a": source}), {"a": source}, "auto")["a"]
        assert source_of(array).spec.channel_names == ("cell body", "b")
        array.attrs["flag_meanings"] = "cell_body c"
        assert source_of(array).spec.channel_names == ("cell_body", "c")

    def test_values_that_were_assigned_to_are_read(self, export: Path) -> None:
        array = il.open_dataarray(export)
        array[0] = 5
        assert (whole(source_of(array))[0] == 5).all()

    def test_names_and_positions_that_were_assigned_count(self, export: Path) -> None:
        array = il.open_dataarray(export).assign_coords(c=["in", "out"], x=("x", 10.0 + np.arange(15)))
        spec = source_of(array).spec
        assert spec.channel_names == ("in", "out")
        assert (spec.axes[2].translation, spec.axes[2].scale) == (10.0, 1.0)

    def test_dims_that_were_renamed_count(self, export: Path) -> None:
        spec = source_of(il.open_dataarray(export).rename(z="t")).spec
        assert spec.dims == ("t", "y", "x", "c")

    @pytest.mark.parametrize("chunks", ["auto", None])
    def test_the_spec_of_what_was_opened_is_that_of_the_file(self, export: Path, chunks: Any) -> None:
        from ilastik_lazy.formats import open_source
        from ilastik_lazy.formats.location import Location

        expected = open_source(Location.parse(export)).spec
        found = source_of(il.open_dataarray(export, chunks=chunks)).spec
        for field in ("shape", "dtype", "axes", "chunks", "channel_names", "kind", "drange", "display_mode"):
            assert getattr(found, field) == getattr(expected, field), field

    @pytest.mark.parametrize("chunks", ["auto", {}, None])
    def test_chunks_of_one_class_are_those_of_the_file(self, export: Path, chunks: Any) -> None:
        """A plan that takes the whole image for one chunk asks for all the memory there is."""
        spec = source_of(il.open_dataarray(export, chunks=chunks).isel(c=0)).spec
        assert spec.chunks == CHUNKS[:3] if chunks is None or chunks == {} else max(spec.chunks) <= 15

    def test_chunks_of_blocks_that_were_merged_are_those_of_dask(self, tmp_path: Path) -> None:
        """The whole of each block is computed, however little of it is read."""
        values = xr.DataArray(np.zeros((8, 30, 40), "u1"), dims=("z", "y", "x"), name="v")
        values.to_zarr(tmp_path / "a.zarr", encoding={"v": {"chunks": (2, 5, 8)}}, consolidated=False)
        for chunks in ({}, {"z": -1, "y": -1, "x": -1}):
            opened = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, chunks=chunks)["v"]
            assert source_of(opened).spec.chunks == (2, 5, 8)
            assert source_of(opened.chunk(z=8, y=15, x=40)).spec.chunks == (8, 15, 40)


class TestSpec:
    def test_positions_become_scale_and_translation(self, export: Path) -> None:
        axes = source_of(il.open_dataarray(export).isel(z=slice(3, None), x=slice(4, None, 2))).spec.axes
        assert [(a.name, a.scale, a.translation, a.unit) for a in axes] == [
            ("z", 2.0, 6.0, "micrometer"),
            ("y", 0.5, 0.0, "micrometer"),
            ("x", 0.5, 1.0, "micrometer"),
            ("c", None, 0.0, ""),
        ]

    def test_one_plane_keeps_its_position(self, export: Path) -> None:
        axis = source_of(il.open_dataarray(export).isel(z=slice(3, 4))).spec.axes[0]
        assert (axis.translation, axis.unit) == (6.0, "micrometer")

    def test_dims_without_coordinates_have_no_scale(self) -> None:
        axes = source_of(xr.DataArray(np.ones((3, 4)), dims=("y", "x"))).spec.axes
        assert [(axis.scale, axis.translation, axis.unit) for axis in axes] == [(None, 0.0, "")] * 2

    @pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", "i8"])
    def test_positions_may_be_of_any_number(self, dtype: str) -> None:
        array = xr.DataArray(np.ones((3, 200)), dims=("y", "x"), coords={"x": np.arange(0, 200).astype(dtype)})
        assert source_of(array).spec.axes[1].scale == 1.0

    def test_positions_may_span_more_than_half_of_their_type(self) -> None:
        positions = np.arange(-100, 101, 50, dtype=np.int8)
        array = xr.DataArray(np.ones((3, 5)), dims=("y", "x"), coords={"x": positions})
        axis = source_of(array).spec.axes[1]
        assert (axis.scale, axis.translation) == (50.0, -100.0)

    @given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.integers(2, 40))
    def test_positions_come_back_bit_for_bit_where_any_step_gives_them(self, step, origin, length) -> None:
        positions = Axis("x", step, origin).positions(length)
        array = xr.DataArray(np.zeros((2, length), "u1"), dims=("y", "x"), coords={"x": positions})
        (_, axis) = source_of(array).spec.axes
        found = axis.positions(length)
        first = Axis("x", float(positions[1] - positions[0]), float(positions[0])).positions(length)
        np.testing.assert_allclose(found, positions, rtol=0, atol=1e-9 * max(abs(origin), step * length))
        assert np.array_equal(found, positions) >= np.array_equal(first, positions)

    def test_the_unit_of_an_axis_without_a_step_stays(self) -> None:
        source = ArrayInMemory(np.zeros((3, 4), "u1"), "yx", (2, 2))
        axes = (Axis("y", None, 0.0, "nanometer"), Axis("x", 0.5, 0.0, "micrometer"))
        array = to_dataset({"a": DescribedSource(replace(source.spec, axes=axes), source)})["a"]
        for made in (array, array + 1, array.astype("f4")):
            made.attrs = array.attrs
            assert source_of(made).spec.axes == axes

    def test_positions_in_float32_are_evenly_spaced(self) -> None:
        positions = (1000 + 0.1 * np.arange(5000)).astype(np.float32)
        array = xr.DataArray(np.ones((2, 5000)), dims=("y", "x"), coords={"x": positions})
        assert source_of(array).spec.axes[1].scale == pytest.approx(0.1, rel=1e-4)

    @pytest.mark.parametrize(
        "positions", [[0.0, 1, 3], [2.0, 1, 0], [1.0, 1, 1], [0, np.nan, 2], [0, 1, np.inf]], ids=str
    )
    def test_positions_that_no_scale_describes_are_refused(self, positions: list[float]) -> None:
        array = xr.DataArray(np.ones((2, 3)), dims=("y", "x"), coords={"x": positions})
        with pytest.raises(ArgumentError, match=r"'x'.*drop_vars"):
            source_of(array)

    @pytest.mark.parametrize("last", ["2026-01-05", "NaT"])
    def test_dates_that_are_uneven_or_missing_are_refused(self, last: str) -> None:
        times = np.array(["2026-01-01", "2026-01-02", last], "M8[ns]")
        array = xr.DataArray(np.ones((3, 3, 4)), dims=("t", "y", "x"), coords={"t": times})
        with pytest.raises(ArgumentError, match="'t'"):
            source_of(array)

    @pytest.mark.parametrize(("unit", "spelled"), [("µm", "micrometer"), ("um", "micrometer"), ("furlong", "furlong")])
    def test_units_are_spelled_in_full(self, unit: str, spelled: str) -> None:
        array = xr.DataArray(np.ones((2, 3)), dims=("y", "x"), coords={"x": ("x", [0.0, 1, 2], {"units": unit})})
        assert source_of(array).spec.axes[1].unit == spelled

    @pytest.mark.parametrize("further", [lambda a: a, lambda a: a[2:5], lambda a: a + 0])
    def test_a_unit_that_was_corrected_counts(self, export: Path, further: Any) -> None:
        array = il.open_dataarray(export)
        array = array.assign_coords(z=("z", array.z.values, {"units": "nm"}))
        assert [axis.unit for axis in source_of(further(array)).spec.axes[:2]] == ["nanometer", "micrometer"]

    def test_class_names_and_what_ilastik_noted_are_kept(self, export: Path) -> None:
        array = il.open_dataarray(export, project=export.with_suffix(".ilp"))
        spec = source_of(array.isel(z=slice(2, 5))).spec
        assert spec.channel_names == ("nucleus", "background")
        assert spec.channel_colors == ((255, 0, 0), (0, 255, 0))
        assert spec.kind == il.open_dataarray(export).attrs.get("ilastik_kind")

    def test_colours_follow_the_classes_that_were_chosen(self, export: Path) -> None:
        array = il.open_dataarray(export, project=export.with_suffix(".ilp"))
        spec = source_of(array.sel(c=["background"])).spec
        assert spec.channel_names == ("background",)
        assert spec.channel_colors == ((0, 255, 0),)

    @pytest.mark.parametrize("turned", [lambda a: a[..., ::-1], lambda a: a.isel(c=[1, 0]) * 0.5])
    def test_colours_follow_the_classes_that_changed_places(self, export: Path, turned: Any) -> None:
        array = il.open_dataarray(export, project=export.with_suffix(".ilp"))
        spec = source_of(turned(array)).spec
        assert spec.channel_names == ("background", "nucleus")
        assert spec.channel_colors == ((0, 255, 0), (255, 0, 0))

    def test_attributes_that_are_none_of_ours_do_no_harm(self) -> None:
        attrs = {"ilastik_kind": "nonsense", "drange": [0, 1, 2], "display_mode": 3, "flag_colors": []}
        spec = source_of(xr.DataArray(np.ones((2, 3)), dims=("y", "x"), attrs=attrs)).spec
        assert spec.kind is None
        assert spec.drange is None

    @pytest.mark.parametrize(
        ("attribute", "value"),
        [("flag_colors", "red"), ("flag_colors", ["red", "blue"]), ("drange", 1.0), ("flag_colors", 7)],
    )
    def test_attributes_of_other_programs_are_an_argument_error_or_ignored(self, attribute: str, value: Any) -> None:
        array = xr.DataArray(np.ones((2, 3)), dims=("y", "x"), attrs={attribute: value})
        try:
            spec = source_of(array).spec
        except ArgumentError:
            return
        assert spec.channel_colors == ()
        assert spec.drange is None

    def test_blocks_of_dask_are_the_chunks(self) -> None:
        array = xr.DataArray(da.zeros((10, 11), chunks=(4, 5)), dims=("y", "x"))
        assert source_of(array).spec.chunks == (4, 5)


class TestRefusals:
    def test_of_dims_that_are_none_of_ours(self) -> None:
        with pytest.raises(AxesError, match=r"'time'.*rename"):
            source_of(xr.DataArray(np.ones((2, 3, 4)), dims=("time", "y", "x")))

    @pytest.mark.parametrize("dtype", ["complex64", "U3", "M8[s]", object])
    def test_of_what_is_no_number(self, dtype: Any) -> None:
        with pytest.raises(ArgumentError, match="not an image"):
            source_of(xr.DataArray(np.zeros((2, 3)).astype(dtype), dims=("y", "x")))


def test_a_threshold_of_probabilities_is_none() -> None:
    prob = il.open_dataarray(sample("probabilities"))
    assert source_of(prob > 0.5).spec.kind is None
    assert source_of(prob * 1.0).spec.kind == "probabilities"


@pytest.mark.parametrize("way", [lambda s: 3 - s, lambda s: (s == 2).astype("u1"), lambda s: s.isel(z=[1, 3]) - 1])
def test_names_of_classes_are_not_those_of_what_is_computed_from_them(way: Any) -> None:
    classes = il.open_dataarray(sample("segmentation"), project=sample("project"))
    assert source_of(classes).spec.channel_names == ("nucleus", "background")
    assert source_of(classes.isel(z=slice(2, 9))).spec.channel_names == ("nucleus", "background")
    other = way(classes).assign_attrs(classes.attrs)
    with pytest.warns(MetadataWarning, match=r"nucleus, background.*left out.*flag_meanings"):
        assert source_of(other).spec.channel_names == ()
    other.attrs["flag_meanings"] = ["background", "nucleus"]
    assert source_of(other).spec.channel_names == ("background", "nucleus")


def test_labels_are_whole_numbers_also_those_stored_as_floating_point_numbers(tmp_path):
    classes = np.repeat([[1, 1, 2, 2]], 4, 0).astype("f4")
    for name in ("a_Simple Segmentation.h5", "a_Probabilities.h5"):
        write_hdf5_export(tmp_path / name, classes, axes="yx", chunks=(2, 2))
    found = as_labels(tmp_path / "a_Simple Segmentation.h5")
    assert (found.spec.dtype.kind, found.spec.kind) == ("u", "segmentation")
    with il.serve(sample("raw"), labels=tmp_path / "a_Simple Segmentation.h5") as server:
        assert list(server.images[0].labels) == ["a_Simple_Segmentation"]
    for refused in (as_labels, lambda path: il.serve(sample("raw"), labels=path), lambda path: il.plot(path, path)):
        with pytest.raises(ArgumentError, match="holds float32, and labels are whole numbers"):
            refused(tmp_path / "a_Probabilities.h5")
