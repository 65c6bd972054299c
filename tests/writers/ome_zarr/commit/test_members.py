"""What others put into an image: kept where the image is replaced, and found by every program."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from ilastik_lazy.errors import CorruptChunkError, DestinationError, DestinationExistsError, MetadataWarning
from ilastik_lazy.storage import folders
from ilastik_lazy.storage.stores import LocalStore
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.ome_zarr.targets import a_source, assert_whole, contents, convert, of_others, put_by_others

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it deprecates what it uses itself
    import ome_zarr.writer

pytestmark = pytest.mark.usefixtures("a_dozen_shards")
VERSIONS = {"0.5": 3, "0.4": 2}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def image(tmp_path: Path, version: str) -> Path:
    convert(tmp_path / "a.zarr", version=version)
    return tmp_path / "a.zarr"


class TestOverwriting:
    def test_keeps_them_as_they_are(self, image: Path, version: str) -> None:
        others = put_by_others(image, VERSIONS[version])
        file = os.stat(image / "labels" / "cells" / ("zarr.json" if version == "0.5" else ".zarray"))
        convert(image, version=version, source=a_source(seed=1), overwrite=True)
        assert_whole(image, a_source(seed=1).data)
        assert of_others(image) == others
        assert (image / "tables" / "empty").is_dir()
        now = os.stat(image / "labels" / "cells" / ("zarr.json" if version == "0.5" else ".zarray"))
        assert now.st_mtime_ns == file.st_mtime_ns
        assert [path.name for path in image.parent.iterdir()] == ["a.zarr"]

    def test_keeps_them_with_fewer_levels_and_removes_the_old_ones(self, image: Path, version: str) -> None:
        others = put_by_others(image, VERSIONS[version])
        (image / "scale4" / "notes.txt").write_text("of a level that goes")
        convert(image, version=version, levels=2, overwrite=True)
        assert of_others(image) == others
        assert contents(image / "scale4") == {"notes.txt": b"of a level that goes"}
        assert not (image / "scale3").exists()

    def test_of_an_image_of_another_program_keeps_them(self, tmp_path: Path, version: str) -> None:
        target = tmp_path / "a.zarr"
        group = zarr.create_group(target, zarr_format=VERSIONS[version])  # type: ignore[arg-type]
        ome_zarr.writer.write_image(np.ones((1, 1, 64, 64), np.uint8), group, axes="czyx")
        (target / "scale0").mkdir()
        others = put_by_others(target, VERSIONS[version])
        with pytest.raises(DestinationExistsError, match=r"holds scale0, which does not belong to the image"):
            convert(target, version=version, overwrite=True)
        (target / "scale0" / "notes.txt").unlink()
        (target / "scale0").rmdir()
        del others["scale0/notes.txt"]
        own = set(contents(target)) - set(others)
        convert(target, version=version, overwrite=True)
        assert_whole(target)
        assert of_others(target) == others
        assert not {key for key in own & set(contents(target)) if "/" in key}

    @pytest.mark.parametrize("new", VERSIONS)
    def test_keeps_attributes_of_the_root(self, image: Path, new: str) -> None:
        notes = {"my_program": {"rois": [1, 2]}, "reviewed": "by me"}
        zarr.open_group(image).attrs.update(notes)
        for seed in (1, 2):
            convert(image, version=new, source=a_source(seed=seed), overwrite=True)
        root = zarr.open_group(image, mode="r")
        assert {name: root.attrs[name] for name in notes} == notes
        assert set(root.attrs) - set(notes) <= {"omero", "multiscales" if new == "0.4" else "ome"}
        assert_whole(image, a_source(seed=2).data)
        assert verify_image(image).units

    def test_with_another_version_of_zarr_warns_of_what_readers_will_not_find(self, image: Path, version: str) -> None:
        others = put_by_others(image, VERSIONS[version])
        other = "0.4" if version == "0.5" else "0.5"
        with pytest.warns(MetadataWarning, match=r"labels, which others have put there, stays"):
            convert(image, version=other, overwrite=True)
        assert of_others(image) == others

    def test_keeps_what_is_added_while_the_images_are_exchanged(
        self, image: Path, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_by_others(image, VERSIONS[version])
        replace_by = LocalStore.replace_by

        def slowly(self: LocalStore, new: Any) -> None:
            (image / "labels" / "late.txt").write_text("late")
            (image / "tables" / "cells.csv").unlink()
            (image / "tables" / "cells.csv").write_text("id,size\n7,8\n")
            replace_by(self, new)

        monkeypatch.setattr(LocalStore, "replace_by", slowly)
        convert(image, version=version, levels=2, overwrite=True)
        assert (image / "labels" / "late.txt").read_text() == "late"
        assert (image / "tables" / "cells.csv").read_text() == "id,size\n7,8\n"

    def test_keeps_them_where_the_disk_has_no_links(
        self, image: Path, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = put_by_others(image, VERSIONS[version])

        def none(*_: Any, **__: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(folders.os, "link", none)
        convert(image, version=version, levels=2, overwrite=True)
        assert of_others(image) == others

    def test_that_fails_changes_none(self, image: Path, version: str) -> None:
        others = put_by_others(image, VERSIONS[version])

        class Failing(type(a_source())):  # type: ignore[misc]
            def read(self, region: Any) -> Any:
                raise CorruptChunkError("damaged")

        with pytest.raises(CorruptChunkError):
            convert(image, version=version, source=Failing(a_source(1).data, "yx"), overwrite=True)
        assert of_others(image) == others
        assert_whole(image)


class TestUnfinished:
    @pytest.mark.parametrize("options", [{"overwrite": True, "levels": 2}, {"resume": True}])
    def test_conversions_that_are_begun_anew_keep_them(self, tmp_path: Path, version: str, options: Any) -> None:
        target = tmp_path / "a.zarr"

        def stop(done: int, total: int) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            convert(target, version=version, progress=stop)
        others = put_by_others(target, VERSIONS[version])
        convert(target, version=version, **options)
        assert_whole(target)
        assert of_others(target) == others

    def test_conversions_that_fail_at_once_keep_them(self, tmp_path: Path, version: str) -> None:
        target = tmp_path / "a.zarr"

        class Failing(type(a_source())):  # type: ignore[misc]
            def read(self, region: Any) -> Any:
                (target / "mine").mkdir(exist_ok=True)
                (target / "mine" / "notes.txt").write_text("x")
                raise CorruptChunkError("damaged")

        with pytest.raises(CorruptChunkError):
            convert(target, version=version, source=Failing(a_source().data, "yx"))
        assert contents(target) == {"mine/notes.txt": b"x"}


def test_a_file_in_the_way_of_a_folder_is_a_destination_error(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "labels").write_text("x")
    (tmp_path / "b" / "labels").mkdir()
    with pytest.raises(DestinationError, match="labels"):
        LocalStore(str(tmp_path / "b")).keep("labels", LocalStore(str(tmp_path / "a")))


class TestOthersAdd:
    def test_labels_with_ome_zarr_py(self, image: Path, version: str) -> None:
        values = np.ones((65, 100), np.int32)
        group = zarr.open_group(image, mode="r+")
        ome_zarr.writer.write_labels(values, group, "cells", scaler=None, scale_factors=[], axes="yx")
        found = zarr.open_group(image, mode="r")
        np.testing.assert_array_equal(found["labels/cells/s0"][...], values)  # type: ignore[index]
        assert "labels" in set(found)
        if version == "0.4":
            return  # ome-zarr-py names no dimensions there, without which xarray opens no Zarr v2
        with xr.open_datatree(image, engine="zarr", consolidated=False, chunks=None) as tree:
            np.testing.assert_array_equal(tree["labels/cells/s0"].values, values)
            np.testing.assert_array_equal(tree["scale0/image"].values, a_source().data)

    def test_arrays_with_zarr_at_any_level(self, image: Path) -> None:
        group = zarr.open_group(image, mode="r+")
        group.create_array("mask", data=np.arange(3))
        group.require_group("scale0").create_array("mask", data=np.arange(4))
        group = zarr.open_group(image, mode="r")
        assert {"mask", "scale0"} <= set(group)
        assert "mask" in set(zarr.open_group(image / "scale0", mode="r"))
        assert group["scale0/mask"].shape == (4,)  # type: ignore[union-attr]

    def test_and_zarr_lists_an_image_without_a_warning(self, image: Path) -> None:
        members = dict(zarr.open_group(image, mode="r").members(max_depth=None))
        assert {"scale0", "scale0/image"} <= set(members)
