"""The cluster of dask.distributed, where there is one."""

from __future__ import annotations

import sys
from typing import Any

import dask

from ilastik_lazy.errors import ArgumentError

__all__ = ["current_client"]


def current_client() -> Any:
    """The `distributed.Client` whose cluster works; None if the threads of this process do.

    Threads work if there is no client, under ``dask.config.set(scheduler="threads")``, and if a worker of the
    cluster runs in this process: then this is a task, or a thread of one, and would occupy the place of the tasks that
    it waits for; or the cluster only consists of threads of this process.

    Raises
    ------
    ArgumentError
        The client is asynchronous.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None or dask.config.get("scheduler", None) not in (None, "dask.distributed", "distributed"):
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    # `get_worker` works in the thread of a task, but not in threads that the task has started.
    here = [worker.scheduler.address for worker in getattr(distributed.Worker, "_instances", ())]
    if client.scheduler is not None and client.scheduler.address in here:
        return None
    if client.asynchronous:
        raise ArgumentError(
            "the dask Client is asynchronous, and cannot be waited for here: make one without asynchronous=True, "
            'or work in threads, under dask.config.set(scheduler="threads")'
        )
    return client
