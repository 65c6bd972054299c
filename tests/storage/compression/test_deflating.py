"""Any encoder makes what libhdf5, gzip and Zarr inflate."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

from ilastik_lazy import to_ilastik, to_ome_zarr
from ilastik_lazy.storage.compression import deflating
from tests.support.makers import some_data


@pytest.fixture(params=["isal", "deflate"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "isal":
        pytest.importorskip("isal", reason="isal is an optional encoder")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    deflating._deflaters.cache_clear()
    yield request.param
    deflating._deflaters.cache_clear()


@pytest.mark.parametrize("dtype", ["u1", "i2", ">f4"])
def test_streams_are_what_python_inflates(encoder, dtype):
    data = some_data((40, 9, 7), dtype)
    assert deflating.deflater_name() == encoder
    assert zlib.decompress(deflating.zlib_deflater()(data)) == data.tobytes()
    assert gzip.decompress(deflating.gzip_deflater()(data)) == data.tobytes()


@pytest.mark.usefixtures("encoder")
def test_files_are_what_others_inflate(tmp_path):
    data = some_data((40, 90, 91), "i2")
    array = xr.DataArray(data, dims=tuple("zyx"))
    to_ilastik(array, tmp_path / "a.h5")
    to_ilastik(array[0], tmp_path / "a.n5")
    to_ome_zarr(array, tmp_path / "a.zarr", codec="gzip", levels=1)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["exported_data"][...], data)
    assert (tmp_path / "a.h5").stat().st_size < 0.9 * data.nbytes
    # Behind the block's head of 12 bytes.
    stream = (tmp_path / "a.n5/exported_data/0/0").read_bytes()[12:]
    assert gzip.decompress(stream) == data[0].astype(">i2").tobytes()
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/scale0/image", mode="r")[...], data)
