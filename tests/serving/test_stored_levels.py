"""The levels of an OME-Zarr are served as they are stored; those that it lacks are made."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.formats.zarr import direct
from ilastik_lazy.serving import pyramid
from tests.support.makers import some_data
from tests.support.ome_zarr.fakes import small_plans

# Others halve by leaving out the odd last voxel, or go on by a factor of 4.
SHAPES = [(13, 90, 81), (13, 45, 40), (6, 11, 10)]
SCALES = [(2.0, 0.5, 0.5), (2.0, 1.0, 1.0), (4.0, 4.0, 4.0)]

# Entries cannot be removed from an archive.
in_folders = pytest.mark.parametrize("stored", ["0.4", "0.5"], indirect=True)


@pytest.fixture(autouse=True)
def pyramids():
    """Small images have several levels, too."""
    with small_plans(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "_COARSEST_PLANE", 8)
        yield


@pytest.fixture(params=["0.4", "0.5", "zip"])
def stored(request, tmp_path):
    """Write an image whose levels no program could have made from the finest one."""
    version = "0.4" if request.param == "0.4" else "0.5"
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2 if version == "0.4" else 3)
    levels = [some_data(shape, "u2") + 1 for shape in SHAPES]
    for number, data in enumerate(levels):
        group.create_array(f"s{number}", data=data, chunks=(5, 16, 16))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    datasets = [
        {"path": f"s{number}", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for number, scale in enumerate(SCALES)
    ]
    content = {"multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
    group.attrs.update(content if version == "0.4" else {"ome": content | {"version": version}})
    if request.param != "zip":
        return tmp_path / "a.zarr", levels
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "a.zarr")
    return (tmp_path / "a.zip").rename(tmp_path / "a.ozx"), levels


def multiscale_of(url):
    return zarr.open_group(url, mode="r").attrs["ome"]["multiscales"][0]


def arrays_of(url):
    group = zarr.open_group(url, mode="r")
    return [group[dataset["path"]][:] for dataset in multiscale_of(url)["datasets"]]


def test_all_levels_and_their_positions(stored):
    path, levels = stored
    with il.serve(path) as server:
        found = arrays_of(server.url)
        for ours, theirs in zip(found, levels, strict=False):
            np.testing.assert_array_equal(ours, theirs, strict=True)
        multiscale = multiscale_of(server.url)
        scales = [tuple(dataset["coordinateTransformations"][0]["scale"]) for dataset in multiscale["datasets"]]
        assert scales[:3] == SCALES
        # A last one, since the third is still larger than 8 voxels.
        assert (scales[3:], found[3].shape) == ([(8.0, 8.0, 8.0)], (3, 5, 5))
        mean = levels[2][:, :10].reshape(3, 2, 5, 2, 5, 2).mean((1, 3, 5))
        np.testing.assert_allclose(found[3], mean, atol=0.5)
        # How they were made is not known.
        assert not {"type", "metadata"} & multiscale.keys()


def chunks_of(folder):
    return [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith((".", "zarr"))]


@in_folders
def test_voxels_of_other_levels_are_not_read(tmp_path, stored):
    path, levels = stored
    with il.serve(il.open_dataarray(path)) as server:
        for number in (0, 1):
            for chunk in chunks_of(path / f"s{number}"):
                chunk.unlink()
        datasets = multiscale_of(server.url)["datasets"]
        np.testing.assert_array_equal(zarr.open_group(server.url, mode="r")[datasets[2]["path"]][:], levels[2])


@in_folders
@pytest.mark.parametrize("wrong", ["chunk", "array", "dtype"])
def test_levels_from_one_that_does_not_fit_on_are_made(tmp_path, stored, wrong):
    path, levels = stored
    if wrong == "chunk":
        chunks_of(path / "s2")[0].unlink()
    elif wrong == "array":
        shutil.rmtree(path / "s2")
    else:
        group = zarr.open_group(path)
        group.create_array("s2", data=levels[2].astype("u1"), chunks=(5, 16, 16), overwrite=True)
    with il.serve(path) as server:
        found = arrays_of(server.url)
        np.testing.assert_array_equal(found[1], levels[1], strict=True)
        assert [array.shape for array in found[2:]] == [(13, 22, 20), (6, 11, 10), (3, 5, 5)]


@pytest.mark.parametrize("how", ["part", "moved", "named anew"])
def test_a_part_has_levels_of_its_own_and_other_names_change_none(stored, how):
    path, levels = stored
    array = il.open_dataarray(path)
    if how == "part":
        array = array[:, :40]
    elif how == "moved":
        array = il.open_dataarray(path, voxel_size={"y": "3um"})
    else:
        array = array.rename("other")
    with il.serve(array) as server:
        second = arrays_of(server.url)[1]
        assert np.array_equal(second, levels[1]) == (how == "named anew")


def state(path, scales, unit):
    """State other voxel sizes in an image of version 0.5; none where `scales` is None."""
    group = zarr.open_group(path)
    ome = group.attrs["ome"]
    multiscale = ome["multiscales"][0]
    multiscale["axes"] = [{"name": name, "type": "space"} | unit for name in "zyx"]
    for number, dataset in enumerate(multiscale["datasets"]):
        dataset.pop("coordinateTransformations", None)
        if scales is not None:
            dataset["coordinateTransformations"] = [{"type": "scale", "scale": scales[number]}]
    group.attrs["ome"] = ome


@pytest.mark.parametrize("scales", [None, [(1, 1, 1), (1, 2, 2), (2, 8, 8)]], ids=["unstated", "factors"])
@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_levels_of_voxels_without_a_size_cover_the_same_space(stored, scales):
    path, levels = stored
    state(path, scales, {})
    with il.serve(path) as server:
        for ours, theirs in zip(arrays_of(server.url), levels, strict=False):
            np.testing.assert_array_equal(ours, theirs, strict=True)
        stated = [dataset["coordinateTransformations"] for dataset in multiscale_of(server.url)["datasets"]]
    assert [tuple(each[0]["scale"]) for each in stated[:3]] == [(1, 1, 1), (1, 2, 2), (2, 8, 8)]
    assert [each[1]["translation"] for each in stated[1:3]] == [[0, 0.5, 0.5], [0.5, 3.5, 3.5]]


@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_levels_that_cover_another_space_are_made(stored):
    path, levels = stored
    state(path, [(2, 2, 2)] * 3, {"unit": "micrometer"})
    with il.serve(path) as server:
        np.testing.assert_array_equal(arrays_of(server.url)[0], levels[0], strict=True)
        scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in multiscale_of(server.url)["datasets"]]
    assert scales[:3] == [[2, 2, 2], [4, 4, 4], [8, 8, 8]]


@pytest.mark.parametrize("wrong", ["empty", "link"])
@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_levels_that_are_empty_or_lie_elsewhere_are_made(tmp_path, stored, wrong, monkeypatch):
    path, levels = stored
    if wrong == "empty":
        zarr.open_group(path).create_array("s2", shape=(0, 11, 10), dtype="u2", overwrite=True)
    else:
        monkeypatch.setattr(direct, "COUNTED_AT_OPENING", 0)
        (path / "s2").rename(tmp_path / "s2")
        (path / "s2").symlink_to(tmp_path / "s2")
    with il.serve(path) as server:
        found = arrays_of(server.url)
        np.testing.assert_array_equal(found[1], levels[1], strict=True)
        assert [array.shape for array in found[2:]] == [(13, 22, 20), (6, 11, 10), (3, 5, 5)]
