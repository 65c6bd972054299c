"""Files of MATLAB 7.3, which are HDF5."""

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import MetadataWarning
from tests.support.children import run_command as run


@pytest.mark.filterwarnings("ignore:.*names no axes")
def test_texts_of_matlab_are_not_images(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        for name, kind, data in (
            ("img", "double", np.ones((7, 6, 5))),
            ("name", "char", np.zeros((7, 1), np.uint16)),
            ("ascii", "char", np.zeros((7, 1), np.uint8)),
        ):
            file.create_dataset(name, data=data).attrs["MATLAB_class"] = np.bytes_(kind)
    assert il.open_dataarray(tmp_path / "a.mat").shape == (7, 6, 5)
    assert list(il.open_dataset(tmp_path / "a.mat")) == ["img"]


# Shapes as MATLAB shows them, and what the dimensions mean there.
SHAPES = {
    "yx": (5, 6),
    "yxz": (5, 6, 7),
    "yxc": (5, 6, 3),
    "yxzc": (5, 6, 7, 2),
    "yxzct": (5, 6, 7, 2, 4),
}


def write_matlab(path, image):
    """Write as `save -v7.3` does: behind a block of 512 bytes for MATLAB's header, with the dimensions reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("img", data=image.T).attrs["MATLAB_class"] = np.bytes_("double")
    return path


@pytest.mark.parametrize("meant", SHAPES)
def test_the_warning_of_guessed_axes_names_the_order_of_matlab(tmp_path, meant):
    image = np.random.default_rng(0).random(SHAPES[meant])
    path, order = write_matlab(tmp_path / "a.mat", image), meant[::-1]
    with pytest.warns(MetadataWarning, match=rf"MATLAB stores .* reverse order: pass axes='{order}' if .*there"):
        il.open_dataarray(path)
    np.testing.assert_array_equal(il.open_dataarray(f"{path}/img", axes=order, order=meant), image)


def test_the_command_names_the_order_of_matlab_too(tmp_path):
    path = write_matlab(tmp_path / "a.mat", np.zeros((5, 6, 7)))
    found = run("info", path)
    assert "guessed from the shape: MATLAB stores dimensions in reverse order: pass --axes zxy" in found.stdout
    assert "pass --axes zxy if the image is (y, x, z) there" in run("doctor", path).stdout
    assert "MATLAB" not in run("info", path, "--axes", "zxy").stdout


@pytest.mark.filterwarnings("ignore:.*names no axes")
def test_axes_of_other_programs_are_guessed_without_matlab(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["img"] = np.zeros((5, 6, 7))
    assert "MATLAB" not in str(il.info(tmp_path / "a.h5"))
    assert il.info(tmp_path / "a.h5").images[0].likelier_axes == ""
