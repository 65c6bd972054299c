"""Chunks as stored, through whatever views lie over the file, beside h5py's `read_direct_chunk`."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from ilastik_lazy.core.spec import EncodedChunks
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.core.views.window import transposed, windowed
from ilastik_lazy.errors import ArgumentError, IncompleteSourceWarning, SourceChangedError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from tests.support.contract import CHANGES
from tests.support.makers import some_data, write_hdf5_export

SHAPE, CHUNKS = (7, 9, 10, 2), (3, 4, 5, 1)


@pytest.fixture
def path(tmp_path):
    data = some_data(SHAPE, "<u2")
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS, filters="gzip")
    return tmp_path / "a.h5"


def opened(path):
    source = open_source(Location.parse(path))
    assert isinstance(source, EncodedChunks)
    return source


def stored(path, first):
    with h5py.File(path) as file:
        return file["exported_data"].id.read_direct_chunk(first)[1]


def test_a_chunk_is_what_h5py_hands_out(path):
    source = opened(path)
    assert source.encoded((2, 1, 1, 0)) == stored(path, (6, 4, 5, 0))
    assert DescribedSource(source.spec, source).encoded((0, 0, 0, 1)) == stored(path, (0, 0, 0, 1))


def test_a_chunk_that_was_never_written_is_none(tmp_path):
    data = some_data(SHAPE, "<u2")
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS, filters="gzip", missing=[(3, 4, 5, 1)])
    with pytest.warns(IncompleteSourceWarning):
        source = opened(tmp_path / "a.h5")
    assert source.encoded((1, 1, 1, 1)) is None
    assert source.encoded((1, 1, 1, 0)) is not None


def test_a_chunk_that_was_written_without_its_filter_is_none(tmp_path):
    data = some_data(SHAPE, "<u2")
    write_hdf5_export(tmp_path / "a.h5", data, chunks=CHUNKS, filters="gzip", masks={(0, 4, 0, 0): 1})
    assert opened(tmp_path / "a.h5").encoded((0, 1, 0, 0)) is None
    assert opened(tmp_path / "a.h5").encoded((0, 0, 0, 0)) is not None


def test_a_chunk_outside_the_grid_is_refused(path):
    for chunk in [(3, 0, 0, 0), (0, -1, 0, 0)]:
        with pytest.raises(ArgumentError):
            opened(path).encoded(chunk)


def test_parts_and_moved_axes_count_their_own_chunks(path):
    whole = opened(path)
    part = windowed(whole, (slice(3, 7), slice(0, 9), slice(5, 10), 1))
    assert part.chunk_codec == "zlib"
    assert part.encoded((1, 2, 0)) == stored(path, (6, 8, 5, 1))
    turned = transposed(part, (2, 0, 1))
    assert turned.encoded((0, 1, 2)) == stored(path, (6, 8, 5, 1))
    region = tuple(slice(0, length) for length in turned.spec.shape)
    handed: dict[tuple[int, ...], bytes] = {}
    turned.read_encoded(region, lambda chunk, stream, _: handed.__setitem__(chunk, stream))
    assert len(handed) == 1 * 2 * 3
    assert all(turned.encoded(chunk) == stream for chunk, stream in handed.items())


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_an_error(path, change):
    source = opened(path)
    np.testing.assert_array_equal(source.read(tuple(slice(0, 1) for _ in SHAPE)).shape, (1, 1, 1, 1))
    change(path)
    with pytest.raises(SourceChangedError):
        source.encoded((0, 0, 0, 0))
