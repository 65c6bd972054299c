"""Under a client of dask.distributed the cluster finds and measures objects, and gives the same table."""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
import pytest

import ilastik_lazy as il
from ilastik_lazy.lazy.from_xarray import as_source
from tests.fuzz.objects import blocks_are_chunks
from tests.support.clusters import DeadlySource, cluster
from tests.support.makers import write_hdf5_export

pytestmark = pytest.mark.slow

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    with cluster() as client:
        yield client


@pytest.fixture
def export(tmp_path):
    values = np.random.default_rng(0).random((6, 40, 50, 1)).astype(np.float32)
    write_hdf5_export(tmp_path / "a_Probabilities.h5", values, axes="zyxc", chunks=(3, 20, 20, 1), filters="gzip")
    return tmp_path / "a_Probabilities.h5"


@pytest.fixture
def expected(export):
    """The table and the labels, as the threads of this process find them."""
    image = il.open_dataarray(export)
    with blocks_are_chunks(), dask.config.set(scheduler="threads"):
        return il.measure_objects(il.label_objects(image), image), il.label_objects(image).values


def test_the_cluster_gives_the_same_table_and_labels(client, export, expected):
    table, values = expected
    image = il.open_dataarray(export)
    with blocks_are_chunks():
        labels = il.label_objects(image, min_size=1).chunk({"y": 20, "x": 20})
        np.testing.assert_array_equal(labels.compute().values, values)
        pd.testing.assert_frame_equal(il.measure_objects(il.label_objects(image), image), table)
        pd.testing.assert_frame_equal(il.measure_objects(labels, image), table)


def test_where_workers_die_the_table_and_the_labels_are_the_same(client, export, expected, tmp_path):
    table, values = expected
    image, graves = il.open_dataarray(export), [tmp_path / "first", tmp_path / "second"]
    first, second = (DeadlySource(as_source(image), grave) for grave in graves)
    with blocks_are_chunks():
        found = il.measure_objects(il.label_objects(first), image)
        pd.testing.assert_frame_equal(found, table, rtol=1e-12)
        np.testing.assert_array_equal(il.label_objects(second).compute().values, values)
    assert all(grave.exists() for grave in graves), "two workers died"
