"""Which planes a picture shows, and where they lie."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.errors import ArgumentError, AxesError
from ilastik_lazy.viewing.pictures.planes import Layout, Rulers, indices_at, place_of, planes_of
from tests.support.in_memory import ArrayInMemory


def spec_of(shape, names, *axes, **known):
    """A spec with voxels of 0.5 micrometer, or with `axes`."""
    spec = ArrayInMemory(np.broadcast_to(np.uint8(0), shape), names, tuple(max(1, n) for n in shape), **known).spec
    return replace(spec, axes=axes) if axes else spec


def names_of(planes):
    return [plane.name for plane in planes]


def test_a_volume_has_three_planes_through_its_middle():
    spec = spec_of((3, 21, 30, 40), "tzyx")
    planes = planes_of(spec, indices_at(spec, {}))
    assert [(plane.name, plane.at) for plane in planes] == [
        ("xy", {"t": 0, "z": 10}),
        ("zy", {"t": 0, "x": 20}),
        ("xz", {"t": 0, "y": 15}),
    ]


@pytest.mark.parametrize(
    ("shape", "names", "wanted"),
    [
        ((30, 40), "yx", ["xy"]),
        ((30, 40), "zx", ["xz"]),
        ((30, 40), "zy", ["zy"]),
        ((1, 30, 40), "zyx", ["xy"]),
        ((30, 1, 40), "zyx", ["xz"]),
        ((2, 30, 40), "zyx", ["xy"]),
        ((40, 30, 2), "xyz", ["xy"]),
        ((1, 1, 1), "zyx", ["xy"]),
        ((5, 30, 40), "zyx", ["xy", "zy", "xz"]),
    ],
)
def test_flat_and_thin_images_have_one_plane(shape, names, wanted):
    spec = spec_of(shape, names)
    assert names_of(planes_of(spec, indices_at(spec, {}))) == wanted


def test_thin_is_what_is_thin_in_micrometers():
    axes = [Axis(name, step, unit="micrometer") for name, step in (("z", 5.0), ("y", 0.5), ("x", 0.5))]
    spec = spec_of((3, 60, 60), "zyx", *axes)
    assert len(planes_of(spec, indices_at(spec, {}))) == 3


def test_one_plane_is_chosen_by_its_axes():
    spec = spec_of((21, 30, 40), "zyx")
    (plane,) = planes_of(spec, indices_at(spec, {"y": 2}), "zx")
    assert (plane.across, plane.down, plane.at) == ("z", "x", {"y": 4})
    for wanted in ("xx", "xt", "x", "xyz", ""):
        with pytest.raises(ArgumentError, match="expected two axes out of z, y, x"):
            planes_of(spec, {}, wanted)


def test_what_has_no_plane_is_refused():
    spec = spec_of((4, 5), "tx")
    with pytest.raises(ArgumentError, match="has no plane: its axes are t, x"):
        planes_of(spec, indices_at(spec, {}))
    with pytest.raises(ArgumentError, match="has no values to show"):
        indices_at(spec_of((4, 0), "yx"), {})


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (10.0, 0),
        (10.39, 0),
        (10.41, 1),
        (np.float32(12.4), 3),
        ("12.4", 3),
        ("12.4 um", 3),
        ("12.4µm", 3),
        ("12400 nm", 3),
        ("1.24e-2 mm", 3),
        (9.61, 0),
        (13.5, 4),
    ],
)
def test_a_position_is_that_of_the_nearest_voxel(wanted, index):
    spec = spec_of((5, 6), "zy", Axis("z", 0.8, 10.0, "micrometer"), Axis("y"))
    assert indices_at(spec, {"z": wanted})["z"] == index


def test_positions_rise_along_an_axis_without_coordinate_by_one():
    spec = spec_of((5, 6), "zy", Axis("z"), Axis("y"))
    assert indices_at(spec, {"z": 3}) == {"z": 3, "y": 3}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"z": 9.5}, "z=9.5 lies outside the image: z goes from 10 to 13.2 micrometer"),
        ({"z": "13.7um"}, "lies outside"),
        ({"z": float("nan")}, "lies outside"),
        ({"y": 6}, "y=6 lies outside the image: y goes from 0 to 5, the number of the voxel"),
        ({"z": "3 s"}, "positions are in micrometer"),
        ({"z": "3 bananas"}, "positions are in micrometer"),
        ({"y": "3 um"}, "no unit is known along y: pass a number"),
        ({"z": "middle"}, "expected a number"),
        ({"z": [1]}, "expected a number"),
        ({"c": "cell"}, "expected a number or one of nucleus, background"),
        ({"c": 2}, "c goes from 0 to 1, the number of the channel"),
    ],
)
def test_positions_that_are_none_are_refused(where, message):
    axes = [Axis("z", 0.8, 10.0, "micrometer"), Axis("y"), Axis("c")]
    spec = spec_of((5, 6, 2), "zyc", *axes, channel_names=("nucleus", "background"))
    with pytest.raises(ArgumentError, match=message):
        indices_at(spec, where)


def test_an_axis_that_is_not_there_is_refused():
    with pytest.raises(AxesError, match="t=3: memory has no axis t, only y, x"):
        indices_at(spec_of((4, 5), "yx"), {"t": 3})


def test_channels_go_by_name_or_index():
    spec = spec_of((4, 5, 2), "yxc", channel_names=("nucleus", "background"))
    assert [indices_at(spec, {"c": c})["c"] for c in ("background", 1, "1", "nucleus")] == [1, 1, 1, 0]


def test_rulers_are_in_one_unit():
    axes = [
        Axis("z", 800.0, 400.0, "nanometer"),
        Axis("y", 0.25, unit="micrometer"),
        Axis("x", 0.25, unit="micrometer"),
    ]
    rulers = Rulers.of(spec_of((4, 5, 6), "zyx", *axes), "zyx")
    assert (rulers.unit, rulers.note) == ("micrometer", "")
    assert rulers.extent("z", 4) == pytest.approx((0.0, 3.2))
    assert rulers.extent("x", 6) == (-0.125, 1.375)


@pytest.mark.parametrize(
    ("z", "note"),
    [
        (Axis("z"), "voxel size along z not known: axes count voxels"),
        (Axis("z", 2.0, unit="second"), r"units differ \(z in second, y in micrometer"),
        (Axis("z", 2.0), r"units differ \(z in no unit"),
    ],
)
def test_voxels_are_counted_if_one_size_is_not_known(z, note):
    axes = [z, Axis("y", 0.25, unit="micrometer"), Axis("x", 0.25, unit="micrometer")]
    spec = spec_of((4, 5, 6), "zyx", *axes)
    rulers = Rulers.of(spec, "zyx")
    assert rulers.unit == ""
    assert rulers.counts_voxels
    assert re.match(note, rulers.note)
    assert rulers.extent("x", 6) == (-0.5, 5.5)
    # What is not shown does not matter.
    assert Rulers.of(spec, "yx").unit == "micrometer"


def test_sizes_without_a_unit_are_sizes():
    rulers = Rulers.of(spec_of((5, 6), "yx", Axis("y", 2.0), Axis("x", 1.0)), "yx")
    assert (rulers.unit, rulers.note, rulers.counts_voxels) == ("", "unit of positions not known", False)
    assert rulers.size("y", 5) == 10


def test_places_are_told_in_short():
    axes = [Axis("t", 60.0, unit="second"), Axis("y", 0.1, 3.0, "micrometer"), Axis("x")]
    spec = spec_of((9, 5, 6), "tyx", *axes)
    assert place_of(spec, "t", 2) == "t = 120 s, frame 2 (of 0 to 8)"
    assert place_of(spec, "y", 3) == "y = 3.3 µm"
    assert place_of(spec, "x", 3) == "x = 3 (voxels 0 to 5)"


def test_a_layout_is_to_scale_and_knows_how_much_is_drawn():
    axes = [Axis("z", 8.0), Axis("y", 1.0), Axis("x", 1.0)]
    spec = spec_of((50, 600, 3000), "zyx", *axes)
    layout = Layout.of(spec, planes_of(spec, indices_at(spec, {})), dpi=100)
    assert (layout.widths, layout.heights) == ([3000, 400], [600, 400])
    assert layout.pixels(layout.planes[0]) == pytest.approx((700 * 600 / 3400, 700 * 3000 / 3400))
    # At least as many pixels as there is room for.
    assert [layout.steps(plane) for plane in layout.planes] == [(4, 4), (4, 1), (1, 4)]
