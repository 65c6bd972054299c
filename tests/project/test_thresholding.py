"""Settings of the thresholding applet: what ilastik stores, and what a file from a stranger may hold instead."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ilastik_lazy.errors import (
    ArgumentError,
    CorruptFileError,
    ExternalReferenceError,
    MetadataError,
    SourceNotFoundError,
)
from ilastik_lazy.project.thresholding import ThresholdSettings, thresholding_settings
from tests.support.shared_files import shared_path

STORED = {
    "CurOperator": 0,
    "Channel": 1,
    "CoreChannel": 0,
    "LowThreshold": 0.4,
    "HighThreshold": 0.8,
    "MinSize": 20,
    "MaxSize": 5000,
    "SmootherSigma/x": 1.5,
    "SmootherSigma/y": 1.25,
    "SmootherSigma/z": 0.5,
}


def project(path, changes=(), without=()):
    with h5py.File(path, "w") as file:
        for name, value in {**STORED, **dict(changes)}.items():
            if name not in without:
                file[f"ThresholdTwoLevels/{name}"] = value
    return path


def test_settings_of_one_threshold(tmp_path):
    assert thresholding_settings(project(tmp_path / "p.ilp")) == ThresholdSettings(
        threshold=0.4,
        core=None,
        smooth={"z": 0.5, "y": 1.25, "x": 1.5},
        min_size=20,
        max_size=5000,
        channel=1,
        core_channel=0,
        method="simple",
    )


@pytest.mark.parametrize(
    ("number", "method", "core"),
    [(1, "two levels", 0.8), (2, "graph cut", None), (3, "identity preserving", 0.8)],
)
def test_each_method_has_its_name_and_its_core(tmp_path, number, method, core):
    settings = thresholding_settings(project(tmp_path / "p.ilp", {"CurOperator": number}))
    assert (settings.method, settings.core, settings.threshold) == (method, core, 0.4)


def test_one_threshold_of_old_projects_has_a_place_of_its_own(tmp_path):
    old = {"SingleThreshold": 0.3}
    assert thresholding_settings(project(tmp_path / "simple.ilp", old)).threshold == 0.3
    assert thresholding_settings(project(tmp_path / "two.ilp", {**old, "CurOperator": 1})).threshold == 0.4


def test_what_old_versions_did_not_store_is_what_ilastik_takes(tmp_path):
    missing = {"CurOperator", "CoreChannel", "MinSize", "MaxSize", "SmootherSigma/z", "SmootherSigma/y"}
    settings = thresholding_settings(project(tmp_path / "p.ilp", without=missing))
    assert (settings.method, settings.core_channel) == ("simple", 1)
    assert (settings.min_size, settings.max_size) == (10, 1_000_000)
    assert settings.smooth == {"z": 1.0, "y": 1.0, "x": 1.5}


@pytest.mark.parametrize("missing", ["LowThreshold", "HighThreshold"])
def test_a_threshold_that_is_missing_is_not_guessed(tmp_path, missing):
    path = project(tmp_path / "p.ilp", {"CurOperator": 1}, without={missing})
    with pytest.raises(MetadataError, match=rf"{missing}' is missing: open the project in ilastik"):
        thresholding_settings(path)


def test_one_sigma_below_a_tenth_switches_smoothing_off(tmp_path):
    settings = thresholding_settings(project(tmp_path / "p.ilp", {"SmootherSigma/z": 0.09}))
    assert settings.smoothing({"z": 5, "y": 6, "x": 7}) == {}
    assert settings.smoothing({"t": 4, "z": 1, "y": 6, "x": 7}) == {"y": 1.25, "x": 1.5}
    assert settings.smoothing({"y": 6, "x": 7}) == {"y": 1.25, "x": 1.5}


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("LowThreshold", np.nan, "is nan: expected a number from"),
        ("LowThreshold", np.inf, "is inf: expected a number from"),
        ("LowThreshold", b"0.5", "is not a number"),
        ("LowThreshold", [0.1, 0.2], "is not a single number"),
        ("LowThreshold", True, "is not a single number"),
        ("LowThreshold", np.zeros(1000), "is not a number or a short list"),
        ("CurOperator", 4, "is 4: expected a number from 0 to 3"),
        ("CurOperator", -1, "is -1: expected a number from 0 to 3"),
        ("Channel", -1, "is -1"),
        ("Channel", 2**40, "is 1099511627776"),
        ("MinSize", -5, "is -5"),
        ("MinSize", 10.5, "expected a whole number"),
        ("MaxSize", np.uint64(2**64 - 1), "is 18446744073709551615"),
        ("SmootherSigma/y", -1.0, "is -1.0"),
        ("SmootherSigma/y", 1e9, "is 1000000000.0"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(tmp_path, name, value, found):
    with pytest.raises(MetadataError, match=f"{name}'.* {found}|{name}' {found}"):
        thresholding_settings(project(tmp_path / "p.ilp", {name: value}))


def test_one_number_in_a_list_is_that_number(tmp_path):
    assert thresholding_settings(project(tmp_path / "p.ilp", {"LowThreshold": [0.25], "MinSize": [7.0]})).min_size == 7


def test_a_project_without_the_applet_says_which_have_it(tmp_path):
    with h5py.File(tmp_path / "p.ilp", "w") as file:
        file["workflowName"] = b"Pixel Classification"
    with pytest.raises(ArgumentError, match=r"no thresholding settings.*leave out project="):
        thresholding_settings(tmp_path / "p.ilp")


def test_no_project_at_all(tmp_path):
    with pytest.raises(SourceNotFoundError):
        thresholding_settings(tmp_path / "gone.ilp")
    (tmp_path / "text.ilp").write_text("no HDF5")
    with pytest.raises(CorruptFileError):
        thresholding_settings(tmp_path / "text.ilp")


def test_links_and_values_of_other_files_are_not_followed(tmp_path):
    other = project(tmp_path / "other.ilp")
    with h5py.File(tmp_path / "applet.ilp", "w") as file:
        file["ThresholdTwoLevels"] = h5py.ExternalLink(str(other), "/ThresholdTwoLevels")
    path = project(tmp_path / "value.ilp", without={"LowThreshold"})
    with h5py.File(path, "r+") as file:
        file["ThresholdTwoLevels/LowThreshold"] = h5py.ExternalLink(str(other), "/ThresholdTwoLevels/LowThreshold")
    for linked in (tmp_path / "applet.ilp", path):
        with pytest.raises(ExternalReferenceError):
            thresholding_settings(linked)
    with h5py.File(path, "r+") as file:
        del file["ThresholdTwoLevels/LowThreshold"]
        file["ThresholdTwoLevels/LowThreshold"] = h5py.SoftLink("/ThresholdTwoLevels/HighThreshold")
    with pytest.raises(MetadataError, match=r"is a link, which ilastik never writes"):
        thresholding_settings(path)


def test_an_untrusted_project_is_read_by_a_child_and_checked_here(tmp_path):
    good, bad = project(tmp_path / "good.ilp"), project(tmp_path / "bad.ilp", {"LowThreshold": np.nan})
    assert thresholding_settings(good, "untrusted") == thresholding_settings(good)
    with pytest.raises(MetadataError, match=r"LowThreshold' is nan"):
        thresholding_settings(bad, "untrusted")


@pytest.mark.shared
def test_the_settings_of_projects_that_ilastik_saved():
    folder = shared_path("ilastik-files", "history").parent
    found = {}
    for path in sorted(folder.rglob("*.ilp")):
        with h5py.File(path) as file:
            if "ThresholdTwoLevels" not in file:
                with pytest.raises(ArgumentError):
                    thresholding_settings(path)
                continue
            group = file["ThresholdTwoLevels"]
            settings = found[path.name] = thresholding_settings(path)
            threshold = group["SingleThreshold" if "SingleThreshold" in group else "LowThreshold"][()]
            assert (settings.method, settings.threshold, settings.core) == ("simple", threshold, None)
            assert settings.smooth == {axis: group[f"SmootherSigma/{axis}"][()] for axis in "zyx"}
            assert (settings.min_size, settings.max_size) == (group["MinSize"][()], group["MaxSize"][()])
            assert settings.channel == group["Channel"][()]
    assert len(found) == 11
