"""What the numbers mean, where the default file name of an export tells."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.core.kinds import WHOLE_NUMBERS, kind_from_name, kind_of_role, name_of_ids
from ilastik_lazy.errors import ArgumentError
from tests.support.makers import some_data, write_hdf5_export, write_ilp
from tests.support.shared_files import shared_path

U1, U4, F4 = np.dtype("u1"), np.dtype("u4"), np.dtype("f4")


@pytest.mark.parametrize(
    ("name", "dtype", "channels", "kind"),
    [
        ("brain_Probabilities.h5", F4, 2, "probabilities"),
        ("brain_Probabilities.h5", U1, 3, "probabilities"),
        ("brain_Pixel Probabilities.h5", F4, 2, "probabilities"),
        ("brain-probabilities.h5", F4, 2, "probabilities"),
        ("Probabilities.h5", F4, 2, "probabilities"),
        ("brain_Probabilities Stage 2.h5", F4, 2, "probabilities"),
        ("brain_Simple Segmentation.h5", U1, 1, "segmentation"),
        ("brain_Simple_Segmentation Stage 1.h5", U1, 1, "segmentation"),
        ("brain_Multicut Segmentation.h5", U4, 1, "segmentation"),
        ("brain_Uncertainty.h5", F4, 1, "uncertainty"),
        ("brain_Features.h5", F4, 9, "features"),
        ("brain_Labels.h5", U1, 1, "labels"),
        ("brain_Labels.h5", U4, 1, None),
        ("brain_Object Identities.h5", U4, 1, "object identities"),
        ("brain_Object Predictions.h5", U1, 1, "object predictions"),
        ("brain_Object Probabilities.h5", F4, 2, "object probabilities"),
        ("brain_Blockwise Object Predictions.h5", U1, 1, "object predictions"),
        ("brain_Tracking-Result.h5", U4, 1, "tracking"),
        ("/some/folder_Labels/brain_Probabilities All Stages.h5", F4, 4, "probabilities"),
    ],
)
def test_a_default_name_tells_the_kind(name, dtype, channels, kind):
    assert kind_from_name(name, dtype, channels) == kind


@pytest.mark.parametrize(
    "name", ["brain.h5", "myprobabilities.h5", "Probabilities_brain.h5", "folder_Labels/brain.h5", ""]
)
def test_any_other_name_tells_nothing(name):
    assert kind_from_name(name, F4, 2) is None


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a_Simple Segmentation.h5", F4), ("a_Object Identities.h5", F4), ("a_Uncertainty.h5", U1), ("a_Features.h5", U4),
     ("a_Probabilities.h5", U4), ("a_Object Probabilities.h5", U4)],
)  # fmt: skip
def test_a_name_that_the_dtype_contradicts_is_not_believed(name, dtype):
    assert kind_from_name(name, dtype, 2) is None


def test_one_channel_of_probabilities_may_be_a_density():
    assert kind_from_name("a_Probabilities.h5", F4, 1) is None


# --- stated by the caller, or by the project


@pytest.fixture
def export(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 6, 1), "u1"), chunks=(2, 2, 2, 1))
    return tmp_path / "a.h5"


def test_a_stated_kind_is_believed(export):
    assert "ilastik_kind" not in il.open_dataarray(export).attrs
    assert il.open_dataarray(export, kind="segmentation").attrs["ilastik_kind"] == "segmentation"
    assert il.open_dataset(export, kind="labels")["exported_data"].attrs["ilastik_kind"] == "labels"
    options = {"kind": "tracking"}
    assert xr.open_dataset(export, engine="ilastik", **options)["exported_data"].attrs["ilastik_kind"] == "tracking"


def test_a_stated_segmentation_gets_classes_and_loses_the_range_of_the_probabilities(export, tmp_path):
    with h5py.File(export, "r+") as file:
        file["exported_data"].attrs["drange"] = np.array([0, 1], "u1")
    assert il.open_dataarray(export).attrs["drange"] == [0, 1]
    array = il.open_dataarray(export, kind="segmentation", project=write_ilp(tmp_path / "p.ilp"))
    assert "drange" not in array.attrs
    assert array.attrs["flag_meanings"] == "nucleus background"


@pytest.mark.parametrize(
    ("kind", "message"),
    [("blobs", "expected one of"), ("density", "the kind .density. needs"), ("features", "floating-point numbers")],
)
def test_a_kind_that_cannot_be_is_refused(export, kind, message):
    with pytest.raises(ArgumentError, match=message):
        il.open_dataarray(export, kind=kind)


@pytest.mark.parametrize("value", [0.5, -1, np.nan, np.inf])
def test_classes_are_no_fractions(tmp_path, value):
    write_hdf5_export(tmp_path / "a.h5", np.full((4, 5), value, "f4"), axes="yx", chunks=(2, 2))
    array = il.open_dataarray(tmp_path / "a.h5", kind="segmentation")
    with pytest.raises(ArgumentError, match=rf"a.h5/exported_data holds {value}, and values of the kind segmentation"):
        array.compute()


def test_classes_stored_as_floating_point_numbers_become_whole_numbers(tmp_path):
    data = np.arange(20, dtype="f4").reshape(4, 5)
    write_hdf5_export(tmp_path / "a.h5", data, axes="yx", chunks=(2, 2))
    array = il.open_dataarray(tmp_path / "a.h5", kind="segmentation")
    assert (array.dtype, array.attrs["ilastik_kind"]) == (np.dtype("u4"), "segmentation")
    assert np.array_equal(array, data.astype("u4"))


COUNTED = ("workflows", "counting", "count_2d3c__Probabilities__gz.h5")


@pytest.mark.shared
def test_what_a_counting_project_exports_is_a_density():
    project = shared_path("ilastik-files", "workflows", "projects", "resaved_CellDensityCounting2d3c.ilp")
    array = il.open_dataarray(shared_path("ilastik-files", *COUNTED), project=project)
    assert array.attrs["ilastik_kind"] == "density"
    assert "c" not in array.coords


# By the names that ilastik gives by default; what it stored as float32 contradicts a name of classes.
EXPECTED = {
    "Probabilities": "probabilities", "Simple Segmentation": "segmentation", "Uncertainty": "uncertainty",
    "Features": "features", "Labels": "labels", "Object Predictions": "object predictions",
    "Object Probabilities": "object probabilities", "Object Identities": "object identities",
    "Blockwise Object Predictions": "object predictions", "Blockwise Object Probabilities": "object probabilities",
    "Object-Identities": "object identities", "Tracking-Result": "tracking", "Merger-Result": "tracking",
    "Probabilities Stage 2": "probabilities", "Probabilities All Stages": "probabilities",
    "Simple Segmentation Stage 2": "segmentation", "Input": None, "(table)": None,
}  # fmt: skip


@pytest.mark.shared
def test_every_export_of_a_workflow_has_its_kind(tmp_path):
    manifest = json.loads(shared_path("ilastik-files", "workflows", "manifest.json").read_text())
    seen = set()
    for number, entry in enumerate(manifest["entries"]):
        source = entry.get("export_source")
        if not entry["path"].endswith(".h5") or source is None or "exported_data" not in entry["datasets"]:
            continue
        name = tmp_path / f"x{number}_{source}.h5"
        name.symlink_to(shared_path("ilastik-files", "workflows", entry["path"]))
        array = il.open_dataarray(name, "exported_data", chunks=None)
        kind = EXPECTED[source]
        is_whole = array.dtype.kind in "iu"
        if (kind in WHOLE_NUMBERS and not is_whole) or "counting" in entry["path"]:
            kind = None
        assert array.attrs.get("ilastik_kind") == kind, entry["path"]
        seen.add(source)
    assert len(seen) >= 12, seen


@pytest.mark.parametrize(
    ("role", "dtype", "kind"),
    [
        ("Raw Data", "uint8", "intensity"),
        ("Raw Data", "float32", "intensity"),
        ("Segmentation Image", "uint8", "segmentation"),
        ("Segmentation Image", "float32", None),
        ("Label Image", "uint32", "object identities"),
        ("Prediction Maps", "float32", "probabilities"),
        ("Prediction Maps", "uint16", None),
        ("Overlay", "uint8", None),
    ],
)
def test_a_role_says_what_an_input_of_a_project_is(role, dtype, kind):
    assert kind_of_role(role, np.dtype(dtype)) == kind


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("LabelImage.h5", "label"), ("nucleiLabels.h5", "labels"), ("cellSegmentation", "segmentation"),
        ("GTMask_01.tif", "gt"), ("groundTruth.h5", "groundtruth"), ("SEG.nii", "seg"), ("cell_IDs", "ids"),
        ("fluoAtto.h5", ""), ("Maskelyne.h5", ""), ("midSlice.h5", ""),
    ],
)  # fmt: skip
def test_words_for_ids_are_found_however_they_are_joined(name: str, word: str) -> None:
    assert name_of_ids(name) == word


def test_probabilities_of_16_bits_are_probabilities_with_thresholds_on_their_range(tmp_path):
    stored = np.random.default_rng(1).integers(0, 65536, (2, 9, 8, 2), "u2")
    path = tmp_path / "x_Probabilities.h5"
    il.to_ilastik(xr.DataArray(stored, dims=["z", "y", "x", "c"]), path)
    with h5py.File(path, "r+") as file:
        file["exported_data"].attrs["drange"] = [0, 65535]
    found = il.open_dataarray(path)
    assert found.attrs["ilastik_kind"] == "probabilities"
    assert found.attrs["drange"] == [0, 65535]
    np.testing.assert_array_equal(il.classify(found, threshold=0.6) == 0, stored.max(-1) / 65535 < 0.6)
    assert il.to_ome_zarr(found, tmp_path / "x.zarr", levels=2) is not None
    multiscales = json.loads((tmp_path / "x.zarr/zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    assert multiscales[0]["type"] == "mean"
