"""Tables in HDF5: every layout that a file may have, and files that are out for harm."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from ilastik_lazy.errors import (
    CorruptChunkError,
    CorruptFileError,
    DatasetNotFoundError,
    ExternalReferenceError,
    IlastikLazyError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    UnfinishedWriteError,
    UnsupportedFilterError,
)
from ilastik_lazy.tables import open_table
from tests.support.table_makers import COLUMNS, LINES, TEXT, csv_file, write_table, written


def assert_rows(table: pd.DataFrame) -> None:
    assert table["labelimage_oid"].tolist() == [1, 2, 1]
    assert table["Predicted Class"].tolist() == ["große Zelle", "Kern", "Kern"]
    np.testing.assert_array_equal(table["Size"], [7, 3, np.nan])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (2,)},
        {"chunks": (2,), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (5,), "maxshape": (None,), "compression": "gzip"},
        {"chunks": (2,), "compression": "lzf"},
        {"libver": "latest"},
    ],
    ids=str,
)
def test_a_table_opens_in_every_layout(tmp_path, options):
    table = open_table(write_table(tmp_path / "t.h5", written(), **options))
    assert_rows(table)
    assert str(table["Probability of Kern"].dtype) == "float32"


def test_big_endian_numbers_become_native(tmp_path):
    table = open_table(write_table(tmp_path / "t.h5", written(labelimage_oid=">i4", Size=">f8")))
    assert_rows(table)
    assert (table["labelimage_oid"].dtype, table["Size"].dtype) == (np.dtype("int32"), np.dtype("float64"))


def test_more_columns_than_an_old_header_can_hold(tmp_path):
    names = ["object_id", "timestep", "labelimage_oid", *(f"Histogram of Intensity_{i}" for i in range(1200))]
    data = np.zeros(2, [(name, "<f4") for name in names])
    data["Histogram of Intensity_1199"] = 5
    with pytest.raises(ValueError, match="header message is too large"):
        write_table(tmp_path / "old.h5", data)
    table = open_table(write_table(tmp_path / "t.h5", data, libver="latest"))
    assert table.shape == (2, 1203)
    assert table["Histogram of Intensity_1199"].tolist() == [5, 5]


def test_an_old_table_without_classes_opens(tmp_path):
    assert list(open_table(write_table(tmp_path / "t.h5", written()[COLUMNS[:3]]))) == COLUMNS[:3]


def test_a_table_without_rows_opens(tmp_path):
    for name, options in (("plain", {}), ("chunked", {"chunks": (4,), "maxshape": (None,), "compression": "gzip"})):
        table = open_table(write_table(tmp_path / f"{name}.h5", written()[:0], **options))
        assert (len(table), list(table)) == (0, COLUMNS)
        assert str(table["User Label"].dtype) == TEXT
    (tmp_path / "t.csv").write_text(",".join(COLUMNS) + "\n")
    assert open_table(tmp_path / "t.csv").shape == (0, 7)


def test_text_that_is_not_utf8_is_shown_with_a_warning(tmp_path):
    data = written()
    data["Predicted Class"][0] = b"gro\xdfe Zelle"
    with pytest.warns(MetadataWarning, match=r"'Predicted Class' holds b'gro\\xdfe Zelle', which is not UTF-8"):
        table = open_table(write_table(tmp_path / "t.h5", data))
    assert table["Predicted Class"].tolist() == ["gro\ufffde Zelle", "Kern", "Kern"]


def _external_link(path):
    with h5py.File(path, "w") as file:
        file["table"] = h5py.ExternalLink("/etc/passwd", "/x")


def _external_group(path):
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("/etc/passwd", "/")
        file["table"] = h5py.SoftLink("/a/table")


def _external_storage(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("table", (1,), written().dtype, external=[("/etc/passwd", 0, 60)])


def _virtual(path):
    layout = h5py.VirtualLayout((3,), written().dtype)
    layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "table", (3,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("table", layout)


def _virtual_inside(path):
    layout = h5py.VirtualLayout((3,), written().dtype)
    layout[:] = h5py.VirtualSource(".", "other", (3,))
    with h5py.File(path, "w") as file:
        file["other"] = written()
        file.create_virtual_dataset("table", layout)


def _huge(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("table", (10**12,), written().dtype)


def _huge_chunk(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("table", (1,), written().dtype, chunks=(50_000_000,), maxshape=(None,), compression="gzip")


def _never_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("table", (3,), written().dtype)


def _half_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("table", (3,), written().dtype, chunks=(2,))[:2] = written()[:2]


def _with_field(kind):
    def make(path):
        dtype = np.dtype([("object_id", "<i8"), ("timestep", "<i8"), ("labelimage_oid", "<i8"), ("bad", kind)])
        with h5py.File(path, "w") as file:
            file.create_dataset("table", (2,), dtype)

    return make


def _image(path):
    with h5py.File(path, "w") as file:
        file["table"] = np.zeros((3, 4))


def _group(path):
    with h5py.File(path, "w") as file:
        file.create_group("table")


def _nothing(path):
    with h5py.File(path, "w") as file:
        file["exported_data"] = np.zeros((3, 4))


def _damaged_chunk(path):
    write_table(path, np.repeat(written(), 50), chunks=(100,), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["table"].id.write_direct_chunk((0,), b"\0" * 20)


def _short_checksum(path):
    """Libhdf5 crashes on a chunk that is shorter than its checksum (CVE-2026-19028)."""
    write_table(path, written(), chunks=(3,), fletcher32=True)
    with h5py.File(path, "r+") as file:
        file["table"].id.write_direct_chunk((0,), b"\0" * 2)


def _unknown_filter(path):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3,))
    plist.set_filter(40000, h5py.h5z.FLAG_OPTIONAL)
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.py_create(written().dtype)
        h5py.h5d.create(file.id, b"table", kind, h5py.h5s.create_simple((3,)), plist)
        file["table"][...] = written()


def _text(path):
    path.write_text("object_id,timestep\n")


HOSTILE = {
    "external link": (_external_link, ExternalReferenceError, "passwd"),
    "external group": (_external_group, ExternalReferenceError, "passwd"),
    "external storage": (_external_storage, ExternalReferenceError, "passwd"),
    "virtual": (_virtual, ExternalReferenceError, "other.h5"),
    "virtual inside": (_virtual_inside, MetadataError, "virtual dataset"),
    "huge": (_huge, LimitExceededError, "memory="),
    "huge chunk": (_huge_chunk, LimitExceededError, "chunks of"),
    "never written": (_never_written, UnfinishedWriteError, "never written"),
    "half written": (_half_written, UnfinishedWriteError, "never written"),
    "text of any length": (_with_field(h5py.string_dtype()), MetadataError, "column 'bad' holds object"),
    "references": (_with_field(h5py.ref_dtype), MetadataError, "column 'bad' holds object"),
    "arrays": (_with_field(np.dtype(("<f4", (3,)))), MetadataError, "column 'bad'"),
    "tables in tables": (_with_field(np.dtype([("x", "<f4")])), MetadataError, "column 'bad'"),
    "complex": (_with_field("<c16"), MetadataError, "column 'bad'"),
    "image": (_image, MetadataError, "2-dimensional"),
    "group": (_group, MetadataError, "is a group"),
    "nothing": (_nothing, DatasetNotFoundError, "holds no table"),
    "damaged chunk": (_damaged_chunk, CorruptChunkError, "cannot be decoded"),
    "short checksum": (_short_checksum, CorruptChunkError, "cannot be decoded"),
    "unknown filter": (_unknown_filter, UnsupportedFilterError, "filter 40000"),
    "text": (_text, CorruptFileError, "is not an HDF5 file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_table_is_refused(tmp_path, case):
    make, error, message = HOSTILE[case]
    path = tmp_path / "t.h5"
    make(path)
    with pytest.raises(error, match=message) as caught:
        open_table(path)
    assert isinstance(caught.value, IlastikLazyError)
    assert "t.h5" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_cut_file_is_corrupt(tmp_path):
    path = write_table(tmp_path / "t.h5", written())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptFileError):
        open_table(path)


def test_memory_limits_what_is_read(tmp_path):
    path = write_table(tmp_path / "t.h5", written())
    size = 3 * written().dtype.itemsize
    assert len(open_table(path, memory=size)) == 3
    with pytest.raises(LimitExceededError, match=f"3 rows, {size} B in all"):
        open_table(path, memory=size - 1)
    with pytest.raises(LimitExceededError, match="memory="):
        open_table(csv_file(tmp_path, LINES), memory="100B")
