"""Label images: colours, names and properties of their values, and what readers make of them."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import ngff_zarr
import numpy as np
import ome_zarr_models
import pandas as pd
import pytest
import yaozarrs
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from ilastik_lazy.core.classes import color_of
from ilastik_lazy.errors import ArgumentError, MetadataWarning
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.metadata import labels as labels_module
from ilastik_lazy.writers.ome_zarr.metadata.attributes import ome_attributes
from ilastik_lazy.writers.ome_zarr.metadata.labels import object_properties
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_pyramid
from tests.support.ome_zarr.fakes import ArrayBackedSource, small_plans, spec_of
from tests.support.table_makers import ROWS, write_table, written

VERSIONS = ["0.4", "0.5"]


def attributes(version: Any = "0.5", dtype: str = "uint8", axes: str = "yx", **more: Any) -> dict[str, Any]:
    options = {key: more.pop(key) for key in ("measured", "properties") if key in more}
    return ome_attributes(plan_pyramid(spec_of((9,) * len(axes), dtype, axes, **more), version=version), "a", **options)


def label_of(version: Any = "0.5", **more: Any) -> dict[str, Any]:
    found = attributes(version, **more)
    yaozarrs.validate_ome_json(json.dumps(found if version == "0.4" else {"ome": found}))
    assert "omero" not in found
    return found["image-label"]


class TestClasses:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_have_the_colours_and_names_of_the_project(self, version: str) -> None:
        names, colors = ("nucleus", "Zellkörper"), ((255, 0, 0), (0, 128, 3))
        found = label_of(version, kind="segmentation", channel_names=names, channel_colors=colors)
        assert found["colors"] == [
            {"label-value": 1, "rgba": [255, 0, 0, 255]},
            {"label-value": 2, "rgba": [0, 128, 3, 255]},
        ]
        assert found["properties"] == [
            {"label-value": 1, "class": "nucleus"},
            {"label-value": 2, "class": "Zellkörper"},
        ]
        assert found.get("version") == ("0.4" if version == "0.4" else None)

    @pytest.mark.parametrize("kind", ["segmentation", "labels", "object predictions"])
    def test_without_a_project_are_as_many_as_were_measured(self, kind: str) -> None:
        found = label_of(kind=kind, measured=[(0, 3)])
        assert [entry["label-value"] for entry in found["colors"]] == [1, 2, 3]
        assert "properties" not in found

    def test_beyond_those_with_names_have_a_colour_too(self) -> None:
        found = label_of(kind="segmentation", channel_names=("a",), measured=[(1, 2)])
        assert [entry["label-value"] for entry in found["colors"]] == [1, 2]
        assert found["properties"] == [{"label-value": 1, "class": "a"}, {"label-value": 2}]

    @pytest.mark.parametrize("measured", [None, [(1, 256)], [(0, 0)], [(np.nan, np.nan)]])
    def test_of_unknown_number_are_left_to_the_viewer(self, measured: Any) -> None:
        assert label_of(kind="segmentation", dtype="uint32", measured=measured) == {}

    @pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u8"])
    def test_of_any_integers_are_counted(self, tmp_path: Path, dtype: str) -> None:
        classes = (np.arange(40 * 50).reshape(40, 50) % 3).astype(dtype)
        report = to_ome_zarr(ArrayBackedSource(classes, "yx", kind="segmentation"), tmp_path / "a")
        assert report.voxels_per_class == {"0": 667, "1": 667, "2": 666}
        colors = zarr.open_group(tmp_path / "a", mode="r").attrs["ome"]["image-label"]["colors"]
        assert [entry["label-value"] for entry in colors] == [1, 2]
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "a/scale0/image", mode="r")[...], classes)

    @pytest.mark.parametrize("odd", [256, -1])
    def test_beyond_the_numbers_of_classes_are_not_counted_at_all(self, tmp_path: Path, odd: int) -> None:
        classes = np.ones((40, 50), "i4")
        classes[35, 45] = odd
        with small_plans(shard=400, smallest=6):
            source = ArrayBackedSource(classes, "yx", kind="segmentation", chunks=(5, 5))
            report = to_ome_zarr(source, tmp_path / "a", workers=2)
        assert report.voxels_per_class == {}

    def test_of_one_name_are_counted_apart(self, tmp_path: Path) -> None:
        classes = np.array([[1, 2, 2, 3]], "u1")
        source = ArrayBackedSource(classes, "yx", kind="segmentation", channel_names=("a", "1", "a"))
        report = to_ome_zarr(source, tmp_path / "a")
        assert report.voxels_per_class == {"a (1)": 1, "1 (2)": 2, "a (3)": 1}

    def test_have_colours_that_differ(self) -> None:
        colors = [color_of(number) for number in range(255)]
        assert len(set(colors)) == 255
        assert all(0 <= part <= 255 for color in colors for part in color)


@pytest.mark.parametrize("version", VERSIONS)
def test_ids_have_no_colours_since_a_viewer_has_some_for_any_number(version: str) -> None:
    found = label_of(version, kind="object identities", dtype="uint32", measured=[(0, 70)])
    assert found == ({"version": "0.4"} if version == "0.4" else {})


@pytest.mark.parametrize(
    ("dtype", "more"),
    [
        ("float32", {"kind": "segmentation"}),  # the specification has labels of integers only
        ("bool", {}),
        ("uint8", {}),
        ("uint8", {"kind": "probabilities"}),
        ("uint8", {"display_mode": "grayscale"}),
    ],
)
def test_other_images_are_no_label_images(dtype: str, more: Any) -> None:
    assert "image-label" not in attributes(dtype=dtype, **more)


def test_an_image_that_ilastik_shows_in_random_colours_is_one() -> None:
    assert label_of(dtype="uint32", axes="cyx", display_mode="random-colortable") == {}


class TestTable:
    SPEC = spec_of((9, 9), "uint32", "yx", kind="object identities")

    def test_gives_each_id_its_row_without_what_json_has_no_word_for(self, tmp_path: Path) -> None:
        rows = ROWS[[1, 2]]
        path = write_table(tmp_path / "t.h5", written(rows))
        expected = [
            {
                "label-value": 1, "object_id": 2, "timestep": 4, "User Label": "0", "Predicted Class": "Kern",
                "Probability of Kern": 0.5,
            },
            {
                "label-value": 2, "object_id": 1, "timestep": 0, "User Label": "Kern", "Predicted Class": "Kern",
                "Probability of Kern": 1.0, "Size": 3.0,
            },
        ]  # fmt: skip
        found = object_properties(self.SPEC, path)
        assert found == expected
        assert json.loads(json.dumps(found, allow_nan=False)) == expected

    @pytest.mark.parametrize("version", VERSIONS)
    def test_is_valid_with_an_image_of_any_kind_unknown(self, version: str) -> None:
        table = pd.DataFrame({"labelimage_oid": [7, 3, 0], "big": [True, False, True], "size": [2, 5, 9]})
        properties = object_properties(spec_of((9, 9), "int64", "yx"), table)
        found = label_of(version, dtype="int64", properties=properties)
        assert found["properties"] == [
            {"label-value": 3, "big": False, "size": 5},
            {"label-value": 7, "big": True, "size": 2},
        ]

    def test_of_too_many_objects_is_cut_and_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(labels_module, "_MOST_VALUES", 9)
        table = pd.DataFrame({"labelimage_oid": range(8, 0, -1), "a": 1, "b": 2})
        with pytest.warns(MetadataWarning, match="8 objects: .* the first 4 ids"):
            found = object_properties(self.SPEC, table)
        assert [entry["label-value"] for entry in found] == [1, 2, 3, 4]

    def test_with_an_id_in_two_rows_is_refused(self) -> None:
        table = pd.DataFrame({"labelimage_oid": [1, 2, 1], "timestep": [0, 0, 1]})
        with pytest.raises(ArgumentError, match=r"has id 1 in several rows.*rows of one frame"):
            object_properties(self.SPEC, table)

    def test_of_several_images_is_refused(self) -> None:
        table = pd.DataFrame({"source": ["a.h5", "b.h5"], "label": [1, 1]})
        with pytest.raises(ArgumentError, match=r"objects of 2 images .*pass the rows of its source"):
            object_properties(self.SPEC, table)
        assert len(object_properties(self.SPEC, table[table["source"] == "b.h5"])) == 1

    @pytest.mark.parametrize(("dtype", "kind"), [("uint8", "segmentation"), ("float32", None), ("uint32", "tracking")])
    def test_of_an_image_without_object_ids_is_refused_before_anything_is_made(
        self, tmp_path: Path, dtype: str, kind: Any
    ) -> None:
        table = pd.DataFrame({"labelimage_oid": [1]})
        with pytest.raises(ArgumentError, match="object identities"):
            to_ome_zarr(ArrayBackedSource(np.ones((3, 3), dtype), "yx", kind=kind), tmp_path / "a.zarr", table=table)
        assert not list(tmp_path.iterdir())


@pytest.fixture(params=VERSIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Ids of two objects, below two folders since napari-ome-zarr looks into both."""
    ids = np.zeros((1, 20, 30), np.uint32)
    ids[0, 2:9, 3:9], ids[0, 12:, 12:] = 1, 70_000
    source = ArrayBackedSource(ids, "cyx", kind="object identities", scales={"y": 0.5, "x": 0.5})
    table = pd.DataFrame({"labelimage_oid": [1, 70_000], "Size in pixels": [42.0, 144.0]})
    to_ome_zarr(source, tmp_path / "b" / "ids.zarr", version=request.param, table=table)
    return tmp_path / "b" / "ids.zarr"


class TestReaders:
    def test_validators_accept_it(self, store: Path) -> None:
        yaozarrs.validate_zarr_store(store)
        model = ome_zarr_models.open_ome_zarr(zarr.open_group(store, mode="r"))
        assert type(model).__name__ in ("Image", "ImageLabel")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert ngff_zarr.from_ngff_zarr(store, validate=True).images[0].data.dtype == np.uint32

    def test_ome_zarr_py_finds_labels_with_properties(self, store: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.CRITICAL, "ome_zarr.reader")  # it misses the image that the labels are of
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            location = parse_url(str(store))
            assert location is not None
            node = next(iter(Reader(location)()))
        assert [type(spec).__name__ for spec in node.specs] == ["Label", "Multiscales"]
        assert node.metadata["properties"] == {1: {"Size in pixels": 42.0}, 70_000: {"Size in pixels": 144.0}}

    def test_napari_finds_a_layer_of_labels(self, store: Path) -> None:
        reason = "napari is not installed: pip install napari-ome-zarr"
        napari_ome_zarr = pytest.importorskip("napari_ome_zarr", reason=reason, exc_type=ImportError)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (data, metadata, kind), *others = napari_ome_zarr.napari_get_reader(str(store))()
        assert (kind, others) == ("labels", [])
        assert metadata["properties"] == {"Size in pixels": [42.0, 144.0], "index": [1, 70_000]}
        assert (metadata["axis_labels"], metadata["scale"]) == (("c", "y", "x"), [1.0, 0.5, 0.5])
        assert np.unique(np.asarray(data[0])).tolist() == [0, 1, 70_000]


def root_of(store: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    return found


class TestMeasuredOnTheWay:
    def test_classes_without_names_are_those_that_occur(self, tmp_path: Path) -> None:
        data = np.ones((40, 50), np.uint8)
        data[3, 7] = 4
        with small_plans(shard=300, smallest=5):
            to_ome_zarr(ArrayBackedSource(data, "yx", kind="segmentation", chunks=(9, 8)), tmp_path / "a.zarr")
        colors = root_of(tmp_path / "a.zarr")["image-label"]["colors"]
        assert [entry["label-value"] for entry in colors] == [1, 2, 3, 4]

    def test_contrast_is_that_of_the_voxels_of_each_channel(self, tmp_path: Path) -> None:
        data = np.linspace(-3, 5, 2 * 40 * 50, dtype=np.float32).reshape(2, 40, 50)
        data[0, 0, 1], data[1, :, 3] = np.nan, np.inf
        with small_plans(shard=2000, smallest=5):
            to_ome_zarr(ArrayBackedSource(data, "cyx", chunks=(1, 9, 8)), tmp_path / "a.zarr")
        windows = [channel["window"] for channel in root_of(tmp_path / "a.zarr")["omero"]["channels"]]
        assert [windows[0]["start"], windows[0]["end"]] == [-3, float(data[0, -1, -1])]
        assert windows[0]["min"] == windows[0]["start"]
