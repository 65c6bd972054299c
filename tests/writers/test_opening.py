"""A path is written, exported and verified with the options of opening, as on the command line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample

NUMBERS = np.arange(4 * 5 * 6, dtype="u1").reshape(4, 5, 6)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = NUMBERS
        file["other"] = NUMBERS + 1
    return tmp_path / "a.h5"


def test_to_ome_zarr_opens_a_path_as_it_is_told(plain: Path) -> None:
    target = plain.with_suffix(".zarr")
    options = {"internal_path": "other", "axes": "xyt", "trust": "untrusted"}
    il.to_ome_zarr(plain, target, kind="segmentation", **options)
    group = zarr.open_group(target, mode="r")
    assert [axis["name"] for axis in group.attrs["ome"]["multiscales"][0]["axes"]] == ["t", "y", "x"]
    assert "image-label" in group.attrs["ome"]
    np.testing.assert_array_equal(group["scale0/image"], (NUMBERS + 1).T)
    assert il.verify(target, plain, **options).voxels == NUMBERS.size
    with pytest.raises(il.errors.VerificationError):
        il.verify(target, plain, **options | {"internal_path": "raw"})


def test_a_project_names_the_classes_of_a_path_and_of_an_array(tmp_path: Path) -> None:
    for number, source in enumerate([sample("probabilities"), il.open_dataarray(sample("probabilities"))]):
        il.to_ome_zarr(source, tmp_path / f"{number}.zarr", project=sample("project"))
        found = il.open_dataarray(tmp_path / f"{number}.zarr")
        assert found.coords["c"].values.tolist() == ["nucleus", "background"]


def test_to_ilastik_opens_a_path_as_it_is_told(plain: Path) -> None:
    report = il.to_ilastik(f"{plain}/raw", plain.parent / "b.h5", axes="xyz", trust="untrusted")
    assert report.dims == ("x", "y", "z")


def test_how_to_open_what_is_open_is_refused(plain: Path) -> None:
    image = il.open_dataarray(plain, "raw", axes="zyx")
    with pytest.raises(il.errors.ArgumentError, match="the image names its own axes"):
        il.to_ome_zarr(image, plain.with_suffix(".zarr"), axes="xyz")
    with pytest.raises(TypeError, match="unexpected keyword argument 'axis'"):
        il.to_ome_zarr(plain, plain.with_suffix(".zarr"), axis="xyz")  # type: ignore[call-arg]


def test_doctor_is_at_hand_in_python() -> None:
    assert il.doctor.examine(sample("raw")).exit_code == 0


def test_to_ilastik_states_the_kind_of_classes_from_an_argmax(tmp_path: Path) -> None:
    prob = il.open_dataarray(sample("probabilities"))
    classes = (prob.argmax("c") + 1).astype("u1")
    il.to_ilastik(classes, tmp_path / "classes.h5", kind="segmentation")
    il.to_ome_zarr(classes, tmp_path / "classes.zarr", kind="segmentation")
    assert "image-label" in zarr.open_group(tmp_path / "classes.zarr", mode="r").attrs["ome"]
    with h5py.File(tmp_path / "classes.h5") as file:
        (written,) = file.values()
        np.testing.assert_array_equal(np.squeeze(written), il.open_dataarray(sample("segmentation")).squeeze())


@pytest.mark.parametrize("name", ["to_ome_zarr", "to_tiff", "to_ilastik", "verify"])
def test_an_unknown_keyword_is_refused_by_the_function_that_was_called(name: str, plain: Path) -> None:
    function = getattr(il, name)
    with pytest.raises(TypeError, match=rf"^{name}\(\) .* argument 'voxelsize'. Did you mean 'voxel_size'\?$"):
        function(plain, plain.with_suffix(".zarr"), voxelsize=1)
    with pytest.raises(TypeError, match=rf"^{name}\(\) .* argument 'colour'$"):
        function(plain, plain.with_suffix(".zarr"), colour=1)
