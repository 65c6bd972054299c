"""Under a client of dask.distributed the cluster finds and measures objects, and gives the same table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import ilastik_lazy as il
from tests.fuzz.objects import blocks_are_chunks
from tests.support.makers import write_hdf5_export


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def export(tmp_path):
    values = np.random.default_rng(0).random((6, 40, 50, 1)).astype(np.float32)
    write_hdf5_export(tmp_path / "a_Probabilities.h5", values, axes="zyxc", chunks=(3, 20, 20, 1), filters="gzip")
    return tmp_path / "a_Probabilities.h5"


def test_the_cluster_gives_the_same_table_and_labels(client, export):
    import dask

    with blocks_are_chunks():
        image = il.open_dataarray(export)
        with dask.config.set(scheduler="threads"):
            table, values = il.measure_objects(il.label_objects(image), image), il.label_objects(image).values
        labels = il.label_objects(image, min_size=1).chunk({"y": 20, "x": 20})
        np.testing.assert_array_equal(labels.compute().values, values)
        pd.testing.assert_frame_equal(il.measure_objects(il.label_objects(image), image), table)
        pd.testing.assert_frame_equal(il.measure_objects(labels, image), table)
