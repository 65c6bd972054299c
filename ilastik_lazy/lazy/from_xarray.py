"""Turn a DataArray into an `ArraySource`, whatever was computed with it.

What `open_dataarray` returned is recognised, so that its own source is read and not dask's copy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import is_dask_collection

from ilastik_lazy.core.axes import AXIS_NAMES, Axis, parse_axis_names, step_and_origin
from ilastik_lazy.core.grid import Region, check_region, region_shape
from ilastik_lazy.core.kinds import WHOLE_NUMBERS, with_classes_of_name
from ilastik_lazy.core.options import DEFAULTS, OpenOptions
from ilastik_lazy.core.size_text import counted
from ilastik_lazy.core.spec import COMPUTED, ArraySource, ArraySpec, CountedChunks, Storage
from ilastik_lazy.core.units import full_unit_name, unit_and_start
from ilastik_lazy.core.views.view import DescribedSource, View, leaves_of
from ilastik_lazy.errors import ArgumentError, AxesError, UnfinishedWriteError, option
from ilastik_lazy.formats.stack import open_paths
from ilastik_lazy.lazy.attributes import (
    channel_colors,
    channel_names,
    drange_of,
    kind_of,
    may_keep_drange,
    packing_in,
    unplaced_units_of,
    without_inherited,
)
from ilastik_lazy.lazy.dask_array import source_behind
from ilastik_lazy.lazy.origins import layers_of, origins_of
from ilastik_lazy.storage.object_store import is_url

__all__ = ["AnySource", "ComputedSource", "absent_chunks", "as_labels", "as_source", "require_written", "source_of"]


_CAPITALS = "".join(AXIS_NAMES).upper()
AnySource = str | os.PathLike[str] | ArraySource | xr.DataArray | np.ndarray[Any, Any] | da.Array


def as_source(
    source: object, storage_options: Mapping[str, Any] | None = None, options: OpenOptions = DEFAULTS
) -> ArraySource:
    """Return the source behind a path (a URL, a pattern), a DataArray, an array with axes in `options`, or itself.

    Parameters
    ----------
    storage_options
        How the server of a URL is reached.
    options
        How a path is opened; its `axes` also name those of an array without names.

    Raises
    ------
    ArgumentError
        It is something else, or names its own axes.
    """
    if isinstance(source, np.ndarray | da.Array) and options.axes is not None:
        source, options = xr.DataArray(source, dims=parse_axis_names(options.axes, source.shape)), DEFAULTS
    if isinstance(source, xr.DataArray | ArraySource) and options.axes is not None:
        raise ArgumentError(f"{option('axes', options.axes)}: the image names its own axes; rename them")
    if isinstance(source, xr.DataArray):
        return source_of(source)
    if isinstance(source, str | os.PathLike):
        return open_paths(source, storage_options=storage_options if is_url(source) else None, options=options)
    if isinstance(source, ArraySource):
        return source
    hint = ""
    if isinstance(source, xr.Dataset):
        hint = f": pick a variable, such as dataset[{next(iter(source.data_vars), 'exported_data')!r}]"
    if isinstance(source, xr.DataTree):
        names = (f"{node.relative_to(source)}/{name}" for node in source.subtree for name in node.data_vars)
        hint = f": pick a variable of a node, such as tree[{next(names, 'scale0/image').removeprefix('./')!r}]"
    if isinstance(source, np.ndarray) and 2 <= source.ndim <= 5:
        dims = list("tzyx"[4 - source.ndim :] if source.ndim < 5 else "tzyxc")
        hint = f": name its axes, such as xarray.DataArray(array, dims={dims})"
    raise ArgumentError(f"expected a path, a DataArray or an ArraySource, not {type(source).__name__}{hint}")


def as_labels(labels: object) -> ArraySource:
    """Return the source behind a label image (see `as_source`): whole numbers or a mask.

    Raises
    ------
    ArgumentError
        It holds other numbers.
    """
    source = with_classes_of_name(as_source(labels))
    if source.spec.dtype.kind not in "biu":
        raise ArgumentError(
            f"{option('labels')}: {source.spec.storage.location} holds {source.spec.dtype}, and labels are whole "
            "numbers: pass it as an image of its own"
        )
    return source


@dataclass(frozen=True, slots=True)
class ComputedSource(View):
    """A DataArray, read by computing the blocks that a region touches."""

    spec: ArraySpec
    variable: xr.Variable
    origins: tuple[ArraySource | Storage, ...] = ()
    """What its graph reads."""

    def __dask_tokenize__(self) -> tuple[object, ...]:
        # Not of the variable: to make its token, xarray loads one that is indexed lazily as a whole.
        return type(self).__name__, self.variable.dims, self.variable.chunk().data.name

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Compute `region` in this thread (see `ArraySource.read`).

        Raises
        ------
        ArgumentError
            What is computed has another shape than the array says, or numbers that its dtype cannot hold.
        """
        check_region(region, self.spec.shape)
        part = self.variable[region]
        if part.chunks is None:
            return np.array(part.values)
        # The caller's threads are the parallelism: a scheduler in each of them would be one too many.
        return self._as_declared(np.asarray(part.data.compute(scheduler="synchronous")), region_shape(region))

    def _as_declared(self, values: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        # dask trusts the shape and dtype that `map_blocks` is given, and writes whatever blocks come.
        where, dtype = self.spec.storage.location, self.spec.dtype
        if values.shape != shape:
            raise ArgumentError(
                f"{where} gives a block of shape {values.shape} for one of {shape}: "
                "state the shape of blocks with the arguments chunks=, drop_axis= and new_axis= of map_blocks"
            )
        with np.errstate(invalid="ignore", over="ignore"):
            made = np.array(values, dtype)
        # Numbers of another precision are rounded, as by any assignment; whole numbers must stay what they are.
        if values.dtype != dtype and not (dtype.kind == values.dtype.kind == "f") and not (made == values).all():
            raise ArgumentError(
                f"{where} gives {values.dtype} values that {dtype} cannot hold: "
                "state the dtype of blocks with the argument dtype= of map_blocks"
            )
        return made


def absent_chunks(source: ArraySource) -> int:
    """Count the chunks of HDF5 exports that were never written: ilastik writes all, so the export was stopped.

    In other formats none is counted, since missing chunks commonly stand for the fill value.
    """
    return sum(leaf.count_absent() for leaf in leaves_of(source) if isinstance(leaf, CountedChunks))


def require_written(source: ArraySource, on_error: Literal["raise", "mask"]) -> int:
    """Count the chunks of the exports behind `source` that were never written.

    Raises
    ------
    UnfinishedWriteError
        There are some, and `on_error` is not ``mask``.
    """
    if on_error not in ("raise", "mask"):
        raise ArgumentError(f"{option('on_error', on_error)}: expected 'raise' or 'mask'")
    if (absent := absent_chunks(source)) and on_error == "raise":
        raise UnfinishedWriteError(
            f"{source.spec.storage.location}: {counted(absent, 'chunk')} {'was' if absent == 1 else 'were'} never "
            "written, so the export was stopped: export it again, or pass "
            f"{option('on_error', 'mask')} to write the fill value there"
        )
    return absent


def source_of(array: xr.DataArray) -> ArraySource:
    """Return a source with the voxels, positions, class names and attributes of `array`.

    Parameters
    ----------
    array
        Dims out of ``t, z, y, x, c``; its coordinates must be evenly spaced.

    Raises
    ------
    AxesError
        A dim has another name.
    ArgumentError
        Positions that cannot be written as an origin and a step.
    """
    array = array.rename({dim: dim.lower() for dim in array.dims if isinstance(dim, str) and dim in _CAPITALS})
    dims = tuple(str(dim) for dim in array.dims)
    if unknown := [dim for dim in dims if dim not in AXIS_NAMES]:
        raise AxesError(f"the dimension {unknown[0]!r} is not one of t, z, y, x, c: rename it with .rename()")
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"an array of {array.dtype} is not an image: expected numbers")
    if unknown := [dim for dim, length in zip(dims, array.shape, strict=True) if length != length]:
        raise ArgumentError(
            f"dask does not know the length along {unknown[0]!r}: call .data.compute_chunk_sizes(), "
            "or avoid what depends on the values, such as a boolean index"
        )
    if array.chunks is not None and not is_dask_collection(array.data):
        library = type(array.data).__module__.partition(".")[0]
        raise ArgumentError(f"chunks of {library} are not read one by one: open with chunks='auto', or use .to_zarr()")
    original = source_behind(array.variable)
    stored = {axis.name: axis for axis in original.spec.axes} if original is not None else {}
    kind = kind_of(array, original)
    names = channel_names(array, kind, original.spec.channel_names if original is not None else ())
    units = unplaced_units_of(array)
    origins = origins_of(array.variable) if original is None else ()
    if kind in WHOLE_NUMBERS:
        names = without_inherited(names, array, origins)
    # Values without names that were computed from classes need not be those that have the colours.
    has_colors = bool(names) or original is not None or kind not in WHOLE_NUMBERS
    spec = ArraySpec(
        name=str(array.name or "image"),
        shape=array.shape,
        dtype=array.dtype,
        axes=tuple(_axis(array, dim, stored.get(dim), units.get(dim)) for dim in dims),
        chunks=original.spec.chunks if original is not None else _chunks_of(array),
        storage=original.spec.storage if original is not None else _storage_of(array),
        channel_names=names,
        channel_colors=channel_colors(array, kind) if has_colors else (),
        kind=kind,
        may_hold_ids=kind is None and array.attrs.get("ilastik_kind") not in (None, "intensity"),
        drange=drange_of(array) if original is not None or may_keep_drange(array, origins) else None,
        display_mode=str(array.attrs.get("display_mode", "")),
        packing=packing_in(array, origins),
        is_inherited=original is None,
    )
    if original is not None:
        return DescribedSource(spec, original)
    if spec.drange is not None and array.chunks is None and not origins and array.size:
        # In memory: it takes no time to look.
        spec = spec.agreeing(float(np.fmin.reduce(array.values, None)), float(np.fmax.reduce(array.values, None)))
        spec = replace(spec, is_inherited=False)
    return ComputedSource(spec, array.variable, origins)


def _axis(array: xr.DataArray, dim: str, stored: Axis | None, unit_alone: object) -> Axis:
    if dim == "c":
        return Axis(dim)
    if dim not in array.coords:
        return Axis(dim, unit=full_unit_name(unit_alone) if isinstance(unit_alone, str) else "")
    positions = np.asarray(array.coords[dim].values)
    attributes = array.coords[dim].attrs
    unit, since = unit_and_start(attributes.get("units"), attributes.get("calendar"))
    if positions.dtype.kind == "M" and positions.size and not np.isnat(positions).any():
        # xarray's own engines make dates of numbers: they become numbers again.
        unit, since = "second", str(np.datetime_as_string(positions[0], "auto"))
        positions = (positions - positions[0]) / np.timedelta64(1, "s")
    if positions.dtype.kind == "m" and positions.size and not np.isnat(positions).any():
        unit, since, positions = "second", "", positions / np.timedelta64(1, "s")
    if positions.dtype.kind not in "iuf":
        raise ArgumentError(f"the positions along {dim!r} are {positions.dtype}: expected numbers with units")
    known = stored.positions(len(positions)) if stored is not None else None
    near = 1e-6 * (stored.scale or 0.0) if stored is not None else 0.0
    if stored is not None and known is not None and np.allclose(known, positions, rtol=0.0, atol=near):
        # Also for a single plane, whose position gives no step.  The unit may be the caller's correction.
        return replace(stored, unit=unit, since=since) if unit else stored
    if positions.dtype.kind == "f" and not np.isfinite(positions).all():
        raise ArgumentError(f"the positions along {dim!r} are not all numbers: .drop_vars({dim!r})")
    if (found := step_and_origin(positions)) is None:
        raise ArgumentError(
            f"the positions along {dim!r} are not evenly spaced and rising: sort or interpolate, or .drop_vars({dim!r})"
        )
    return Axis(dim, *found, unit, since)


def _has_steps(array: xr.DataArray) -> bool:
    """Whether dask does more than to read: `da.from_array` makes one layer, or one and what it reads from."""
    if array.chunks is None:
        return False
    known = array.data.name, f"original-{array.data.name}"
    return not (layers := layers_of(array.data)) or any(layer not in known for layer in layers)


def _storage_of(array: xr.DataArray) -> Storage:
    compression = "none" if array.chunks is None else "computed"
    return Storage(str(array.name or "a DataArray"), compression=compression, access=COMPUTED)


def _chunks_of(array: xr.DataArray) -> tuple[int, ...]:
    preferred = array.encoding.get("preferred_chunks", {})
    known = set(array.dims) <= set(preferred) and all(isinstance(c, int) and c > 0 for c in preferred.values())
    # dask reads parts of blocks of an array as it was opened; whatever came after needs whole ones.  `chunk` keeps
    # the encoding: blocks of 144 MB over chunks of 16 kB were computed 18 times, past the memory agreed on.
    if known and not _has_steps(array):
        return tuple(preferred[dim] for dim in array.dims)
    if array.chunks is not None:
        return tuple(max(1, max(lengths)) for lengths in array.chunks)
    return tuple(max(1, length) for length in array.shape)
