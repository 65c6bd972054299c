"""The demo does the main job, and says so."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from ilastik_lazy.demo import run_demo, sample


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    said = []
    for _ in range(2):  # it may run twice
        said.clear()
        run_demo(str(folder / "out"), said.append)
    return folder / "out", "\n".join(said)


def test_demo_names_what_it_found(told):
    _, text = told
    assert "nucleus" in text
    assert "(z: 40, y: 128, x: 160, c: 2)" in text
    assert f"{40 * 128 * 160 * 2:,} voxels are equal" in text


def test_demo_writes_an_image_and_a_picture(told):
    folder, text = told
    assert zarr.open_group(folder / "nuclei.zarr", mode="r")["scale0/image"].shape == (2, 40, 128, 160)
    from matplotlib.image import imread

    picture = imread(folder / "nuclei.png")
    assert picture.shape[0] > 300
    assert np.ptp(picture) == 1
    assert str(folder / "nuclei.zarr") in text


@pytest.mark.parametrize("name", ["raw", "project", "probabilities", "segmentation"])
def test_sample_files_are_hdf5(name):
    with open(sample(name), "rb") as file:
        assert file.read(8) == b"\x89HDF\r\n\x1a\n"


def test_demo_leaves_the_files_that_its_last_command_names(told):
    folder, text = told
    for name in ("raw", "project", "probabilities", "segmentation"):
        copy = folder / Path(sample(name)).name
        assert copy.read_bytes() == Path(sample(name)).read_bytes()
        assert str(copy) in text
