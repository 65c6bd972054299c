"""HDF5 in every layout that libhdf5 writes: read as h5py reads it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from ilastik_lazy import open_dataarray
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.errors import CorruptChunkError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from tests.fuzz.hdf5_layouts import check_layout
from tests.support.hdf5_layouts import set_plain_edges


@pytest.mark.parametrize("batch", range(4))
def test_random_layouts_are_read_as_h5py_reads_them(batch, tmp_path):
    outcomes = [check_layout(np.random.default_rng([7, batch, number]), tmp_path) for number in range(50)]
    assert outcomes.count("direct") > 20


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize(
    ("shape", "chunks", "maxshape"),
    [
        ((8, 12), (2, 3), (8, None)),
        ((8, 12), (2, 3), (21, None)),
        ((6, 6, 6), (2, 2, 2), (6, 6, None)),
        ((6, 7, 5), (2, 3, 2), (9, None, 11)),
        ((8, 12), (2, 3), (None, 20)),
    ],
)
def test_one_axis_without_limit_may_be_any(tmp_path, shape, chunks, maxshape, compression, userblock):
    data = np.arange(np.prod(shape), dtype="<u4").reshape(shape)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest", userblock_size=userblock) as file:
        file.create_dataset("d", data=data, chunks=chunks, maxshape=maxshape, compression=compression)
    array = open_dataarray(tmp_path / "a.h5", axes="zyx"[-len(shape) :])
    np.testing.assert_array_equal(array.values, data)


def test_chunks_of_such_a_dataset_that_were_never_written_are_the_right_ones(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        dataset = file.create_dataset("d", (8, 12), "u1", chunks=(2, 3), maxshape=(8, None), fillvalue=9)
        dataset[4:6, 3:6] = 1
        expected = dataset[...]
    with pytest.warns(match="15 of 16 chunks"):
        array = open_dataarray(tmp_path / "a.h5", axes="yx")
    np.testing.assert_array_equal(array.values, expected)


FILTERS = {
    "shuffle": ["set_shuffle"],
    "gzip": ["set_deflate"],
    "checksum": ["set_deflate", "set_fletcher32"],
    "scaleoffset": ["set_scaleoffset"],
}


def write_plain_edges(path, filters, libver="earliest", userblock=0):
    """Write a dataset whose chunks at the edges go through no filter."""
    data = np.arange(130, dtype="<i4").reshape(10, 13) + 1000
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk((4, 5))
    for name in FILTERS[filters]:
        getattr(plist, name)(*((h5py.h5z.SO_INT, 0) if name == "set_scaleoffset" else ()))
    set_plain_edges(plist)
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        made = h5d.create(file.id, b"d", h5t.STD_I32LE, h5s.create_simple((10, 13)), plist)
        h5py.Dataset(made)[...] = data
        for number in range(20):  # so that the object header goes on elsewhere
            h5py.Dataset(made).attrs[f"attribute {number}"] = "x" * 100
    return data


# Chunks without filters have no checksum either.
@pytest.mark.filterwarnings("ignore:.*without their checksum")
@pytest.mark.parametrize("userblock", [0, 1024])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("filters", FILTERS)
def test_chunks_at_the_edges_may_be_stored_without_filters(tmp_path, filters, libver, userblock):
    data = write_plain_edges(tmp_path / "a.h5", filters, libver, userblock)
    np.testing.assert_array_equal(open_dataarray(tmp_path / "a.h5", axes="yx").values, data)


def test_a_checksum_still_guards_the_other_chunks(tmp_path):
    path = tmp_path / "a.h5"
    write_plain_edges(path, "checksum")
    with h5py.File(path) as file:
        info = file["d"].id.get_chunk_info_by_coord((4, 5))
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size - 1] ^= 1
    path.write_bytes(content)
    source = open_source(Location(str(path), "d"), OpenOptions("yx"))
    with pytest.warns(match="without their checksum"), pytest.raises(CorruptChunkError, match="checksum is wrong"):
        source.read((slice(0, 10), slice(0, 13)))


def test_a_layout_that_is_unknown_is_left_to_h5py_and_that_is_said(tmp_path, monkeypatch):
    data = write_plain_edges(tmp_path / "a.h5", "gzip")
    monkeypatch.setattr("ilastik_lazy.formats.hdf5.layout.chunk_layout", lambda dataset, path: None)
    source = open_source(Location(str(tmp_path / "a.h5"), "d"), OpenOptions("yx"))
    assert source.spec.storage.access == "h5py (unknown layout)"
    np.testing.assert_array_equal(source.read((slice(0, 10), slice(0, 13))), data)


# Not among the random ones: libhdf5 2.0 writes beyond its memory where such a file is changed.
@pytest.mark.parametrize("sizes", [(4, 4), (4, 8), (8, 4)])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_addresses_may_have_four_bytes(tmp_path, sizes, libver):
    plist, access = h5p.create(h5p.FILE_CREATE), h5p.create(h5p.FILE_ACCESS)
    plist.set_sizes(*sizes)
    access.set_libver_bounds(
        h5py.h5f.LIBVER_EARLIEST if libver == "earliest" else h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST
    )
    data = np.arange(130, dtype="<i4").reshape(10, 13)
    made = h5py.h5f.create(str(tmp_path / "a.h5").encode(), h5py.h5f.ACC_TRUNC, plist, access)
    with h5py.File(made) as file:
        file.create_dataset("d", data=data, chunks=(4, 5), compression="gzip")
    array = open_dataarray(tmp_path / "a.h5", axes="yx")
    np.testing.assert_array_equal(array.values, data)
