"""An image written as OME-TIFF is the same image to tifffile, to the OME schema, and when opened again."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import (
    ArgumentError,
    AxesError,
    CorruptChunkError,
    DestinationExistsError,
    MetadataWarning,
    UnfinishedWriteError,
)
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.storage.new_file import NewFile
from ilastik_lazy.writers.ome_zarr.downsample import downsample
from ilastik_lazy.writers.tiff import container, plan
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import some_data, write_hdf5_export, write_ilp
from tests.support.ome_zarr.fakes import FailingSource

_OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
ORDERS = [
    "".join(order) for ndim in range(2, 6) for order in itertools.permutations("tzyxc", ndim) if {*"yx"} <= {*order}
]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 16 x 16, so that a small image has many."""
    monkeypatch.setattr(plan, "_TILE", 16)


def read_by_tifffile(path: Path, level: int = 0) -> xr.DataArray:
    with tifffile.TiffFile(path) as file:
        series = file.series[0].levels[level]
        return xr.DataArray(series.asarray(), dims=[axis.lower().replace("s", "c") for axis in series.axes])


def assert_same_voxels(found: xr.DataArray, expected: xr.DataArray) -> None:
    expected = expected.squeeze()
    np.testing.assert_array_equal(found.squeeze().transpose(*expected.dims).values, expected.values, strict=True)


def image_of(order: str, dtype: str = "f4", seed: int = 0) -> xr.DataArray:
    lengths = {"t": 2, "z": 3, "y": 37, "x": 50, "c": 2}
    return xr.DataArray(some_data(tuple(lengths[name] for name in order), dtype, seed=seed), dims=tuple(order))


@pytest.mark.usefixtures("small_tiles")
class TestVoxels:
    # Every seventh of all orders; 5 and 7 have no common factor with the numbers of orders of one length.
    @pytest.mark.parametrize("order", ORDERS[::7])
    def test_every_order_of_axes_is_read_back_by_tifffile_and_by_us(self, tmp_path: Path, order: str) -> None:
        array = image_of(order, "u2")
        report = il.to_tiff(array, tmp_path / "a.ome.tif", levels=2)
        assert_same_voxels(read_by_tifffile(tmp_path / "a.ome.tif"), array)
        assert_same_voxels(il.open_dataarray(tmp_path / "a.ome.tif"), array)
        assert report.dims == tuple(name for name in "tczyx" if name in order)

    @pytest.mark.parametrize("compression", ["gzip", None])
    @pytest.mark.parametrize(
        ("dtype", "stored"),
        [("u1", "u1"), ("i1", "i1"), ("u2", "u2"), ("i2", "i2"), ("u4", "u4"), ("i4", "i4"), ("f4", "f4"),
         ("f8", "f8"), ("?", "u1"), ("f2", "f4"), (">u2", "u2"), (">f4", "f4")],
    )  # fmt: skip
    def test_every_dtype_keeps_its_values(self, tmp_path: Path, dtype: str, stored: str, compression: Any) -> None:
        array = image_of("zyx", dtype)
        report = il.to_tiff(array, tmp_path / "a.tif", compression=compression)
        assert report.dtype == np.dtype(stored).name
        assert_same_voxels(read_by_tifffile(tmp_path / "a.tif"), array.astype(stored))

    @pytest.mark.parametrize("dtype", ["i8", "u8"])
    def test_integers_of_64_bits_are_stored_if_all_fit_into_32(self, tmp_path: Path, dtype: str) -> None:
        array = xr.DataArray(np.arange(600, dtype=dtype).reshape(20, 30), dims=("y", "x"))
        il.to_tiff(array, tmp_path / "a.tif")
        assert_same_voxels(read_by_tifffile(tmp_path / "a.tif"), array.astype(dtype[0] + "4"))
        with pytest.raises(ArgumentError, match=f"holds {2**40}, and OME-TIFF has no integers of more than 32 bits"):
            il.to_tiff(array + 2**40 - 599, tmp_path / "b.tif", workers=1)
        assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]

    @pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 15), (1, 40), (40, 1)])
    @pytest.mark.parametrize("compression", ["gzip", None])
    def test_a_plane_may_be_as_small_as_a_tile_or_smaller(self, tmp_path: Path, shape: Any, compression: Any) -> None:
        array = xr.DataArray(some_data(shape, "u1"), dims=("y", "x"))
        il.to_tiff(array, tmp_path / "a.tif", compression=compression)
        assert_same_voxels(read_by_tifffile(tmp_path / "a.tif"), array)

    def test_a_colour_picture_is_rgb(self, tmp_path: Path) -> None:
        picture = xr.DataArray(some_data((2, 40, 50, 3), "u1"), dims=tuple("zyxc"))
        il.to_tiff(picture.transpose("c", "z", "y", "x"), tmp_path / "a.tif", levels=2)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert file.series[0].axes == "ZYXS"
            assert file.pages.first.photometric == tifffile.PHOTOMETRIC.RGB
        assert_same_voxels(read_by_tifffile(tmp_path / "a.tif"), picture)
        assert_same_voxels(il.open_dataarray(tmp_path / "a.tif"), picture)

    def test_a_file_that_may_exceed_4_gib_is_a_bigtiff(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        array = image_of("czyx")
        il.to_tiff(array, tmp_path / "a.tif")
        monkeypatch.setattr(container, "_MOST_BYTES", 1000)
        il.to_tiff(array, tmp_path / "b.tif", levels=2)
        heads = [(tmp_path / name).read_bytes()[:4] for name in ("a.tif", "b.tif")]
        assert heads == [b"II*\0", b"II+\0"]
        assert_same_voxels(read_by_tifffile(tmp_path / "b.tif"), array)
        assert_same_voxels(il.open_dataarray(tmp_path / "b.tif"), array)

    def test_an_array_in_memory_is_read_in_columns_of_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan, "_PART_BYTES", 16 * 16 * 4 * 4)
        spec = as_source(image_of("cxzy")).spec
        found = plan.plan_tiff(spec, 1, "mean", "none", 2, None).levels[0]
        assert (found.chunks, found.shards) == ((1, 1, 16, 16), (1, 3, 16, 16))

    def test_chunks_that_do_not_fit_tiles_are_read_once_at_most_by_each_shard(self, tmp_path: Path) -> None:
        data = some_data((6, 100, 90), "u2")
        source = ArrayInMemory(data, "zyx", (4, 21, 37))
        il.to_tiff(source, tmp_path / "a.tif", levels=3, workers=2)
        np.testing.assert_array_equal(read_by_tifffile(tmp_path / "a.tif").values, data)


@pytest.mark.usefixtures("small_tiles")
class TestLevels:
    def test_images_are_halved_by_mean_in_y_and_x(self, tmp_path: Path) -> None:
        array = image_of("czyx")
        report = il.to_tiff(array, tmp_path / "a.tif", levels=3)
        assert report.levels == ((2, 3, 37, 50), (2, 3, 18, 25), (2, 3, 9, 12))
        expected = array.values
        for level in range(1, 3):
            expected = downsample(expected, (1, 1, 2, 2), "mean")
            np.testing.assert_array_equal(read_by_tifffile(tmp_path / "a.tif", level).values, expected, strict=True)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert [len(page.pages) for page in file.pages] == [2] * 6
            assert all(sub.subfiletype == 1 and sub.is_tiled for page in file.pages for sub in page.pages)

    @pytest.mark.parametrize(("name", "dtype"), [("x_Simple Segmentation.h5", "u1"), ("x_Object Identities.h5", "u4")])
    def test_labels_are_halved_by_mode(self, tmp_path: Path, name: str, dtype: str) -> None:
        data = write_hdf5_export(tmp_path / name, some_data((40, 50), dtype) % 4, axes="yx")
        report = il.to_tiff(tmp_path / name, tmp_path / "a.tif", levels=2)
        assert report.method == "mode"
        np.testing.assert_array_equal(
            read_by_tifffile(tmp_path / "a.tif", 1).values, downsample(data, (2, 2), "mode"), strict=True
        )

    def test_a_mask_of_true_and_false_is_halved_by_mode(self, tmp_path: Path) -> None:
        mask = image_of("yx") > 0
        assert il.to_tiff(mask, tmp_path / "a.tif", levels=2).method == "mode"
        assert set(np.unique(read_by_tifffile(tmp_path / "a.tif", 1))) <= {0, 1}

    def test_levels_go_down_to_256_without_being_asked_for(self, tmp_path: Path) -> None:
        report = il.to_tiff(xr.DataArray(np.zeros((600, 40), np.uint8), dims=("y", "x")), tmp_path / "a.tif")
        assert report.levels == ((600, 40), (300, 20), (150, 10))


class TestMetadata:
    def written(self, tmp_path: Path, order: str = "zyxc", **more: Any) -> tuple[xr.DataArray, Path]:
        write_hdf5_export(
            tmp_path / "x_Probabilities.h5", some_data(tuple({"t": 2, "z": 3, "c": 2}.get(n, 20) for n in order), "f4"),
            axes=order, resolution={"t": 30, "z": 0.8, "y": 0.25, "x": 0.125},
            units={"t": "s", "z": "µm", "y": "µm", "x": "nm"}, **more,
        )  # fmt: skip
        project = write_ilp(
            tmp_path / "x.ilp", ['cell <body> & "wall"', "Hintergrund ü"], [(230, 10, 0), (0, 128, 255)]
        )
        array = il.open_dataarray(tmp_path / "x_Probabilities.h5", project=project)
        il.to_tiff(array, tmp_path / "x_Probabilities.ome.tif", levels=2)
        return array, tmp_path / "x_Probabilities.ome.tif"

    def test_positions_units_names_and_colours_come_back(self, tmp_path: Path) -> None:
        array, path = self.written(tmp_path, "tzyxc")
        found = il.open_dataarray(path).transpose(*array.dims)
        np.testing.assert_array_equal(found.values, array.values, strict=True)
        for name in "tzyxc":
            np.testing.assert_array_equal(found[name], array[name])
            assert found[name].attrs == array[name].attrs
        assert found["class_color"].identical(array["class_color"])
        assert found["class_color"].values.tolist() == ["#e60a00", "#0080ff"]
        assert found.attrs["ilastik_kind"] == "probabilities"

    def test_the_xml_is_valid_against_the_schema_of_ome(self, tmp_path: Path) -> None:
        ome_types, etree = pytest.importorskip("ome_types"), pytest.importorskip("lxml.etree")
        _, path = self.written(tmp_path, "tzyxc")
        schema = etree.XMLSchema(etree.parse(str(Path(ome_types.__file__).parent / "ome-2016-06.xsd")))
        xml = tifffile.tiffcomment(path)
        schema.assertValid(etree.fromstring(xml.encode()))
        pixels = ome_types.from_xml(xml).images[0].pixels
        assert (pixels.physical_size_x, pixels.physical_size_x_unit.value) == (0.125, "nm")
        assert (pixels.physical_size_z, pixels.physical_size_z_unit.value) == (0.8, "µm")
        assert (pixels.time_increment, pixels.time_increment_unit.value) == (30, "s")
        assert [channel.name for channel in pixels.channels] == ['cell <body> & "wall"', "Hintergrund ü"]
        assert [channel.color.as_rgb_tuple()[:3] for channel in pixels.channels] == [(230, 10, 0), (0, 128, 255)]

    def test_the_tags_of_resolution_serve_those_that_read_no_xml(self, tmp_path: Path) -> None:
        _, path = self.written(tmp_path)
        with tifffile.TiffFile(path) as file:
            x, y = (np.divide(*file.pages.first.tags[name].value) for name in ("XResolution", "YResolution"))
            assert file.pages.first.resolutionunit == 3
            np.testing.assert_allclose([1e4 / x, 1e4 / y], [0.000125, 0.25])

    @pytest.mark.parametrize(
        "unit", ["nanometer", "angstrom", "inch", "foot", "parsec", "minute", "hour", "", "furlong"]
    )
    def test_every_unit_of_ome_comes_back_and_no_other_is_made_up(self, tmp_path: Path, unit: str) -> None:
        ome_types = pytest.importorskip("ome_types")
        axis = "t" if unit in ("minute", "hour") else "z"
        steps = xr.DataArray([0.0, 2.5, 5.0], dims=axis, attrs={"units": unit} if unit else {})
        array = xr.DataArray(np.zeros((3, 4, 5), np.uint8), dims=(axis, "y", "x"), coords={axis: steps})
        report = il.to_tiff(array, tmp_path / "a.tif")
        found = il.open_dataarray(tmp_path / "a.tif")[axis]
        assert found.values.tolist() == [0.0, 2.5, 5.0]
        assert found.attrs.get("units", "") == ("" if unit == "furlong" else unit)
        assert report.not_stored == (("unit of z",) if unit == "furlong" else ())
        ome_types.from_tiff(tmp_path / "a.tif", validate=False)

    def test_what_has_no_place_is_said(self, tmp_path: Path) -> None:
        at = np.arange(4, 9) * 0.5
        array = xr.DataArray(np.zeros((5, 4, 6), np.uint8), dims=("t", "y", "x"), coords={"t": at}, attrs={
            "ilastik_kind": "segmentation", "flag_values": [1, 2], "flag_meanings": "cell background"})  # fmt: skip
        with pytest.warns(MetadataWarning, match="no place for a start: .* begins at t = 2, and at 0 in the file"):
            report = il.to_tiff(array, tmp_path / "a.tif")
        assert report.not_stored == ("origin of t", "step of t", "class names")
        assert "not stored, since OME-TIFF has no place for it: origin of t, step of t, class names" in str(report)

    @pytest.mark.parametrize(("order", "unit"), [("czyx", "micrometer"), ("zyxc", "nanometer"), ("xy", "")])
    def test_an_origin_is_the_position_of_the_planes_and_comes_back(
        self, tmp_path: Path, order: str, unit: str
    ) -> None:
        lengths, is_rgb = {"z": 3, "y": 4, "x": 5, "c": 3}, order.endswith("c")
        places = {"z": 10 + 2.5 * np.arange(3), "y": -1 + 0.5 * np.arange(4), "x": 0.25 * np.arange(5)}
        coords: dict[str, Any] = {d: (d, places[d], {"units": unit}) for d in order if d != "c"}
        coords |= {"c": ["red", "green", "blue"] if is_rgb else ["a", "b", "d"]} if "c" in order else {}
        array = xr.DataArray(np.zeros([lengths[d] for d in order], np.uint8), coords, dims=tuple(order))
        report = il.to_tiff(array, tmp_path / "a.tif")
        assert report.not_stored == ()
        found = il.open_dataarray(tmp_path / "a.tif")
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            planes = list(ElementTree.fromstring(file.ome_metadata or "").iter(f"{_OME}Plane"))
            assert len(planes) == len(file.pages)
        for dim in set(order) - {"c"}:
            np.testing.assert_allclose(found[dim], places[dim])
            assert found[dim].attrs.get("units", "") == unit
            letter = dim.upper()
            stated = [float(plane.attrib[f"Position{letter}"]) for plane in planes]
            at = [int(plane.attrib["TheZ"]) if dim == "z" else 0 for plane in planes]
            np.testing.assert_allclose(stated, places[dim][at])
            symbol = {"": "reference frame", "micrometer": "µm", "nanometer": "nm"}[unit]
            assert {plane.attrib[f"Position{letter}Unit"] for plane in planes} == {symbol}

    def test_the_position_of_a_stage_is_no_origin(self, tmp_path: Path) -> None:
        """Segmentations of ilastik do not state it, and would not lie on their image."""
        metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
        planes = {"Plane": {"PositionX": [12345.0], "PositionXUnit": ["µm"]}}
        tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((4, 5), "u1"), metadata=metadata | planes)
        assert il.open_dataarray(tmp_path / "a.ome.tif").x.values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]

    def test_the_report_says_that_no_voxel_size_is_known(self, tmp_path: Path) -> None:
        report = il.to_tiff(image_of("zyx"), tmp_path / "a.tif")
        assert report.unknown_steps == ("z", "y", "x")
        assert "voxel size along z, y, x unknown" in str(report)


class TestFile:
    def test_the_disk_begins_with_each_part_that_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts: list[tuple[int, int]] = []
        monkeypatch.setattr(NewFile, "begin_sync", lambda file, offset, size: parts.append((offset, size)))
        il.to_tiff(image_of("zyx"), tmp_path / "a.tif", compression=None, levels=2)
        parts.sort()
        starts_of_next = [*(start for start, _ in parts[1:]), (tmp_path / "a.tif").stat().st_size]
        assert [start + size for start, size in parts] == starts_of_next

    def test_an_existing_file_is_refused_and_replaced_when_asked(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(b"mine")
        with pytest.raises(DestinationExistsError, match="already exists"):
            il.to_tiff(image_of("yx"), path)
        assert path.read_bytes() == b"mine"
        il.to_tiff(image_of("yx"), path, overwrite=True)
        assert_same_voxels(read_by_tifffile(path), image_of("yx"))
        with pytest.raises(ArgumentError, match="is the file that the image is read from"):
            il.to_tiff(path, path, overwrite=True)

    def test_a_damaged_chunk_is_an_error_and_leaves_nothing(self, tmp_path: Path) -> None:
        source = FailingSource(some_data((4, 40, 40), "f4"), "zyx", (0, 0, 0), chunks=(2, 20, 20))
        with pytest.raises(CorruptChunkError):
            il.to_tiff(source, tmp_path / "a.tif")
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_chunk_is_filled_and_listed_when_asked(self, tmp_path: Path) -> None:
        source = FailingSource(some_data((4, 40, 40), "f4"), "zyx", (0, 0, 0), chunks=(2, 20, 20))
        report = il.to_tiff(source, tmp_path / "a.tif", on_error="mask")
        assert len(report.masked) == 1
        found = read_by_tifffile(tmp_path / "a.tif").values
        is_filled = np.isnan(found)
        assert 0 < is_filled.sum() < found.size
        np.testing.assert_array_equal(found[~is_filled], source.data[~is_filled])

    @pytest.mark.filterwarnings("ignore:.*were never written")
    def test_an_unfinished_export_is_refused(self, tmp_path: Path) -> None:
        write_hdf5_export(tmp_path / "a.h5", some_data((8, 8), "u1"), axes="yx", chunks=(4, 4), missing=[(0, 0)])
        with pytest.raises(UnfinishedWriteError):
            il.to_tiff(tmp_path / "a.h5", tmp_path / "a.tif")
        assert il.to_tiff(tmp_path / "a.h5", tmp_path / "a.tif", on_error="mask").masked

    def test_stopping_in_the_middle_leaves_nothing(self, tmp_path: Path) -> None:
        def stop(done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            il.to_tiff(image_of("zyx"), tmp_path / "a.tif", progress=stop)
        assert list(tmp_path.iterdir()) == []

    def test_progress_counts_all_bytes(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        array = image_of("zyx")
        il.to_tiff(array, tmp_path / "a.tif", progress=lambda *done: seen.append(done))
        assert (seen[0], seen[-1]) == ((0, array.nbytes), (array.nbytes, array.nbytes))

    @pytest.mark.parametrize(
        ("array", "path", "more", "error", "message"),
        [
            (image_of("zy"), "a.tif", {}, AxesError, "has no axis 'x'"),
            (image_of("yx")[:0], "a.tif", {}, ArgumentError, "nothing to write"),
            (image_of("yx"), "a.png", {}, ArgumentError, "ends in .ome.tif, .tif or .tiff"),
            (image_of("yx"), "s3://bucket/a.tif", {}, ArgumentError, "is a URL"),
            (image_of("yx"), "a.tif", {"compression": "lzw"}, ArgumentError, "expected 'gzip', or None"),
            (image_of("yx"), "a.tif", {"levels": 0}, ArgumentError, "levels=0"),
            (image_of("yx"), "a.tif", {"memory": "1MB"}, ArgumentError, "too little"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_written_is_refused(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        array: Any,
        path: str,
        more: Any,
        error: Any,
        message: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(error, match=message):
            il.to_tiff(array, path, **more)
        assert list(tmp_path.iterdir()) == []
