"""The same arrays under `dask.distributed`, with nothing to rewrite."""

from __future__ import annotations

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import SourceError
from tests.support.clusters import cluster
from tests.support.makers import write_hdf5_export

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    with cluster() as client:
        yield client


@pytest.fixture
def stored(tmp_path):
    data = np.random.default_rng(0).random((40, 31, 33, 2), "f4")
    write_hdf5_export(tmp_path / "a.h5", data, chunks=(7, 8, 9, 1), filters="gzip")
    return il.open_dataarray(tmp_path / "a.h5", chunks={"z": 7, "y": 16, "x": 18}), data


def test_a_mean_is_computed_by_other_processes(client, stored):
    array, data = stored
    np.testing.assert_allclose(array.mean("z").compute().values, data.mean(0), rtol=1e-5)
    ran_on = set(client.run(lambda: __import__("os").getpid()).values())
    assert len(ran_on) == 2


def test_blocks_are_mapped_by_other_processes(client, stored):
    array, data = stored
    doubled = array.data.map_blocks(lambda block: block * 2, dtype="f4")
    np.testing.assert_array_equal(doubled.compute(), data * 2)


def test_a_file_that_is_gone_is_our_error_here_too(client, stored, tmp_path):
    array, _ = stored
    (tmp_path / "a.h5").unlink()
    with pytest.raises(SourceError, match=r"a\.h5"):
        array.compute()
