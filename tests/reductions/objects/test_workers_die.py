"""Workers of a cluster die in the middle of labelling and measuring: the table and the labels are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ilastik_lazy as il
from benchmarks.cells import write_probabilities
from tests.support.children import run_file

pytest.importorskip("distributed")

# A file, which the processes of the cluster import.
_KILLING = """
import os, pathlib, signal, sys, time
sys.path.insert(0, sys.argv[1])
import dask, distributed
import ilastik_lazy as il
from ilastik_lazy.lazy.from_xarray import as_source
from ilastik_lazy.reductions.objects import object_axes

class Deadly:
    # A source that kills the worker that first gets to its second half, and leaves a file that says so: once.
    def __init__(self, source, grave):
        self.source, self.spec, self.grave = source, source.spec, grave
    def read(self, region):
        if 2 * region[0].start >= self.spec.shape[0]:
            try:
                pathlib.Path(self.grave).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.source.read(region)

if __name__ == "__main__":
    path, folder = sys.argv[2], pathlib.Path(sys.argv[3])
    object_axes._BLOCK_BYTES = object_axes.BLOCK_BYTES_LEAST = 2**20
    # On a busy machine a worker is not back after 15 seconds, and the cluster would give it up for good.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"})
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster, distributed.Client(cluster):
        source = as_source(il.open_dataarray(path))
        labels = il.label_objects(Deadly(source, str(folder / "first")), min_size=50)
        il.measure_objects(labels, path).to_pickle(folder / "table")
        labels = il.label_objects(Deadly(source, str(folder / "second")), min_size=50)
        labels.compute().values.tofile(folder / "labels")
    print(sum((folder / name).exists() for name in ("first", "second")))
"""


def test_the_table_and_the_labels_are_the_same(tmp_path: Path) -> None:
    path = write_probabilities(str(tmp_path / "a.h5"), (110, 120, 130), 0.2)
    script = tmp_path / "killing.py"
    script.write_text(_KILLING)
    root = Path(__file__).parents[3]
    assert int(run_file(script, str(root), path, str(tmp_path), timeout=600)) == 2, "two workers died"
    image = il.open_dataarray(path)
    labels = il.label_objects(image, min_size=50)
    table = il.measure_objects(labels, image)
    assert len(table) > 100
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "table"), table, rtol=1e-12)
    values = labels.values
    np.testing.assert_array_equal(np.fromfile(tmp_path / "labels", values.dtype).reshape(values.shape), values)
