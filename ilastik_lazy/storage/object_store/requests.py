"""Make many requests at once, and one request for ranges that lie near each other."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["at_once", "near_runs", "request_pool"]

Part = TypeVar("Part")

# Concurrent requests: each takes 20 to 100 ms, however little it asks for.
_REQUESTS = 48
# Chunks of a shard with at most this gap are fetched by one request, up to this size.
_NEAR, _MOST_AT_ONCE = 2**18, 2**24


@functools.cache
def request_pool() -> concurrent.futures.ThreadPoolExecutor:
    """Return the threads that wait for requests."""
    return concurrent.futures.ThreadPoolExecutor(_REQUESTS, thread_name_prefix="objects")


def at_once(function: Callable[[Part], None], parts: Iterable[Part]) -> None:
    """Call `function` for each part, in a few threads; none still runs when this returns or raises."""
    requests = [request_pool().submit(function, part) for part in parts]
    try:
        for request in requests:
            request.result()
    finally:
        for request in requests:
            request.cancel()
        concurrent.futures.wait(requests)


def near_runs(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, Sequence[tuple[int, int]]]]:
    """Yield start and stop of what one request fetches, and the offsets and sizes in it; `places` ascend.

    >>> list(near_runs([(0, 5), (9, 2), (10**9, 4)]))
    [(0, 11, [(0, 5), (9, 2)]), (1000000000, 1000000004, [(1000000000, 4)])]
    """
    waiting = list(places)
    while waiting:
        start, stop = waiting[0][0], sum(waiting[0])
        run = 1
        for offset, size in waiting[1:]:
            if offset - stop > _NEAR or offset + size - start > _MOST_AT_ONCE:
                break
            stop, run = max(stop, offset + size), run + 1
        yield start, stop, waiting[:run]
        del waiting[:run]
