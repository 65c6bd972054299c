"""Errors and warnings are one printable line, whatever names a file holds."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy import errors
from ilastik_lazy.errors import DatasetNotFoundError, IlastikLazyError, IlastikLazyWarning, MetadataError
from ilastik_lazy.project.classes import class_sets
from tests.support.makers import write_ilp

KINDS = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, IlastikLazyError | IlastikLazyWarning)
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_short_and_printable(kind):
    text = str(kind("a\x1b[2Jb\nc\u202ed" + "x" * 10_000 + ": do this"))
    assert text.startswith("a\\x1b[2Jb\\nc\\u202ed")
    assert text.endswith(": do this")
    assert len(text) == 500


def test_names_of_datasets_cannot_steer_the_terminal(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(9):
            file[f"\x1b[31m{number}" + "y" * 300] = np.zeros((3, 4))
    with pytest.raises(DatasetNotFoundError) as caught:
        il.open_dataarray(tmp_path / "a.h5")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 500


def test_names_that_are_not_utf8_are_no_trouble_in_a_project(tmp_path):
    path = write_ilp(tmp_path / "p.ilp")
    with h5py.File(path, "r+") as file:
        file.create_group("Input Data/infos/lane0000/Raw Data")["filePath"] = b"a.h5"
        file["Input Data/Role Names"] = np.array([b"Raw Data"])
        for place in ("Input Data/infos/lane0000", "Input Data/infos", "Input Data", "/", "PixelClassification"):
            file[place].create_group(b"caf\xe9")["Export"] = 1
    assert class_sets(path)[0].names == ("nucleus", "background")
    with pytest.warns(errors.MissingSourceWarning, match="a.h5"):
        tree = il.open_datatree(path)
    assert list(tree.children) == ["caf\N{REPLACEMENT CHARACTER}", "lane0000"] or "lane0000" in tree.children


def test_a_table_beside_a_name_that_is_not_utf8_opens(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file[b"caf\xe9"] = np.zeros(3, [("object_id", "i4"), ("timestep", "i4"), ("labelimage_oid", "i4")])
    assert len(il.open_table(tmp_path / "t.h5")) == 3
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        file["other"] = np.zeros(3, [("a", "i4")])
    with pytest.raises((DatasetNotFoundError, MetadataError), match="holds 2 tables"):
        il.open_table(tmp_path / "t.h5")
