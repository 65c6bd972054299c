"""Files of MATLAB 7.3, which are HDF5."""

import h5py
import numpy as np
import pytest

import ilastik_lazy as il


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
