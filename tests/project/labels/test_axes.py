"""Axes of label blocks that do not name them: by version, workflow, and what fits the image."""

from __future__ import annotations

import pytest

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.errors import MetadataError
from ilastik_lazy.project.labels.axes import LabelledImage, internal_order, label_order

PIXELS, OBJECTS = "Pixel Classification", "Object Classification (from pixel classification)"


def order_of(axes, shape, ends, version="1.4.0", workflow=PIXELS, tagged=None, applet="PixelClassification"):
    image = LabelledImage(tuple(map(Axis, axes)), shape)
    words = {"applet": applet, "workflow": workflow, "version": version}
    order, is_guess = label_order(image, ends, tuple(tagged) if tagged else None, **words)
    return "".join(order), is_guess


@pytest.mark.parametrize(
    ("axes", "shape", "internal"),
    [
        ("yx", (20, 30), "yxc"),
        ("xy", (20, 30), "yxc"),
        ("cyx", (3, 20, 30), "yxc"),
        ("zyxc", (1, 20, 30, 3), "yxc"),
        ("txyzc", (5, 20, 30, 1, 1), "tyxc"),
        ("xyz", (20, 30, 40), "zyxc"),
        ("tzyxc", (5, 6, 7, 8, 1), "tzyxc"),
        ("yx", (1, 1), "yxc"),
    ],
)
def test_pixel_classification_works_in_the_first_shortest_order(axes, shape, internal):
    assert "".join(internal_order(dict(zip(axes, shape, strict=True)), "PixelClassification", PIXELS)) == internal


@pytest.mark.parametrize(
    ("version", "order"),
    [
        ("1.2.0rc10", "txyc"),
        ("1.3.0", "txyc"),
        ("1.3.2", "tyxc"),
        ("1.3.3", "tyxc"),
        ("1.3.3post2", "txyc"),
        ("1.4.0b7", "txyc"),
        ("1.4.0b8", "tyxc"),
        ("1.4.1.dev3+g1234", "tyxc"),
        ("no version", "tyxc"),
    ],
)
def test_the_version_decides_between_orders_that_fit(version, order):
    assert order_of("txyc", (5, 50, 50, 1), (1, 9, 9, 1), version) == (order, True)


@pytest.mark.parametrize("version", ["1.2.0", "1.3.2", "1.4.0b7", "1.4.1"])
def test_an_order_that_alone_fits_is_taken_whatever_the_version(version):
    assert order_of("txyc", (5, 50, 20, 1), (1, 45, 9, 1), version) == ("txyc", False)
    assert order_of("txyc", (5, 50, 20, 1), (1, 9, 45, 1), version) == ("tyxc", False)


def test_object_classification_of_one_version_had_five_axes():
    ends = (1, 25, 25, 1, 1)
    assert order_of("tyxc", (5, 33, 77, 1), ends, "1.3.3post1", OBJECTS) == ("txyzc", False)


def test_counting_has_x_first_in_all_versions():
    for version in ("1.2.0", "1.3.0", "1.4.1"):
        assert order_of("yxc", (50, 50, 3), (9, 9, 1), version, applet="Counting")[0] == "xyc"


def test_blocks_that_name_their_axes_are_believed_if_they_fit():
    assert order_of("zyx", (5, 6, 7), (5, 6, 7, 1), tagged="zyxc") == ("zyxc", False)
    with pytest.raises(MetadataError, match=r"outside the image"):
        order_of("zyx", (5, 6, 7), (6, 6, 7, 1), tagged="zyxc")
    with pytest.raises(MetadataError):
        order_of("zyx", (5, 6, 7), (6, 7, 1), tagged="yxc")


def test_without_the_shape_axes_of_length_1_may_be_left_out():
    assert order_of("tzyx", None, (1, 9, 9, 1))[0] in ("tyxc", "zyxc")
    assert order_of("zyx", None, (9, 9, 1))[0] == "yxc"
    assert order_of("", None, (9, 9, 1)) == ("yxc", True)


def test_what_fits_no_order_is_refused():
    with pytest.raises(MetadataError, match=r"any order"):
        order_of("zyx", (5, 6, 7), (9, 9, 9, 1))
