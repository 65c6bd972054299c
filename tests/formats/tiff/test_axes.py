"""Axes of a TIFF: by the rules of ilastik, all that OME states, and what the caller says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ilastik_lazy.errors import AxesError, MetadataError, MetadataWarning
from ilastik_lazy.formats.tiff.metadata import axis_letters, imagej_notes
from tests.support.makers import some_data
from tests.support.tiff_makers import dims, opened, whole, write

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")


@pytest.mark.parametrize(
    ("letters", "names"),
    [
        ("YX", "yx"), ("YXS", "yxc"), ("IYX", "tyx"), ("ITYX", "ztyx"), ("ITZYX", "ctzyx"), ("TZCYX", "tzcyx"),
        ("SYX", "cyx"), ("IYXS", "tyxc"),
    ],
)  # fmt: skip
def test_axes_by_the_rules_of_ilastik(letters, names):
    assert axis_letters(letters) == tuple(names)


@pytest.mark.parametrize("letters", ["CYXS", "IITYX", "AYX", "HYX", "ITZCYX", "TTYX"])
def test_axes_that_do_not_fit_are_refused(letters):
    with pytest.raises(MetadataError, match="do not fit"):
        axis_letters(letters)


def test_without_axes_they_are_guessed_with_a_warning(tmp_path):
    write(tmp_path / "a.tif", (5, 20, 21))
    with pytest.warns(MetadataWarning, match="zyx is guessed"):
        source = opened(tmp_path / "a.tif")
    assert dims(source) == "zyx"
    assert source.spec.axes_guessed


def test_axes_of_the_caller_count(tmp_path):
    write(tmp_path / "a.tif", (5, 20, 21), imagej=True, resolution=(4, 5), metadata={"axes": "ZYX", "unit": "um"})
    source = opened(tmp_path / "a.tif", axes="tyx")
    assert [(axis.name, axis.scale) for axis in source.spec.axes] == [("t", None), ("y", 0.2), ("x", 0.25)]
    assert not source.spec.axes_guessed
    with pytest.raises(AxesError):
        opened(tmp_path / "a.tif", axes="yx")


@pytest.mark.parametrize(
    ("axes", "written", "expected"),
    [
        ("YX", (20, 21), "tzcyx"), ("CYX", (3, 20, 21), "tzcyx"), ("TCZYX", (2, 3, 4, 20, 21), "tczyx"),
        ("YXS", (20, 21, 3), "tzyxc"), ("ZYXS", (2, 20, 21, 3), "tzyxc"), ("SYX", (3, 20, 21), "tzcyx"),
    ],
)  # fmt: skip
def test_ome_has_all_its_axes_and_one_for_channels(tmp_path, axes, written, expected):
    photometric = "rgb" if "S" in axes else "minisblack"
    planar = "separate" if axes == "SYX" else None
    data = write(
        tmp_path / "a.ome.tif", written, "u1", ome=True, metadata={"axes": axes}, photometric=photometric,
        planarconfig=planar,
    )  # fmt: skip
    source = opened(tmp_path / "a.ome.tif")
    assert dims(source) == expected
    np.testing.assert_array_equal(source.read(whole(source)).squeeze(), data.squeeze(), strict=True)


def test_a_caller_may_leave_out_the_axes_of_length_one(tmp_path):
    data = write(tmp_path / "a.ome.tif", (3, 20, 21), "u1", ome=True, metadata={"axes": "ZYX"})
    source = opened(tmp_path / "a.ome.tif", axes="tyx")
    np.testing.assert_array_equal(source.read(whole(source)), data, strict=True)
    assert dims(source) == "tyx"
    with pytest.raises(AxesError):
        opened(tmp_path / "a.ome.tif", axes="ctyx")


def test_axes_of_the_caller_mend_those_that_do_not_fit(tmp_path):
    data = some_data((2, 20, 21, 3), "u1")
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "CYXS"}, photometric="rgb")
    with pytest.raises(MetadataError, match="axes="):
        opened(tmp_path / "a.tif")
    source = opened(tmp_path / "a.tif", axes="tyxc")
    np.testing.assert_array_equal(source.read(whole(source)), data)


def test_channel_names_come_from_ome(tmp_path):
    write(tmp_path / "a.ome.tif", (3, 20, 21), metadata={"axes": "CYX", "Channel": {"Name": ["a", "b", "µ"]}})
    assert opened(tmp_path / "a.ome.tif").spec.channel_names == ("a", "b", "µ")


def test_the_default_resolution_of_tifffile_is_no_pixel_size():
    assert imagej_notes({}, (1, 1), (1, 1)).steps == {}
    assert imagej_notes({"unit": "um"}, (1, 1), (1, 1)).steps == {"x": 1, "y": 1}


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "1e999", "x", (1, 2)])
def test_steps_that_are_no_positive_number_are_ignored_loudly(value):
    notes = imagej_notes({"spacing": value}, None, None)
    assert notes.steps == {}
    assert "'z'" in notes.problems[0]


def test_a_bad_step_warns_each_time_the_file_is_opened(tmp_path):
    write(tmp_path / "a.tif", (5, 20, 21), imagej=True, metadata={"axes": "ZYX", "spacing": -2.0})
    for _ in range(2):
        with pytest.warns(MetadataWarning, match="spacing|step"):
            assert opened(tmp_path / "a.tif").spec.axes[0].scale is None
