"""Objects and tables as ilastik has them: every export of objects in the corpora whose input is there.

What the thresholding applet does was read off its exports: `>=` after a Gaussian that reaches two sigma, neighbours
across faces, both bounds of size inclusive, frames apart, numbers from 1 in raster order of what is left.
"""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from tests.support.shared_files import entries, over_files, shared_path

pytestmark = pytest.mark.shared

# Stored without axes.
AXES = {"2d3c": "yxc", "5t3d2c": "tzyxc"}

# Exports whose project is not in the corpora: settings that give the same objects in all frames.
SETTINGS = {
    "oc_5t3d2c_pred": {"channel": 0, "threshold": 0.7, "smooth": 1, "min_size": 50, "max_size": 1_000_000},
    "trk_mito_div": {"channel": 1, "threshold": 0.2, "smooth": 1, "min_size": 10, "max_size": 1_000_000},
}
PROJECTS = {
    "oc_2d3c_pred": "projects/ObjectClassification2d3c_wPred.ilp",
    "oc_5t2d1c_pred": "projects/ObjectClassification5t2d1c_wPred.ilp",
    "oc_5t2d2c_pred": "projects/ObjectClassification5t2d2c_wPred.ilp",
    "trk_mito_merg": "mitocheckStructuredLearningTrackingHytraWithMergers.ilp",
}
MAPS = {"trk_mito_div": "mitocheck_small_2D+t_export.h5", "trk_mito_merg": "mitocheck_small_2D+t_mergers_export.h5"}

# Projects that hold label images, and the maps that they were made of.
KEPT = {
    "history/projects/ObjectClassification2d3c_wPred.ilp": "2d3c_Probabilities.h5",
    "history/projects/ObjectClassification5t2d1c_wPred.ilp": "5t2d1c_Probabilities.h5",
    "history/projects/ObjectClassification5t2d2c_wPred.ilp": "5t2d2c_Probabilities.h5",
    "history/projects/TrackingwLearning5t2d_wPred.ilp": "5t2d_Probabilities_simple.h5",
    "workflows/projects/resaved_ObjectClassification2d3c_wPred.ilp": "2d3c_Probabilities.h5",
    "history/mitocheckStructuredLearningTrackingHytraWithMergers.ilp": "mitocheck_small_2D+t_mergers_export.h5",
    "history/mitocheckStructuredLearningTrackingHytraWithMergersMissingMergers.ilp":
        "mitocheck_small_2D+t_mergers_export.h5",
}  # fmt: skip

# Exports that are not objects of their own, and why.
LEFT_OUT = {
    "Tracking-Result": "numbers of lineages, which tracking decides on",
    "Merger-Result": "which clusters tracking has split",
    "CellTrackingChallenge": "numbers of tracks",
    "Contours": "outlines of tracks",
    "Multi-Worm-Tracker": "tracks",
}


def folder(name):
    return shared_path("ilastik-files", "history", name)


def exported(stem, source, end="gz.h5"):
    place = "tracking" if stem.startswith("trk") else "object_classification"
    return shared_path("ilastik-files", "workflows", place, f"{stem}__{source}__{end}")


def data_of(stem):
    return stem.split("_")[1]


def raw_of(stem):
    return il.open_dataarray(folder(f"{data_of(stem)}.h5"), axes=AXES.get(data_of(stem)))


def objects_of(stem):
    """The objects of an export, labelled here from the input that ilastik had."""
    kind = stem.rsplit("_", 1)[1]
    if kind == "seg":
        return il.label_objects(il.open_dataarray(folder(f"{data_of(stem)}_Binary_Segmentation.h5")) != 0)
    if kind == "labels":
        return il.open_dataarray(folder("2d3c_Object Identities.h5"))
    probabilities = il.open_dataarray(folder(MAPS.get(stem, f"{data_of(stem)}_Probabilities.h5")))
    if stem in PROJECTS:
        return il.label_objects(probabilities, project=folder(PROJECTS[stem]))
    settings = dict(SETTINGS[stem])
    return il.label_objects(probabilities.isel(c=settings.pop("channel")), **settings)


def without_channels(image):
    return image.squeeze("c", drop=True) if "c" in image.dims else image


def frames(image):
    """Values of an image without channels, by frame, z, y and x."""
    image = without_channels(image)
    image = image.expand_dims([dim for dim in "tzyx" if dim not in image.dims])
    return image.transpose(*"tzyx").values


def require_same_objects(found, expected):
    """Each object of one is an object of the other, whatever its number."""
    for frame, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_array_equal(mine > 0, theirs > 0, err_msg=f"frame {frame}")
        pairs = np.unique(np.stack([mine.ravel(), theirs.ravel()]).astype(np.int64), axis=1)
        assert all(len(np.unique(row)) == pairs.shape[1] for row in pairs), f"frame {frame}: {pairs}"


def paths_with(source, *ends):
    found = [entry for entry in entries("workflows", *ends) if entry.get("export_source") == source]
    return [entry["path"] for entry in found if "object" in entry["path"] or "tracking" in entry["path"]]


def stem_of(path):
    return path.split("/")[-1].split("__")[0]


def workflow_path(path):
    return f"workflows/{path}"


@over_files("path", paths_with("Object Identities"), workflow_path)
def test_object_identities_are_labelled_alike_number_by_number(path):
    expected = frames(il.open_dataarray(shared_path("ilastik-files", workflow_path(path))))
    np.testing.assert_array_equal(frames(objects_of(stem_of(path))), expected)


def test_an_older_export_has_the_same_objects():
    np.testing.assert_array_equal(
        frames(objects_of("oc_2d3c_pred")), frames(il.open_dataarray(folder("2d3c_Object Identities.h5")))
    )


def test_objects_that_tracking_has_not_split_are_labelled_alike():
    expected = frames(il.open_dataarray(exported("trk_mito_div", "Object-Identities")))
    require_same_objects(frames(objects_of("trk_mito_div")), expected)


def test_clusters_that_tracking_has_split_are_labelled_as_one():
    expected = frames(il.open_dataarray(exported("trk_mito_merg", "Object-Identities")))
    found = frames(objects_of("trk_mito_merg"))
    np.testing.assert_array_equal(found > 0, expected > 0)
    split = 0
    for mine, theirs in zip(found, expected, strict=True):
        whole = {int(number): set(np.unique(mine[theirs == number]).tolist()) for number in np.unique(theirs)}
        assert all(len(parts) == 1 for parts in whole.values())
        split += len(whole) - len(set.union(*whole.values()))
    assert split > 0


@over_files("project", KEPT, lambda project: project)
def test_objects_kept_in_a_project_are_labelled_alike(project):
    path = shared_path("ilastik-files", *project.split("/"))
    found = frames(il.label_objects(il.open_dataarray(folder(KEPT[project])), project=path))
    with h5py.File(path) as file:
        kept = file["ObjectExtraction/LabelImage_v2/labelimage000"]
        expected = np.stack([kept[block][0, ..., 0].transpose(2, 1, 0) for block in sorted(kept)])  # txyzc
    assert len(found) == len(expected)
    if "TrackingwLearning" in project:
        # ilastik kept the first frame; the others are zeros, though their voxels reach the threshold, too.
        assert not expected[1:].any()
        found, expected = found[:1], expected[:1]
    # Numbers go by the axes as they are stored, and in ilastik by z, y and x.
    require_same_objects(found, expected)
    if "mitocheck" not in project:
        np.testing.assert_array_equal(found, expected)


def require_same_table(table, measured, label, timestep, written=lambda values: values):
    """Sizes, boxes, centres, radii and intensities of ilastik, beside those measured here, as they are `written`."""
    assert len(table) == len(measured)
    keys = [timestep, label] if "timestep" in measured else [label]
    table = table.sort_values(keys).reset_index(drop=True)
    measured = measured.sort_values([key for key in ("timestep", "label") if key in measured]).reset_index(drop=True)
    np.testing.assert_array_equal(table[label], measured["label"])
    if "timestep" in measured:
        np.testing.assert_array_equal(table[timestep], measured["timestep"])

    def column(name):
        return next(table[each] for each in (name, f"{name}_0") if each in table).to_numpy()

    np.testing.assert_array_equal(column("Size in pixels"), measured["num_pixels"])
    dims = [dim for dim in "xyz" if f"centroid_{dim}" in measured and measured[f"bbox_{dim}_max"].max() > 1]
    for number, dim in enumerate(dims):
        np.testing.assert_array_equal(column(f"Bounding Box Minimum_{number}"), measured[f"bbox_{dim}_min"])
        np.testing.assert_array_equal(column(f"Bounding Box Maximum_{number}"), measured[f"bbox_{dim}_max"])
        # ilastik stores float32.
        centre = written(measured[f"centroid_{dim}"])
        np.testing.assert_allclose(column(f"Center of the object_{number}"), centre, rtol=1e-6)
    for number in range(len(dims) if len(dims) == 2 else 0):
        variance = measured[f"inertia_tensor_eigvals_{number}"]
        np.testing.assert_allclose(column(f"Radii of the object_{number}") ** 2, variance, rtol=1e-4, atol=1e-5)
    channels = [name.removeprefix("intensity_mean") for name in measured if name.startswith("intensity_mean")]
    for channel in channels:
        np.testing.assert_array_equal(column(f"Minimum intensity{channel}"), measured[f"intensity_min{channel}"])
        np.testing.assert_array_equal(column(f"Maximum intensity{channel}"), measured[f"intensity_max{channel}"])
        np.testing.assert_allclose(column(f"Mean Intensity{channel}"), measured[f"intensity_mean{channel}"], rtol=1e-5)
        np.testing.assert_allclose(column(f"Total Intensity{channel}"), measured[f"intensity_sum{channel}"], rtol=1e-5)
        variance = measured[f"intensity_std{channel}"] ** 2
        np.testing.assert_allclose(column(f"Variance of Intensity{channel}"), variance, rtol=1e-4, atol=1e-4)


def measured(labels, raw):
    properties = ["num_pixels", "bbox", "centroid"]
    properties += ["inertia_tensor_eigvals"] if min(labels.sizes.get("z", 1), 2) == 1 else []
    of_intensity = ["mean", "min", "max", "sum", "std"] if raw is not None else []
    return il.measure_objects(labels, raw, properties=properties + [f"intensity_{name}" for name in of_intensity])


@over_files("path", paths_with("(table)"), workflow_path)
def test_tables_of_objects_are_measured_alike(path):
    table, stem = il.open_table(shared_path("ilastik-files", workflow_path(path))), stem_of(path)
    for labels in (objects_of(stem), il.open_dataarray(exported(stem, "Object-Identities"))):
        require_same_table(table, measured(without_channels(labels), raw_of(stem)), "labelimage_oid", "timestep")


@over_files("path", paths_with("Plugin", "CSV-Table.csv"), workflow_path)
def test_tables_of_tracking_are_measured_alike(path):
    table = il.open_table(shared_path("ilastik-files", workflow_path(path)))
    table = table.rename(columns=lambda name: re.sub(r" (\d+)$", r"_\1", name.replace("_", " ")))
    labels = without_channels(il.open_dataarray(exported(stem_of(path), "Object-Identities")))
    labels = labels.squeeze("z", drop=True) if "z" in labels.dims else labels
    # This table has whole numbers for centres.
    require_same_table(table, measured(labels, None), "labelimageId", "frame", np.trunc)


@over_files("path", paths_with("Object Predictions") + paths_with("Blockwise Object Predictions"), workflow_path)
def test_predictions_of_objects_have_one_class_in_each_object(path):
    stem = stem_of(path)
    predictions = il.open_dataarray(shared_path("ilastik-files", workflow_path(path))).squeeze("c", drop=True)
    labels = without_channels(objects_of(stem))
    if stem.endswith("_seg"):
        # No object was labelled in these projects, so that there is no class.
        assert predictions.max() == 0
        return
    found = il.measure_objects(labels, predictions, properties=["intensity_min", "intensity_max"])
    assert (found["intensity_min"] == found["intensity_max"]).all()
    assert frames(predictions)[frames(labels) == 0].max() == 0
    if tables := [each for each in paths_with("(table)", ".csv") if stem_of(each) == stem]:
        table = il.open_table(shared_path("ilastik-files", workflow_path(tables[0])))
        classes = table.sort_values(["timestep", "labelimage_oid"])["Predicted Class"]
        names = {f"Label {number}": number for number in (1, 2)}
        assert classes.map(names).tolist() == found["intensity_min"].tolist()


@over_files("path", paths_with("Object Probabilities") + paths_with("Blockwise Object Probabilities"), workflow_path)
def test_probabilities_of_objects_have_one_value_in_each_object(path):
    stem = stem_of(path)
    probabilities = il.open_dataarray(shared_path("ilastik-files", workflow_path(path)), kind="object probabilities")
    labels = without_channels(objects_of(stem))
    if stem.endswith("_seg"):
        assert probabilities.max() == 0
        return
    found = il.measure_objects(labels, probabilities, properties=["intensity_min", "intensity_max"])
    for channel in range(probabilities.sizes["c"]):
        assert (found[f"intensity_min_{channel}"] == found[f"intensity_max_{channel}"]).all()
    classes = il.classify(probabilities, 0.01)
    assert classes.attrs["ilastik_kind"] == "object predictions"
    np.testing.assert_array_equal(frames(classes), frames(il.open_dataarray(exported(stem, "Object-Predictions"))))


def test_every_export_of_objects_is_compared_or_left_out_for_a_reason():
    shared_path("ilastik-files", "workflows")
    compared = {"Object Identities", "(table)", "Object-Identities", "CSV-Table"}
    compared |= {f"{how}Object {what}" for how in ("", "Blockwise ") for what in ("Predictions", "Probabilities")}
    places = ("object_classification/", "object_tables/", "tracking/")
    found = [entry for entry in entries("workflows") if entry["path"].startswith(places)]
    assert len(found) > 60
    for entry in found:
        source = entry["export_source"]
        name = entry["name"].rsplit("_", 1)[1] if source == "Plugin" else source
        assert name in compared or name in LEFT_OUT, entry["path"]
