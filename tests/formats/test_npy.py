"""Numpy files: every order of bytes and axes, headers by other writers, files that were cut, ilastik's own."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.core.options import DEFAULTS, Limits, OpenOptions
from ilastik_lazy.errors import (
    CorruptFileError,
    DatasetNotFoundError,
    LimitExceededError,
    MetadataError,
    MetadataWarning,
)
from ilastik_lazy.formats import contiguous, npy
from ilastik_lazy.formats.location import Location
from tests.support.contract import SourceContract, Stored
from tests.support.makers import some_data
from tests.support.shared_files import entries, over_files, shared_path

SHAPE = (7, 9, 10, 2)


def opened(path: Path, inside: str | None = None, axes: str | None = "zyxc", limits: Limits | None = None) -> Any:
    location = Location.parse(path, inside)
    assert npy.FORMAT.recognises(location, DEFAULTS)
    return npy.FORMAT.open_image(location, OpenOptions(axes, limits or Limits()))


def values_of(source: Any) -> np.ndarray[Any, Any]:
    return source.read(tuple(slice(0, n) for n in source.spec.shape))


def write_header(path: Path, header: str | bytes, data: bytes = bytes(2000), version: int = 1) -> Path:
    """A file with a header that `numpy.save` would not write."""
    text = (header if isinstance(header, bytes) else header.encode()) + b"\n"
    path.write_bytes(
        b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data
    )
    return path


LAYOUTS: dict[str, dict[str, Any]] = {
    "C": {},
    "Fortran": {"order": "F"},
    "big-endian": {"dtype": ">u2"},
    "big-endian Fortran": {"dtype": ">f8", "order": "F"},
    "bytes": {"dtype": "u1"},
    "bool": {"dtype": "?"},
    "bool Fortran": {"dtype": "?", "order": "F"},
    "half": {"dtype": "f2"},
    "version 2": {"version": (2, 0)},
    "version 3": {"version": (3, 0), "dtype": "i8"},
}


class TestNpySource(SourceContract):
    @pytest.fixture(params=[*LAYOUTS, "short rows", "row by row", "pieces of rows"])
    def stored(self, request, tmp_path, monkeypatch):
        options = LAYOUTS.get(request.param, {})
        if request.param == "row by row":
            monkeypatch.setattr(contiguous, "_ROW_BYTES", 0)
        elif request.param == "short rows":
            monkeypatch.setattr(contiguous, "_ROW_BYTES", 100)
        elif request.param == "pieces of rows":
            monkeypatch.setattr(contiguous, "_SCRATCH_BYTES", 200)
        data = np.asarray(some_data(SHAPE, options.get("dtype", "f4")), order=options.get("order", "C"))
        path = tmp_path / "image.npy"
        with open(path, "wb") as file:
            np.lib.format.write_array(file, data, version=options.get("version"))
        return Stored(path, opened(path), data.astype(data.dtype.newbyteorder("=")))

    def test_says_how_it_is_stored(self, stored):
        storage = stored.source.spec.storage
        assert (storage.layout, storage.access, storage.compression) == ("contiguous", "direct", "none")
        assert storage.location == storage.path == str(stored.path)


@given(st.data())
def test_any_region_is_what_numpy_maps(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 60), min_size=2, max_size=4)))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", ">i4", "f8"])))
    path = tmp_path_factory.getbasetemp() / "region.npy"
    np.save(path, np.asarray(some_data(shape, dtype), order=data.draw(st.sampled_from("CF"))))
    bounds = [sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in shape]
    region = tuple(slice(*pair) for pair in bounds)
    found = opened(path, axes="tzyx"[-len(shape) :]).read(region)
    np.testing.assert_array_equal(found, np.load(path)[region].astype(dtype.newbyteorder("=")), strict=True)


def test_what_lies_together_is_read_at_once(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((20, 30, 10_000), "u1"))
    source, sizes = opened(tmp_path / "a.npy", axes="zyx"), []
    monkeypatch.setattr(contiguous, "read_into", lambda fd, target, offset, path: sizes.append(len(target)))
    for region, wanted in [
        ((slice(2, 20), slice(0, 30), slice(0, 10_000)), [18 * 300_000]),
        ((slice(2, 3), slice(3, 20), slice(0, 10_000)), [170_000]),
        ((slice(0, 2), slice(3, 20), slice(0, 10_000)), [170_000] * 2),
        # A part of each row: with what is between, in pieces of at most 1 MiB.
        ((slice(2, 3), slice(3, 20), slice(5, 6)), [170_000]),
        ((slice(0, 20), slice(0, 30), slice(5, 6)), [900_000] * 6 + [600_000]),
    ]:
        sizes.clear()
        source.read(region)
        assert sizes == wanted


def test_parts_of_long_rows_are_read_alone(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((30, 20_000), "u1"))
    source, sizes = opened(tmp_path / "a.npy", axes="yx"), []
    monkeypatch.setattr(contiguous, "read_into", lambda fd, target, offset, path: sizes.append(len(target)))
    source.read((slice(0, 30), slice(7, 10)))
    assert sizes == [3] * 30


@pytest.mark.parametrize(
    ("order", "chunks"), [("C", (1, 262, 1000)), ("F", (100, 1000, 2))], ids=["C", "Fortran"]
)  # fmt: skip
def test_pieces_are_a_mebibyte_of_what_lies_together(tmp_path, order, chunks):
    # A hole in the file takes no space.
    header = f"{{'descr': '<f4', 'fortran_order': {order == 'F'}, 'shape': (100, 1000, 1000), }}"
    path = write_header(tmp_path / "a.npy", header)
    os.truncate(path, 12 + len(header) + 4 * 10**8)
    assert opened(path, axes="zyx").spec.chunks == chunks


def test_axes_are_guessed_with_a_warning(tmp_path):
    np.save(tmp_path / "a_Probabilities.npy", some_data((5, 6, 3)))
    with pytest.warns(MetadataWarning, match=r"yxc is guessed"):
        spec = opened(tmp_path / "a_Probabilities.npy", axes=None).spec
    assert spec.axes_guessed
    assert (spec.name, spec.kind) == ("a_Probabilities", "probabilities")
    assert opened(tmp_path / "a_Probabilities.npy", axes="zyx").spec.dims == tuple("zyx")


HEADERS = [
    "{'descr': '<i2', 'fortran_order': False, 'shape': (5, 6), }",
    "{'shape': (5,6), 'fortran_order': False, 'descr': '<i2'}\n",
    '{"descr": "<i2", "fortran_order": False, "shape": (5, 6)}',
    "{'descr': '<i2', 'fortran_order': False, 'shape': (5L, 6L), }",
    "{'descr':'<i2','fortran_order':False,'shape':( 5 , 6 , ),}   \n",
]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_other_writers_are_understood(tmp_path, header, version):
    data = some_data((5, 6), "<i2")
    path = write_header(tmp_path / "a.npy", header, data.tobytes(), version)
    np.testing.assert_array_equal(values_of(opened(path, axes="yx")), data)


REFUSED = [
    "",
    "{}",
    "{'descr': '<i2', 'fortran_order': False}",
    "{'descr': '<i2', 'fortran_order': False, 'shape': 5, }",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (-5, 6), }",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (5.0, 6), }",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (5,), }",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1), }",
    "{'descr': '<i3', 'fortran_order': False, 'shape': (5, 6), }",
    "{'descr': '<c8', 'fortran_order': False, 'shape': (5, 6), }",
    "{'descr': '<U3', 'fortran_order': False, 'shape': (5, 6), }",
    "{'descr': '<M8', 'fortran_order': False, 'shape': (5, 6), }",
    "{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (5, 6), }",
    "{'descr': '<i2', 'fortran_order': 1, 'shape': (5, 6), }",
    "{'descr': '<i2', 'fortran_order': False, 'shape': (5, 6), 'more': 1}",
    "{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (5, 6), }",
    "(" * 9_000,
    "{'descr': '<i2', 'fortran_order': False, 'shape': (" + "1 " * 4_000 + "x",
    b"\xff\xfe\x1b[31m",
    b"{'descr': '<i2', 'fortran_order': False, 'shape': (5, 6), } \xa0 ",
    b"{'descr': '<i2', 'fortran_order': False, 'shape': (5, 06), }",
]


@pytest.mark.parametrize("header", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_image_is_refused(tmp_path, header):
    with pytest.raises(MetadataError, match=r"a\.npy.*not an image") as caught:
        opened(write_header(tmp_path / "a.npy", header, version=2), axes="yx")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_python_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}, None]], object), allow_pickle=True)
    with pytest.raises(MetadataError, match=r"never unpickled"):
        opened(tmp_path / "a.npy", axes="yx")


def test_a_cut_file_is_an_error_at_opening(tmp_path):
    whole = io.BytesIO()
    np.save(whole, some_data((5, 6)))
    for size in (0, 5, 11, 40, 127, 128, len(whole.getvalue()) - 1):
        (tmp_path / "a.npy").write_bytes(whole.getvalue()[:size])
        with pytest.raises(CorruptFileError, match=r"completely"):
            opened(tmp_path / "a.npy", axes="yx")
    (tmp_path / "a.npy").write_bytes(b"text" * 100)
    with pytest.raises(CorruptFileError, match=r"not a numpy file"):
        opened(tmp_path / "a.npy", axes="yx")


def test_another_version_of_the_format_is_refused(tmp_path):
    path = write_header(tmp_path / "a.npy", HEADERS[0], version=4)
    with pytest.raises(MetadataError, match=r"version 4\.0"):
        opened(path, axes="yx")
    np.save(path, some_data((5, 6)))
    content = bytearray(path.read_bytes())
    content[7] = 4
    path.write_bytes(content)
    with pytest.raises(MetadataError, match=r"version 1\.4"):
        opened(path, axes="yx")


def test_sizes_beyond_the_limits_are_refused(tmp_path):
    path = write_header(tmp_path / "a.npy", HEADERS[0])
    for limits in (Limits(axis_length=5), Limits(attribute_bytes=20)):
        with pytest.raises(LimitExceededError):
            opened(path, axes="yx", limits=limits)
    huge = write_header(tmp_path / "b.npy", HEADERS[0].replace("5, 6", "9999999, 9999999"))
    with pytest.raises(CorruptFileError, match=r"19999996\d{7} were written"):
        opened(huge, axes="yx")


def test_an_empty_array_opens(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 4, 5, 1)))
    assert values_of(opened(tmp_path / "a.npy")).shape == (0, 4, 5, 1)


def test_any_byte_but_zero_is_true(tmp_path):
    path = write_header(tmp_path / "a.npy", HEADERS[0].replace("<i2", "|b1"), bytes(range(30)))
    found = values_of(opened(path, axes="yx"))
    assert found.sum() == 29
    assert set(found.view(np.uint8).ravel().tolist()) == {0, 1}


@pytest.mark.posix
def test_only_numpy_files_are_recognised(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    os.rename(tmp_path / "a.npy", tmp_path / "without_suffix")
    (tmp_path / "a.txt").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    assert npy.FORMAT.recognises(Location(str(tmp_path / "without_suffix")), DEFAULTS)
    for other in ("a.txt", "pipe", "", "nothing.npy"):
        assert not npy.FORMAT.recognises(Location(str(tmp_path / other)), DEFAULTS)


def test_the_only_image_is_called_like_the_file(tmp_path):
    data = some_data(SHAPE)
    np.save(tmp_path / "brain.npy", data)
    array = il.open_dataarray(tmp_path / "brain.npy", axes="zyxc")
    np.testing.assert_array_equal(array.values, data)
    dataset = il.open_dataset(tmp_path / "brain.npy", axes="zyxc")
    assert array.name == "brain"
    np.testing.assert_array_equal(dataset["brain"].values, data)
    with pytest.raises(DatasetNotFoundError, match=r"one array"):
        opened(tmp_path / "brain.npy", "volume/data")


ENTRIES = [
    (f"{folder}/{entry['path']}", entry) for folder in ("writer", "workflows") for entry in entries(folder, ".npy")
]


@over_files("path, stated", ENTRIES, lambda path, stated: path)
def test_what_ilastik_wrote_is_read_as_stated(path, stated):
    location = Location.parse(shared_path("ilastik-files", path))
    with pytest.warns(MetadataWarning, match=r"guessed"):
        source = npy.FORMAT.open_image(location, DEFAULTS)
    assert list(source.spec.shape) == stated["shape"]
    assert source.spec.dtype == stated["dtype"]
    if "axes" in stated:
        assert "".join(npy.FORMAT.open_image(location, OpenOptions(stated["axes"])).spec.dims) == stated["axes"]
    values = np.ascontiguousarray(values_of(source))
    assert hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest() == stated["sha256"]


@pytest.mark.shared
def test_all_of_ilastiks_numpy_files_are_there():
    shared_path("ilastik-files", "workflows")
    assert len(ENTRIES) == 40


def test_a_header_that_was_shifted_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", some_data((5, 6)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:60] + b" " + whole[60:])  # now the last byte of the header is an element's
    with pytest.raises(CorruptFileError, match=r"a\.npy is damaged: its header"):
        opened(tmp_path / "a.npy", axes="yx")


def test_a_header_of_a_megabyte_is_not_read(tmp_path):
    path = write_header(tmp_path / "a.npy", "{" + "'shape':(1,1)," * 70_000 + "}", version=2)
    with pytest.raises(LimitExceededError, match="980003 bytes"):
        opened(path, axes="yx")
