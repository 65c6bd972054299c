"""Compute the parts of an array that many of its blocks need, such as a mean, once, and keep them in its graph.

Each block is computed alone, which bounds memory, and would repeat all that it needs: for ``x - x.mean()``, the mean
of the whole array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import dask.array as da
import dask.threaded
import numpy as np
from dask.core import flatten, get_dependencies

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.lazy.from_xarray import ComputedSource
from ilastik_lazy.lazy.origins import layers_of

__all__ = ["KEPT_BYTES", "with_shared_parts"]

KEPT_BYTES = 64 * 2**20
"""What shared parts may take at most."""

_LEAST_BYTES = 2 * 2**20
"""What every plan has room for: a mean, or a few."""

Key = Any
_Get = Callable[[Mapping[Key, Any], list[Key]], Iterable[Any]]
_MANY = object()


def with_shared_parts(
    source: ArraySource,
    workers: int,
    most_bytes: int = KEPT_BYTES,
    get: _Get | None = None,
) -> ArraySource:
    """Return `source` with the parts computed that several of its blocks need; itself, if there are none.

    Parameters
    ----------
    workers
        Threads that compute them.
    most_bytes
        Bytes of all results that are kept, up to `KEPT_BYTES`; each block computes larger parts anew.
    get
        What computes keys of a graph instead of threads.
    """
    if not isinstance(source, ComputedSource) or not layers_of(source.variable.data):
        return source
    array, most_bytes = source.variable.data, min(max(most_bytes, _LEAST_BYTES), KEPT_BYTES)
    outputs = list(flatten(array.__dask_keys__()))  # type: ignore[no-untyped-call]
    if len(outputs) < 2:
        return source
    graph = dict(array.__dask_graph__())
    # What has a key for each block is taken to be as large as the array: not even a sample of it is computed.
    most_keys = len(outputs) - 1 if array.nbytes > most_bytes else len(graph)
    found = _shared_values(graph, outputs, most_bytes, most_keys, get or _in_threads(workers))
    if not found:
        return source
    needs = _needs(graph, outputs, found)
    settled = {key: graph[key] for key in needs} | {key: value for key, value in found.items() if key in needs}
    made = da.Array(settled, array.name, array.chunks, meta=array._meta)  # type: ignore[no-untyped-call]
    variable: Any = source.variable  # dask's own arrays do not fit xarray's type of them
    return replace(source, variable=variable.copy(deep=False, data=made))


def _in_threads(workers: int) -> _Get:
    return lambda graph, keys: dask.threaded.get(graph, keys, num_workers=workers)


def _shared_values(
    graph: Mapping[Key, Any], outputs: list[Key], most_bytes: int, most_keys: int, get: _Get
) -> dict[Key, Any]:
    """Return the values of the shared parts; those that need no other ones first."""
    values: dict[Key, Any] = {}
    refused: set[str] = set()
    kept = 0
    while layers := _shared_layers(graph, outputs, values, refused):
        refused.update(name for name, keys in layers.items() if len(keys) > most_keys)
        layers = {name: keys for name, keys in layers.items() if name not in refused}
        # One part of each layer shows how large they are.
        first = [keys[0] for keys in layers.values()]
        samples = dict(zip(first, _computed(graph, first, values, get), strict=True))
        for (name, keys), sample in zip(layers.items(), samples.values(), strict=True):
            size = len(keys) * getattr(sample, "nbytes", most_bytes + 1)
            # What is small is kept in any case: a mean must not wait for the blocks that came before it.
            fits = kept + size <= most_bytes or size <= most_bytes // 64
            if isinstance(sample, np.ndarray | np.generic) and fits:
                kept += size
                values[keys[0]] = sample
            else:
                refused.add(name)
        rest = [key for name, keys in layers.items() if name not in refused for key in keys[1:]]
        values |= zip(rest, _computed(graph, rest, values, get), strict=True)
    return values


def _computed(graph: Mapping[Key, Any], keys: list[Key], values: Mapping[Key, Any], get: _Get) -> Iterable[Any]:
    if not keys:
        return []
    needs = _needs(graph, keys, values)
    return get({key: values[key] if key in values else graph[key] for key in needs}, keys)


def _needs(graph: Mapping[Key, Any], keys: Iterable[Key], values: Mapping[Key, Any]) -> dict[Key, set[Key]]:
    """Map each key that `keys` need to the keys that it needs itself; a key with a value needs none."""
    needs: dict[Key, set[Key]] = {}
    todo = list(keys)
    while todo:
        if (key := todo.pop()) not in needs:
            needs[key] = set() if key in values else get_dependencies(graph, key)
            todo += needs[key]
    return needs


def _shared_layers(
    graph: Mapping[Key, Any], outputs: list[Key], values: Mapping[Key, Any], refused: set[str]
) -> dict[str, list[Key]]:
    """Choose the keys, by layer, to compute next: tasks that several outputs need, and that need no other of them.

    Also what is needed beside one of them: the maximum in ``(x - x.min()) / (x.max() - x.min())``, so that one pass
    over ``x`` gives both.
    """
    needs = _needs(graph, outputs, values)
    order = list(TopologicalSorter(needs).static_order())
    user: dict[Key, Any] = {key: key for key in outputs}  # the only output that needs a key, or _MANY
    uses = Counter(need for key in needs for need in needs[key]) + Counter(outputs)
    for key in reversed(order):
        for need in needs[key]:
            user[need] = user[key] if user.get(need, user[key]) == user[key] else _MANY
    has_reads: dict[Key, bool] = {}
    above: set[Key] = set()
    layers: dict[str, list[Key]] = {}
    for key in order:
        has_reads[key] = key not in values and (_is_task(graph[key]) or any(has_reads[need] for need in needs[key]))
        candidates = [key] if uses[key] > 1 else []
        if not above.isdisjoint(needs[key]):
            above.add(key)
            candidates = list(needs[key])
        for each in candidates:
            name = each[0] if isinstance(each, tuple) else each
            if user[each] is _MANY and has_reads[each] and each not in above and name not in refused:
                layers.setdefault(name, []).append(each)
                above.add(each)
    return layers


def _is_task(value: Any) -> bool:
    """Whether a graph computes it; all else is data."""
    if isinstance(value, tuple):
        return bool(value) and callable(value[0])
    return callable(getattr(value, "func", None))
