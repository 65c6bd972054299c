"""BigDataViewer's HDF5: setups and levels over time, where their voxels lie, and what the XML may not do."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import DatasetNotFoundError, ExternalReferenceError, MetadataError, MetadataWarning
from ilastik_lazy.formats import hdf5
from ilastik_lazy.formats.hdf5 import file as hdf5_file
from ilastik_lazy.formats.location import Location
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.shared_files import shared_path

XML = """<?xml version="1.0" encoding="UTF-8"?>
<SpimData version="0.2"><SequenceDescription>
<ImageLoader format="bdv.hdf5"><hdf5 type="relative">a.h5</hdf5></ImageLoader>
<ViewSetups><ViewSetup><id>0</id><voxelSize><unit>um</unit><size>0.25 0.5 2.0</size></voxelSize></ViewSetup>
</ViewSetups></SequenceDescription></SpimData>"""
FACTORS = [(1, 1, 1), (2, 4, 1)]  # x y z


def write(path, *, setups=1, times=(0, 1, 2), dtype="<i2"):
    """A small file as BigDataViewer writes it, and the values of its finest level as unsigned numbers."""
    data = np.stack([some_data((5, 16, 12), "u2", seed=time) for time in times])
    with h5py.File(path, "w") as file:
        for setup in range(setups):
            file[f"s{setup:02}/resolutions"] = np.array(FACTORS, float)
            file[f"s{setup:02}/subdivisions"] = np.full((2, 3), 4, "i4")
            for time, values in zip(times, data, strict=True):
                for level, part in enumerate((values, values[:, ::4, ::2])):
                    file.create_dataset(
                        f"t{time:05}/s{setup:02}/{level}/cells", data=part.view(dtype), chunks=(4, 4, 4), compression=6
                    )
    return data


def opened(path, inside=None, axes=None):
    return hdf5.open_image(Location.parse(path, inside), OpenOptions(axes))


class TestBigDataViewer(SourceContract):
    @pytest.fixture(params=["<i2", "<u2"])
    def stored(self, request, tmp_path):
        data = write(tmp_path / "a.h5", dtype=request.param)
        return Stored(tmp_path / "a.h5", opened(tmp_path / "a.h5"), data)


def test_a_tree_has_setups_and_levels_with_their_positions(tmp_path):
    data = write(tmp_path / "a.h5", setups=2)
    (tmp_path / "a.xml").write_text(XML)
    tree = il.open_datatree(tmp_path / "a.h5")
    assert set(tree.groups) == {"/", "/s00", "/s00/scale0", "/s00/scale1", "/s01", "/s01/scale0", "/s01/scale1"}
    fine, coarse = tree["s00/scale0/image"], tree["s00/scale1/image"]
    assert fine.dims == ("t", "z", "y", "x")
    assert fine.dtype == np.uint16
    np.testing.assert_array_equal(fine.values, data)
    np.testing.assert_array_equal(coarse.values, data[:, :, ::4, ::2])
    assert fine.coords["x"].attrs["units"] == "micrometer"
    np.testing.assert_allclose(fine.coords["z"], np.arange(5) * 2.0)
    np.testing.assert_allclose(fine.coords["x"], np.arange(12) * 0.25)
    # By hand: a coarse voxel covers two fine ones along x, four along y; its centre is the mean of theirs.
    np.testing.assert_allclose(coarse.coords["x"], fine.coords["x"].values.reshape(-1, 2).mean(1))
    np.testing.assert_allclose(coarse.coords["y"], fine.coords["y"].values.reshape(-1, 4).mean(1))
    assert not set("zyx") & set(tree["s01/scale0"].coords)  # the XML does not speak of it


def test_one_setup_is_the_image_and_several_are_named(tmp_path):
    data = write(tmp_path / "a.h5")
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.h5").values, data)
    np.testing.assert_array_equal(il.open_dataarray(tmp_path / "a.h5", "s00/scale1").values, data[:, :, ::4, ::2])
    write(tmp_path / "b.h5", setups=2)
    with pytest.raises(DatasetNotFoundError, match="2 setups of BigDataViewer: s00/scale0, s00/scale1, s01"):
        il.open_dataarray(tmp_path / "b.h5")
    for inside in ("s00/scale2", "s07", "s00/scale99"):
        with pytest.raises(DatasetNotFoundError, match="it holds s00/scale0"):
            opened(tmp_path / "b.h5", inside)


def test_a_single_time_point_is_the_dataset_as_it_is_stored(tmp_path):
    data = write(tmp_path / "a.h5")
    stored = il.open_dataarray(tmp_path / "a.h5", "t00001/s00/0/cells", axes="zyx")
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(stored.values.view("u2"), data[1])


@pytest.mark.shared
def test_ilastiks_own_example():
    path = shared_path("ilastik-files", "history", "smallVideoBdv.h5")
    tree = il.open_datatree(path)
    fine, coarse = tree["s00/scale0/image"], tree["s00/scale1/image"]
    assert (fine.shape, coarse.shape) == ((7, 1, 408, 408), (7, 1, 204, 204))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(fine[3], file["t00003/s00/0/cells"][...].view("u2"))
    assert float(coarse.coords["x"][0]) == 0.5
    assert fine.coords["x"].attrs["units"] == "micrometer"


def test_missing_time_points_are_told(tmp_path):
    write(tmp_path / "a.h5", times=(0, 1, 4))
    with pytest.warns(MetadataWarning, match="lacks time points between t00000 and t00004"):
        assert il.open_dataarray(tmp_path / "a.h5").sizes["t"] == 3


def test_an_ordinary_file_is_none(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["s00"] = file["t00000"] = np.zeros((4, 5))
        h5py.h5g.create(file.id, b"caf\xe9")
    assert il.open_dataarray(tmp_path / "a.h5", "s00", axes="yx").shape == (4, 5)
    assert list(il.open_dataset(tmp_path / "a.h5", axes="yx")) == ["s00", "t00000"]


@pytest.mark.parametrize("is_bdv", [False, True])
def test_a_file_is_opened_once(tmp_path, monkeypatch, is_bdv):
    path = tmp_path / "a.h5"
    if is_bdv:
        write(path)
    opened, really = [], hdf5_file._open
    monkeypatch.setattr(hdf5_file, "_open", lambda *names, **options: opened.append(names) or really(*names, **options))
    il.open_dataarray(path if is_bdv else sample("raw"))
    assert len(opened) == 1


def test_links_to_groups_in_other_files_are_not_followed(tmp_path):
    write(tmp_path / "a.h5", times=(0, 1))
    write(tmp_path / "other.h5", times=(1,))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["t00001"]
        file["t00001"] = h5py.ExternalLink("other.h5", "t00001")
    assert opened(tmp_path / "a.h5").spec.shape[0] == 1


def test_data_in_other_files_are_not_followed(tmp_path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["t00001/s00/0/cells"]
        file["t00001/s00/0/cells"] = h5py.ExternalLink("other.h5", "cells")
    with pytest.raises(ExternalReferenceError):
        opened(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("<Spim", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Spim'), "entities"),
        (lambda text: text[:-20], "parsed"),
        (lambda text: text.replace("0.25 0.5 2.0", "0.25 0.5"), "not three numbers"),
        (lambda text: text.replace("0.25", "-1"), "not three numbers"),
        (lambda text: text.replace("0.25", "nan"), "not three numbers"),
        (lambda text: text.replace("um", "\xff"), "UTF-8"),
        (lambda text: text.replace("a.h5", "other.h5"), None),
        (lambda text: text.replace("um", "pixel"), None),
    ],
)
def test_a_voxel_size_that_makes_no_sense_is_unknown(tmp_path, change, problem):
    write(tmp_path / "a.h5")
    (tmp_path / "a.xml").write_bytes(change(XML).encode("latin-1"))
    if problem is None:
        assert opened(tmp_path / "a.h5").spec.axes[-1].scale is None
        return
    with pytest.warns(MetadataWarning, match=problem):
        assert opened(tmp_path / "a.h5").spec.axes[-1].scale is None


@pytest.mark.parametrize("table", [np.zeros((2, 3)), np.ones((2, 2)), np.ones((40, 3)), np.full((1, 3), np.nan)])
def test_factors_that_are_none_are_an_error(tmp_path, table):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["s00/resolutions"]
        file["s00/resolutions"] = table
    with pytest.raises(MetadataError, match="s00/resolutions"):
        opened(tmp_path / "a.h5")


@pytest.mark.parametrize("trust", ["local", "untrusted"])
def test_is_the_same_from_a_stranger(tmp_path, trust):
    data = write(tmp_path / "a.h5")
    (tmp_path / "a.xml").write_text(XML)
    array = il.open_dataarray(tmp_path / "a.h5", trust=trust)
    np.testing.assert_array_equal(array.values, data, strict=True)
    assert float(array.coords["z"][1]) == 2.0
    assert sorted(node.path for node in il.open_datatree(tmp_path / "a.h5", trust=trust).leaves) == [
        "/s00/scale0", "/s00/scale1",
    ]  # fmt: skip
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["t00000"] = file["s00x"] = np.zeros((4, 5))
    assert il.open_dataset(tmp_path / "b.h5", axes="yx", trust=trust).sizes["x"] == 5
