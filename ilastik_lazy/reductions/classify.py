"""The class of each voxel of a probability map: what ilastik exports as *Simple Segmentation*, without ilastik.

ilastik's rule (`OpArgmaxChannel`) is `numpy.argmax` over the channels, plus 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import xarray as xr

from ilastik_lazy.core.grid import Region, block_shape, check_region, region_shape
from ilastik_lazy.core.spec import COMPUTED, ArraySource, ArraySpec
from ilastik_lazy.core.views.view import View
from ilastik_lazy.errors import ArgumentError, AxesError
from ilastik_lazy.lazy.attributes import drange_of
from ilastik_lazy.lazy.channels import best_channels
from ilastik_lazy.lazy.dataset import chunked, to_dataset
from ilastik_lazy.lazy.from_xarray import AnySource, ComputedSource, as_source
from ilastik_lazy.reductions.thresholds import check_threshold, checked_number

__all__ = ["classify"]

Array = np.ndarray[Any, Any]

_NAME = "segmentation"
_PART_BYTES = 4 * 2**20
"""What one channel of a part takes: few enough bytes that its planes stay in the cache."""

_T = TypeVar("_T")


def classify(probabilities: AnySource, threshold: float | None = None) -> xr.DataArray:
    """Give each voxel the number of its most probable class, lazily.

    Parameters
    ----------
    probabilities
        Map with the dim ``c``, one channel for each class, in any position and of any numbers: a path, what
        `open_dataarray` returned, or an `ArraySource`.
    threshold
        Least value of the best class, on a scale from 0 to 1 over ``drange`` where that is known.  Voxels below it
        become 0, which is not a class.  Without it, each voxel has a class.

    Returns
    -------
    xarray.DataArray
        uint8 (uint16 for more than 255 classes) without the dim ``c``: class k, counted from 1, is channel k - 1.
        Without a threshold the values are those of ilastik's *Simple Segmentation*.  If several classes are
        equally probable, the first one wins, so that a voxel outside ilastik's prediction mask, where all are 0, has
        class 1: any `threshold` above 0 makes it 0.  A voxel with NaN in any channel becomes 0.  The names
        and colours of the classes are in ``attrs``, as in a segmentation that was opened with its project.

    Raises
    ------
    AxesError
        There is no dim ``c``.
    ArgumentError
        `threshold` is not a number, is in percent, or makes no sense for whole numbers whose range is not known.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    >>> classes = il.classify(prob)
    >>> classes.dims, classes.dtype, classes.attrs["flag_meanings"]
    (('z', 'y', 'x'), dtype('uint8'), 'nucleus background')
    >>> bool((classes == il.open_dataarray(sample("segmentation")).squeeze()).all())
    True
    >>> int((il.classify(prob, threshold=0.9) == 0).sum())
    32932
    """
    source = as_source(probabilities)
    spec, where = source.spec, source.spec.storage.location
    if "c" not in spec.dims:
        raise AxesError(f"{where} has the dims {', '.join(spec.dims)}: classes lie along c, which is missing")
    axis = spec.dims.index("c")
    if not spec.shape[axis]:
        raise ArgumentError(f"{where} has no channels: there are no classes in it")
    drange = drange_of(probabilities) if isinstance(probabilities, xr.DataArray) else spec.drange
    least = None if threshold is None else _least(spec, drange, threshold)
    made = ClassSource(_spec_of_classes(spec, axis), source, axis, least)
    dataset = to_dataset({_NAME: made})
    if isinstance(source, ComputedSource) and source.variable.chunks is not None:
        # In the same graph: what all blocks need, such as a maximum, is computed once.
        data = _in_graph(source.variable, made)
        dataset = dataset.assign({_NAME: dataset.variables[_NAME].copy(deep=False, data=data)})
    else:
        dataset = chunked(dataset, {_NAME: made}, "auto")
    classes = dataset[_NAME]
    if not isinstance(probabilities, xr.DataArray):
        return classes
    kept = {name: each for name, each in probabilities.coords.items() if set(each.dims) <= set(classes.dims)}
    return classes.assign_coords(kept)


def _least(spec: ArraySpec, drange: tuple[float, float] | None, threshold: object) -> float:
    """The least stored value of a voxel that has a class."""
    number = checked_number("threshold", threshold)
    check_threshold("threshold", number, spec, drange)
    low, high = (0.0, 1.0) if drange is None else drange
    least = low + number * (high - low)
    return math.ceil(least) if spec.dtype.kind in "iu" else least


def _spec_of_classes(spec: ArraySpec, axis: int) -> ArraySpec:
    storage = replace(spec.storage, layout="chunked", compression="computed", access=COMPUTED, order=(), buffers=8)
    return replace(
        spec,
        name=_NAME,
        shape=_without(spec.shape, axis),
        dtype=np.min_scalar_type(spec.shape[axis]),
        axes=_without(spec.axes, axis),
        chunks=_without(spec.chunks, axis),
        storage=storage,
        kind="object predictions" if spec.kind == "object probabilities" else "segmentation",
        may_hold_ids=False,
        drange=None,
        display_mode="",
        packing=None,
        is_inherited=False,
    )


def _without(values: tuple[_T, ...], axis: int) -> tuple[_T, ...]:
    return values[:axis] + values[axis + 1 :]


@dataclass(frozen=True, slots=True)
class ClassSource(View):
    """Numbers of the most probable classes of another source."""

    spec: ArraySpec
    source: ArraySource
    axis: int
    """The axis ``c`` of `source`."""
    least: float | None
    """Least value of the best class of a voxel that has a class; None where each has one."""

    @property
    def how(self) -> Mapping[str, Any]:
        return {"classify": self.least}

    def read(self, region: Region) -> Array:
        """Read `region` (see `ArraySource.read`); memory is that of the result and of a few chunks."""
        check_region(region, self.spec.shape)
        spec, itemsize = self.spec, self.source.spec.dtype.itemsize
        step = block_shape(spec.shape, spec.chunks, itemsize, spec.dims, least=_PART_BYTES, most=_PART_BYTES)
        classes = np.empty(region_shape(region), spec.dtype)
        for part in _parts(region, step):
            inside = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(part, region, strict=True))
            classes[inside] = self._classes(part)
        return classes

    def _classes(self, part: Region) -> Array:
        """Classes of a part: each chunk is decoded once, also where it holds several channels."""
        channels, step = self.source.spec.shape[self.axis], self.source.spec.chunks[self.axis]
        some = (slice(first, min(first + step, channels)) for first in range(0, channels, step))
        blocks = (self.source.read((*part[: self.axis], each, *part[self.axis :])) for each in some)
        return _best_classes(blocks, self.axis, self.least, self.spec.dtype)


def _best_classes(blocks: Iterable[Array], axis: int, least: float | None, dtype: np.dtype[Any]) -> Array:
    """Classes of voxels whose channels lie along `axis` of `blocks`, one block after the other."""
    classes, best = best_channels(blocks, axis, dtype)
    if least is not None:
        classes *= best >= least
    elif best.dtype.kind == "f":
        classes *= best == best
    return classes


def _in_graph(variable: xr.Variable, made: ClassSource) -> Any:  # dask's own arrays do not fit xarray's type of them
    """The classes of a computed array as more of its graph, whose blocks they keep."""
    axes, spec = range(variable.ndim), made.spec
    kept = [axis for axis in axes if axis != made.axis]
    options = {"axis": made.axis, "least": made.least, "result": spec.dtype}
    meta = np.empty((0,) * len(kept), spec.dtype)
    return da.blockwise(  # type: ignore[no-untyped-call]
        _classes_of_block, kept, variable.data, list(axes), concatenate=True, dtype=spec.dtype, meta=meta, **options
    )


def _classes_of_block(block: Array, axis: int, least: float | None, result: np.dtype[Any]) -> Array:
    return _best_classes([block], axis, least, result)


def _parts(region: Region, step: Sequence[int]) -> Iterator[Region]:
    """The parts of `region` in a grid of this step."""
    per_axis = []
    for part, length in zip(region, map(partial(max, 1), step), strict=True):
        first = part.start // length * length
        starts = range(first, part.stop, length)
        per_axis.append([slice(max(start, part.start), min(start + length, part.stop)) for start in starts])
    yield from itertools.product(*per_axis)
