"""Names, colours and contrast of channels, which pictures, viewers and OME-Zarr share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.display import channels_of, states_contrast
from ilastik_lazy.core.spec import ArraySpec, Storage


def spec_of(dtype: str, channels: int | None, **more: Any) -> ArraySpec:
    dims, shape = ("yx", (4, 5)) if channels is None else ("yxc", (4, 5, channels))
    return ArraySpec(
        name="a", shape=shape, dtype=np.dtype(dtype), axes=tuple(map(Axis, dims)), chunks=shape, storage=Storage("a"),
        **more,
    )  # fmt: skip


def test_three_unnamed_channels_of_bytes_are_red_green_and_blue_in_full_range():
    found = channels_of(spec_of("u1", 3), [(10, 20)] * 3)
    assert [(each.name, each.color) for each in found] == [
        ("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255)),
    ]  # fmt: skip
    assert {each.contrast for each in found} == {(0, 255)}
    assert channels_of(spec_of("u2", 3))[0].name == "channel 0"
    assert channels_of(spec_of("u1", 3, channel_names=("a", "b", "c")))[0].name == "a"


@pytest.mark.parametrize("channels", [None, 1])
def test_a_single_channel_is_grey_unless_a_colour_or_name_is_stated(channels):
    assert channels_of(spec_of("u2", channels))[0].color == (255, 255, 255)
    assert channels_of(spec_of("u2", channels, channel_colors=((1, 2, 3),)))[0].color == (1, 2, 3)
    assert channels_of(spec_of("u2", channels, channel_names=("nucleus",)))[0].color != (255, 255, 255)


@pytest.mark.parametrize("drange", [(1.0, 1.0), (255.0, 0.0), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_not_used(drange):
    spec = spec_of("u1", None, drange=drange)
    assert channels_of(spec, [(10, 20)])[0].contrast == (10, 20)
    assert not states_contrast(spec)


def test_a_density_is_far_below_the_range_that_ilastik_notes():
    spec = spec_of("f4", None, drange=(0, 1), kind="density")
    assert channels_of(spec, [(0, 0.01)])[0].contrast == (0, 0.01)
    assert not states_contrast(spec)


@pytest.mark.parametrize(("noted", "measured"), [((0, 1), (0, 200)), ((0, 255), (0.1, 0.9))])
def test_a_computed_image_has_the_contrast_of_its_own_values(noted, measured):
    spec = spec_of("f4", None, drange=noted, is_inherited=True)
    assert channels_of(spec, [measured])[0].contrast == measured
    assert not states_contrast(spec)


@pytest.mark.parametrize("is_inherited", [False, True])
def test_probabilities_are_shown_from_0_to_1_unless_their_values_are_others(is_inherited):
    spec = spec_of("f4", None, kind="probabilities", is_inherited=is_inherited)
    assert channels_of(spec, [(0.1, 0.4)])[0].contrast == (0, 1)
    assert channels_of(spec, [(-3, 40)])[0].contrast == (-3, 40)
