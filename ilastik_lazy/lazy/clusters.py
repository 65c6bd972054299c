"""Work on the cluster of dask.distributed where there is one, and else in the threads of this process."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import dask

from ilastik_lazy.core.parallel import AHEAD, in_order
from ilastik_lazy.errors import ArgumentError, SourceError

__all__ = ["anywhere_in_order", "current_client", "once_on_cluster"]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def current_client() -> Any:
    """Return the `distributed.Client` whose cluster works; None if the threads of this process do.

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


def anywhere_in_order(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int, client: Any = None
) -> Generator[tuple[_Task, _Result], None, None]:
    """Do `work` on the cluster, or in threads, and yield each task with its result, in the order of `tasks`.

    Parameters
    ----------
    work
        On a cluster it is pickled into each task.
    workers
        Number of threads, where there is no cluster.
    client
        Client of the cluster; None looks for the current one.

    Raises
    ------
    SourceError
        Workers died over a task again and again, or the cluster has ended.
    """
    client = client or current_client()
    if client is None:
        yield from in_order(work, tasks, workers)
        return
    from distributed import CancelledError, KilledWorker
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    pending: deque[tuple[_Task, Any]] = deque()
    most = AHEAD * max(1, sum(client.nthreads().values()))
    remaining = iter(tasks)
    try:
        while True:
            while len(pending) < most and (task := next(remaining, _END)) is not _END:
                # pure=False: dask would make a token of what the task reads, each time.
                pending.append((task, client.submit(work, task, pure=False)))
            if not pending:
                return
            task, future = pending.popleft()
            yield task, future.result()
    except KilledWorker as error:
        raise SourceError(f"workers of the cluster died over {task}: give them more memory, or use threads") from error
    except (CancelledError, CommClosedError, ClosedClientError) as error:
        raise SourceError("the cluster ended during the work: start it again") from error
    finally:
        if client.status == "running":
            client.cancel([future for _, future in pending])


_END: Any = object()


def once_on_cluster(name: str, make: Callable[[Any], _Result]) -> _Result | None:
    """Return ``make(client)``, made by one task of the cluster however many threads ask for `name`.

    The result is None outside the threads of workers, where there is no cluster to ask.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
    except ValueError:
        return None
    # The thread leaves the pool of its worker while it waits: else waiting tasks could fill all threads.
    with distributed.worker_client() as client:
        result: _Result = client.submit(_made_in_task, make, key=name, pure=False).result()
        return result


def _made_in_task(make: Callable[[Any], _Result]) -> _Result:
    import distributed

    with distributed.worker_client() as client:
        return make(client)
