"""Files from strangers: the HDF5 library sees them in another process, and the values are the same."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import (
    ArgumentError,
    AxesError,
    CorruptFileError,
    DatasetNotFoundError,
    IncompleteSourceWarning,
    MetadataWarning,
    MissingSourceWarning,
    SourceChangedError,
)
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.contiguous import ContiguousSource
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.hdf5.sources import IsolatedSource
from ilastik_lazy.formats.location import Location
from tests.support.contract import CHANGES, SourceContract, Stored
from tests.support.makers import DIRECT_LAYOUTS, H5PY_LAYOUTS, axistags, some_data, write_hdf5_export, write_layout
from tests.support.table_makers import write_table, written

pytestmark = pytest.mark.posix
UNTRUSTED = OpenOptions(trust="untrusted")
KINDS = {
    "gzip": ({"chunks": (3, 4, 5, 1), "filters": "shuffle+gzip+fletcher32"}, DirectHdf5Source),
    "user block": ({"chunks": (3, 4, 5, 1), "filters": "gzip", "userblock": 1024}, DirectHdf5Source),
    "no chunks": ({}, ContiguousSource),
}
SHAPE = (7, 9, 11, 2)
LAYOUTS = DIRECT_LAYOUTS | H5PY_LAYOUTS


@pytest.fixture(autouse=True)
def no_hdf5_library(request, monkeypatch):
    """Files can be written in this process, and not be opened to read."""
    real = h5py.File

    def only_written(path, mode="r", **options):
        assert mode != "r", f"the HDF5 library opened {path} in this process"
        return real(path, mode, **options)

    monkeypatch.setattr(h5py, "File", only_written)


def stored_as(name, folder):
    options, kind = KINDS[name]
    path = folder / "export.h5"
    data = write_hdf5_export(path, some_data(SHAPE), **options)
    source = open_source(Location.parse(path), UNTRUSTED)
    assert type(source) is kind
    return Stored(path, source, data)


class TestUntrustedSource(SourceContract):
    @pytest.fixture
    def stored(self, tmp_path):
        return stored_as("gzip", tmp_path)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "gzip"])
def test_other_sources_know_what_they_need_too(tmp_path, name):
    contract, stored = SourceContract(), stored_as(name, tmp_path)
    contract.test_reads_what_was_written_and_gives_it_away(stored)
    contract.test_notices_a_changed_file(stored, CHANGES[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_reads_as_it_was_written(tmp_path, layout):
    path = tmp_path / "export.h5"
    data = write_layout(path, LAYOUTS[layout])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteSourceWarning)
        source = open_source(Location.parse(path), UNTRUSTED)
    region = tuple(slice(n // 3, n) for n in data.shape)
    found = source.read(region)
    np.testing.assert_array_equal(found, data[region], strict=True)
    assert found.flags.writeable
    assert isinstance(hash(source), int)


def test_what_only_the_library_can_read_is_read_by_a_child_and_notices_a_change(tmp_path):
    path = tmp_path / "export.h5"
    write_hdf5_export(path, some_data(SHAPE), chunks=(3, 4, 5, 1), filters="lzf")
    source = open_source(Location.parse(path), UNTRUSTED)
    assert isinstance(source, IsolatedSource)
    write_hdf5_export(path, some_data(SHAPE, seed=1), chunks=(3, 4, 5, 1), filters="lzf")
    with pytest.raises(SourceChangedError):
        source.read(tuple(slice(0, n) for n in SHAPE))


def test_a_million_chunks_come_over(tmp_path):
    path = tmp_path / "many.h5"
    data = np.arange(1_000_000, dtype="u4").reshape(1000, 1000)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("exported_data", (1000, 1000), "u4", chunks=(1, 1))
        dataset.attrs["axistags"] = axistags("yx")
        for row in range(0, 1000, 200):
            dataset[row] = data[row]
    array = il.open_dataarray(path, trust="untrusted", chunks=None)
    with pytest.warns(IncompleteSourceWarning, match=r"995000 of 1000000"):
        found = array[200].values
    np.testing.assert_array_equal(found, data[200])


def test_messages_and_warnings_come_over(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"] = np.zeros((4, 5, 6))
        file["two"] = np.zeros((4, 5, 6))
    with pytest.raises(DatasetNotFoundError, match=r"holds 2 images: one \(4, 5, 6\)"):
        il.open_dataarray(tmp_path / "a.h5", trust="untrusted")
    with pytest.warns(MetadataWarning, match="zyx is guessed"):
        assert il.open_dataarray(tmp_path / "a.h5/one", trust="untrusted").dims == ("z", "y", "x")


def test_all_images_of_a_file_open(tmp_path):
    extra = {"raw": some_data((3, 4, 5), "u1"), "mask": some_data((3, 4, 5), "u1", seed=1)}
    write_hdf5_export(tmp_path / "a.h5", some_data((3, 4, 5, 2)), chunks=(2, 2, 2, 1), extra=extra)
    with pytest.warns(MetadataWarning, match="names no axes"):
        found = il.open_dataset(tmp_path / "a.h5", trust="untrusted")
    assert set(found) == {"exported_data", "raw", "mask"}
    np.testing.assert_array_equal(found["mask"].values, extra["mask"])
    with pytest.warns(MetadataWarning, match="names no axes"):
        tree = il.open_datatree(tmp_path / "a.h5", trust="untrusted")
    np.testing.assert_array_equal(tree["raw/image"].values, extra["raw"])


def test_a_project_opens_and_names_its_classes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingSourceWarning)
        tree = il.open_datatree(sample("project"), trust="untrusted")
    assert tree.attrs["label_names"] == ["nucleus", "background"]
    labels = tree["lane0000/labels/labels"].values
    assert sorted(np.unique(labels).tolist()) == [0, 1, 2]
    probabilities = il.open_dataarray(sample("probabilities"), project=sample("project"), trust="untrusted")
    assert probabilities.coords["c"].values.tolist() == ["nucleus", "background"]


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (2,), "compression": "gzip"}, {"chunks": (2,), "compression": "lzf"}]
)
def test_a_table_opens(tmp_path, options):
    table = il.open_table(write_table(tmp_path / "t.h5", written(), **options), trust="untrusted")
    assert table["Predicted Class"].tolist() == ["große Zelle", "Kern", "Kern"]
    np.testing.assert_array_equal(table["Size"], [7, 3, np.nan])


def test_cut_outs_of_an_untrusted_table_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="needs trust='local'"):
        il.open_table(write_table(tmp_path / "t.h5", written()), images=True, trust="untrusted")


def test_trust_is_one_of_two_words(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((3, 4, 5, 2)))
    with pytest.raises(ArgumentError, match="'local' or 'untrusted'"):
        il.open_dataarray(tmp_path / "a.h5", trust="yes")


def test_a_file_that_is_none_is_an_error(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"nothing")
    with pytest.raises(CorruptFileError, match="not an HDF5 file"):
        il.open_dataarray(tmp_path / "a.h5", trust="untrusted")


@pytest.mark.parametrize("axes", [["z", "y", "x"], ("z", "Y", "x")])
def test_names_of_axes_may_be_a_list(tmp_path, axes):
    write_hdf5_export(tmp_path / "a.h5", some_data((2, 3, 4)), axes="zyx", chunks=(1, 3, 2), filters="gzip")
    assert il.open_dataarray(tmp_path / "a.h5", axes=axes, trust="untrusted").dims == ("z", "y", "x")
    with pytest.raises(AxesError, match="unknown axis"):
        il.open_dataarray(tmp_path / "a.h5", axes=["q", "y", "x"], trust="untrusted")
