"""Keys of the chunk index that are damaged: libhdf5 reads fill values where a chunk is, and says nothing."""

from __future__ import annotations

import struct

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import CorruptChunkError, CorruptFileError, IncompleteSourceWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from tests.support.makers import some_data, write_hdf5_export
from tests.support.table_makers import write_table, written

SHAPE, CHUNKS = (7, 9, 10, 2), (3, 4, 4, 1)
WHOLE = tuple(slice(0, n) for n in SHAPE)


def set_origin(path, name, number, origin):
    """Say in the B-tree that chunk `number` begins at `origin`."""
    with h5py.File(path) as file:
        info = file[name].id.get_chunk_info(number)
    key = struct.pack("<II", info.size, info.filter_mask)
    old = key + struct.pack(f"<{len(info.chunk_offset) + 1}Q", *info.chunk_offset, 0)
    data = path.read_bytes()
    assert data.count(old) == 1
    # One number more than axes: the last is that of the bytes of an element.
    new = (*origin, 0)[: len(info.chunk_offset) + 1]
    path.write_bytes(data.replace(old, key + struct.pack(f"<{len(new)}Q", *new)))


DAMAGE = {
    "beyond the shape": (0, (300, 0, 0, 0)),
    "far beyond": (5, (2**40, 0, 0, 1)),
    "between chunks": (1, (0, 0, 1, 1)),
    "out of order": (2, (3, 0, 0, 0)),
    "within an element": (1, (0, 0, 0, 1, 2)),
    "twice": (1, (0, 0, 0, 0)),
}


@pytest.mark.parametrize("filters", ["none", "gzip", "lzf"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_key_is_an_error(tmp_path, damage, filters):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data(SHAPE), chunks=CHUNKS, filters=filters)
    set_origin(path, "exported_data", *DAMAGE[damage])
    with pytest.raises(CorruptFileError, match=r"a\.h5.* (index|coordinate)"):
        open_source(Location.parse(path)).read(WHOLE)


def test_a_chunk_beyond_a_resizable_dataset_leaves_a_gap_that_is_told(tmp_path):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data(SHAPE), chunks=CHUNKS, filters="gzip", resizable=True)
    set_origin(path, "exported_data", 53, (300, 8, 8, 1))
    source = open_source(Location.parse(path))
    with pytest.warns(IncompleteSourceWarning, match="1 of 54"):
        source.read(WHOLE)


def test_rows_of_a_table_are_never_made_up(tmp_path):
    path = write_table(tmp_path / "t.h5", written(), chunks=(2,), maxshape=(None,), compression="gzip")
    set_origin(path, "table", 1, (200,))
    with pytest.warns(IncompleteSourceWarning), pytest.raises(CorruptChunkError, match="never written"):
        il.open_table(path)


def test_libhdf5_reads_fill_values_instead(tmp_path):
    """The reason for all this: of two damaged files, h5py reads other values, and no error."""
    for damage in ("beyond the shape", "out of order"):
        path = tmp_path / f"{damage}.h5"
        data = write_hdf5_export(path, some_data(SHAPE), chunks=CHUNKS, filters="gzip")
        set_origin(path, "exported_data", *DAMAGE[damage])
        with h5py.File(path) as file:
            assert not np.array_equal(file["exported_data"][...], data, equal_nan=True)
