"""Colours, contrast and keys of pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ilastik_lazy.core.classes import color_of
from ilastik_lazy.core.spec import Storage
from ilastik_lazy.viewing.pictures.outlines import contours
from ilastik_lazy.viewing.pictures.rendering import NO_NUMBER, elided, in_label_colors, mode_of, rendered
from tests.support.in_memory import ArrayInMemory

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def spec_of(dtype, channels=None, **known):
    shape, names = ((4, 5), "yx") if channels is None else ((4, 5, channels), "yxc")
    return ArrayInMemory(np.zeros(shape, dtype), names, shape, **known).spec


def drawn(pixels, spec, channel=0, contrast=None, indices=None):
    """One plane (channel, down, across), as it is drawn."""
    return rendered([np.asarray(pixels)], spec, mode_of(spec, indices or {}), channel, contrast)


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        (spec_of("u1"), "values"),
        (spec_of("u1", 1), "values"),
        (spec_of("u1", kind="segmentation"), "labels"),
        (spec_of("u4", kind="object identities"), "labels"),
        (spec_of("u4", display_mode="random-colortable"), "labels"),
        (spec_of("f4", 2, kind="probabilities"), "channels"),
        (spec_of("u2", 4), "channels"),
        (spec_of("u1", 3), "color"),
        (spec_of("u1", 4), "channels"),
        (spec_of("u1", 4, display_mode="rgba"), "color"),
        (replace(spec_of("u1", 4), storage=Storage("a.PNG", "a.PNG")), "color"),
        (spec_of("u1", 3, kind="probabilities"), "channels"),
        (spec_of("u1", 3, channel_names=("DAPI", "GFP", "RFP")), "channels"),
        (spec_of("f4", 9), "values"),
        (spec_of("f4", 3, kind="features"), "values"),
        (spec_of("?"), "values"),
    ],
)
def test_what_an_image_is_decides_how_it_is_drawn(spec, mode):
    assert mode_of(spec, {}) == mode
    if mode == "channels":
        assert mode_of(spec, {"c": 0}) == "values"


def test_classes_have_their_colours_and_a_legend_of_those_that_are_seen():
    known = {"channel_names": ("cell", "sky", "unseen"), "channel_colors": (RED, GREEN, BLUE)}
    picture = drawn([[[0, 1, 2], [1, 1, 2]]], spec_of("u1", kind="segmentation", **known))
    assert picture.images[0].tolist() == [[[0, 0, 0], [*RED], [*GREEN]], [[*RED], [*RED], [*GREEN]]]
    assert picture.legend == (("cell", RED), ("sky", GREEN), ("0: not labelled", (0, 0, 0)))
    assert not picture.may_be_averaged


def test_classes_without_names_are_numbered_and_a_long_legend_is_cut():
    picture = drawn(np.arange(1, 31, dtype="u1").reshape(1, 5, 6), spec_of("u1", kind="segmentation"))
    assert picture.legend[:2] == (("class 1", color_of(0)), ("class 2", color_of(1)))
    assert picture.legend[20:] == (("and 10 more", None),)


def test_ids_have_a_colour_each_however_large_they_are():
    spec = spec_of("u8", kind="object identities")
    start = 2**63
    ids = np.array([[0, *range(start, start + 200)]], "u8")
    colors = in_label_colors(ids, spec)
    assert colors[0, 0].tolist() == [0, 0, 0]
    assert len(np.unique(colors[0], axis=0)) > 190
    assert not (colors[0, 1:-1] == colors[0, 2:]).all(1).any()
    assert drawn([ids], spec).legend == ()


def test_probabilities_add_up_in_their_colours():
    spec = spec_of("f4", 2, kind="probabilities", channel_names=("a", "b"), channel_colors=(RED, GREEN), drange=(0, 1))
    picture = drawn(np.array([[[0, 1, 0.5]], [[1, 0, 0.5]]], "f4"), spec)
    np.testing.assert_array_equal(picture.images[0], [[[0, 255, 0], [255, 0, 0], [128, 128, 0]]])
    assert picture.legend == (("a", RED), ("b", GREEN))
    assert picture.bar is None


def test_channels_without_a_range_have_the_contrast_of_what_is_shown():
    pixels = np.stack([np.arange(1001).reshape(1, 1001), np.full((1, 1001), 7)]).astype("u2")
    picture = drawn(pixels, spec_of("u2", 2, channel_names=("DAPI", "GFP")))
    assert [name for name, _ in picture.legend] == ["DAPI: 2 to 998", "GFP: 0 to 6.554e+04"]


def test_one_class_is_drawn_in_its_colour_and_other_images_in_grey():
    pixels = np.linspace(0, 1, 6, dtype="f4").reshape(1, 2, 3)
    names = {"channel_names": ("a", "b"), "channel_colors": (RED, GREEN), "kind": "probabilities", "drange": (0, 1)}
    picture = drawn(pixels, spec_of("f4", 2, **names), channel=1, indices={"c": 1})
    assert (picture.bar.label, picture.bar.color, picture.bar.contrast) == ("b", GREEN, (0, 1))
    np.testing.assert_array_equal(picture.images[0], pixels[0])
    picture = drawn(pixels, spec_of("f4", kind="intensity"))
    assert (picture.bar.label, picture.bar.color) == ("intensity", (255, 255, 255))


def test_the_contrast_of_raw_data_are_percentiles_and_the_bar_shows_that_values_go_beyond():
    pixels = np.append(np.arange(100, 1099), 65535).astype("u2").reshape(1, 10, 100)
    bar = drawn(pixels, spec_of("u2")).bar
    assert bar.contrast == pytest.approx((102, 1097), abs=1)
    assert bar.goes_beyond == (True, True)
    bar = drawn(pixels, spec_of("u2"), contrast=(0, 65535)).bar
    assert (bar.contrast, bar.goes_beyond) == ((0, 65535), (False, False))


def test_a_few_bright_pixels_are_seen_on_an_even_background():
    pixels = np.zeros((1, 100, 100), "u2")
    pixels[0, 3, 3] = 5
    assert drawn(pixels, spec_of("u2")).bar.contrast == (0, 5)


@pytest.mark.parametrize(("dtype", "limits"), [("u1", (0, 255)), ("u2", (0, 65535)), ("f4", (0, 1))])
def test_a_constant_image_has_the_range_of_its_type(dtype, limits):
    bar = drawn(np.full((1, 4, 5), 7, dtype), spec_of(dtype)).bar
    assert bar.contrast == limits
    assert bar.goes_beyond == (False, dtype == "f4")


def test_what_is_no_number_has_a_colour_of_its_own():
    pixels = np.array([[[0, np.nan, np.inf, 1]]], "f4")
    picture = drawn(pixels, spec_of("f4"))
    assert picture.legend == (("NaN or infinite", NO_NUMBER),)
    assert picture.bar.contrast == pytest.approx((0, 1), abs=0.01)
    both = np.concatenate([pixels, [[[1, np.nan, 1, np.nan]]]]).astype("f4")
    picture = drawn(both, spec_of("f4", 2, channel_colors=(RED, GREEN), drange=(0, 1)))
    assert picture.images[0][0].tolist() == [[*GREEN], [*NO_NUMBER], [255, 255, 0], [*RED]]
    everywhere = drawn(np.full((1, 2, 2), np.nan, "f4"), spec_of("f4"))
    assert everywhere.bar.contrast == (0, 1)


def test_masks_are_black_and_white():
    picture = drawn([[[True, False]]], spec_of("?"))
    assert picture.images[0].tolist() == [[[255] * 3, [0] * 3]]
    assert [name for name, _ in picture.legend] == ["True", "False"]
    # Where voxels were reduced, the share of True.
    assert drawn([[[0.5]]], spec_of("?")).images[0].tolist() == [[[128] * 3]]


def test_colour_pictures_stay_as_they_are():
    pixels = np.arange(24, dtype="u1").reshape(4, 2, 3)
    picture = drawn(pixels, spec_of("u1", 4, display_mode="rgba"))
    np.testing.assert_array_equal(picture.images[0], np.moveaxis(pixels[:3], 0, -1), strict=True)
    assert (picture.legend, picture.bar) == ((), None)


def test_all_planes_have_the_same_contrast():
    planes = [np.full((1, 2, 2), value, "u2") for value in (0, 1000)]
    picture = rendered(planes, spec_of("u2"), "values", 0, None)
    assert picture.bar.contrast == (0, 1000)


def test_names_are_one_short_line():
    assert elided("a\nb\x1b[2J") == "a\\nb\\x1b[2J"
    assert len(elided("n" * 1000, 40)) <= 40


@pytest.mark.parametrize(("times", "widths"), [((1, 1), (1, 1)), ((4, 6), (1, 2))])
def test_contours_are_borders_inside_the_smaller_label_with_an_edge(times, widths):
    labels = np.zeros((7, 8), "u4")
    labels[2:6, 1:5], labels[2:6, 5:8] = 3, 9
    spec = spec_of("u4", kind="object identities")
    drawn, seen = contours(labels, spec, times, widths)
    assert seen.tolist() == [3, 9]
    fine = labels.repeat(times[0], 0).repeat(times[1], 1)
    assert drawn.shape == (*fine.shape, 4)

    # An independent answer: a pixel with 0 or a greater label within the width, straight up, down, left or right.
    def borders(row, column, down, across):
        here, cross = fine[row, column], [fine[max(0, row - down) : row + down + 1, column]]
        cross.append(fine[row, max(0, column - across) : column + across + 1])
        return here != 0 and any(((line == 0) | (line > here)).any() for line in cross)

    for row, column in np.ndindex(fine.shape):
        color = color_of(int(fine[row, column]) - 1)
        if borders(row, column, *widths):
            assert tuple(drawn[row, column]) == (*color, 255)
        elif borders(row, column, widths[0] + 1, widths[1] + 1):
            assert tuple(drawn[row, column]) == (255, 255, 255, 255)  # both colours are darker than grey
        else:
            assert drawn[row, column, 3] == 0


def test_the_edge_of_a_dark_contour_is_white():
    labels = np.zeros((9, 9), "u1")
    labels[1:8, 1:8] = 1
    drawn, _ = contours(labels, spec_of("u1", kind="segmentation", channel_colors=(BLUE,)), (1, 1), (1, 1))
    assert [tuple(drawn[4, column]) for column in range(4)] == [
        (255, 255, 255, 0),
        (*BLUE, 255),
        (255, 255, 255, 255),
        (255, 255, 255, 0),
    ]


def test_labels_at_the_edge_of_an_image_have_no_contour_there():
    drawn, seen = contours(np.ones((3, 3), bool), spec_of("?"), (2, 2), (1, 1))
    assert not drawn[..., 3].any()
    assert not seen.size
