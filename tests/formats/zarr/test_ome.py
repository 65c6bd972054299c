"""What OME-Zarr metadata say: positions composed over two levels, names, colours; and what they may not say."""

from __future__ import annotations

import numpy as np
import pytest

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.errors import LimitExceededError, MetadataError, UnsafePathError
from ilastik_lazy.formats.zarr.ome import parse_multiscales

ZYX = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]

NO_UNITS = [{"name": name, "type": "space"} for name in "zyx"]


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def translation(*values):
    return {"type": "translation", "translation": list(values)}


def entry(*levels, axes=ZYX, common=None, **more):
    """One multiscale, its levels given by their transformations."""
    datasets = [{"path": str(k), "coordinateTransformations": level} for k, level in enumerate(levels)]
    made = {"axes": axes, "datasets": datasets, "version": "0.4"} | more
    return made | ({"coordinateTransformations": common} if common is not None else {})


def parsed(*entries, **more):
    return parse_multiscales({"multiscales": list(entries), **more}, "a.zarr")


def test_a_group_without_multiscales_has_none():
    assert parse_multiscales({"plate": {}}, "a.zarr") == ()
    assert parse_multiscales({"ome": {"version": "0.5", "series": []}}, "a.zarr") == ()


def test_the_dataset_is_placed_first_and_the_multiscale_after_it():
    common = [scale(10.0, 10.0, 10.0), translation(5.0, 0.0, -1.0)]
    (found,) = parsed(entry([scale(2.0, 0.5, 0.25), translation(3.0, 4.0, 0.0)], common=common))
    # by hand: z = 10 * (2 i + 3) + 5
    assert found.axes_of_level(0) == (
        Axis("z", 20.0, 35.0, "micrometer"),
        Axis("y", 5.0, 40.0, "micrometer"),
        Axis("x", 2.5, -1.0, "micrometer"),
    )
    np.testing.assert_array_equal(found.axes_of_level(0)[0].positions(3), [35.0, 55.0, 75.0])


def test_transformations_apply_in_the_order_of_their_list():
    (found,) = parsed(entry([translation(1.0, 1.0, 1.0), scale(2.0, 2.0, 2.0)]))
    assert found.axes_of_level(0)[0] == Axis("z", 2.0, 2.0, "micrometer")


def test_identity_changes_nothing_and_none_is_needed():
    (found,) = parsed({"axes": ZYX, "datasets": [{"path": "0"}], "coordinateTransformations": [{"type": "identity"}]})
    assert found.axes_of_level(0)[0] == Axis("z", 1.0, 0.0, "micrometer")


def test_units_are_spelled_in_full():
    axes = [{"name": "y", "unit": "µm"}, {"name": "x", "unit": "pixel"}]
    assert parsed(entry([scale(2, 3)], axes=axes))[0].units == ("micrometer", "")


class TestUnknownSizes:
    """OME-Zarr cannot say "not known": 1 without a unit or a translation is what writers put there."""

    def test_a_scale_of_1_alone_is_not_known(self):
        (found,) = parsed(entry([scale(1, 1, 1)], axes=NO_UNITS))
        assert found.axes_of_level(0) == (Axis("z"), Axis("y"), Axis("x"))

    def test_the_finest_level_tells_for_all(self):
        (found,) = parsed(entry([scale(1, 1, 1)], [scale(2, 2, 2), translation(0.5, 0.5, 0.5)], axes=NO_UNITS))
        assert found.axes_of_level(1) == (Axis("z"), Axis("y"), Axis("x"))
        (found,) = parsed(entry([scale(8, 1, 1)], [scale(16, 2, 2)], axes=NO_UNITS))
        assert found.axes_of_level(1) == (Axis("z", 16.0), Axis("y"), Axis("x"))

    def test_a_translation_tells(self):
        (found,) = parsed(entry([scale(1, 1, 1)], common=[translation(10, 0, 0)], axes=NO_UNITS))
        assert found.axes_of_level(0) == (Axis("z", 1.0, 10.0), Axis("y"), Axis("x"))

    def test_a_unit_tells_unless_the_writer_knew_no_size(self):
        (found,) = parsed(entry([scale(1, 1, 0.5)], [scale(2, 2, 1)]))
        assert found.axes_of_level(1, unset={"z", "x"}) == (
            Axis("z", None, 0.0, "micrometer"),
            Axis("y", 2.0, 0.0, "micrometer"),
            Axis("x", 1.0, 0.0, "micrometer"),
        )

    def test_channels_have_no_positions(self):
        axes = [{"name": "c", "type": "channel"}, {"name": "y"}, {"name": "x"}]
        assert parsed(entry([scale(3, 3, 3)], axes=axes))[0].axes_of_level(0)[0] == Axis("c")


@pytest.mark.parametrize(
    "bad",
    [
        [scale(0, 1, 2)], [scale(float("nan"), 1, 2)], [scale(float("inf"), 1, 2)], [scale(-1, 1, 2)],
        [scale(1e300, 1, 2), scale(1e300, 1, 1)], [scale(1, 2)], [scale("1", 1, 2)], [scale(True, 1, 2)],
        [scale(10**400, 1, 2)], [{"type": "affine", "affine": []}], [{"type": "scale", "path": "../scales"}],
        [scale(1, 1, 2), translation(float("inf"), 0, 0)], [{}], ["scale"], {"type": "scale"},
    ],
)  # fmt: skip
def test_a_transformation_that_makes_no_sense_is_told_and_gives_no_positions(bad):
    (found,) = parsed(entry(bad))
    assert all(problem.startswith("a.zarr: ") and problem.isprintable() for problem in found.problems)
    assert len(found.problems) == 1
    z, _, x = found.axes_of_level(0)
    assert z == Axis("z", None, 0.0, "micrometer")
    assert x.scale in (None, 2.0)


def test_axes_of_all_versions():
    assert parsed({"datasets": [{"path": "0"}]})[0].axis_names == tuple("tczyx")  # 0.1 and 0.2
    assert parsed({"axes": ["c", "y", "x"], "datasets": [{"path": "0"}]})[0].axis_names == tuple("cyx")  # 0.3
    axes = [{"name": "Time", "type": "time"}, {"name": "channel", "type": "channel"}, {"name": "Y"}, {"name": "X"}]
    assert parsed({"axes": axes, "datasets": [{"path": "0"}]})[0].axis_names == tuple("tcyx")
    five = parse_multiscales({"ome": {"version": "0.5", "multiscales": [entry([scale(2, 2, 2)])]}}, "a.zarr")
    assert five[0].axes_of_level(0)[0].scale == 2.0


def test_versions_to_come_are_no_guess():
    with pytest.raises(MetadataError, match=r"0\.6"):
        parsed({"coordinateSystems": [], "datasets": [{"path": "0"}]})


@pytest.mark.parametrize("axes", [[], "zyx", None, [{"name": 1}], [3], list("zyy"), list("zyq")])
def test_axes_that_make_no_sense_are_an_error(axes):
    with pytest.raises(MetadataError, match=r"a\.zarr"):
        parsed(entry([], axes=axes))


@pytest.mark.parametrize("value", [{}, [], ["0"], None, [{"datasets": []}], [{"datasets": ["0"]}], [{}]])
def test_multiscales_that_make_no_sense_are_an_error(value):
    with pytest.raises(MetadataError, match=r"a\.zarr"):
        parse_multiscales({"multiscales": value}, "a.zarr")


def test_a_hundred_levels_are_enough():
    assert len(parsed(entry(*[[scale(1, 1, 1)]] * 100))[0].paths) == 100
    with pytest.raises(LimitExceededError):
        parsed(entry(*[[scale(1, 1, 1)]] * 101))


@pytest.mark.parametrize(
    "path",
    [
        "..", "../b", "a/../../b", "/etc", "http://a/b", "file:///etc", "c:/b", "a\\b", "a//b", ".", "", "a/./b",
        "%2e%2e/b", "a%2Fb", "a\0b", "a\x1b[2Jb",
    ],
)  # fmt: skip
def test_paths_that_could_lead_out_of_the_store_are_refused(path):
    with pytest.raises(UnsafePathError, match=r"a\.zarr") as refused:
        parsed({"axes": ZYX, "datasets": [{"path": path}]})
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("path", [7, None, ["0"]])
def test_paths_that_are_no_text_are_an_error(path):
    with pytest.raises(MetadataError):
        parsed({"axes": ZYX, "datasets": [{"path": path}]})


def test_channels_are_named_and_coloured_by_omero():
    omero = {"channels": [{"label": "nucleus", "color": "FF8000"}, {"label": "Zellkörper", "color": "#0000ff"}]}
    (found,) = parsed(entry([]), omero=omero)
    assert found.channel_names == ("nucleus", "Zellkörper")
    assert found.channel_colors == ((255, 128, 0), (0, 0, 255))


@pytest.mark.parametrize(
    "omero", [None, [], {}, {"channels": {}}, {"channels": ["a"]}, {"channels": [{"label": "a"}, {"color": "red"}]}]
)
def test_channels_that_are_named_in_part_have_no_names(omero):
    (found,) = parsed(entry([]), omero=omero)
    assert (found.channel_names, found.channel_colors) == ((), ())


def test_numbers_of_channels_are_no_names_and_our_palette_no_colours():
    omero = {"channels": [{"label": "channel 0", "color": "E69F00"}, {"label": "channel 1", "color": "56B4E9"}]}
    ours = entry([], metadata={"method": "ilastik_lazy.to_ome_zarr"})
    assert parsed(ours, omero=omero)[0].channel_colors == ()
    assert parsed(ours, omero=omero)[0].channel_names == ()
    assert parsed(entry([]), omero=omero)[0].channel_colors == ((230, 159, 0), (86, 180, 233))


def test_label_images_name_and_colour_their_values():
    labels = {
        "colors": [{"label-value": 2, "rgba": [0, 255, 0, 255]}, {"label-value": 1, "rgba": [300, 0, 0, 255]}],
        "properties": [{"label-value": 0, "name": "nothing"}, {"label-value": 1, "name": "a"}],
    }
    (found,) = parsed(entry([]), **{"image-label": labels})
    assert found.is_labels
    assert found.channel_names == ("a",)
    assert found.channel_colors == ((255, 0, 0), (0, 255, 0))


@pytest.mark.parametrize("labels", [{}, {"colors": [{"label-value": 7, "rgba": [1, 2, 3, 4]}]}, {"colors": 3}])
def test_label_images_with_gaps_in_their_values_have_no_colours(labels):
    (found,) = parsed(entry([]), **{"image-label": labels})
    assert found.is_labels
    assert (found.channel_names, found.channel_colors) == ((), ())
