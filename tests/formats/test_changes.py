"""A file that is cut, overwritten or replaced while an array of it is read: an error, or the data from before."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np
import pytest

from ilastik_lazy.errors import SourceChangedError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage import files
from tests.support.contract import CHANGES
from tests.support.makers import some_data, write_hdf5_export
from tests.support.n5_makers import write_n5
from tests.support.open_files import path_of
from tests.support.zarr_makers import write_array

SHAPE = (7, 9, 10, 2)


def _hdf5(folder, **options):
    write_hdf5_export(folder / "a.h5", some_data(SHAPE), **options)
    return folder / "a.h5", folder / "a.h5"


def _npy(folder):
    np.save(folder / "a.npy", some_data(SHAPE))
    return folder / "a.npy", folder / "a.npy"


def _tiff(folder):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(folder / "a.tif", some_data((5, 40, 50), "u2"), metadata={"axes": "ZYX"}, photometric="minisblack")
    return folder / "a.tif", folder / "a.tif"


def _first_chunk(folder):
    return next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.replace(".", "").isdecimal())


def _n5(folder):
    write_n5(folder / "a.n5", some_data(SHAPE))
    return folder / "a.n5", _first_chunk(folder)


def _zarr(folder):
    write_array(folder / "a.zarr", "v2 blosc")
    return folder / "a.zarr", _first_chunk(folder)


FORMATS = {
    "gzip": lambda folder: _hdf5(folder, chunks=(3, 4, 4, 1), filters="gzip"),
    "raw": lambda folder: _hdf5(folder, chunks=(3, 4, 4, 1)),
    "h5py": lambda folder: _hdf5(folder, chunks=(3, 4, 4, 1), filters="lzf"),
    "no chunks": lambda folder: _hdf5(folder),
    "npy": _npy,
    "TIFF": _tiff,
    "N5": _n5,
    "Zarr": _zarr,
}


@pytest.fixture(params=FORMATS)
def opened(request, tmp_path):
    path, part = FORMATS[request.param](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = open_source(Location.parse(path))
        return source, part


@pytest.mark.posix  # elsewhere there is no pread
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_the_middle_of_a_read(opened, change, monkeypatch):
    """The change comes behind the first bytes of the part."""
    source, part = opened
    whole = tuple(slice(0, n) for n in source.spec.shape)
    before = source.read(whole)
    fired = threading.Event()

    def changing(real):
        def call(fd, *arguments):
            found = real(fd, *arguments)
            if not fired.is_set() and path_of(fd) == str(part):
                fired.set()
                change(part)
            return found

        return call

    monkeypatch.setattr(files.os, "pread", changing(os.pread))
    monkeypatch.setattr(files.os, "preadv", changing(os.preadv))
    try:
        after = source.read(whole)
    except SourceChangedError:
        assert fired.is_set()
        return
    assert fired.is_set()
    np.testing.assert_array_equal(after, before)
