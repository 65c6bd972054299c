"""Reduce dims out of core, and label what remains."""

from __future__ import annotations

from collections.abc import Iterable

import xarray as xr

from ilastik_lazy.core.parallel import MEMORY, Progress
from ilastik_lazy.core.reducing.arithmetic import REDUCTIONS, Array
from ilastik_lazy.core.reducing.plan import ReductionPlan, carried_out, plan_reduction
from ilastik_lazy.core.size_text import parse_size
from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.lazy.attributes import unplaced_units
from ilastik_lazy.lazy.dataset import to_dataarray
from ilastik_lazy.lazy.from_xarray import AnySource, as_source
from ilastik_lazy.lazy.shared_parts import with_shared_parts
from ilastik_lazy.showing.progress import shows_progress

__all__ = ["labelled", "reduce"]


@shows_progress("reducing", 3)
def reduce(
    source: AnySource,
    name: str,
    over: Iterable[str] | None = None,
    *,
    skipna: bool | None = None,
    workers: int | None = None,
    memory: str | int = MEMORY,
    progress: Progress | bool | None = None,
) -> xr.DataArray:
    """Reduce a stored array block by block.

    Parameters
    ----------
    source
        Path of a file, what `open_dataarray` returned, or an `ArraySource`.
    name
        ``mean``, ``max``, ``min``, ``sum`` or ``std`` (of the population, as numpy's).
    over
        Dims to reduce over, such as ``("z",)`` or ``"zy"``; None or an empty sequence means all.
    skipna
        True and None skip NaN, as xarray does; False makes every element with a NaN among its values NaN, as numpy
        does.  If all values are NaN, the sum is 0 and any other result is NaN.
    workers
        Number of threads; by default one for each processor.  The result does not depend on it.
    memory
        Largest memory of the result and the blocks being worked on, such as ``"2GB"``, or bytes; fewer threads run
        if necessary.
    progress
        True shows a progress bar; a function is called in this thread with the blocks done, all blocks, and the
        bytes done.  An exception in it stops the work.

    Returns
    -------
    xarray.DataArray
        The other dims with their coordinates, in storage order.  ``min`` and ``max`` keep the dtype.
        Sums of integers are int64 or uint64 and exact; everything else is computed and returned in float64.

    Raises
    ------
    AxesError
        The array has no dim that `over` names.
    ArgumentError
        No such reduction, no values to reduce, or a sum beyond 64 bits.
    MemoryLimitError
        The result does not fit into `memory`.
    CorruptChunkError, SourceError
        A block cannot be read; nothing is returned.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> il.reductions.reduce(sample("probabilities"), "max", over="zc").sizes
    Frozen({'y': 128, 'x': 160})
    """
    assert not isinstance(progress, bool)
    stored = as_source(source)
    nbytes = parse_size(memory, "memory")
    plan = plan_reduction(stored.spec, name, over, skipna=skipna, workers=workers, memory=nbytes)
    stored = with_shared_parts(stored, plan.workers, nbytes - plan.nbytes)
    return labelled(stored, name, plan, carried_out(stored, name, plan, skipna, progress))


def labelled(source: ArraySource, name: str, plan: ReductionPlan, values: Array) -> xr.DataArray:
    """Add the remaining coordinates to `values`, and attributes of the array that still hold."""
    variable = to_dataarray(source)
    attributes = dict(variable.attrs) if REDUCTIONS[name].keeps_values else {}
    attributes.pop("axis_units", None)
    kept = tuple(axis for axis in source.spec.axes if axis.name in plan.dims)
    attributes |= unplaced_units(kept)
    attributes |= {"reduction": name, "over": list(plan.over)}
    if "long_name" in variable.attrs:
        attributes["long_name"] = f"{name} {variable.attrs['long_name']}"
    coordinates = {name: each for name, each in variable.coords.items() if set(each.dims) <= set(plan.dims)}
    return xr.DataArray(values, coordinates, plan.dims, source.spec.name, attributes)
