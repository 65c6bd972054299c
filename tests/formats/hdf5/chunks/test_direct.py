"""Chunked HDF5 data, read past h5py."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from ilastik_lazy.errors import CorruptChunkError, IncompleteSourceWarning, IntegrityWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks import index as hdf5_index
from ilastik_lazy.formats.hdf5.chunks.direct import DirectHdf5Source
from ilastik_lazy.formats.location import Location
from tests.support.contract import SourceContract, Stored, regions_of
from tests.support.makers import CHUNKS, DIRECT_LAYOUTS, SHAPE, some_data, write_hdf5_export, write_layout


class TestDirectHdf5Source(SourceContract):
    @pytest.fixture(params=DIRECT_LAYOUTS)
    def stored(self, request, tmp_path):
        path = tmp_path / "export.h5"
        data = write_layout(path, DIRECT_LAYOUTS[request.param])
        return Stored(path, open_source(Location.parse(path)), data)

    def test_reads_past_h5py(self, stored):
        assert isinstance(stored.source, DirectHdf5Source)
        assert stored.source.spec.storage.access == "direct"

    def test_chunks_are_those_of_h5py(self, stored):
        with h5py.File(stored.path) as file:
            assert stored.source.spec.chunks == file["exported_data"].chunks


@pytest.mark.parametrize(("dtype", "fill"), [("<f4", np.nan), ("<f4", -1.5), (">i2", 300), ("|u1", 255), ("<f8", None)])
@pytest.mark.parametrize("filters", ["gzip", "none"])
def test_missing_chunks_read_as_the_fill_value_with_a_warning(tmp_path, dtype, fill, filters):
    path = tmp_path / "stopped.h5"
    missing = [(0, 0, 0, 0), (3, 4, 4, 1), (6, 8, 8, 0)]
    data = write_hdf5_export(path, some_data(SHAPE, dtype), chunks=CHUNKS, filters=filters, fill=fill, missing=missing)
    with pytest.warns(IncompleteSourceWarning, match=r"3 of 54 chunks"):
        source = open_source(Location.parse(path))
    for region in regions_of(SHAPE, CHUNKS).values():
        np.testing.assert_array_equal(source.read(region), data[region], strict=True)


def test_warns_of_missing_chunks_once(tmp_path):
    whole = tuple(slice(0, n) for n in SHAPE)
    write_hdf5_export(tmp_path / "stopped.h5", some_data(SHAPE), chunks=CHUNKS, missing=[(0, 0, 0, 0)])
    with pytest.warns(IncompleteSourceWarning):
        source = open_source(Location.parse(tmp_path / "stopped.h5"))
    # Warnings are errors, so a second one would fail here.
    source.read(whole)
    pickle.loads(pickle.dumps(source)).read(whole)


def test_an_axis_of_length_zero_reads_as_an_empty_array(tmp_path):
    path = tmp_path / "empty.h5"
    write_hdf5_export(path, some_data((0, 9, 10, 2)), chunks=CHUNKS, resizable=True, filters="gzip")
    found = open_source(Location.parse(path)).read((slice(0, 0), slice(0, 9), slice(0, 10), slice(0, 2)))
    assert found.shape == (0, 9, 10, 2)
    assert found.dtype == np.float32


def test_chunks_larger_than_the_shape_are_read(tmp_path):
    path = tmp_path / "shrunk.h5"
    write_hdf5_export(path, some_data(SHAPE), chunks=(7, 9, 10, 2), resizable=True, filters="shuffle+gzip")
    with h5py.File(path, "r+") as file:
        file["exported_data"].resize((5, 3, 2, 1))
    found = open_source(Location.parse(path)).read(tuple(slice(0, n) for n in (5, 3, 2, 1)))
    np.testing.assert_array_equal(found, some_data(SHAPE)[:5, :3, :2, :1], strict=True)


def test_chunks_that_a_smaller_shape_left_behind_are_not_asked_for(tmp_path):
    path = tmp_path / "shrunk.h5"
    write_hdf5_export(path, some_data((9, 9)), axes="yx", chunks=(3, 3), resizable=True, libver="latest")
    with h5py.File(path, "r+", libver="latest") as file:
        file["exported_data"].resize((4, 2))
    found = open_source(Location.parse(path)).read((slice(0, 4), slice(0, 2)))
    np.testing.assert_array_equal(found, some_data((9, 9))[:4, :2], strict=True)


def test_a_chunk_without_its_checksum_is_read_with_a_warning(tmp_path):
    path = tmp_path / "export.h5"
    data = write_hdf5_export(path, some_data((6, 4)), axes="yx", chunks=(3, 4), filters="fletcher32")
    with h5py.File(path, "r+") as file:
        file["exported_data"].id.write_direct_chunk((0, 0), data[:3].tobytes(), filter_mask=1)
    with pytest.warns(IntegrityWarning):
        found = open_source(Location.parse(path)).read((slice(0, 6), slice(0, 4)))
    np.testing.assert_array_equal(found, data, strict=True)


@pytest.mark.parametrize("size", [1, 47, 49])
def test_an_unfiltered_chunk_of_another_size_is_an_error(tmp_path, size):
    path = tmp_path / "export.h5"
    write_hdf5_export(path, some_data((6, 4)), axes="yx", chunks=(3, 4), filters="gzip")
    with h5py.File(path, "r+") as file:
        file["exported_data"].id.write_direct_chunk((0, 0), bytes(size), filter_mask=1)
    with pytest.raises(CorruptChunkError, match=rf"chunk at \(0, 0\).* {size} bytes"):
        open_source(Location.parse(path)).read((slice(0, 6), slice(0, 4)))


def test_an_error_names_file_dataset_and_chunk_and_spares_the_others(tmp_path):
    path = tmp_path / "export.h5"
    data = write_hdf5_export(path, some_data((6, 8)), axes="yx", chunks=(3, 4), filters="gzip")
    with h5py.File(path, "r+") as file:
        file["exported_data"].id.write_direct_chunk((3, 4), b"no stream")
    source = open_source(Location.parse(path))
    with pytest.raises(CorruptChunkError) as caught:
        source.read((slice(0, 6), slice(0, 8)))
    assert str(path) in str(caught.value)
    assert "exported_data" in str(caught.value)
    assert "(3, 4)" in str(caught.value)
    np.testing.assert_array_equal(source.read((slice(0, 3), slice(0, 8))), data[:3])


def test_threads_that_read_first_together_make_one_index(tmp_path, monkeypatch):
    path = tmp_path / "export.h5"
    data = write_layout(path, DIRECT_LAYOUTS["gzip"])
    source, made = open_source(Location.parse(path)), []
    read_index = hdf5_index.read_index
    monkeypatch.setattr(hdf5_index, "read_index", lambda *key: made.append(key) or read_index(*key))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.read, [tuple(slice(0, n) for n in SHAPE)] * 16))
    assert len(made) == 1
    np.testing.assert_array_equal(found[-1], data)


def test_a_file_exported_again_is_read_anew(tmp_path):
    path = tmp_path / "export.h5"
    for seed in range(3):
        data = write_hdf5_export(path, some_data((6, 8), seed=seed), axes="yx", chunks=(4, 4), filters="gzip")
        found = open_source(Location.parse(path)).read((slice(0, 6), slice(0, 8)))
        np.testing.assert_array_equal(found, data)
