"""`open_dataset` of a pattern: several files are stacks of their images, a pattern inside files chooses images."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, DatasetNotFoundError, MetadataWarning, SourceNotFoundError
from tests.support.makers import some_data, write_hdf5_export

IMAGES = {"raw": "cyx", "volume/label": "yx"}


@pytest.fixture
def frames(tmp_path):
    """Three files with two images each."""
    made = {name: some_data((3, *(2, 4, 5)[-len(axes) :]), "u1") for name, axes in IMAGES.items()}
    for number, frame in enumerate((1, 2, 10)):
        for name, axes in IMAGES.items():
            with h5py.File(tmp_path / f"t{frame}.h5", "a") as file:
                write_hdf5_export(tmp_path / "one.h5", made[name][number], axes=axes, internal_path=name)
                with h5py.File(tmp_path / "one.h5") as one:
                    one.copy(name, file.require_group(name.rpartition("/")[0] or "/"), name.rpartition("/")[2])
            (tmp_path / "one.h5").unlink()
    return tmp_path, made


@pytest.mark.filterwarnings("ignore:.*in the order of the numbers")
@pytest.mark.parametrize("form", ["pattern", "list", "engine"])
def test_several_files_are_a_stack_for_each_image(frames, form):
    folder, made = frames
    files = [folder / f"t{frame}.h5" for frame in (1, 2, 10)]
    if form == "engine":
        dataset = xr.open_dataset(f"{folder}/t*.h5", engine="ilastik", stack_along="t")
    else:
        dataset = il.open_dataset(f"{folder}/t*.h5" if form == "pattern" else files)
    assert set(dataset.data_vars) == {"raw", "label"}
    assert (dataset["raw"].dims, dataset["label"].dims) == (("t", "c", "y", "x"), ("t", "y", "x"))
    np.testing.assert_array_equal(dataset["raw"], made["raw"])
    np.testing.assert_array_equal(dataset["label"], made["volume/label"])


def test_the_order_of_files_is_that_of_their_numbers_or_as_text(frames):
    folder, made = frames
    with pytest.warns(MetadataWarning, match=r"t2\.h5 comes before t10\.h5"):
        il.open_dataset(f"{folder}/t*.h5")
    as_text = il.open_dataset(f"{folder}/t*.h5", stack_order="text", stack_along="z", drop_variables="raw")
    assert as_text["label"].dims == ("z", "y", "x")
    np.testing.assert_array_equal(as_text["label"], made["volume/label"][[0, 2, 1]])
    with pytest.raises(ArgumentError, match="stack_order='up'"):
        il.open_dataset(f"{folder}/t*.h5", stack_order="up")


@pytest.mark.filterwarnings("ignore:.*in the order of the numbers")
def test_one_image_of_each_file_may_be_named(frames):
    folder, made = frames
    for dataset in (
        il.open_dataset(f"{folder}/t*.h5/volume/label"),
        il.open_dataset(f"{folder}/t*.h5/*/l*"),
        il.open_dataset(f"{folder}/t*.h5", internal_path="volume/label"),
        il.open_dataset([f"{folder}/t{frame}.h5/volume/label" for frame in (1, 2, 10)]),
    ):
        assert list(dataset.data_vars) == ["label"]
        np.testing.assert_array_equal(dataset["label"], made["volume/label"])


def test_a_pattern_inside_one_file_chooses_its_images(tmp_path):
    with h5py.File(tmp_path / "[2024].h5", "w") as file:
        for number in (1, 2, 10):
            write = file.create_dataset(f"t{number}/channel0", data=np.full((4, 5), number, "u1"))
            write.attrs["axes"] = "yx"
        file["other"] = np.zeros((4, 5), "u1")
    dataset = il.open_dataset(f"{tmp_path}/[2024].h5/t*/channel0")
    assert list(dataset.data_vars) == ["t1_channel0", "t2_channel0", "t10_channel0"]
    assert [int(image[0, 0]) for image in dataset.values()] == [1, 2, 10]
    with pytest.raises(DatasetNotFoundError, match=r"no image that fits 's\*'.*it holds 'other', 't1/channel0'"):
        il.open_dataset(f"{tmp_path}/[2024].h5/s*")
    for listed in (il.open_dataset, il.info):  # as for the fields of a plate, and the labels of an image
        with pytest.raises(DatasetNotFoundError, match=r"'t2/channel0'; did you mean 't\*/channel0'\?"):
            listed(f"{tmp_path}/[2024].h5/t*")


def test_files_with_one_image_each_are_a_stack_whatever_it_is_called(tmp_path):
    for number in range(2):
        np.save(tmp_path / f"slice{number}.npy", np.full((4, 5), number, "u1"))
    dataset = il.open_dataset(f"{tmp_path}/slice*.npy", axes="yx", stack_along="z")
    assert list(dataset.data_vars) == ["slice0"]
    assert dataset["slice0"][:, 0, 0].values.tolist() == [0, 1]


def test_files_that_hold_other_images_are_named(frames):
    folder, _ = frames
    with h5py.File(folder / "t2.h5", "r+") as file:
        file.move("raw", "raw2")
    for files, without, lacks, other in (([1, 2], 2, "raw", 1), ([2, 1], 1, "raw2", 2)):
        with pytest.raises(
            DatasetNotFoundError,
            match=rf"t{without}\.h5 has no image '{lacks}', which .*t{other}\.h5 has: .*internal_path",
        ):
            il.open_dataset([folder / f"t{number}.h5" for number in files])
    assert set(il.open_dataset(f"{folder}/t[12].h5/volume/*").data_vars) == {"label"}
    with pytest.raises(DatasetNotFoundError, match=r"no image that fits 'raw\?' in .*t1\.h5"):
        il.open_dataset(f"{folder}/t[12].h5/raw?")


def test_what_is_no_stack_says_so(tmp_path):
    with pytest.raises(ArgumentError, match="stack_along='t' is for several files"):
        il.open_dataset(sample("probabilities"), stack_along="t")
    with pytest.raises(SourceNotFoundError, match="no file matches"):
        il.open_dataset(f"{tmp_path}/s*.h5")
    with pytest.raises(ArgumentError, match="at least one file"):
        il.open_dataset([])
    with pytest.raises(ArgumentError, match="not int"):
        il.open_dataset(3)
    with pytest.raises(ArgumentError, match="name different images"):
        il.open_dataset([sample("probabilities"), f"{sample('segmentation')}/exported_data"])


def test_an_image_that_is_dropped_may_be_lacking_in_some_files(tmp_path):
    for number, names in enumerate([("raw", "mask"), ("raw",), ("raw", "notes")]):
        with h5py.File(tmp_path / f"s{number}.h5", "w") as file:
            for name in names:
                file[name] = np.full((3, 4), number, "u1")
    opened = il.open_dataset(f"{tmp_path}/s*.h5", drop_variables=["mask", "notes"], axes="yx", stack_along="t")
    assert {name: image.values[:, 0, 0].tolist() for name, image in opened.items()} == {"raw": [0, 1, 2]}
