"""HDF5 data that go through h5py, and which of a file's datasets is opened."""

from __future__ import annotations

import json
import zlib

import h5py
import numpy as np
import pytest

from ilastik_lazy.core.options import Limits, OpenOptions
from ilastik_lazy.errors import (
    CorruptChunkError,
    DatasetNotFoundError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
    UnknownFormatError,
)
from ilastik_lazy.formats import format_of, list_images, open_source
from ilastik_lazy.formats.hdf5.h5py_source import H5pySource
from ilastik_lazy.formats.location import Location
from tests.support.contract import SourceContract, Stored
from tests.support.makers import CHUNKS, H5PY_LAYOUTS, SHAPE, axistags, some_data, write_hdf5_export, write_layout

WHOLE = tuple(slice(0, n) for n in SHAPE)


class TestH5pySource(SourceContract):
    @pytest.fixture(params=H5PY_LAYOUTS)
    def stored(self, request, tmp_path):
        path = tmp_path / "export.h5"
        data = write_layout(path, H5PY_LAYOUTS[request.param])
        return Stored(path, open_source(Location.parse(path)), data)

    def test_says_that_it_goes_through_h5py_and_why(self, stored):
        assert isinstance(stored.source, H5pySource)
        assert stored.source.spec.storage.access.startswith("h5py (")


class TestVirtualDatasetOfTheSameFile(SourceContract):
    @pytest.fixture
    def stored(self, tmp_path):
        path = tmp_path / "export.h5"
        data = write_hdf5_export(path, some_data(SHAPE), chunks=CHUNKS, libver="latest", extra={"other": np.zeros(3)})
        layout = h5py.VirtualLayout(SHAPE, "<f4")
        layout[...] = h5py.VirtualSource(".", "/exported_data", SHAPE)
        with h5py.File(path, "r+", libver="latest") as file:
            file.create_virtual_dataset("view", layout).attrs["axistags"] = axistags("zyxc")
        return Stored(path, open_source(Location.parse(path, "view")), data)


def _with_bad_chunk(path, dtype, chunk, **options):
    """A 6 x 8 dataset that goes through h5py, its first chunk stored as `chunk`."""
    write_hdf5_export(path, some_data((6, 8), dtype), axes="yx", chunks=(3, 4), filters="gzip", **options)
    with h5py.File(path, "r+") as file:
        file["exported_data"].id.write_direct_chunk((0, 0), chunk)
    return open_source(Location.parse(path))


THROUGH_H5PY = {"bool": {"dtype": "?"}}


@pytest.mark.parametrize("layout", THROUGH_H5PY)
def test_a_damaged_stream_is_an_error_through_h5py_too(tmp_path, layout):
    source = _with_bad_chunk(tmp_path / "a.h5", chunk=b"no stream", **THROUGH_H5PY[layout])
    with pytest.raises(CorruptChunkError, match=r"exported_data"):
        source.read((slice(0, 6), slice(0, 8)))


@pytest.mark.parametrize("layout", THROUGH_H5PY)
def test_a_stream_that_inflates_short_is_an_error_through_h5py_too(tmp_path, layout):
    # libhdf5 leaves what the stream does not fill as it was in memory (reliability.md 3.1).
    source = _with_bad_chunk(tmp_path / "a.h5", chunk=zlib.compress(b"\x01" * 5), **THROUGH_H5PY[layout])
    with pytest.raises(CorruptChunkError):
        source.read((slice(0, 6), slice(0, 8)))


def test_missing_chunks_warn_through_h5py_too(tmp_path):
    path = tmp_path / "a.h5"
    data = write_hdf5_export(path, some_data(SHAPE), chunks=CHUNKS, filters="lzf", missing=[(0, 0, 0, 0)], fill=-1)
    with pytest.warns(IncompleteSourceWarning):
        source = open_source(Location.parse(path))
    found = source.read(WHOLE)
    np.testing.assert_array_equal(found, data)


def test_only_hdf5_is_recognised(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    write_hdf5_export(tmp_path / "export.dat", some_data(SHAPE))
    assert format_of(Location.parse(tmp_path / "export.dat")).name == "HDF5"
    for other in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(UnknownFormatError, match=r"HDF5"):
            format_of(Location.parse(other))


def test_the_export_comes_first_and_tables_and_crops_are_no_images(tmp_path):
    path = tmp_path / "a.h5"
    crops = {"images/00000/raw": np.zeros((3, 3)), "a/first": np.zeros((3, 3)), "line": np.zeros(5)}
    table = {"table": np.zeros(4, [("object_id", "<i8")]), "six": np.zeros((1,) * 6), "names": np.array([[b"text"]])}
    write_hdf5_export(path, some_data((5, 6)), axes="yx", extra=crops | table)
    assert list_images(Location.parse(path)) == ["exported_data", "a/first"]


def test_crops_are_images_where_there_is_nothing_else(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images/00000/raw"] = np.zeros((3, 3))
    assert list_images(Location.parse(tmp_path / "a.h5")) == ["images/00000/raw"]


def test_the_only_image_needs_no_name(tmp_path):
    data = write_hdf5_export(tmp_path / "a.h5", some_data((5, 6)), axes="yx", internal_path="volume/data")
    source = open_source(Location.parse(tmp_path / "a.h5"))
    assert source.spec.name == "data"
    np.testing.assert_array_equal(source.read((slice(0, 5), slice(0, 6))), data)


def test_one_of_several_images_must_be_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["two"] = np.zeros((3, 4)), np.ones((5, 6))
    with pytest.raises(DatasetNotFoundError, match=r"one .*two .*internal_path="):
        open_source(Location.parse(tmp_path / "a.h5"))


def test_a_name_that_is_not_there_lists_what_is(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((5, 6)), axes="yx")
    with pytest.raises(DatasetNotFoundError, match=r"'nothing'.*it holds 'exported_data'"):
        open_source(Location.parse(tmp_path / "a.h5", "nothing"))


def test_a_file_without_images_says_so(tmp_path):
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(DatasetNotFoundError, match=r"holds no image"):
        open_source(Location.parse(tmp_path / "a.h5"))


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(5),
        np.zeros((1,) * 6),
        np.array([[b"a"]]),
        np.zeros((2, 2), "c16"),
        np.zeros((2, 2), [("a", "f4")]),
        3.0,
    ],
    ids=["1-D", "6-D", "text", "complex", "compound", "scalar"],
)
def test_what_is_no_image_is_refused(tmp_path, value):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = value
    with pytest.raises(MetadataError, match=r"not an image"):
        open_source(Location.parse(tmp_path / "a.h5", "data"))


def test_an_empty_dataspace_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = h5py.Empty("f4")
    with pytest.raises(MetadataError):
        open_source(Location.parse(tmp_path / "a.h5", "data"))


def test_sizes_beyond_the_limits_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data((6, 8)), axes="yx", chunks=(3, 4))
    for limits in (Limits(chunk_bytes=47), Limits(chunk_count=3), Limits(attribute_bytes=10)):
        with pytest.raises(LimitExceededError):
            open_source(Location.parse(path), OpenOptions(limits=limits))
    open_source(Location.parse(path), OpenOptions(limits=Limits(chunk_bytes=48, chunk_count=4)))


TAGS = axistags("zyxc", {"z": 0.5})


@pytest.mark.parametrize(
    "value",
    [TAGS, TAGS.encode(), np.bytes_(TAGS), np.array([TAGS], object), np.array([np.bytes_(TAGS)])],
    ids=["str", "bytes", "fixed", "list of str", "list of bytes"],
)
def test_axistags_are_read_in_every_spelling(tmp_path, value):
    write_hdf5_export(tmp_path / "a.h5", some_data(SHAPE), axes=None, attributes={"axistags": value})
    spec = open_source(Location.parse(tmp_path / "a.h5")).spec
    assert spec.dims == tuple("zyxc")
    assert spec.axes[0].scale == 0.5
    assert not spec.axes_guessed


def test_metadata_of_an_export_are_in_the_spec(tmp_path):
    attributes = {"drange": np.array([0, 1], "<f4"), "display_mode": "grayscale"}
    write_hdf5_export(
        tmp_path / "a_Probabilities.h5", some_data(SHAPE), chunks=CHUNKS, filters="gzip", attributes=attributes,
        resolution={"z": 0.8, "y": 0.25, "x": 0.25}, units={"z": "µm", "y": "um", "x": "micron", "c": ""},
    )  # fmt: skip
    spec = open_source(Location.parse(tmp_path / "a_Probabilities.h5")).spec
    assert [(a.name, a.scale, a.unit) for a in spec.axes] == [
        ("z", 0.8, "micrometer"),
        ("y", 0.25, "micrometer"),
        ("x", 0.25, "micrometer"),
        ("c", None, ""),
    ]
    assert (spec.drange, spec.display_mode, spec.kind) == ((0.0, 1.0), "grayscale", "probabilities")
    assert (spec.storage.layout, spec.storage.compression) == ("chunked", "gzip")
    assert spec.grid == (3, 3, 3, 2)
    assert spec.nbytes == 7 * 9 * 10 * 2 * 4


@pytest.mark.parametrize(
    "attributes",
    [{"drange": np.arange(5)}, {"drange": [0.0, np.nan]}, {"axis_units": "{um"}, {"axis_units": "[1]"},
     {"display_mode": np.arange(3)}, {"display_mode": np.bytes_(b"\xff\xfe")}],
)  # fmt: skip
def test_decoration_that_makes_no_sense_is_ignored_with_a_warning(tmp_path, attributes):
    data = write_hdf5_export(tmp_path / "a.h5", some_data(SHAPE), attributes=attributes)
    with pytest.warns(MetadataWarning):
        source = open_source(Location.parse(tmp_path / "a.h5"))
    np.testing.assert_array_equal(source.read(WHOLE), data)


def test_axes_of_a_file_without_any_are_guessed_with_a_warning(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((5, 6, 3)), axes=None)
    with pytest.warns(MetadataWarning, match=r"guessed"):
        spec = open_source(Location.parse(tmp_path / "a.h5")).spec
    assert spec.axes_guessed
    assert spec.dims == tuple("yxc")


@pytest.mark.parametrize("value", ["cyx", "CYX", ["c", "y", "x"], np.array([b"c", b"y", b"x"])])
def test_an_axes_attribute_is_in_reversed_order(tmp_path, value):
    write_hdf5_export(tmp_path / "a.h5", some_data((5, 6, 7)), axes=None, attributes={"axes": value})
    assert open_source(Location.parse(tmp_path / "a.h5")).spec.dims == tuple("xyc")


def test_axes_of_the_caller_win_over_a_damaged_attribute(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((5, 6, 7)), axes=None, attributes={"axistags": json.dumps([1])})
    with pytest.raises(MetadataError, match=r"axes="):
        open_source(Location.parse(tmp_path / "a.h5"))
    assert open_source(Location.parse(tmp_path / "a.h5"), OpenOptions("tyx")).spec.dims == tuple("tyx")
