"""Attributes of HDF5 datasets as other programs write them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ilastik_lazy.errors import MetadataWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from tests.support.children import run_forked

_DIMS = """
import sys, warnings
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats import open_source
warnings.simplefilter("ignore")
spec = open_source(Location.parse(sys.argv[1])).spec
print("".join(spec.dims), spec.axes_guessed)
"""


def _with_labels(tmp_path, labels):
    path = tmp_path / "labelled.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.zeros((4, 5, 6), "u1")).attrs["DIMENSION_LABELS"] = labels
    return path


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array([b"t", b"y", b"x"]), "tyx False"),
        (np.array([b"T", b"Y", b"X"], dtype="S8"), "tyx False"),
        (np.array(["t", "y", "x"], dtype=object), "tyx False"),
        (np.array([b"", b"", b""], dtype="S4"), "zyx True"),
        (np.array([b"depth", b"height", b"width"]), "zyx True"),
        (np.arange(3), "zyx True"),
        (b"tyx", "zyx True"),
        (h5py.Empty("S1"), "zyx True"),
    ],
)
def test_dimension_labels_of_any_type_are_read_and_crash_nothing(tmp_path, labels, found):
    # libhdf5's own function for them takes texts of fixed length for addresses: hence a process of its own.
    result = run_forked(_DIMS, _with_labels(tmp_path, labels))
    assert (result.returncode, result.stdout.strip()) == (0, found), result.stderr


def test_labels_that_are_no_text_are_ignored_with_a_warning(tmp_path):
    path = _with_labels(tmp_path, np.arange(3))
    with pytest.warns(MetadataWarning) as warned:
        open_source(Location.parse(path))
    assert any("DIMENSION_LABELS" in str(one.message) for one in warned)


def test_labels_of_the_dimension_api_may_be_missing_for_some(tmp_path):
    path = tmp_path / "labelled.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.zeros((4, 5, 6), "u1")).dims[1].label = "y"
    with pytest.warns(MetadataWarning, match="guessed"):
        assert open_source(Location.parse(path)).spec.dims == ("z", "y", "x")
