"""What dimensions mean, out of everything that writers put into a file."""

from __future__ import annotations

import json
import re
import warnings

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilastik_lazy.core.axes import Axis, axis_names, default_axes, parse_axis_names, with_units
from ilastik_lazy.errors import AxesError, IlastikLazyError, MetadataError, MetadataWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.axistags import axes_of, parse_axes_attribute, parse_axistags
from tests.support.makers import axistags

orders = st.permutations("tzyxc").flatmap(lambda order: st.integers(2, 5).map(lambda n: "".join(order[:n])))


def names(axes):
    return "".join(axis_names(axes))


@pytest.mark.parametrize("name", ["", "q", "X", "xy", "?", "n"])
def test_an_axis_has_one_of_five_names(name):
    with pytest.raises(AxesError, match=r"unknown axis"):
        Axis(name)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf")])
def test_a_scale_is_a_positive_number(scale):
    with pytest.raises(AxesError, match=r"scale"):
        Axis("x", scale)


@pytest.mark.parametrize("translation", [float("nan"), float("-inf")])
def test_a_translation_is_a_number(translation):
    with pytest.raises(AxesError, match=r"translation"):
        Axis("x", 1.0, translation)


def test_positions_are_origin_and_steps():
    np.testing.assert_array_equal(Axis("x", 0.5, 3.0).positions(4), [3.0, 3.5, 4.0, 4.5])
    assert Axis("x", 0.5).positions(0).shape == (0,)


def test_an_axis_without_scale_and_channels_have_no_positions():
    assert Axis("x").positions(3) is None
    assert Axis("c", 1.0).positions(3) is None


@given(orders)
def test_axistags_are_in_numpy_order(order):
    assert names(parse_axistags(axistags(order), len(order))) == order


def test_a_resolution_is_the_scale_and_zero_is_unknown():
    axes = parse_axistags(axistags("tzyx", {"z": 2, "y": 0.1, "x": 6.000024000096}), 4)
    assert [axis.scale for axis in axes] == [None, 2, 0.1, 6.000024000096]


@pytest.mark.parametrize("step", ["NaN", "Infinity", "-Infinity", "1e999", "-1.5", '"0.5 um"', "[1]", "{}", "9" * 9000])
def test_a_resolution_that_is_no_positive_number_is_unknown_with_a_warning(step):
    text = f'{{"axes": [{{"key": "y", "resolution": 2}}, {{"key": "x", "resolution": {step}}}]}}'
    with pytest.warns(MetadataWarning, match=r"axis 'x' has resolution") as caught:
        axes = parse_axistags(text, 2)
    assert [axis.scale for axis in axes] == [2, None]
    assert len(str(caught[0].message)) < 300


@pytest.mark.parametrize("step", ["null", "true", "false", "0", "0.0", "-0.0"])
def test_a_resolution_that_is_not_set_is_unknown_without_a_warning(step):
    text = f'{{"axes": [{{"key": "y", "resolution": {step}}}, {{"key": "x"}}]}}'
    assert [axis.scale for axis in parse_axistags(text, 2)] == [None, None]


@pytest.mark.parametrize(
    "text",
    ["", "zyxc", "null", "[]", "{}", "7", '"yx"', '{"axes": "yx"}', '{"axes": ["y", "x"]}', '{"axes": []}',
     '{"axes": [{"key": "y"}]}', '{"axes": [{"key": "y"}, {"key": "y"}]}', '{"axes": [{"key": "y"}, {"key": "q"}]}',
     '{"axes": [{"key": "y"}, {"key": 7}]}', '{"axes": [{"key": "y"}, {}]}', '{"axes": [{"key": ["y"]}, {"key": "x"}]}',
     '{"axes": [{"key": "y"}, {"key": {}}]}', '{"axes": [{"key": "Y"}, {"key": "y"}]}', "[" * 100_000],
)  # fmt: skip
def test_axistags_that_name_no_usable_axes_are_refused(text):
    with pytest.raises(MetadataError):
        parse_axistags(text, 2)


@given(st.text(max_size=60) | st.recursive(st.none() | st.text(max_size=3) | st.floats(), st.lists).map(json.dumps))
def test_any_text_gives_axes_or_one_of_our_errors(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        try:
            axes = parse_axistags(text, 2)
        except IlastikLazyError:
            return
    assert axes is None or len(axes) == 2


def test_an_axis_unknown_to_vigra_leaves_all_axes_open():
    assert parse_axistags(axistags("yx?"), 3) is None


def test_quotes_in_a_description_do_not_hide_the_axes():
    # vigra writes descriptions without escaping them (ilastik-formats.md 1.5).
    text = axistags("zyx", {"z": 0.5, "x": 2}).replace('"description": ""', '"description": "say "hi""', 1)
    with pytest.warns(MetadataWarning, match=r"not valid JSON"):
        axes = parse_axistags(text, 3)
    assert [(axis.name, axis.scale) for axis in axes] == [("z", 0.5), ("y", None), ("x", 2)]


@given(orders)
def test_an_axes_attribute_is_reversed_and_in_any_case(order):
    assert names(parse_axes_attribute(order[::-1].upper(), len(order))) == order
    assert names(parse_axes_attribute(list(order[::-1]), len(order))) == order


@pytest.mark.parametrize("value", ["xx", "xyz", "x", "", "qx", [1, 2], [None, "x"]])
def test_an_axes_attribute_that_does_not_fit_counts_for_nothing(value):
    assert parse_axes_attribute(value, 2) is None


@pytest.mark.parametrize(
    ("shape", "order"),
    [((5, 6), "yx"), ((5, 6, 4), "yxc"), ((5, 6, 5), "zyx"), ((5, 6, 1), "yxc"), ((2, 5, 6, 7), "zyxc"),
     ((2, 2, 5, 6, 7), "tzyxc")],
)  # fmt: skip
def test_axes_are_guessed_as_ilastik_guesses_them(shape, order):
    assert names(default_axes(shape)) == order


@pytest.mark.parametrize(
    ("shape", "order"),
    [((3, 100, 256, 256), "czyx"), ((100, 20, 256, 256), "tzyx"), ((5, 2, 30, 256, 256), "tczyx"),
     ((5, 30, 2, 256, 256), "tzcyx"), ((100, 256, 256, 64), "zyxc")],
)  # fmt: skip
def test_a_last_axis_that_is_too_long_for_channels_is_not_guessed_to_be_them(shape, order):
    assert names(default_axes(shape)) == order


@pytest.mark.parametrize("shape", [(), (3,), (1,) * 6])
def test_nothing_is_guessed_for_what_is_no_image(shape):
    with pytest.raises(MetadataError, match=r"2 to 5 dimensions"):
        default_axes(shape)


@pytest.mark.parametrize(
    ("given_names", "ndim"), [("zyq", 3), ("zzy", 3), ("zy", 3), ("zyxc", 3), ("z y", 3), ("", 2), (["zyx"], 1)]
)
def test_axes_of_a_caller_that_do_not_fit_are_refused(given_names, ndim):
    with pytest.raises(AxesError, match=r"axes="):
        parse_axis_names(given_names, (1,) * ndim)


def test_axes_of_a_caller_may_be_a_text_or_a_list_in_any_case():
    assert parse_axis_names("ZYX") == parse_axis_names(["z", "y", "x"], (3, 4, 5)) == ("z", "y", "x")


def test_units_are_spelled_in_full_and_go_to_their_axis():
    axes = with_units((Axis("z", 1.0), Axis("x")), {"z": "µm", "x": 7, "q": "nm"})
    assert [axis.unit for axis in axes] == ["micrometer", ""]


class TestOrderOfTrust:
    """The caller, then axistags, dimension labels, the axes attribute, the shape."""

    def test_each_counts_only_where_the_ones_before_are_silent(self):
        tags, labels, attribute = axistags("zyx"), ("x", "y", "z"), "cyx"
        sources = {"names": "tyx", "axistags": tags, "dimension_labels": labels, "axes_attribute": attribute}
        found = []
        for _ in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MetadataWarning)
                axes, guessed = axes_of((5, 6, 7), **sources)
            found.append((names(axes), guessed))
            if sources:
                sources.pop(next(iter(sources)))
        assert found == [("tyx", False), ("zyx", False), ("xyz", False), ("xyc", False), ("zyx", True)]

    def test_labels_that_contradict_axistags_are_warned_of(self):
        with pytest.warns(MetadataWarning, match=r"axistags say zyx, DIMENSION_LABELS say xyz: axistags are used"):
            axes, _ = axes_of((5, 6, 7), axistags=axistags("zyx"), dimension_labels="xyz")
        assert names(axes) == "zyx"

    @pytest.mark.parametrize("labels", [("", "", ""), ("z", "y"), ("z", "y", "y"), ("Zed", "y", "x")])
    def test_unusable_labels_are_no_axes(self, labels):
        assert axes_of((5, 6, 7), dimension_labels=labels)[1]

    def test_a_caller_keeps_the_steps_of_axes_at_their_place(self):
        tags = axistags("zyxc", {"z": 2.0, "y": 0.5, "x": 0.25})
        axes, _ = axes_of((5, 6, 7, 2), names="zxyc", axistags=tags, units={"z": "um", "y": "um", "x": "um"})
        assert [(a.name, a.scale, a.unit) for a in axes] == [
            ("z", 2.0, "micrometer"), ("x", None, ""), ("y", None, ""), ("c", None, ""),
        ]  # fmt: skip

    def test_a_caller_wins_over_axistags_of_another_length(self):
        assert names(axes_of((5, 6, 7), names="tyx", axistags=axistags("yx"))[0]) == "tyx"

    def test_axistags_of_another_length_are_an_error_that_says_what_to_do(self):
        with pytest.raises(MetadataError, match=r"\(5, 6, 7\): pass axes="):
            axes_of((5, 6, 7), axistags=axistags("yx"))


BROKEN = """{"axes": [{"key": "y", "description": "a "quoted" word"}, {"key": "x"}]}"""
NEGATIVE = """{"axes": [{"key": "y", "resolution": -1}, {"key": "x"}]}"""
PLAIN = """{"axes": [{"key": "y"}, {"key": "x"}]}"""


@pytest.mark.parametrize(("text", "labels"), [(BROKEN, ()), (NEGATIVE, ()), (PLAIN, ("x", "y"))])
def test_a_warning_names_the_file(tmp_path, text, labels):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((4, 5), "u1")
        file["data"].attrs["axistags"] = text
        if labels:
            file["data"].attrs["DIMENSION_LABELS"] = labels
    with pytest.warns(MetadataWarning, match=re.escape(f"{tmp_path}/a.h5/data: axis")):
        open_source(Location.parse(tmp_path / "a.h5"))


@pytest.mark.parametrize("step", [".", "1.2.3", "-", "1.5", "١", ""])
def test_of_a_damaged_text_no_part_of_a_number_is_taken(step):
    text = '{"axes": [{"key": "y", "resolution": 0.5}, {"key": "x", "resolution": ' + step
    with pytest.warns(MetadataWarning, match="not valid JSON"):
        found = parse_axistags(text, 2)
    assert [(axis.name, axis.scale) for axis in found] == [("y", 0.5), ("x", None)]
