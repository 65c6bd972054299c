"""OME-Zarr attributes: what three validators and two readers make of them."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import h5py
import ngff_zarr
import numpy as np
import ome_zarr_models
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.units import OME_SPACE_UNITS, OME_TIME_UNITS
from ilastik_lazy.demo import sample
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.metadata.attributes import ome_attributes
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.ome_zarr.fakes import ArrayBackedSource, spec_of

ORDERS = ["yx", "xy", "zyx", "xyz", "zyxc", "cyx", "xyc", "yxc", "tyx", "tzyxc", "txyzc", "czyx", "ctzyx", "yxzct"]


def attributes(shape: tuple[int, ...], axes: Any, dtype: str = "uint8", **more: Any) -> dict[str, Any]:
    return ome_attributes(plan_pyramid(spec_of(shape, dtype, axes, **more)), "brain")


def valid(found: dict[str, Any]) -> Any:
    """Whether a validator takes it; JSON is what it gets."""
    return yaozarrs.validate_ome_json(json.dumps(found))


@pytest.mark.parametrize("axes", ORDERS)
def test_axes_stand_in_the_order_of_the_specification(axes: str) -> None:
    found = attributes((4,) * len(axes), axes)["multiscales"][0]["axes"]
    assert [axis["name"] for axis in found] == [axis for axis in "tczyx" if axis in axes]
    types = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    assert all(axis["type"] == types[axis["name"]] for axis in found)


@given(st.sampled_from([*sorted(OME_SPACE_UNITS), *sorted(OME_TIME_UNITS), "", "furlong", "µm", "pixel", "Mm"]))
def test_name_units_of_the_specification_only(unit: str) -> None:
    axes = (Axis("t", 1.5, 0.0, unit), Axis("z", 1.5, 0.0, unit), Axis("y", 0.5, 0.0, unit), Axis("x", 0.5, 0.0, unit))
    found = attributes((2, 3, 4, 5), axes)
    for axis in found["multiscales"][0]["axes"]:
        allowed = OME_TIME_UNITS if axis["name"] == "t" else OME_SPACE_UNITS
        assert ("unit" in axis) == (unit in allowed)
        assert axis.get("unit", unit) == unit
    valid({"ome": found})


def test_an_axis_of_unknown_scale_has_scale_1_and_no_unit() -> None:
    found = attributes((600, 600), (Axis("y", None, 0.0, "micrometer"), Axis("x", 0.5, 0.0, "micrometer")))
    image = found["multiscales"][0]
    assert image["axes"] == [
        {"name": "y", "type": "space"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 0.5]}]


def test_each_level_has_a_scale_and_then_a_translation() -> None:
    axes = (Axis("c"), Axis("y", 0.5, 10.0, "micrometer"), Axis("x", 0.5, 0.0, "micrometer"))
    found = attributes((3, 600, 600), axes)["multiscales"][0]["datasets"]
    assert [dataset["path"] for dataset in found] == ["scale0/image", "scale1/image", "scale2/image"]
    assert [dataset["coordinateTransformations"] for dataset in found] == [
        [{"type": "scale", "scale": [1.0, 0.5, 0.5]}, {"type": "translation", "translation": [0.0, 10.0, 0.0]}],
        [{"type": "scale", "scale": [1.0, 1.0, 1.0]}, {"type": "translation", "translation": [0.0, 10.25, 0.25]}],
        [{"type": "scale", "scale": [1.0, 2.0, 2.0]}, {"type": "translation", "translation": [0.0, 10.75, 0.75]}],
    ]


class TestChannels:
    def test_have_the_names_and_colours_of_the_classes(self) -> None:
        found = attributes(
            (4, 5, 3),
            "yxc",
            "float32",
            channel_names=("nucleus", "cell body", "Zellkörper"),
            channel_colors=((255, 0, 0), (0, 255, 0), (1, 2, 3)),
            drange=(0.0, 1.0),
        )
        channels = found["omero"]["channels"]
        assert [channel["label"] for channel in channels] == ["nucleus", "cell body", "Zellkörper"]
        assert [channel["color"] for channel in channels] == ["FF0000", "00FF00", "010203"]
        assert all(channel["window"] == {"min": 0, "max": 1, "start": 0, "end": 1} for channel in channels)
        valid({"ome": found})

    @pytest.mark.parametrize(
        ("dtype", "window"),
        [("uint8", (0, 255)), ("uint16", (0, 65535)), ("float32", (0, 1)), ("bool", (0, 1))],
    )
    def test_have_the_range_of_the_numbers_where_the_file_tells_none(
        self, dtype: str, window: tuple[float, float]
    ) -> None:
        for channel in attributes((2, 4, 5), "cyx", dtype)["omero"]["channels"]:
            assert (channel["window"]["min"], channel["window"]["max"]) == window

    @pytest.mark.parametrize(
        ("dtype", "measured", "window"),
        [
            ("float32", (-2.5, 7.0), (-2.5, 7, -2.5, 7)),
            ("uint16", (12, 900), (0, 65535, 12, 900)),
            ("float32", (3.0, 3.0), (0, 1, 0, 1)),
            ("float32", (float("nan"), float("nan")), (0, 1, 0, 1)),
            ("float32", (0.0, float("inf")), (0, 1, 0, 1)),
        ],
    )
    def test_have_the_contrast_that_was_measured(self, dtype: str, measured: Any, window: Any) -> None:
        plan = plan_pyramid(spec_of((2, 4, 5), dtype, "cyx"))
        first, second = ome_attributes(plan, "a", measured=[measured, (0.25, 0.5)])["omero"]["channels"]
        assert tuple(first["window"].values()) == window
        assert list(first["window"]) == ["min", "max", "start", "end"]
        assert (second["window"]["start"], second["window"]["end"]) == (0.25, 0.5)

    def test_have_the_range_that_the_file_notes_rather_than_what_was_measured(self) -> None:
        plan = plan_pyramid(spec_of((1, 4, 5), "float32", "cyx", drange=(0.0, 1.0)))
        (channel,) = ome_attributes(plan, "a", measured=[(0.2, 0.9)])["omero"]["channels"]
        assert channel["window"] == {"min": 0, "max": 1, "start": 0, "end": 1}

    def test_have_names_and_colours_also_where_there_is_no_project(self) -> None:
        channels = attributes((12, 4, 5), "cyx")["omero"]["channels"]
        assert len({channel["label"] for channel in channels}) == 12
        assert all(len(channel["color"]) == 6 and int(channel["color"], 16) >= 0 for channel in channels)

    def test_keep_the_names_that_are_there_when_some_are_missing(self) -> None:
        channels = attributes((3, 4, 5), "cyx", channel_names=("a",))["omero"]["channels"]
        assert [channel["label"] for channel in channels] == ["a", "channel 1", "channel 2"]

    def test_are_described_where_there_is_one_without_an_axis(self) -> None:
        plan = plan_pyramid(spec_of((4, 5), "uint16", "yx"))
        (channel,) = ome_attributes(plan, "a", measured=[(12, 900)])["omero"]["channels"]
        assert (channel["color"], channel["window"]["start"], channel["window"]["end"]) == ("FFFFFF", 12, 900)

    def test_are_not_described_where_values_are_ids(self) -> None:
        assert "omero" not in attributes((1, 4, 5), "cyx", kind="segmentation")

    def test_stand_at_the_top_of_0_5_too_where_neuroglancer_reads_them(self, tmp_path: Path) -> None:
        to_ome_zarr(ArrayBackedSource(np.arange(25, dtype="u2").reshape(5, 5), "yx"), tmp_path / "a.zarr")
        root = zarr.open_group(tmp_path / "a.zarr", mode="r")
        assert root.attrs["omero"] == root.attrs["ome"]["omero"]
        yaozarrs.validate_zarr_store(tmp_path / "a.zarr")
        assert ome_zarr_models.open_ome_zarr(root).attributes.ome.omero is not None
        ngff_zarr.from_ngff_zarr(tmp_path / "a.zarr", validate=True)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_one_class_of_a_probability_map_keeps_name_colour_and_contrast(tmp_path: Path, version: Any) -> None:
    probabilities = il.open_dataarray(sample("probabilities"), project=sample("project"))
    for name, part in {
        "one": probabilities.sel(c="background"),
        "doubled": probabilities.sel(c="background") / 2,
    }.items():
        to_ome_zarr(part, tmp_path / name, version=version)
        found = zarr.open_group(tmp_path / name, mode="r").attrs.asdict()
        (channel,) = (found["ome"] if version == "0.5" else found)["omero"]["channels"]
        assert (channel["label"], channel["color"]) == ("background", "3C50A0")
        assert (channel["window"]["start"], channel["window"]["end"]) == (0, 1)


def test_label_images_have_no_axis_for_their_single_channel(tmp_path: Path) -> None:
    report = to_ome_zarr(sample("segmentation"), tmp_path / "a.zarr", verify=True)
    assert (report.dims, report.codec) == (("z", "y", "x"), "gzip")  # chunks still move as they are
    with h5py.File(sample("segmentation")) as file:
        expected = np.squeeze(file["exported_data"][...], -1)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...], expected)
    assert verify_image(tmp_path / "a.zarr", sample("segmentation")).voxels == expected.size
    with il.serve(sample("segmentation")) as server:
        found = json.loads(urllib.request.urlopen(f"{server.url}/zarr.json").read())
    assert [axis["name"] for axis in found["attributes"]["ome"]["multiscales"][0]["axes"]] == ["z", "y", "x"]


def test_are_plain_json(tmp_path: Path) -> None:
    found = attributes((2, 4, 5), "cyx", drange=(np.float32(0), np.float32(1)))
    assert json.loads(json.dumps(found)) == found
    assert found["version"] == "0.5"


@pytest.mark.parametrize("method", ["mean", "mode", "nearest"])
def test_say_how_levels_were_made(method: Any) -> None:
    found = ome_attributes(plan_pyramid(spec_of((9, 9), "uint8", "yx"), method=method), "brain")["multiscales"][0]
    assert found["type"] == method
    assert found["name"] == "brain"
    assert found["metadata"]["method"] == "ilastik_lazy.to_ome_zarr"


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_class_names_that_utf_8_cannot_hold_have_a_mark(tmp_path: Path, version: Any) -> None:
    # As of "\\ud800" in the JSON of another program.
    source = ArrayBackedSource(np.zeros((2, 5, 5), np.uint8), "cyx", channel_names=("a\ud800", "b"))
    to_ome_zarr(source, tmp_path / "a.zarr", version=version)
    assert il.open_dataarray(tmp_path / "a.zarr").c.values.tolist() == ["a\ufffd", "b"]
