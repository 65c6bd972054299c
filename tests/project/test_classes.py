"""Class names out of a project, and the exports that they belong to."""

from __future__ import annotations

import os
import pickle

import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, MetadataError, MetadataWarning, SourceNotFoundError
from ilastik_lazy.project.classes import ClassSet, class_sets
from tests.support.makers import some_data, write_hdf5_export, write_ilp
from tests.support.shared_files import shared_path


@pytest.fixture
def project(tmp_path):
    return write_ilp(tmp_path / "project.ilp")


def export(path, channels=2, dtype="<f4"):
    write_hdf5_export(path, some_data((4, 5, 6, channels), dtype), chunks=(2, 2, 2, 1), filters="gzip")
    return path


def names_of(path, project):
    return il.open_dataarray(path, project=project).coords["c"].values.tolist()


def test_names_and_colours_of_an_applet(project):
    assert class_sets(project) == (
        ClassSet("PixelClassification", ("nucleus", "background"), ((255, 0, 0), (0, 255, 0))),
    )


def test_channels_get_the_names_of_their_classes(tmp_path, project):
    array = il.open_dataarray(export(tmp_path / "a_Probabilities.h5"), project=project)
    assert array.coords["c"].values.tolist() == ["nucleus", "background"]
    assert array.coords["class_color"].values.tolist() == ["#ff0000", "#00ff00"]
    with h5py.File(tmp_path / "a_Probabilities.h5") as file:
        np.testing.assert_array_equal(array.sel(c="nucleus").values, file["exported_data"][..., 0])


def test_values_of_a_segmentation_get_the_names_of_their_classes(tmp_path, project):
    array = il.open_dataarray(export(tmp_path / "a_Simple Segmentation.h5", 1, "|u1"), project=project)
    assert "c" not in array.coords
    assert array.attrs["flag_values"] == [1, 2]
    assert array.attrs["flag_meanings"] == "nucleus background"


def test_names_of_several_words_stay_one_word_each(tmp_path):
    project = write_ilp(tmp_path / "project.ilp", ["cell wall", "x"], None)
    array = il.open_dataarray(export(tmp_path / "a_Simple Segmentation.h5", 1, "|u1"), project=project)
    assert array.attrs["flag_meanings"].split() == ["cell_wall", "x"]


def test_classes_that_do_not_fit_leave_the_channels_unnamed_with_a_warning(tmp_path, project):
    with pytest.warns(MetadataWarning, match=r"nucleus, background.*stay unnamed"):
        array = il.open_dataarray(export(tmp_path / "a_Probabilities.h5", 3), project=project)
    assert "c" not in array.coords


def test_each_stage_of_autocontext_has_its_own_classes(tmp_path):
    project = write_ilp(tmp_path / "project.ilp", ["a", "b"], more={"PixelClassification01": ["d", "e"]})
    assert names_of(export(tmp_path / "x_Probabilities Stage 1.h5"), project) == ["a", "b"]
    assert names_of(export(tmp_path / "x_Probabilities Stage 2.h5"), project) == ["d", "e"]
    all_stages = export(tmp_path / "x_Probabilities All Stages.h5", 4)
    assert names_of(all_stages, project) == ["a (stage 1)", "b (stage 1)", "d (stage 2)", "e (stage 2)"]


def test_objects_have_the_classes_of_object_classification(tmp_path):
    project = write_ilp(tmp_path / "project.ilp", ["a", "b"], more={"ObjectClassification": ["round", "long"]})
    array = il.open_dataarray(export(tmp_path / "a_Object Predictions.h5", 1, "|u1"), project=project)
    assert array.attrs["flag_meanings"] == "round long"
    assert names_of(export(tmp_path / "a_Object Probabilities.h5"), project) == ["round", "long"]


def test_names_may_hold_any_letters(tmp_path):
    project = write_ilp(tmp_path / "project.ilp", ["Zellkern µ", "細胞"])
    assert names_of(export(tmp_path / "a.h5"), project) == ["Zellkern µ", "細胞"]


def test_names_that_are_no_utf8_are_shown_as_far_as_they_are(tmp_path):
    write_ilp(tmp_path / "project.ilp", None)
    with h5py.File(tmp_path / "project.ilp", "r+") as file:
        file["PixelClassification/LabelNames"] = np.array([b"caf\xe9", b"b"])
    assert class_sets(tmp_path / "project.ilp")[0].names == ("caf\N{REPLACEMENT CHARACTER}", "b")


def test_an_empty_list_is_no_class(tmp_path):
    # ilastik cannot store one: it writes an element of garbage and the attribute isEmpty.
    write_ilp(tmp_path / "project.ilp", ["garbage"])
    with h5py.File(tmp_path / "project.ilp", "r+") as file:
        file["PixelClassification/LabelNames"].attrs["isEmpty"] = True
    assert class_sets(tmp_path / "project.ilp") == ()


def test_a_project_without_classes_is_said_so(tmp_path):
    with pytest.raises(ArgumentError, match=r"names no classes: add labels"):
        il.open_dataarray(export(tmp_path / "a.h5"), project=write_ilp(tmp_path / "project.ilp", None))


def test_what_is_no_project_is_said_so(tmp_path):
    path = export(tmp_path / "a.h5")
    with pytest.raises(MetadataError, match=r"is not an ilastik project"):
        il.open_dataarray(path, project=path)
    with pytest.raises(SourceNotFoundError):
        il.open_dataarray(path, project=tmp_path / "gone.ilp")


@pytest.mark.parametrize("value", [np.zeros((2, 2)), np.zeros(3), np.array([b"a"] * 1001)])
def test_names_that_are_none_are_refused_or_ignored(tmp_path, value):
    write_ilp(tmp_path / "project.ilp", None)
    with h5py.File(tmp_path / "project.ilp", "r+") as file:
        file["PixelClassification/LabelNames"] = value
    if value.ndim == 2:
        assert class_sets(tmp_path / "project.ilp") == ()
        return
    with pytest.raises(MetadataError, match=r"LabelNames"):
        class_sets(tmp_path / "project.ilp")


def test_links_out_of_the_project_are_not_followed(tmp_path, project):
    other = write_ilp(tmp_path / "other.ilp", ["stolen"])
    with h5py.File(project, "r+") as file:
        file["Applet"] = h5py.ExternalLink(str(other), "/PixelClassification")
        file.create_group("Applet2")["LabelNames"] = h5py.ExternalLink(str(other), "/PixelClassification/LabelNames")
        file["Applet3"] = h5py.SoftLink("/Applet")
    assert [classes.applet for classes in class_sets(project)] == ["PixelClassification"]


def test_names_whose_bytes_lie_in_another_file_are_not_read(tmp_path):
    write_ilp(tmp_path / "project.ilp", None)
    (tmp_path / "secret").write_bytes(b"secret")
    with h5py.File(tmp_path / "project.ilp", "r+") as file:
        group = file.create_group("PixelClassification")
        group.create_dataset("LabelNames", (2,), "S3", external=[(str(tmp_path / "secret"), 0, 6)])
    try:
        found = class_sets(tmp_path / "project.ilp")
    except (ArgumentError, MetadataError, PermissionError):
        return
    assert "sec" not in str(found)


class _Bomb:
    def __reduce__(self):
        return os.mkdir, (str(os.environ["BOMB_TARGET"]),)


def test_nothing_in_a_project_is_unpickled(tmp_path, project, monkeypatch):
    monkeypatch.setenv("BOMB_TARGET", str(tmp_path / "exploded"))
    with h5py.File(project, "r+") as file:
        file["PixelClassification/ClassifierForests/pickled"] = np.void(pickle.dumps(_Bomb()))
        file["PixelClassification/pickled_type"] = np.void(pickle.dumps(_Bomb()))
    class_sets(project)
    il.open_dataset(export(tmp_path / "a.h5"), project=project)
    assert not (tmp_path / "exploded").exists()


def test_an_array_with_names_can_be_pickled(tmp_path, project):
    array = il.open_dataarray(export(tmp_path / "a.h5"), project=project)
    again = pickle.loads(pickle.dumps(array))
    assert again.identical(array)


@pytest.mark.shared
def test_the_projects_of_ilastik_name_their_classes():
    folder = shared_path("ilastik-files", "workflows", "projects")
    found = {path: class_sets(path) for path in sorted(folder.glob("*.ilp"))}
    assert sum(bool(sets) for sets in found.values()) > 5
    for path, sets in found.items():
        with h5py.File(path) as file:
            for classes in sets:
                stored = file[f"{classes.applet}/LabelNames"][...]
                assert classes.names == tuple(name.decode() for name in stored)


@pytest.mark.parametrize("kind", ["Features", "Uncertainty", "Object Identities"])
def test_channels_that_are_no_classes_get_no_names(tmp_path, kind):
    write_ilp(tmp_path / "p.ilp")
    dtype = "uint32" if kind == "Object Identities" else "<f4"
    write_hdf5_export(tmp_path / f"raw_{kind}.h5", some_data((4, 5, 6, 2), dtype))
    assert "c" not in il.open_dataarray(tmp_path / f"raw_{kind}.h5", project=tmp_path / "p.ilp").coords


def test_a_stage_is_known_by_the_file_whatever_the_dataset_is_called(tmp_path):
    with h5py.File(tmp_path / "au.ilp", "w") as file:
        file["workflowName"] = b"AutocontextTwoStage"
        file["PixelClassification/LabelNames"] = np.array([b"a", b"b"])
        file["PixelClassification01/LabelNames"] = np.array([b"d", b"e"])
    path = tmp_path / "x_Probabilities Stage 2.h5"
    write_hdf5_export(path, some_data((5, 6, 7, 2)), internal_path="volume/data")
    assert il.open_dataarray(path, project=tmp_path / "au.ilp").coords["c"].values.tolist() == ["d", "e"]


def test_classes_of_a_segmentation_go_along_into_ome_zarr(tmp_path):
    segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
    il.to_ome_zarr(segmentation, tmp_path / "seg.zarr")
    attributes = zarr.open_array(tmp_path / "seg.zarr/scale0/image", mode="r").attrs
    assert attributes["flag_meanings"] == "nucleus background"
    assert attributes["flag_values"] == [1, 2]
