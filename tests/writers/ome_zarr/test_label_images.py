"""Label images below their image: what readers find, and what happens to those that are there."""

from __future__ import annotations

import json
import multiprocessing
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pandas as pd
import pytest
import xarray as xr
import yaozarrs
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError, DestinationError, DestinationExistsError, ResumeMismatchError
from ilastik_lazy.storage.object_store import ObjectFolder
from ilastik_lazy.storage.stores import LocalStore
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.commit.label_list import ImageAbove, lacks_labels
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.faults import LONG
from tests.support.makers import some_data
from tests.support.ome_zarr.fakes import ArrayBackedSource, small_plans, spec_of
from tests.support.ome_zarr.targets import contents
from tests.support.servers import S3Server
from tests.writers.ome_zarr.test_interrupted import interrupted

VERSIONS = ["0.5", "0.4"]
RAW = some_data((9, 8), "uint8")
CELLS = (np.arange(72).reshape(9, 8) // 24).astype("uint32")
CLASSES = (CELLS + 1).astype("uint8")
TABLE = pd.DataFrame({"label": [1, 2], "area": [24.0, 24.0]})


def raw(**more: Any) -> ArrayBackedSource:
    return ArrayBackedSource(RAW, "yx", **more)


def cells(**more: Any) -> ArrayBackedSource:
    return ArrayBackedSource(CELLS, "yx", kind="object identities", **more)


def classes() -> ArrayBackedSource:
    names, colors = ("nucleus", "cell", "ground"), ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    return ArrayBackedSource(CLASSES[..., None], "yxc", kind="segmentation", channel_names=names, channel_colors=colors)


def whole(target: Any, **options: Any) -> Any:
    """An image with two label images, each of two levels."""
    labels = {"cells": cells(), "tissue": classes()}
    return to_ome_zarr(raw(), target, levels=2, workers=1, labels=labels, tables={"cells": TABLE}, **options)


def voxels(image: Path, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(zarr.open_array(image / "labels" / name / "scale0" / "image", mode="r")[...])


def listed(image: Path) -> list[str]:
    attributes = zarr.open_group(image / "labels", mode="r").attrs
    return list(attributes.get("ome", attributes)["labels"])  # type: ignore[call-overload, index, arg-type]


def about(image: Path, name: str) -> dict[str, Any]:
    attributes = zarr.open_group(image / "labels" / name, mode="r").attrs
    return dict(attributes.get("ome", attributes)["image-label"])  # type: ignore[call-overload, index, arg-type]


def assert_readers_find(image: Path, *names: str) -> None:
    """Validators accept all of it, and ome-zarr-py shows the labels with the image."""
    yaozarrs.validate_zarr_store(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        location = parse_url(str(image))
        assert location is not None
        nodes = list(Reader(location)())
    found = [node.metadata["name"] for node in nodes if "Label" in [type(spec).__name__ for spec in node.specs]]
    assert [name.rsplit("/", 1)[-1] for name in found] == list(names)
    assert {f"/labels/{name}" for name in names} <= set(il.open_datatree(image).groups)


def by_others(image: Path, version: str) -> None:
    """An image of another program, with a label image of that program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ome_zarr.writer

        form = ome_zarr.format.FormatV04() if version == "0.4" else ome_zarr.format.FormatV05()
        group = zarr.open_group(image, mode="w", zarr_format=form.zarr_format)
        options: Any = {"axes": "yx", "scaler": None, "scale_factors": [2], "fmt": form}
        ome_zarr.writer.write_image(RAW, group, **options)
        ome_zarr.writer.write_labels(CELLS, group, name="theirs", **options)


class TestUniqueIds:
    IDS = xr.DataArray(np.array([[[0, 1, 2]], [[1, 1, 0]], [[2, 0, 1]]], "u1"), dims=tuple("tyx"))

    def test_are_those_of_labels_and_their_tables_and_not_of_classes(self, tmp_path: Path) -> None:
        image = tmp_path / "a.zarr"
        tracks = il.paint(self.IDS, il.measure_objects(self.IDS).assign(trackId=[4, 5, 4, 4, -1]), "trackId")
        labels = {
            "cells": self.IDS,
            "part": self.IDS.assign_coords(t=[0.0, 1, 2]).isel(t=slice(1, 3)),
            "tissue": self.IDS.assign_attrs(ilastik_kind="segmentation"),
            "tracks": tracks,
        }
        raw = (self.IDS + 9).assign_coords(t=[0.0, 1, 2])
        table = il.measure_objects(self.IDS, properties="num_pixels")
        for resume in (False, True):
            report = to_ome_zarr(raw, image, labels=labels, tables={"cells": table}, unique_ids=True, resume=resume)
        assert report.resumed == report.parts
        expected, rows = il.unique_ids(self.IDS, table)
        assert (
            voxels(image, "cells").tolist()
            == expected.values.tolist()
            == [[[0, 1, 2]], [[1001, 1001, 0]], [[2002, 0, 2001]]]
        )
        found = [(row["label-value"], row["num_pixels"]) for row in about(image, "cells")["properties"]]
        assert (
            found
            == list(zip(rows["label"], rows["num_pixels"], strict=True))
            == [(1, 1), (2, 1), (1001, 2), (2001, 1), (2002, 1)]
        )
        np.testing.assert_array_equal(voxels(image, "tissue"), self.IDS)
        # One id for an object over time, and none for what has no track.
        assert voxels(image, "tracks").tolist() == [[[0, 4, 5]], [[4, 4, 0]], [[0, 0, 4]]]
        assert_readers_find(image, "cells", "part", "tissue", "tracks")

    def test_of_an_image_of_classes_are_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match="holds segmentation"):
            to_ome_zarr(self.IDS.assign_attrs(ilastik_kind="segmentation"), tmp_path / "a.zarr", unique_ids=True)
        with pytest.raises(ArgumentError, match="holds probabilities"):
            to_ome_zarr(raw(kind="probabilities"), tmp_path / "a.zarr", unique_ids=True)
        assert not list(tmp_path.iterdir())


class TestImageWithLabels:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_is_one_store_that_readers_show_with_names_colours_and_properties(
        self, tmp_path: Path, version: str
    ) -> None:
        image = tmp_path / "a.zarr"
        report = whole(image, version=version, verify=True)
        assert_readers_find(image, "cells", "tissue")
        np.testing.assert_array_equal(voxels(image, "cells"), CELLS)
        np.testing.assert_array_equal(voxels(image, "tissue"), CLASSES)
        assert [label["source"] for label in map(about, [image] * 2, listed(image))] == [{"image": "../../"}] * 2
        assert about(image, "cells")["properties"][1] == {"label-value": 2, "area": 24.0}
        assert about(image, "tissue")["properties"][0] == {"label-value": 1, "class": "nucleus"}
        assert about(image, "tissue")["colors"][2] == {"label-value": 3, "rgba": [0, 0, 255, 255]}
        # ome-zarr-models 1.7 looks for the arrays of label images only directly in their group.
        ome_zarr_models.open_ome_zarr(zarr.open_group(image / "labels" / "cells", mode="r"))
        assert [len(each.levels) for each in (report, *report.labels.values())] == [2, 2, 2]
        assert json.loads(json.dumps(report.as_json()))["labels"]["cells"]["verified"]
        assert "labels/tissue" in str(report)
        assert verify_image(image / "labels" / "cells", cells()).voxels == CELLS.size

    def test_that_was_interrupted_anywhere_is_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(image: Path, **options: Any) -> None:
            to_ome_zarr(raw(), image, levels=1, workers=1, labels={"cells": cells()}, **options)

        first = 0 if LONG else 14  # where the image is about to be published: test_interrupted has the steps before
        for step in range(first, 1000):
            image = tmp_path / f"{step}.zarr"
            if not interrupted(monkeypatch, step, after=bool(step % 2), run=lambda image=image: run(image)):  # type: ignore[misc]
                break
            assert image.exists() <= lacks_labels(str(image), ["cells"]) or listed(image) == ["cells"]
            run(image, resume=True)
            np.testing.assert_array_equal(voxels(image, "cells"), CELLS)
            assert listed(image) == ["cells"]
            assert not list(image.rglob(".ilz"))
            assert not lacks_labels(str(image), ["cells"])
        assert step > 24

    def test_is_checked_before_anything_is_written(self, tmp_path: Path) -> None:
        image = tmp_path / "a.zarr"
        wrong: list[dict[str, Any]] = [
            {"labels": {"a": cells(), "b": ArrayBackedSource(CELLS[1:], "yx")}},
            {"labels": {"a/b": cells()}},
            {"labels": {"..": cells()}},
            {"labels": cells()},
            {"labels": {"a": cells()}, "tables": {"b": TABLE}},
            {"labels": {"a": cells()}, "tables": {"a": pd.concat([TABLE, TABLE])}},
        ]
        for options in wrong:
            with pytest.raises(ArgumentError):
                to_ome_zarr(raw(), image, **options)
        assert not image.exists()

    @pytest.mark.parametrize("version", VERSIONS)
    def test_is_replaced_with_them_and_others_stay(self, tmp_path: Path, version: str) -> None:
        image = tmp_path / "a.zarr"
        by_others(image, version)
        theirs = contents(image / "labels" / "theirs")
        for _ in range(2):
            whole(image, version=version, overwrite=True)
            assert listed(image) == ["theirs", "cells", "tissue"]
            assert contents(image / "labels" / "theirs") == theirs
        assert_readers_find(image, "theirs", "cells", "tissue")


class TestLabelsOfAnImageThatIsThere:
    @pytest.mark.parametrize("consolidated", [False, True])
    @pytest.mark.parametrize("version", VERSIONS)
    def test_are_added_to_one_of_any_program(self, tmp_path: Path, version: str, consolidated: bool) -> None:
        image = tmp_path / "a.zarr"
        by_others(image, version)
        if consolidated:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                zarr.consolidate_metadata(image)
        before = contents(image)
        to_ome_zarr(cells(), image / "labels" / "cells", verify=True)
        assert_readers_find(image, "theirs", "cells")
        changed = {key for key, data in before.items() if contents(image)[key] != data}
        assert {key.rsplit("/", 1)[0] for key in changed} <= {"labels", "zarr.json", ".zmetadata"}
        assert changed >= {"labels/zarr.json" if version == "0.5" else "labels/.zattrs"}
        assert "labels/cells/scale0/image" in dict(zarr.open_group(image, mode="r").members(max_depth=None))

    def test_may_be_computed_from_that_image_and_resumed(self, tmp_path: Path) -> None:
        image = tmp_path / "a.zarr"
        with small_plans(shard=40, smallest=4):
            to_ome_zarr(raw(chunks=(3, 3)), image)
            found = il.open_dataarray(image, "scale0/image")
            for options in ({}, {"resume": True}, {"overwrite": True}):
                report = to_ome_zarr(found > 100, image / "labels" / "bright", workers=1, **options)
                assert bool(report.resumed) == ("resume" in options)
        np.testing.assert_array_equal(voxels(image, "bright"), RAW > 100)
        assert about(image, "bright")["colors"][0]["label-value"] == 1
        with pytest.raises(ArgumentError, match="holds the source"):
            to_ome_zarr(str(image / "labels" / "bright"), image / "labels" / "bright", overwrite=True)

    def test_are_replaced_alone_and_only_if_asked_to(self, tmp_path: Path) -> None:
        image = tmp_path / "a.zarr"
        whole(image)
        before = contents(image)
        other = ArrayBackedSource(CELLS[::-1].copy(), "yx")
        with pytest.raises(DestinationExistsError, match="labels/cells"):
            to_ome_zarr(other, image / "labels" / "cells")
        with pytest.raises(ResumeMismatchError):
            to_ome_zarr(other, image / "labels" / "cells", resume=True)
        assert contents(image) == before
        to_ome_zarr(other, image / "labels" / "cells", overwrite=True)
        changed = {key for key, data in before.items() if contents(image).get(key) != data}
        assert all(key.startswith("labels/cells/") for key in changed)
        np.testing.assert_array_equal(voxels(image, "cells"), CELLS[::-1])

    def test_have_the_version_and_the_levels_of_the_image(self, tmp_path: Path) -> None:
        with small_plans(shard=40, smallest=4):
            to_ome_zarr(raw(), tmp_path / "a.zarr", version="0.4", levels=3)
        report = to_ome_zarr(cells(), tmp_path / "a.zarr" / "labels" / "cells")
        assert len(report.levels) == 3
        assert (tmp_path / "a.zarr" / "labels" / "cells" / ".zattrs").exists()
        with pytest.raises(ArgumentError, match=r"is OME-Zarr 0\.4"):
            to_ome_zarr(cells(), tmp_path / "a.zarr" / "labels" / "b", version="0.5")

    def test_are_listed_by_several_processes_at_once(self, tmp_path: Path) -> None:
        image = ImageAbove(str(tmp_path), spec_of((9, 8), "u1", "yx"), "0.5", 1)
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.map(image.add, [f"n{k}" for k in range(12)])
        assert sorted(image.listed()) == sorted(f"n{k}" for k in range(12))
        assert [path.name for path in (tmp_path / "labels").iterdir()] == ["zarr.json"]

    def test_are_not_listed_in_what_is_no_list(self, tmp_path: Path) -> None:
        to_ome_zarr(raw(), tmp_path / "a.zarr")
        (tmp_path / "a.zarr" / "labels").mkdir()
        (tmp_path / "a.zarr" / "labels" / "zarr.json").write_text('{"attributes": {"ome": {"labels": 3}}}')
        with pytest.raises(DestinationError, match="is no list of label images"):
            to_ome_zarr(cells(), tmp_path / "a.zarr" / "labels" / "cells")
        assert json.loads((tmp_path / "a.zarr/labels/zarr.json").read_text())["attributes"]["ome"]["labels"] == 3

    def test_need_a_name_and_a_finished_image(self, tmp_path: Path) -> None:
        to_ome_zarr(raw(), tmp_path / "a.zarr")
        with pytest.raises(ArgumentError, match="labels/cells"):
            to_ome_zarr(cells(), tmp_path / "a.zarr" / "labels")
        with pytest.raises(ArgumentError, match="belong to an image"):
            to_ome_zarr(cells(), tmp_path / "a.zarr" / "labels" / "b", labels={"c": cells()})
        LocalStore(str(tmp_path / "b.zarr")).put(".ilz/plan.json", [b"{}"])
        with pytest.raises(DestinationError, match="unfinished conversion"):
            to_ome_zarr(cells(), tmp_path / "b.zarr" / "labels" / "cells")

    def test_that_fail_leave_no_trace(self, tmp_path: Path) -> None:
        to_ome_zarr(raw(), tmp_path / "a.zarr")
        negative = xr.DataArray(CELLS.astype("int64") - 1, dims=("y", "x"))
        with pytest.raises(ArgumentError, match="holds -1"):
            to_ome_zarr(negative, tmp_path / "a.zarr" / "labels" / "cells")
        assert not (tmp_path / "a.zarr" / "labels").exists()

    def test_in_a_folder_called_labels_without_an_image_are_an_image_of_their_own(self, tmp_path: Path) -> None:
        to_ome_zarr(cells(), tmp_path / "labels" / "cells.zarr")
        assert [path.name for path in (tmp_path / "labels").iterdir()] == ["cells.zarr"]


def test_in_a_bucket_they_are_listed_and_resumed(s3: S3Server, bucket: str) -> None:
    pytest.importorskip("obstore")
    url = f"s3://{bucket}/{uuid.uuid4().hex}/a.zarr"
    whole(url, storage_options=s3.options)
    assert whole(url, storage_options=s3.options, resume=True).labels["cells"].resumed == 2
    folder = ObjectFolder.parse(url, s3.options)
    folder.put("labels/theirs/note", b"1")
    to_ome_zarr(cells(), f"{url}/labels/more", storage_options=s3.options)
    document = json.loads(folder.get("labels/zarr.json"))
    assert document["attributes"]["ome"]["labels"] == ["cells", "tissue", "more"]
    assert not [key for key in folder.list() if ".ilz/" in key]
    store, path = folder.zarr_store()
    np.testing.assert_array_equal(zarr.open_group(store, path=path, mode="r")["labels/more/scale0/image"][...], CELLS)  # type: ignore[index]
