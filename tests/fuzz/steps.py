"""Random steps of a chain: each drawn from what an array is, and applied to any array of the same kind."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

Rng = np.random.Generator
Apply = Callable[[xr.DataArray], xr.DataArray]
Step = tuple[str, Apply]
"""What it does, as text, and the function that does it."""

REDUCTIONS = ("sum", "mean", "std", "var", "min", "max", "any", "all", "prod", "count")
OF_NUMPY = ("sum", "mean", "std", "var", "min", "max", "any", "all", "prod")
SMALL = np.array([0, 1, 2, 3, 5])


def some(rng: Rng, values: Any) -> Any:
    """One of `values`, as it is (numpy would make an array of them)."""
    return values[int(rng.integers(len(values)))]


def some_dim(rng: Rng, a: xr.DataArray) -> str:
    return str(some(rng, a.dims))


def some_dims(rng: Rng, a: xr.DataArray) -> Any:
    """One dim, several as a list, or None for all of them."""
    chosen = [str(dim) for dim in a.dims if rng.random() < 0.5]
    return None if not chosen else chosen[0] if len(chosen) == 1 else chosen


def index(rng: Rng, length: int) -> Any:
    """An index along one axis, of every kind that numpy has."""
    first, last = sorted(int(n) for n in rng.integers(-length - 1, length + 2, 2))
    kind = rng.integers(8)
    if kind == 0 and length:
        return int(rng.integers(-length, length))
    if kind == 1:
        return slice(None, None, -1)
    if kind == 2:
        # xarray makes two elements of an empty one, or an IndexError where an array is indexed lazily.
        falling = slice(last, first, -int(rng.integers(1, 4)))
        return falling if range(*falling.indices(length)) else slice(None, None, -2)
    if kind == 3:
        return slice(first, last, int(rng.integers(1, 4)))
    if kind == 4:
        return rng.random(length) < 0.6
    if kind == 5 and length:
        return rng.integers(-length, length, int(rng.integers(0, 5)))
    if kind == 6:
        return slice(int(rng.integers(0, length + 1)), None)
    return slice(None)


def isel(rng: Rng, a: xr.DataArray) -> Step:
    chosen = {dim: index(rng, a.sizes[dim]) for dim in a.dims if rng.random() < 0.6}
    return f"isel({chosen})", lambda x: x.isel(chosen)


def getitem(rng: Rng, a: xr.DataArray) -> Step:
    key = tuple(index(rng, n) for n in a.shape[: int(rng.integers(0, a.ndim + 1))])
    if rng.random() < 0.5:
        key = (*key, Ellipsis) if rng.random() < 0.5 else (Ellipsis, *key) if len(key) == a.ndim else key
    return f"[{key}]", lambda x: x[key]


def _bare(x: Any) -> xr.DataArray:
    return xr.DataArray(x, name="bare", dims=[f"d{number}" for number in range(np.ndim(x))])


def raw_getitem(rng: Rng, a: xr.DataArray) -> Step:
    key: list[Any] = [index(rng, n) for n in a.shape]
    fancy = [number for number, one in enumerate(key) if isinstance(one, np.ndarray)]
    for number in fancy[1:]:
        key[number] = slice(None)
    if not fancy:  # beside a list, dask's own new axes fail with some blocks
        key.insert(int(rng.integers(len(key) + 1)), None)
    return f".data[{key}]", lambda x: _bare(x.data[tuple(key)])


def sel(rng: Rng, a: xr.DataArray) -> Step:
    placed = [dim for dim in a.dims if dim in a.coords and a.sizes[dim]]
    if not placed:
        return isel(rng, a)
    dim, number = some(rng, placed), rng.integers(2)
    values = a.coords[dim].values
    value = some(rng, values)
    if values.dtype.kind in "OU" or number == 0:
        return f"sel({dim}={value!r})", lambda x: x.sel({dim: value})
    if number == 1:
        return f"sel({dim}~{value!r})", lambda x: x.sel({dim: float(value) + 0.01}, method="nearest")
    low, high = sorted(rng.choice(values, 2))
    return f"sel({dim}={low!r}:{high!r})", lambda x: x.sel({dim: slice(low, high)})


ARITHMETIC: dict[str, Apply] = {
    "+ 1": lambda x: x + 1, "* 2.5": lambda x: x * 2.5, "- itself reversed": lambda x: x - x[..., ::-1].values,
    "// 3": lambda x: x // 3, "% 5": lambda x: x % 5, "negative": lambda x: -x, "abs": lambda x: abs(x),
    "> 2": lambda x: x > 2, "== itself": lambda x: x == x.copy(), "invert": lambda x: ~x, "& 3": lambda x: x & 3,
    "- mean": lambda x: x - x.mean(), "/ max": lambda x: x / x.max(), "sqrt": lambda x: np.sqrt(abs(x)),
    "np.add": lambda x: np.add(x, np.float32(1)), "divmod": lambda x: divmod(x, 4)[1], "+ itself": lambda x: x + x,
    "- first": lambda x: x - x.isel({x.dims[0]: 0}) if x.dims else x, "isnull": lambda x: x.isnull(),
    "fillna": lambda x: x.fillna(0), "round": lambda x: x.round(), "clip": lambda x: x.clip(1, 20),
    "real": lambda x: x.real, "T": lambda x: x.T, "squeeze": lambda x: x.squeeze(), "where": lambda x: x.where(x > 3),
    "where other": lambda x: x.where(x > 3, 7), "notnull": lambda x: x.notnull(), "load": lambda x: x.copy().load(),
    "persist": lambda x: x.persist() if x.chunks is not None else x, "rename": lambda x: x.rename("other"),
    "pickle": lambda x: pickle.loads(pickle.dumps(x)), "deepcopy": copy.deepcopy, "copy": lambda x: x.copy(deep=True),
    "two at once": lambda x: sum(dask.compute(x.sum(), x.max(), x.astype("f8").mean())),
    "dataset": lambda x: x.to_dataset(name="v").v, "attrs": lambda x: x.assign_attrs(more=1),
    "ravel": lambda x: _bare(x.data.ravel()),
    "expand": lambda x: x.expand_dims("new"), "stack": lambda x: xr.concat([x, x * 2], "new"),
    "map_blocks": lambda x: x.map_blocks(_doubled, template=x) if x.chunks is not None else _doubled(x),
    "da.map_blocks": lambda x: x if x.chunks is None else x.copy(data=da.map_blocks(_doubled, x.data, dtype=x.dtype)),
    "apply_ufunc": lambda x: xr.apply_ufunc(_doubled, x, dask="parallelized", output_dtypes=[x.dtype]),
    "nonzero": lambda x: _bare(da.count_nonzero(x.data)) if x.chunks is not None else _bare(np.count_nonzero(x.values)),
    "dask.array": lambda x: x.copy(data=da.asarray(x.data)[...]) if x.chunks is not None else x,
}  # fmt: skip


def _doubled(x: Any) -> Any:
    return x + x


def arithmetic(rng: Rng, a: xr.DataArray) -> Step:
    name = some(rng, list(ARITHMETIC))
    return name, ARITHMETIC[name]


def ufunc(rng: Rng, a: xr.DataArray) -> Step:
    """With `out` and `where`, on what lies below xarray."""
    name = some(rng, ["add", "multiply", "subtract", "maximum"])
    with_where = rng.random() < 0.5

    def call(x: xr.DataArray) -> xr.DataArray:
        out = x.data.copy()
        options = {"where": x.data > 2} if with_where else {}
        result = getattr(np, name)(x.data, 2, out=out, **options)
        assert result is out
        return x.copy(data=out)

    return f"np.{name}(out=, where={with_where})", call


def _in_any_order(name: str, a: xr.DataArray) -> str:
    """`name`, but for products of floats: where these overflow, they depend on how the values lie in memory.

    For the same reason no product is computed as a float.
    """
    return "sum" if name == "prod" and a.dtype.kind == "f" else name


def reduction(rng: Rng, a: xr.DataArray) -> Step:
    name, dims = _in_any_order(some(rng, REDUCTIONS), a), some_dims(rng, a)
    options: dict[str, Any] = {}
    if name not in ("any", "all", "count") and rng.random() < 0.5:
        options["skipna"] = some(rng, [True, False, None])
    if name in ("std", "var") and rng.random() < 0.5:
        options["ddof"] = 1
    if name in ("sum", "mean", "prod") and rng.random() < 0.5:
        options["dtype"] = some(rng, ["i8"] if name == "prod" else ["f8", "f4", "i8"])
    if rng.random() < 0.2:
        options["keep_attrs"] = bool(rng.integers(2))
    if rng.random() < 0.2:
        options["keepdims"] = True
        options.pop("keep_attrs", None)
        if "dtype" not in options and "ddof" not in options and "skipna" not in options:
            return f"reduce({name}, {dims})", lambda x: x.reduce(getattr(np, name, np.sum), dims, keepdims=True)
        options.pop("keepdims")
    return f"{name}({dims}, {options})", lambda x: getattr(x, name)(dims, **options)


def raw_reduction(rng: Rng, a: xr.DataArray) -> Step:
    name = _in_any_order(some(rng, OF_NUMPY), a)
    axes = tuple(int(axis) for axis in range(a.ndim) if rng.random() < 0.5)
    axis = (
        None
        if not axes
        else axes[0]
        if len(axes) == 1
        else tuple(n - a.ndim if rng.random() < 0.3 else n for n in axes)
    )
    options: dict[str, Any] = {"keepdims": True} if rng.random() < 0.4 else {}
    if name in ("sum", "mean", "prod") and rng.random() < 0.4:
        options["dtype"] = some(rng, ["i8", "u1"] if name == "prod" else ["f8", "f4", "i8", "u1"])
    if name in ("std", "var") and rng.random() < 0.5:
        options["ddof"] = 1
    if rng.random() < 0.3:
        return f"np.{name}(.data, {axis}, {options})", lambda x: _bare(getattr(np, name)(x.data, axis=axis, **options))
    return f".data.{name}({axis}, {options})", lambda x: _bare(getattr(x.data, name)(axis=axis, **options))


def along(rng: Rng, a: xr.DataArray) -> Step:
    """What goes along one dim."""
    dim = some_dim(rng, a)
    size, count = a.sizes[dim], int(rng.integers(1, 4))
    calls: dict[str, Apply] = {
        "argmax": lambda x: x.argmax(dim), "argmin": lambda x: x.argmin(dim), "cumsum": lambda x: x.cumsum(dim),
        "cumprod": lambda x: x.cumprod(dim), "diff": lambda x: x.diff(dim), "shift": lambda x: x.shift({dim: count}),
        "roll": lambda x: x.roll({dim: count}), "pad": lambda x: x.pad({dim: count}, mode="edge"),
        "quantile": lambda x: _whole(x, dim).quantile(0.3, dim), "median": lambda x: _whole(x, dim).median(dim),
        "coarsen": lambda x: x.coarsen({dim: count}, boundary="trim").mean(),
        "coarsen max": lambda x: x.coarsen({dim: count}, boundary="pad").max(),
        "rolling": lambda x: x.rolling({dim: min(count, size)}, min_periods=1).sum(),
        "concat": lambda x: xr.concat([x, x], dim), "head": lambda x: x.head({dim: count}),
        "thin": lambda x: x.thin({dim: count}),
        "sortby": lambda x: x.assign_coords({dim: np.arange(size)[::-1]}).sortby(dim),
        "dot": lambda x: xr.dot(x, x, dim=dim),
        "groupby": lambda x: x.groupby(xr.DataArray(np.arange(size) % 2, dims=dim, name="g")).sum(),
        "dropna": lambda x: x.dropna(dim) if x.chunks is None else x,
        "every second": lambda x: x.isel({dim: slice(None, None, 2)}),
        "drop": lambda x: x.drop_vars(dim, errors="ignore"),
        "repeat": lambda x: _bare((np if x.chunks is None else da).repeat(x.data, 2, x.dims.index(dim))),
    }  # fmt: skip
    name = some(rng, list(calls))
    return f"{name} along {dim} ({count})", calls[name]


def _whole(x: xr.DataArray, dim: str) -> xr.DataArray:
    return x.chunk({dim: -1}) if x.chunks is not None else x


def arrange(rng: Rng, a: xr.DataArray) -> Step:
    """Another order, or other blocks."""
    if rng.random() < 0.4:
        order = [str(dim) for dim in rng.permutation(a.dims)]
        return f"transpose{order}", lambda x: x.transpose(*order)
    sizes: dict[Any, Any] = {dim: some(rng, [-1, 1, 2, 3, 5]) for dim in a.dims if rng.random() < 0.5}
    return f"chunk({sizes})", lambda x: x.chunk(sizes) if x.chunks is not None else x


def astype(rng: Rng, a: xr.DataArray) -> Step:
    dtype = some(rng, ["f4", "f8", "i4", "u1", "u2", "?", ">i2"])
    if a.dtype.kind == "f" and np.dtype(dtype).kind != "f":  # what becomes of NaN is the machine's affair
        return f"clip and astype({dtype})", lambda x: x.fillna(0).clip(0, 100).astype(dtype)
    return f"astype({dtype})", lambda x: x.astype(dtype)


def assign(rng: Rng, a: xr.DataArray) -> Step:
    chosen = {}
    for dim in a.dims:
        one = index(rng, a.sizes[dim])
        chosen[dim] = one if isinstance(one, int | slice) else slice(None)

    def call(x: xr.DataArray) -> xr.DataArray:
        before = x.copy(deep=True)
        after = x.copy(deep=True)
        after[chosen] = 3
        xr.testing.assert_equal(x, before)
        return after

    return f"copy()[{chosen}] = 3", call


def round_trip(rng: Rng, a: xr.DataArray) -> Step:
    """Into a file of xarray's and back."""
    to_zarr = rng.random() < 0.5

    def call(x: xr.DataArray) -> xr.DataArray:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "x")
            # A crop of what was read keeps chunks larger than itself, which xarray writes no NetCDF with.
            named = x.rename("v").drop_attrs().drop_encoding()
            (named.to_zarr if to_zarr else named.to_netcdf)(path)
            with xr.open_dataset(path, engine="zarr" if to_zarr else "netcdf4", chunks={}, cache=False) as back:
                return back["v"].load().rename(x.name).assign_attrs(x.attrs)

    return "to_zarr" if to_zarr else "to_netcdf", call


STEPS: list[tuple[Callable[[Rng, xr.DataArray], Step], float, bool]] = [
    (isel, 4, False), (getitem, 2, False), (raw_getitem, 1, True), (sel, 2, True), (arithmetic, 6, False),
    (ufunc, 1, False), (reduction, 6, False), (raw_reduction, 5, True), (along, 4, True), (arrange, 2, True),
    (astype, 2, False), (assign, 1, False), (round_trip, 1, False),
]  # fmt: skip
"""Each with its weight, and whether it needs a dim."""


def next_step(rng: Rng, a: xr.DataArray) -> Step:
    usable = [(make, weight) for make, weight, needs_dim in STEPS if a.ndim or not needs_dim]
    weights = np.array([weight for _, weight in usable])
    make = usable[int(rng.choice(len(usable), p=weights / weights.sum()))][0]
    return make(rng, a)
