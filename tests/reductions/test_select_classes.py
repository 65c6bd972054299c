"""Classes of a segmentation by name, against comparisons of the numbers in the file."""

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError


def test_classes_are_selected_by_name_and_keep_name_and_colour(tmp_path):
    with h5py.File(sample("segmentation")) as file:
        stored = file["exported_data"][..., 0]
    segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
    background = il.select_classes(segmentation, "background")
    np.testing.assert_array_equal(background.values, stored == 2)
    assert background.attrs["flag_meanings"] == "background"
    assert background.attrs["flag_colors"] == "#3c50a0"
    turned = il.select_classes(segmentation.isel(z=3), ["background", "nucleus"])
    np.testing.assert_array_equal(turned.values, 3 - stored[3])
    xarrays = segmentation.isel(c=0, z=slice(2, 9))
    assert il.select_classes(xarrays, "nucleus").coords["z"].identical(xarrays.coords["z"])


def test_what_has_no_such_class_is_refused():
    with pytest.raises(ArgumentError, match=r"no class 'nucleous' in c: nucleus, background \(did you mean 'nucleus'"):
        il.select_classes(il.open_dataarray(sample("segmentation"), project=sample("project")), "nucleous")
    for wrong in (None, 5, [1, "nucleus"], []):
        with pytest.raises(ArgumentError, match="expected the name of a class"):
            il.select_classes(sample("segmentation"), wrong)
    twice = il.open_dataarray(sample("segmentation")).assign_attrs(flag_meanings="cell cell", flag_values=[1, 2])
    with pytest.raises(ArgumentError, match="2 classes called 'cell': rename them"):
        il.select_classes(twice, "cell")
    with pytest.raises(ArgumentError, match="names none; name them with project="):
        il.select_classes(il.open_dataarray(sample("segmentation")), "nucleus")
    with pytest.raises(ArgumentError, match="is no image of classes, but probabilities: classify"):
        il.select_classes(sample("probabilities"), "nucleus")
