"""Layers that napari is given, without napari: arrays against h5py, and what the files state of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dask.array as da
import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import (
    ArgumentError,
    CorruptFileError,
    DatasetNotFoundError,
    MetadataWarning,
    MissingSourceWarning,
)
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.viewing.napari import get_reader
from tests.support.makers import axistags, some_data, write_hdf5_export, write_ilp
from tests.support.n5_makers import write_n5
from tests.support.table_makers import write_table, written

MICROMETERS = ("micrometer",) * 3


def layers(path):
    """The layers of a file; also of a list, which is a stack."""
    path = list(map(str, path)) if isinstance(path, list) else str(path)
    read = get_reader(path)
    assert read is not None
    return read(path)


def stored(path, inside="exported_data"):
    with h5py.File(path, "r") as file:
        return file[inside][...]


class TestSample:
    def test_each_class_is_an_image_with_the_name_and_colour_of_the_project(self):
        found = layers(sample("probabilities"))
        expected = stored(sample("probabilities"))
        assert [(kind, options["name"]) for _, options, kind in found] == [
            ("image", "nucleus"),
            ("image", "background"),
        ]
        for number, (data, options, _) in enumerate(found):
            assert isinstance(data, da.Array)
            np.testing.assert_array_equal(data.compute(), expected[..., number], strict=True)
            assert options["scale"] == (0.8, 0.25, 0.25)
            assert options["translate"] == (0, 0, 0)
            assert options["units"] == MICROMETERS
            assert options["axis_labels"] == ("z", "y", "x")
            assert options["contrast_limits"] == (0, 1)
            assert options["blending"] == "additive"
            assert not options["rgb"]
            assert not options["multiscale"]
        with h5py.File(sample("project"), "r") as file:
            colors = file["PixelClassification/LabelColors"][...]
        assert [options["colormap"] for _, options, _ in found] == ["#" + bytes(rgb.tolist()).hex() for rgb in colors]

    def test_a_segmentation_is_labels_with_names_and_colours_of_classes(self):
        ((data, options, kind),) = layers(sample("segmentation"))
        assert kind == "labels"
        np.testing.assert_array_equal(data.compute(), stored(sample("segmentation"))[..., 0], strict=True)
        assert options["name"] == "nuclei_Simple_Segmentation"
        assert options["features"] == {"index": [1, 2], "class": ["nucleus", "background"]}
        probabilities = [options["colormap"] for _, options, _ in layers(sample("probabilities"))]
        assert [options["colormap"][1], options["colormap"][2]] == probabilities
        assert options["colormap"][0] == "transparent"
        assert options["colormap"][None] == "#808080"

    def test_labels_of_a_project_lie_on_its_image(self):
        (raw, below, image), (labels, above, kind) = layers(sample("project"))
        assert (image, below["name"], kind, above["name"]) == ("image", "Raw Data", "labels", "labels")
        np.testing.assert_array_equal(raw.compute(), stored(sample("raw"), "data"), strict=True)
        tree = il.open_datatree(sample("project"))
        np.testing.assert_array_equal(labels.compute(), tree["lane0000/labels/labels"].values.squeeze(), strict=True)
        assert np.unique(labels.compute()).tolist() == [0, 1, 2]
        assert above["features"]["class"] == ["nucleus", "background"]
        for key in ("scale", "translate", "units", "axis_labels"):
            assert above[key] == below[key]

    def test_an_image_without_classes_is_gray(self):
        ((_, options, kind),) = layers(sample("raw"))
        assert (kind, options["name"]) == ("image", "nuclei")
        assert not options.keys() & {"colormap", "blending"}


@pytest.mark.parametrize(("drange", "limits"), [((10, 90), (10, 90)), ((5, 5), None), ((9, 0), None), (None, None)])
def test_contrast_is_the_range_that_the_file_notes_or_left_to_napari(tmp_path, drange, limits):
    noted = {} if drange is None else {"drange": np.array(drange)}
    write_hdf5_export(tmp_path / "a.h5", some_data((5, 6), "u2"), axes="yx", attributes=noted)
    ((_, options, _),) = layers(tmp_path / "a.h5")
    assert options.get("contrast_limits") == limits


def test_many_channels_are_there_to_be_switched_on(tmp_path):
    write_hdf5_export(tmp_path / "a_Features.h5", some_data((5, 6, 11)), axes="yxc")
    assert [options["visible"] for _, options, _ in layers(tmp_path / "a_Features.h5")] == [True] * 8 + [False] * 3


class TestAxes:
    def test_are_in_napari_s_order(self, tmp_path):
        data = write_hdf5_export(
            tmp_path / "a.h5", some_data((4, 5, 6, 2)), axes="xyzc", resolution={"x": 0.5, "z": 2.0}, units={"x": "um"}
        )
        found = layers(tmp_path / "a.h5")
        assert [options["name"] for _, options, _ in found] == ["a: channel 0", "a: channel 1"]
        for number, (values, options, _) in enumerate(found):
            np.testing.assert_array_equal(values.compute(), data[..., number].T, strict=True)
            assert options["axis_labels"] == ("z", "y", "x")
            assert options["scale"] == (2.0, 1.0, 0.5)
            assert options["units"] == ("pixel", "pixel", "micrometer")

    def test_a_series_of_time_has_its_unit_and_first_position(self, tmp_path):
        data = some_data((3, 1, 5, 6, 1), "u1")
        write_hdf5_export(tmp_path / "a.h5", data, axes="tzyxc")
        image = il.open_dataarray(tmp_path / "a.h5")
        times = ("t", [10.0, 12.0, 14.0], {"units": "s"})
        il.to_ome_zarr(image.assign_coords(t=times), tmp_path / "a.ome.zarr", levels=1)
        ((values, options, _),) = layers(tmp_path / "a.ome.zarr")
        np.testing.assert_array_equal(values.compute(), data[..., 0], strict=True)
        assert options["name"] == "a"
        assert options["axis_labels"] == ("t", "z", "y", "x")
        assert (options["scale"][0], options["translate"][0], options["units"][0]) == (2.0, 10.0, "second")

    def test_a_unit_that_napari_does_not_know_is_pixel(self, tmp_path):
        resolution, units = {"y": 2.0, "x": 2.0}, {"y": "furlongs of mine", "x": "mm"}
        write_hdf5_export(tmp_path / "a.h5", some_data((5, 6)), axes="yx", resolution=resolution, units=units)
        ((_, options, _),) = layers(tmp_path / "a.h5")
        assert options["units"] == ("pixel", "millimeter")

    def test_without_any_unit_none_is_stated(self, tmp_path):
        write_hdf5_export(tmp_path / "a.h5", some_data((5, 6)), axes="yx")
        ((_, options, _),) = layers(tmp_path / "a.h5")
        assert "units" not in options
        assert options["scale"] == (1, 1)

    def test_layers_of_a_file_agree_by_their_last_axes(self, tmp_path):
        data = some_data((3, 1, 5, 6), "u1")
        write_hdf5_export(
            tmp_path / "a.h5", data, axes="tzyx", internal_path="raw", resolution={"z": 2.0}, units={"z": "um"}
        )
        for name, axes, part in (("ty", "tyx", data[:, 0]), ("still", "yx", data[0, 0])):
            write_hdf5_export(tmp_path / "b.h5", part, axes=axes, internal_path=name)
            with h5py.File(tmp_path / "b.h5") as file, h5py.File(tmp_path / "a.h5", "a") as target:
                file.copy(name, target)
        found = {options["name"]: (values, options) for values, options, _ in layers(tmp_path / "a.h5")}
        assert {name: values.shape for name, (values, _) in found.items()} == {
            "raw": (3, 1, 5, 6), "ty": (3, 1, 5, 6), "still": (5, 6),
        }  # fmt: skip
        np.testing.assert_array_equal(found["ty"][0].compute(), data, strict=True)
        assert found["ty"][1]["scale"] == found["raw"][1]["scale"] == (1, 2, 1, 1)


class TestPyramids:
    def test_levels_of_ome_zarr_are_one_layer_a_class(self, tmp_path):
        prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
        il.to_ome_zarr(prob, tmp_path / "a.zarr", levels=3)
        found = layers(tmp_path / "a.zarr")
        assert [options["name"] for _, options, _ in found] == ["nucleus", "background"]
        store = zarr.open_group(tmp_path / "a.zarr", mode="r")
        for number, (levels, options, _) in enumerate(found):
            assert options["multiscale"]
            assert options["scale"] == (0.8, 0.25, 0.25)
            assert options["colormap"] == ("#ffc800", "#3c50a0")[number]
            for level, values in enumerate(levels):
                array = store[f"scale{level}/image"]
                where = tuple(number if dim == "c" else slice(None) for dim in array.metadata.dimension_names)
                np.testing.assert_array_equal(values.compute(), array[where].squeeze(), strict=True)
            assert len({values.shape for values in levels}) == len(levels) == 3

    def test_label_images_of_ome_zarr_are_layers_of_their_own(self, tmp_path):
        il.to_ome_zarr(il.open_dataarray(sample("raw")), tmp_path / "a.zarr", levels=2)
        segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
        il.to_ome_zarr(segmentation, tmp_path / "a.zarr" / "labels" / "cells", levels=2)
        found = [(kind, options["name"], len(levels)) for levels, options, kind in layers(tmp_path / "a.zarr")]
        assert found == [("image", "a", 2), ("labels", "cells", 2)]

    def test_levels_of_bigdataviewer(self, tmp_path):
        data = some_data((2, 5, 16, 12), "u2")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["s00/resolutions"] = np.array([[1.0, 1, 1], [2, 4, 1]])
            for time, values in enumerate(data):
                for level, part in enumerate((values, values[:, ::4, ::2])):
                    file.create_dataset(f"t{time:05}/s00/{level}/cells", data=part.view("i2"), chunks=(4, 4, 4))
        (((fine, coarse), options, _),) = layers(tmp_path / "a.h5")
        np.testing.assert_array_equal(fine.compute(), data, strict=True)
        np.testing.assert_array_equal(coarse.compute(), data[:, :, ::4, ::2], strict=True)
        assert options["multiscale"]

    def test_images_below_a_group_of_that_name_are_shown(self, tmp_path):
        il.to_ome_zarr(il.open_dataarray(sample("raw")), tmp_path / "a.zarr" / "images" / "nuclei", levels=2)
        (tmp_path / "a.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
        assert [(options["name"], len(levels)) for levels, options, _ in layers(tmp_path / "a.zarr")] == [("a", 2)]

    def test_arrays_that_are_only_called_like_levels_stay_apart(self, tmp_path):
        write_hdf5_export(tmp_path / "a.h5", some_data((4, 5)), axes="yx", internal_path="a/scale0")
        with h5py.File(tmp_path / "a.h5", "a") as file:
            file["a/scale1"] = some_data((8, 5))
            file["a/scale1"].attrs.update(file["a/scale0"].attrs)
        assert [values.shape for values, _, _ in layers(tmp_path / "a.h5")] == [(4, 5), (8, 5)]


def test_n5_is_read(tmp_path):
    data = some_data((4, 5, 6), "u1")
    write_n5(tmp_path / "a.n5", data, axes="zyx", chunks=(3, 4, 4))
    ((values, options, _),) = layers(tmp_path / "a.n5")
    np.testing.assert_array_equal(values.compute(), data, strict=True)
    assert (options["name"], options["axis_labels"]) == ("a", ("z", "y", "x"))


def test_files_of_a_list_are_a_stack(tmp_path):
    data = some_data((3, 5, 6), "u1")
    paths = [tmp_path / f"slice_{number}.h5" for number in range(3)]
    for path, part in zip(paths, data, strict=True):
        write_hdf5_export(path, part, axes="yx")
    ((values, options, _),) = layers(paths)
    np.testing.assert_array_equal(values.compute(), data, strict=True)
    assert options["axis_labels"] == ("t", "y", "x")
    assert options["name"] == "slice_0"


class TestClassesFromTheProjectBeside:
    @pytest.fixture
    def export(self, tmp_path):
        shutil.copy(sample("probabilities"), tmp_path / "nuclei_Probabilities.h5")
        return tmp_path / "nuclei_Probabilities.h5"

    def names(self, export):
        return [options["name"] for _, options, _ in layers(export)]

    def test_are_those_of_the_project_that_has_the_image(self, export, tmp_path):
        shutil.copy(sample("project"), tmp_path / "any name.ilp")
        write_ilp(tmp_path / "other.ilp", ["wrong", "wrong too"])
        (tmp_path / "damaged.ilp").write_bytes(b"nothing")
        assert self.names(export) == ["nucleus", "background"]

    @pytest.mark.parametrize("name", ["other_Probabilities.h5", "nuclei2_Probabilities.h5"])
    def test_are_not_those_of_a_project_of_other_images(self, export, tmp_path, name):
        shutil.copy(sample("project"), tmp_path / "nuclei.ilp")
        stem = Path(name).stem
        assert self.names(export.rename(tmp_path / name)) == [f"{stem}: channel 0", f"{stem}: channel 1"]

    def test_are_unknown_where_two_projects_have_the_image(self, export, tmp_path):
        for name in ("one.ilp", "two.ilp"):
            shutil.copy(sample("project"), tmp_path / name)
        assert self.names(export)[0] == "nuclei_Probabilities: channel 0"

    def test_without_any_project_colours_are_the_default_ones(self, export):
        assert [options["colormap"] for _, options, _ in layers(export)] == ["#e69f00", "#56b4e9"]


class TestFeatures:
    IDS = np.array([[0, 1, 1], [2, 2, 0]], np.uint32)

    @pytest.fixture
    def image(self, tmp_path):
        write_hdf5_export(tmp_path / "cells_Object Identities.h5", self.IDS, axes="yx")
        return tmp_path / "cells_Object Identities.h5"

    def test_of_objects_are_the_table_of_ilastik_beside(self, image, tmp_path):
        write_table(tmp_path / "cells_table.h5", written()[:2])
        ((values, options, kind),) = layers(image)
        assert kind == "labels"
        assert "colormap" not in options
        np.testing.assert_array_equal(values.compute(), self.IDS, strict=True)
        features = options["features"]
        assert features["index"].tolist() == [1, 2]
        assert features["Predicted Class"].tolist() == ["große Zelle", "Kern"]
        assert features["Size"].tolist() == [7.0, 3.0]

    def test_may_be_a_csv_file_and_rows_in_any_order(self, image, tmp_path):
        text = "object_id,timestep,labelimage_oid,Size in pixels\n0,0,2,20\n1,0,1,10\n"
        (tmp_path / "cells_table.csv").write_text(text)
        ((_, options, _),) = layers(image)
        features = options["features"].set_index("index")
        assert features["Size in pixels"].to_dict() == {1: 10, 2: 20}

    def test_of_another_image_are_not_taken(self, image, tmp_path):
        write_table(tmp_path / "cell_table.h5", written()[:2])
        ((_, options, _),) = layers(image)
        assert "features" not in options

    def test_are_left_out_where_ids_start_again_in_each_frame(self, image, tmp_path):
        write_table(tmp_path / "cells_table.h5", written())
        with pytest.warns(MetadataWarning, match=r"cells_table\.h5: its ids start again in each frame"):
            ((_, options, _),) = layers(image)
        assert "features" not in options

    def test_are_those_of_ids_that_are_unique_over_time(self, tmp_path):
        path = tmp_path / "film_Object Identities.h5"
        write_hdf5_export(path, np.array([[[0, 1]], [[2, 1]]], np.uint32), axes="tyx")
        lines = ["object_id,timestep,labelimage_oid,Size in pixels", "0,0,1,20", "1,1,1,10", "2,1,2,30", ""]
        (tmp_path / "film_table.csv").write_text("\n".join(lines))
        ((values, options, _),) = layers(path)
        assert values.compute().tolist() == [[[0, 1]], [[1000002, 1000001]]]
        sizes = options["features"].set_index("index")["Size in pixels"].to_dict()
        assert sizes == {1: 20, 1000001: 10, 1000002: 30}

    def test_of_a_damaged_table_are_left_out_with_a_reason(self, image, tmp_path):
        (tmp_path / "cells_table.csv").write_text("a,b\n1,2\n")
        with pytest.warns(MetadataWarning, match=r"no features: .*is not an ilastik table"):
            layers(image)

    def test_of_objects_that_this_package_measured(self, tmp_path):
        prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
        labels = il.label_objects(prob.sel(c="nucleus"), min_size=20)
        il.to_ilastik(labels, tmp_path / "nuclei_Object Identities.h5")
        il.measure_objects(labels).to_csv(tmp_path / "nuclei_table.csv", index=False)
        ((values, options, _),) = layers(tmp_path / "nuclei_Object Identities.h5")
        assert options["features"]["index"].tolist() == np.unique(values.compute())[1:].tolist()
        counts = np.bincount(values.compute().ravel())[1:]
        assert options["features"]["num_pixels"].tolist() == counts.tolist()


class TestProjects:
    def test_only_the_first_lane_is_shown(self, tmp_path):
        write_hdf5_export(tmp_path / "a.h5", some_data((5, 6)), axes="yx")
        write_hdf5_export(tmp_path / "b.h5", some_data((5, 6)), axes="yx")
        with h5py.File(write_ilp(tmp_path / "p.ilp"), "a") as file:
            file["Input Data/Role Names"] = np.array([b"Raw Data"])
            for lane, name in enumerate((b"a.h5/exported_data", b"b.h5/exported_data")):
                file[f"Input Data/infos/lane000{lane}/Raw Data/filePath"] = name
        found = {options["name"]: options["visible"] for _, options, _ in layers(tmp_path / "p.ilp")}
        assert found == {"lane0000_Raw Data": True, "lane0001_Raw Data": False}

    def test_labels_are_shown_where_the_image_is_elsewhere(self, tmp_path):
        shutil.copy(sample("project"), tmp_path / "p.ilp")
        with pytest.warns(MetadataWarning, match="ends at the last label"), pytest.warns(MissingSourceWarning):
            ((values, options, kind),) = layers(tmp_path / "p.ilp")
        assert (kind, options["name"]) == ("labels", "labels")
        assert np.unique(values.compute()).tolist() == [0, 1, 2]

    def test_nothing_to_show_is_an_error_with_a_reason(self, tmp_path):
        with h5py.File(write_ilp(tmp_path / "p.ilp"), "a") as file:
            file["Input Data/Role Names"] = np.array([b"Raw Data"])
            file["Input Data/infos/lane0000/Raw Data/filePath"] = b"gone.h5"
        with (
            pytest.raises(DatasetNotFoundError, match=r"no image to show: .*gone\.h5.*or open the image itself"),
            pytest.warns(MissingSourceWarning),
        ):
            layers(tmp_path / "p.ilp")


class TestOtherFiles:
    def test_are_refused_with_none(self, tmp_path):
        (tmp_path / "text.h5").write_text("no HDF5, in spite of its name")
        (tmp_path / "empty.h5").touch()
        (tmp_path / "a.csv").write_text("a,b\n1,2\n")
        (tmp_path / "folder").mkdir()
        np.save(tmp_path / "a.npy", np.zeros((3, 4)))
        for name in ("text.h5", "empty.h5", "a.csv", "folder", "a.npy", "missing.h5", "bad\0name.h5"):
            assert get_reader(str(tmp_path / name)) is None, name
        for odd in (None, 3, [], [None], [sample("raw"), str(tmp_path / "text.h5")], ""):
            assert get_reader(odd) is None

    def test_are_refused_where_nobody_may_look(self, tmp_path):
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        (tmp_path / "a.h5").write_bytes(Path(sample("raw")).read_bytes())
        (tmp_path / "a.h5").chmod(0)
        assert get_reader(str(tmp_path / "a.h5")) is None

    def test_that_are_damaged_raise_errors_of_this_package(self, tmp_path):
        path = tmp_path / "cut.h5"
        path.write_bytes(Path(sample("raw")).read_bytes()[:5000])
        with pytest.raises(CorruptFileError, match=r"cut\.h5"):
            layers(path)

    def test_a_table_of_objects_is_no_image(self, tmp_path):
        write_table(tmp_path / "cells_table.h5", written()[:2])
        with h5py.File(tmp_path / "cells_table.h5", "a") as file:
            for number in range(2):
                file[f"images/{number}/labeling"] = np.ones((3, 4), "u1")
                file[f"images/{number}/labeling"].attrs["axistags"] = axistags("xy")
        with pytest.raises(DatasetNotFoundError, match="a table of objects"):
            layers(tmp_path / "cells_table.h5")

    def test_too_many_images_are_refused(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for number in range(65):
                file[f"image{number:02}"] = np.zeros((3, 4), "u1")
        with pytest.raises(ArgumentError, match="holds 65 images, such as image00"), pytest.warns(MetadataWarning):
            layers(tmp_path / "a.h5")


class TestLaziness:
    @pytest.fixture
    def reads(self, monkeypatch):
        found = []
        really = DirectHdf5Source.read

        def counted(self, region):
            found.append(region)
            return really(self, region)

        monkeypatch.setattr(DirectHdf5Source, "read", counted)
        return found

    @pytest.fixture
    def export(self, tmp_path):
        data = some_data((12, 20, 24, 2))
        write_hdf5_export(tmp_path / "a.h5", data, chunks=(4, 8, 8, 1), filters="gzip")
        return tmp_path / "a.h5", data

    def test_no_voxel_is_read_before_a_plane_is_wanted(self, export, reads):
        path, data = export
        found = layers(path)
        assert reads == []
        plane = found[1][0][5]
        assert reads == []
        np.testing.assert_array_equal(plane.compute(), data[5, ..., 1], strict=True)
        # Chunks 4 planes thick, of the wanted class alone.
        assert {(part[0].start // 4, (part[0].stop - 1) // 4) for part in reads} == {(1, 1)}
        assert {(part[3].start, part[3].stop) for part in reads} == {(1, 2)}

    def test_the_next_plane_is_in_memory(self, export, reads):
        path, data = export
        found = layers(path)
        found[0][0][4].compute()
        before = len(reads)
        np.testing.assert_array_equal(found[0][0][5].compute(), data[5, ..., 0], strict=True)
        assert len(reads) == before > 0
