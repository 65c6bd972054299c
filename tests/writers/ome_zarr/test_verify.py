"""`verify`: every damage to an image is found, and so is a source that has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, ResumeMismatchError, VerificationError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.commit.journal import checksum
from ilastik_lazy.writers.ome_zarr.commit.manifest import MANIFEST
from ilastik_lazy.writers.ome_zarr.verify import verify_image
from tests.support.ome_zarr.fakes import ArrayBackedSource
from tests.support.ome_zarr.targets import a_source, convert


def placed_source() -> ArrayBackedSource:
    """With positions, which are written beside the voxels."""
    return ArrayBackedSource(a_source().data, "yx", chunks=(7, 9), scales={"y": 0.5, "x": 0.25})


@pytest.fixture(scope="module", params=["0.5", "0.4"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("image") / "a.zarr"
    convert(target, source=placed_source(), version=request.param)
    return target


@pytest.fixture
def copy(image: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(image, tmp_path / "a.zarr"))


def shards(target: Path) -> list[Path]:
    """All files with voxels, of all levels."""
    files = (path for path in target.glob("scale*/image/**/*") if path.is_file())
    return sorted(path for path in files if path.name.isdigit())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def swap(path: Path) -> None:
    other = next(p for p in shards(path.parents[len(path.parts) - path.parts.index("a.zarr") - 2]) if p != path)
    mine, yours = path.read_bytes(), other.read_bytes()
    path.write_bytes(yours)
    other.write_bytes(mine)


def test_a_sound_image_is_told_so(image: Path) -> None:
    found = verify_image(image, a_source())
    assert found.units > 30
    assert found.voxels == a_source().data.size
    assert "are as they were written" in str(found)
    assert verify_image(image).voxels == 0


def test_one_shard_is_one(tmp_path: Path) -> None:
    to_ome_zarr(ArrayBackedSource(np.ones((8, 9), "u1"), "yx"), tmp_path / "a.zarr", levels=1)
    assert "is as it was written" in str(verify_image(tmp_path / "a.zarr"))


@pytest.mark.parametrize("damage", [flip, cut, swap, Path.unlink])
def test_every_damage_to_every_shard_is_found_without_the_source(copy: Path, damage: Any) -> None:
    paths = shards(copy)
    assert len(paths) >= 32
    before = {p: p.read_bytes() for p in paths}
    for path in paths[:: -(-len(paths) // 36)]:
        damage(path)
        with pytest.raises(VerificationError, match="scale"):
            verify_image(copy)
        for p, data in before.items():
            if not p.exists() or p.read_bytes() != data:
                p.write_bytes(data)
    verify_image(copy)


def test_one_changed_voxel_of_the_source_is_found_and_named(image: Path) -> None:
    source = a_source()
    source.data = source.data.copy()
    source.data[31, 77] ^= 1
    with pytest.raises(VerificationError, match="y=31, x=77"):
        verify_image(image, source)


def test_a_source_of_another_shape_is_no_source_of_it(image: Path) -> None:
    with pytest.raises(VerificationError, match="y=65 x=100"):
        verify_image(image, ArrayBackedSource(a_source().data.T.copy(), "yx"))


def test_a_file_with_axes_in_another_order_is_compared(tmp_path: Path) -> None:
    to_ome_zarr(sample("probabilities"), tmp_path / "a.zarr")
    assert verify_image(tmp_path / "a.zarr", sample("probabilities")).voxels == 2 * 40 * 128 * 160


def test_without_manifest_and_source_there_is_nothing_to_compare(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(ArgumentError, match="name the source"):
        verify_image(copy)
    assert verify_image(copy, a_source()).units == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"units": {}, "plan": {"levels": [1]}}', '{"units": {}, "plan": {}}'])
def test_a_damaged_manifest_is_said_to_be_damaged(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises((VerificationError, ArgumentError), match="manifest"):
        verify_image(copy)


def test_an_unfinished_image_is_said_to_be_unfinished(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "a.zarr", progress=stop)
    with pytest.raises(VerificationError, match=r"unfinished.*continue it with to_ome_zarr\(\.\.\., resume=True\)"):
        verify_image(tmp_path / "a.zarr")


def test_where_nothing_is_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="does not exist"):
        verify_image(tmp_path / "none.zarr")


def test_voxels_that_are_nan_are_equal_to_themselves(tmp_path: Path) -> None:
    source = ArrayBackedSource(np.full((9, 9), np.nan, np.float32), "yx")
    to_ome_zarr(source, tmp_path / "a.zarr")
    assert verify_image(tmp_path / "a.zarr", source).voxels == 81


def test_a_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(ArgumentError, match="is a file"):
        verify_image(tmp_path / "a.h5")


def documents(target: Path) -> list[Path]:
    """All files of an image that hold no voxels."""
    files = {path for path in target.rglob("*") if path.is_file()} - set(shards(target))
    return sorted(path for path in files if path.name != ".ilz-manifest.json")


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_every_damage_to_metadata_and_coordinates_is_found_without_the_source(copy: Path, damage: Any) -> None:
    found = documents(copy)
    assert len(found) >= 30
    for path in found:
        before = path.read_bytes()
        damage(path)
        with pytest.raises(VerificationError, match=path.name):
            verify_image(copy)
        path.write_bytes(before)
    assert verify_image(copy).units > 30


def test_an_image_of_an_older_release_has_no_checksums_of_metadata(copy: Path) -> None:
    path = copy / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["documents"]
    path.write_text(json.dumps(manifest))
    assert verify_image(copy).units > 30


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_metadata_of_levels_are_repaired_by_resume(copy: Path, image: Path, damage: Any) -> None:
    version = "0.5" if (copy / "zarr.json").exists() else "0.4"
    damaged = [path for path in documents(copy) if path.parent != copy]
    for path in damaged:
        damage(path)
    convert(copy, source=placed_source(), version=version, resume=True)
    for path in damaged:
        assert path.read_bytes() == (image / path.relative_to(copy)).read_bytes()
    verify_image(copy, a_source())
    assert not (copy / ".ilz").exists()


def test_names_that_were_edited_stay_when_there_is_nothing_to_resume(copy: Path) -> None:
    path = copy / ("zarr.json" if (copy / "zarr.json").exists() else ".zattrs")
    path.write_text(edited := path.read_text().replace('"name": "a"', '"name": "mine"'))
    assert "mine" in edited
    version = "0.5" if path.name == "zarr.json" else "0.4"
    assert convert(copy, source=placed_source(), version=version, resume=True, verify=True).resumed > 30
    assert path.read_text() == edited
    with pytest.raises(VerificationError, match="all shards are sound"):
        verify_image(copy)


def test_a_manifest_without_units_is_none_of_an_image_that_is_done(copy: Path) -> None:
    path = copy / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"units": dict.fromkeys(manifest["units"], 5)}))
    version = "0.5" if (copy / "zarr.json").exists() else "0.4"
    with pytest.raises(ResumeMismatchError):
        convert(copy, source=placed_source(), version=version, resume=True)


@pytest.mark.parametrize("key", ["../outside", "scale0/../../outside", "/outside", ""])
def test_a_manifest_never_leads_out_of_the_image(copy: Path, key: str) -> None:
    (copy.parent / "outside").write_bytes(b"secret")
    path = copy / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"documents": {key: checksum([b"secret"])}}))
    with pytest.raises(VerificationError, match=r"manifest\.json is damaged"):
        verify_image(copy)


@pytest.mark.parametrize(("stored", "named"), [("int64", "float64"), ("float64", "uint64"), ("int64", "float32")])
def test_integers_are_not_equal_to_floats_that_they_are_rounded_to(tmp_path: Path, stored: str, named: str) -> None:
    value = {"int64": 2**53 + 1, "float64": 2.0**53, "uint64": 2**53 + 1, "float32": 2.0**53}
    to_ome_zarr(ArrayBackedSource(np.array([[5, value[stored]]], stored), "yx"), tmp_path / "a.zarr")
    with pytest.raises(VerificationError, match="y=0, x=1"):
        verify_image(tmp_path / "a.zarr", ArrayBackedSource(np.array([[5, value[named]]], named), "yx"))
    assert verify_image(tmp_path / "a.zarr", ArrayBackedSource(np.array([[5, value[stored]]], stored), "yx")).voxels


def test_progress_counts_shards_and_voxels_together(image: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = verify_image(image, placed_source(), progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {found.nbytes + a_source().data.nbytes}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def with_labels(target: Path) -> None:
    labels = {name: ArrayBackedSource((a_source(seed).data > 9).astype("u1"), "yx") for seed, name in enumerate("ab")}
    to_ome_zarr(a_source(), target, labels=labels)


@pytest.mark.parametrize("name", ["a.zarr", "a.ozx"])
def test_label_images_are_verified_with_their_image(tmp_path: Path, name: str) -> None:
    with_labels(tmp_path / name)
    found = verify_image(tmp_path / name, a_source())
    assert list(found.labels) == ["a", "b"]
    assert all(found.labels.values())
    assert "label images a, b are as they were written" in str(found)
    assert "label images a, b" in found._repr_html_()


def test_damage_to_a_label_image_is_found(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    with_labels(target)
    flip(shards(target / "labels" / "b")[0])
    with pytest.raises(VerificationError, match=r"a.zarr/labels/b: .*scale"):
        verify_image(target)
    shutil.rmtree(target / "labels" / "b")
    zarr.create_array(target / "labels" / "b", data=np.ones((2, 2), "u1"))
    assert "not checked, since another program wrote it: b" in str(verify_image(target))


def test_an_unfinished_label_image_is_not_sound(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    with_labels(target)
    manifest = json.loads((target / "labels" / "b" / MANIFEST).read_text())
    (target / "labels" / "b" / MANIFEST).unlink()
    (target / "labels" / "b" / ".ilz").mkdir()
    (target / "labels" / "b" / ".ilz" / "plan.json").write_text(json.dumps(manifest["plan"]))
    with pytest.raises(VerificationError, match="labels/b is an unfinished conversion"):
        verify_image(target)
