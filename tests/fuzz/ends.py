"""How a random chain may end: our own reductions and writers, compared with numpy, zarr and h5py."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import dask
import h5py
import numpy as np
import pandas as pd
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import IlastikLazyError, IlastikLazyWarning
from ilastik_lazy.reductions import histogram, normalise, percentile, reduce, standardise
from ilastik_lazy.tables.paint import paint
from tests.fuzz.steps import Rng, some

Array = np.ndarray[Any, Any]
WRITABLE = "biuf"


def end(rng: Rng, ours: xr.DataArray, plain: xr.DataArray) -> tuple[str, list[str]] | None:
    """What was done, and in what it differs; None where the array is of no kind that we take, or by chance."""
    if rng.random() < 0.6 or not set(ours.dims) <= set("tzyxc") or not ours.size or ours.ndim < 2:
        return None
    if ours.dtype.kind not in WRITABLE or ours.dtype == np.float16:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compared before
        values = plain.values
    name = some(rng, list(_ENDS))
    if name == "to_ome_zarr" and not {"y", "x"} <= set(ours.dims):
        return None
    if ours.dtype.kind == "b" or (ours.dtype.kind == "f" and not np.isfinite(values).all() and name not in _TAKE_NAN):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", IlastikLazyWarning)
            # Both are true.
            warnings.filterwarnings("ignore", ".*ilastik opens only images with x and y")
            warnings.filterwarnings("ignore", "ilastik's HDF5 has no place for an origin")
            found, expected = _ENDS[name](rng, ours, values)
    except IlastikLazyError as error:
        return name, [] if any(words in str(error) for words in _RIGHTLY_REFUSED) else [repr(error)]
    except Exception as error:
        return name, [repr(error)]
    close = np.allclose(
        np.asarray(found, "f8"), np.asarray(expected, "f8"), rtol=1e-5, atol=1e-5 * _scale(expected), equal_nan=True
    )
    same = np.shape(found) == np.shape(expected) and close
    return name, [] if same else [f"{np.ravel(found)[:8]}, expected {np.ravel(expected)[:8]}"]


def _scale(values: Any) -> float:
    finite = np.abs(np.asarray(values, "f8"))
    return float(finite[np.isfinite(finite)].max(initial=0))


def _reduce(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    name, over = some(rng, ["mean", "max", "min", "sum", "std"]), [str(dim) for dim in x.dims if rng.random() < 0.5]
    wide = values if name in ("min", "max") or values.dtype.kind in "iu" else values.astype("f8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's about rows of nothing but NaN, which both give as NaN
        expected = getattr(xr.DataArray(wide, dims=x.dims), name)(over or None).values
    return reduce(x, name, over or None).values, expected


def _histogram(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    low, high = -10.0, 30.0
    inside = values[(values >= low) & (values <= high)].astype("f8")
    found = histogram(x, bins=8, range=(low, high))
    return found.counts, np.histogram(inside, found.edges)[0]


def _percentile(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    q = [0.0, 12.5, 50.0, 99.0]
    if rng.random() < 0.5:
        by = str(some(rng, x.dims))
        other = tuple(n for n in range(x.ndim) if x.dims[n] != by)
        found = percentile(x, q, by=by).transpose("percentile", by)
        return found.values, np.percentile(values.astype("f8"), q, axis=other)
    return percentile(x, q).values, np.percentile(values.astype("f8"), q)


def _normalise(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    wide = values.astype("f8")
    low, high = wide.min(), wide.max()
    return normalise(x).values, (wide - low) / (high - low if high > low else 1)


def _standardise(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    wide = values.astype("f8")
    return standardise(x).values, (wide - wide.mean()) / (wide.std() or 1)


def _paint(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    ids = np.arange(1, 40)
    frames = np.arange(x.sizes.get("t", 1))
    table = pd.DataFrame({"timestep": np.repeat(frames, len(ids)), "labelimage_oid": np.tile(ids, len(frames))})
    table["size"] = table["labelimage_oid"] * 2 + 100 * table["timestep"]
    whole = x.fillna(0).astype("i4") if x.dtype.kind == "f" else x
    labels = np.nan_to_num(values).astype("i4") if x.dtype.kind == "f" else values
    when = np.zeros(values.shape, int)
    if "t" in x.dims:
        when += np.arange(x.sizes["t"]).reshape([-1 if dim == "t" else 1 for dim in x.dims])
    known = (labels >= 1) & (labels < 40)
    both = dask.compute(*(paint(whole, table, "size", background=number) for number in (0, -1)))
    painted = labels.astype("i8") * 2 + 100 * when
    return np.stack([each.values for each in both]), np.stack([np.where(known, painted, n) for n in (0, -1)])


def _to_ome_zarr(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        version = some(rng, ["0.4", "0.5"])
        il.to_ome_zarr(x, f"{folder}/a.zarr", version=version, levels=int(rng.integers(1, 3)))
        stored = zarr.open_group(f"{folder}/a.zarr", mode="r")
        attributes = dict(stored.attrs)
        multiscale = (attributes.get("ome") or attributes)["multiscales"][0]
        order = [axis["name"] for axis in multiscale["axes"]]
        kept, dims = [dim for dim in order if dim in x.dims], [dim for dim in x.dims if dim in order]
        # Images of classes and ids lose their single channel.
        values = values.reshape([n for n, dim in zip(values.shape, x.dims, strict=True) if dim in order])
        found = stored[multiscale["datasets"][0]["path"]][...]
        found = found.reshape([n for n, dim in zip(found.shape, order, strict=True) if dim in x.dims])
        return found, values.transpose([dims.index(dim) for dim in kept])


def _to_ilastik(rng: Rng, x: xr.DataArray, values: Array) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        il.to_ilastik(x, path, compression=some(rng, ["gzip", None]))
        with h5py.File(path) as file:
            return file["exported_data"][...], values


_ENDS = {"reduce": _reduce, "histogram": _histogram, "percentile": _percentile, "normalise": _normalise,
         "standardise": _standardise,
         "paint": _paint, "to_ome_zarr": _to_ome_zarr, "to_ilastik": _to_ilastik}  # fmt: skip
_RIGHTLY_REFUSED = ("not evenly spaced and rising", "nothing shows which")
_TAKE_NAN = ("reduce", "to_ome_zarr", "to_ilastik")
