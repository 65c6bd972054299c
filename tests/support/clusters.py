"""A cluster of dask.distributed in processes of this machine, and a source that kills its workers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dask
import numpy as np

from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySource, ArraySpec
from tests.support.children import METHOD


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """Processes of dask are forks of the one that has all imports."""
    if METHOD == "forkserver":
        forkserver.ensure_running()  # before distributed names other imports for it
    with dask.config.set({"distributed.worker.multiprocessing-method": METHOD, "multiprocessing.context": METHOD}):
        yield


@contextlib.contextmanager
def cluster() -> Iterator[Any]:
    """Two processes of one thread, with a nanny each that starts another where one dies."""
    import distributed

    # On a busy machine a worker is not back after 15 seconds, and the cluster would give it up for good.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}),
        forked_workers(),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as made,
        distributed.Client(made) as client,
    ):
        yield client


@dataclass(frozen=True)
class DeadlySource:
    """Kills the worker that first gets to the second half of the image, and leaves a file that says so: once."""

    source: ArraySource
    grave: Path

    @property
    def spec(self) -> ArraySpec:
        return self.source.spec

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        if 2 * region[0].start >= self.spec.shape[0]:
            try:
                self.grave.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.source.read(region)
