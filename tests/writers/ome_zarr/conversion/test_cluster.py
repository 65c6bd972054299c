"""Conversions on a dask.distributed cluster of processes, of which some die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from benchmarks.exports import write_export
from ilastik_lazy.errors import CorruptChunkError, DestinationBusyError, DestinationError
from ilastik_lazy.storage.stores import PLAN, LocalStore
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from ilastik_lazy.writers.ome_zarr.commit.manifest import MANIFEST
from ilastik_lazy.writers.ome_zarr.commit.transaction import Transaction
from ilastik_lazy.writers.ome_zarr.conversion.shards import ShardReader, ShardWriter
from ilastik_lazy.writers.ome_zarr.plan.pyramid import plan_conversion
from tests.support.children import run_file
from tests.support.clusters import cluster
from tests.support.ome_zarr.targets import HERE, a_source, assert_no_image, contents

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with cluster() as client:
        yield client


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> str:
    """40 MB in chunks of 0.5 MB, and three levels."""
    return write_export(str(tmp_path_factory.mktemp("export") / "a.h5"), (64, 280, 280, 2), distinct=20)


def voxels(target: Path, level: int = 0) -> np.ndarray[Any, Any]:
    return np.asarray(zarr.open_array(target / f"scale{level}" / "image", mode="r")[...])


class TestCluster:
    @pytest.mark.parametrize("version", ["0.5", "0.4"])
    def test_writes_what_threads_write(self, client: Any, export: str, tmp_path: Path, version: Any) -> None:
        told: list[tuple[int, int]] = []
        report = to_ome_zarr(
            export, tmp_path / "a.zarr", levels=4, memory="40MB", version=version, verify=True,
            progress=lambda *now: told.append(now),
        )  # fmt: skip
        assert report.verified
        assert told[-1][0] == told[-1][1]
        with dask.config.set(scheduler="threads"):
            to_ome_zarr(export, tmp_path / "b.zarr", levels=4, memory="40MB", version=version)
        made, expected = (contents(tmp_path / name) for name in ("a.zarr", "b.zarr"))
        # The names differ, and so do the metadata that state them, and their checksums in the manifest.
        made, expected = ({k: v for k, v in f.items() if "/image/" in k and k != MANIFEST} for f in (made, expected))
        assert made == expected

    def test_computes_what_was_computed(self, client: Any, export: str, tmp_path: Path) -> None:
        array = il.open_dataarray(export)
        to_ome_zarr(array.isel(c=0) > 0.5, tmp_path / "a.zarr", verify=True)
        np.testing.assert_array_equal(voxels(tmp_path / "a.zarr"), array.isel(c=0).compute().values > 0.5)

    def test_stops_at_a_damaged_chunk_and_says_which(self, client: Any, export: str, tmp_path: Path) -> None:
        path = tmp_path / "damaged.h5"
        data = bytearray(Path(export).read_bytes())
        data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
        path.write_bytes(data)
        with pytest.raises(CorruptChunkError, match=r"damaged\.h5"):
            to_ome_zarr(path, tmp_path / "a.zarr", memory="40MB")
        assert_no_image(tmp_path / "a.zarr")
        report = to_ome_zarr(path, tmp_path / "b.zarr", memory="40MB", on_error="mask")
        assert len(report.masked) == 1


_KILLING = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
import distributed
from ilastik_lazy.writers.ome_zarr import to_ome_zarr

class Slow:
    # A source that takes its time, so that there is time to die.
    def __init__(self, source):
        self.source, self.spec = source, source.spec
    def read(self, region):
        import time
        time.sleep(0.02)
        return self.source.read(region)

if __name__ == "__main__":
    from ilastik_lazy.lazy.from_xarray import as_source
    how = sys.argv[5]
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster, distributed.Client(cluster) as client:
        def told(done, total):
            if how == "client" and done > total // 3:
                os.kill(os.getpid(), signal.SIGKILL)
        source = Slow(as_source(sys.argv[3]))
        to_ome_zarr(source, sys.argv[4], memory="30MB", levels=4, progress=told, resume=True)
"""


_LONG = "ILASTIK_LAZY_LONG" in os.environ
_RUNS = range(20 if _LONG else 1)
# Clusters of their own.  `test_killed.py` kills a client without a cluster, and the last test here ends a scheduler.
_of_their_own = pytest.mark.skipif(not _LONG, reason="ILASTIK_LAZY_LONG=1 kills clients and schedulers, 20 times each")


@_of_their_own
@pytest.mark.parametrize("run", _RUNS)
def test_a_killed_client_leaves_what_can_be_resumed(export: str, tmp_path: Path, run: int) -> None:
    target = tmp_path / "a.zarr"
    with pytest.raises(AssertionError, match="exit -9"):
        run_script(tmp_path, export, target, "client")
    assert_no_image(target)
    # Its workers end a moment later; what they still write is what would be written anyway.
    run_script(tmp_path, export, target, "nobody")
    expected = il.open_dataarray(export).transpose("c", "z", "y", "x").values
    np.testing.assert_array_equal(voxels(target), expected)


def test_a_worker_that_does_not_see_the_target_says_so(client: Any, export: str, tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    hidden = tmp_path / "elsewhere"

    def hide(done: int, total: int) -> None:
        if not hidden.exists():
            target.rename(hidden)  # as if the folder were on the client's own disk

    with pytest.raises(DestinationError, match="share the target"):
        to_ome_zarr(export, target, memory="40MB", progress=hide)
    assert not list(target.rglob("c/*")), "nothing is written where nobody looks for it"


_WITH_SCHEDULER = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
import distributed
from ilastik_lazy.errors import DestinationError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr

if __name__ == "__main__":
    pids = [int(pid) for pid in sys.argv[6:]]
    with distributed.Client(sys.argv[5], timeout=20) as client:
        client.wait_for_workers(2)
        def told(done, total):
            if done > total // 4 and pids:
                os.kill(pids.pop(), signal.SIGKILL)
        try:
            to_ome_zarr(sys.argv[3], sys.argv[4], memory="30MB", levels=4, progress=told)
        except DestinationError as error:
            print(error, flush=True)
        # The client of a dead scheduler takes its time to end.
        os._exit(0)
"""


@_of_their_own
@pytest.mark.parametrize("run", _RUNS)
def test_a_killed_scheduler_leaves_what_can_be_resumed(export: str, tmp_path: Path, run: int) -> None:
    target, file = tmp_path / "a.zarr", tmp_path / "address"
    environment = os.environ | {
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
        "DASK_LOGGING__DISTRIBUTED": "critical",
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    options = ["--no-dashboard", "--scheduler-file", str(file)]
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(subprocess.Popen([*command, *options], **quiet))
        stack.callback(scheduler.kill)
        while not file.exists() or not file.read_text():
            time.sleep(0.02)
        address = json.loads(file.read_text())["address"]
        for _ in range(2):
            worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
            stack.callback(stack.enter_context(subprocess.Popen([*worker, "--no-nanny"], **quiet)).kill)
        script = tmp_path / "with_scheduler.py"
        script.write_text(_WITH_SCHEDULER)
        said = run_file(script, str(HERE.parent), str(HERE), export, str(target), address, str(scheduler.pid))
    assert b"the cluster is gone; what is written stays" in said
    assert_no_image(target)
    to_ome_zarr(export, target, memory="30MB", levels=4, resume=True)
    expected = il.open_dataarray(export).transpose("c", "z", "y", "x").values
    np.testing.assert_array_equal(voxels(target), expected)


def run_script(folder: Path, export: str, target: Path, how: str) -> bytes:
    """Run it from a file: the processes of the cluster import it."""
    script = folder / "killing.py"
    script.write_text(_KILLING)
    return run_file(script, str(HERE.parent), str(HERE), export, str(target), how)


def test_what_an_orphan_still_writes_does_not_get_into_another_conversion(tmp_path: Path) -> None:
    """Its client was killed, and somebody began anew at the same place."""
    source, store = a_source(), LocalStore(str(tmp_path / "a.zarr"))
    plan = plan_conversion(source)
    with (
        contextlib.suppress(KeyboardInterrupt),
        Transaction(store, {"source": "one"}, overwrite=False, resume=False) as first,
    ):
        orphan = ShardWriter(store, first.journal, begun=store.get(PLAN))
        shard = plan.levels[0].shard((0, 0))
        files = orphan.encode(shard, ShardReader(plan, source).read(shard))
        orphan.write(shard, files)
        raise KeyboardInterrupt
    with (
        pytest.raises(DestinationBusyError, match="another conversion has begun"),
        Transaction(store, {"source": "two"}, overwrite=True, resume=False),
    ):
        orphan.write(shard, files)


# The last two, as they cost the cluster its workers, and then its life.
@pytest.mark.parametrize("run", _RUNS)
def test_a_killed_worker_costs_its_tasks_only(client: Any, export: str, tmp_path: Path, run: int) -> None:
    target, killed = tmp_path / "a.zarr", list[int]()

    def kill(done: int, total: int) -> None:
        # One worker dies after a quarter of the work, the other after half of it.
        if len(killed) < 2 and done * 4 > total * (len(killed) + 1):
            killed.append(list(client.cluster.workers.values())[len(killed)].process.pid)
            os.kill(killed[-1], signal.SIGKILL)

    to_ome_zarr(export, target, memory="30MB", levels=4, progress=kill)
    assert len(killed) == 2
    expected = il.open_dataarray(export).transpose("c", "z", "y", "x").values
    np.testing.assert_array_equal(voxels(target), expected)
    assert not (target / ".ilz").exists()


def test_a_cluster_that_ends_leaves_what_can_be_resumed(client: Any, export: str, tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"

    def end(done: int, total: int) -> None:
        if done:
            client.cluster.close()

    with pytest.raises(DestinationError, match="cluster is gone"):
        to_ome_zarr(export, target, memory="40MB", progress=end)
    assert_no_image(target)
    with dask.config.set(scheduler="threads"):
        assert to_ome_zarr(export, target, memory="40MB", resume=True).resumed > 0
