"""What the numbers mean, where the default file name of an export tells."""

from __future__ import annotations

import numpy as np
import pytest

from ilastik_lazy.kinds import kind_from_name

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
