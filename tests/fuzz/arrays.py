"""Random chains of steps on arrays of this package, each compared with the same chain on plain arrays.

    python -m tests.fuzz.arrays --count 5000 --seed 1

The plain array has the same values, in blocks of dask if ours has blocks.  Values, dtype, dims, coordinates,
attributes, errors and warnings have to be the same.  Where they are not, the chain is done once more on an array
in memory: an array of ours that equals that one is right, and dask or the lazy indexing of xarray is wrong.
``--seed 1 --case NUMBER`` repeats one chain, comparing after each step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import tifffile
import xarray as xr
from xarray.core import indexing

import ilastik_lazy as il
from tests.fuzz.ends import end
from tests.fuzz.steps import Rng, next_step, some
from tests.support import n5_makers, zarr_makers
from tests.support.in_memory import LazyInMemory
from tests.support.makers import write_hdf5_export

CASES_PER_LAYOUT = 10
ORDERS = ("yx", "zyx", "xyz", "cyx", "yxc", "zyxc", "tyx", "tzyxc", "tczyx", "cxy")
DTYPES = ("u1", "<u2", ">u2", "<i4", "<f4", "<f4", "<f8", "?", "<i8", "<u4", "i1")


@dataclass(frozen=True)
class Stored:
    """A file, how it is opened, and what it holds."""

    name: str
    path: Any
    options: dict[str, Any]
    data: np.ndarray[Any, Any]


def exact_data(rng: Rng, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Values whose sums are exact in any order, so that results can be compared without a tolerance of their own."""
    if np.dtype(dtype).kind == "?" or dtype == "?":
        return rng.random(shape) < 0.5
    if np.dtype(dtype).kind == "f":
        values = rng.integers(-40, 80, shape) * 0.25
        values[rng.random(shape) < some(rng, [0, 0.05, 0.1])] = np.nan
        return values.astype(dtype)
    least = 0 if np.dtype(dtype).kind == "u" else -20
    return rng.integers(least, 100, shape).astype(dtype)


def _chunks(rng: Rng, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(rng.integers(1, n + 2)) if n > 1 else 1 for n in shape)


def _hdf5(rng: Rng, path: Path, data: Any, axes: str) -> Stored:
    chunks: tuple[int, ...] | None = tuple(map(min, _chunks(rng, data.shape), data.shape))
    filters = some(rng, ["none", "gzip", "shuffle+gzip", "gzip+fletcher32", "lzf", "contiguous"])
    chunks, filters = (None, "none") if filters == "contiguous" else (chunks, filters)
    options: dict[str, Any] = {"libver": some(rng, [None, "latest"]), "resizable": chunks and bool(rng.integers(2))}
    options["resolution"] = dict.fromkeys("zyx", 0.5) if rng.random() < 0.5 else None
    write_hdf5_export(path / "a.h5", data, axes=axes, chunks=chunks, filters=filters, **options)
    return Stored(f"hdf5 {filters} {chunks}", path / "a.h5", {}, data)


def _zarr(rng: Rng, path: Path, data: Any, axes: str) -> Stored:
    layout = some(
        rng,
        [
            name
            for name in zarr_makers.LAYOUTS
            if not any(w in name for w in ("shards", "delta", "shuffle", "transposed"))
        ],
    )
    options = {"chunks": _chunks(rng, data.shape), "dtype": data.dtype.str, "fill_value": 0}
    options |= {"dimension_names": tuple(axes)} if layout.startswith("v3") else {}
    if layout.startswith("v3") and rng.random() < 0.3:
        options["shards"] = tuple(2 * n for n in options["chunks"])
    zarr_makers.write_array(path / "a.zarr", layout, data, **options)
    return Stored(f"zarr {layout} {options['chunks']}", path / "a.zarr", {"axes": axes}, data)


def _n5(rng: Rng, path: Path, data: Any, axes: str) -> Stored:
    data = data.astype("u1" if data.dtype.kind == "b" else data.dtype.newbyteorder("="))
    compression = some(rng, ["raw", "gzip", "zstd", "lz4"])
    chunks = _chunks(rng, data.shape)
    n5_makers.write_n5(path / "a.n5", data, axes=axes, chunks=chunks, compression=compression)
    return Stored(f"n5 {compression} {chunks}", path / "a.n5", {}, data)


def _npy(rng: Rng, path: Path, data: Any, axes: str) -> Stored:
    np.save(path / "a.npy", data if rng.random() < 0.7 else np.asfortranarray(data))
    return Stored("npy", path / "a.npy", {"axes": axes}, data)


def _tiff(rng: Rng, path: Path, data: Any, axes: str) -> Stored:
    data = data.astype("u1") if data.dtype.kind == "b" else data.astype(data.dtype.newbyteorder("="))
    packed = some(rng, [{}, {"compression": "zlib"}, {"rowsperstrip": 2}, {"tile": (16, 16)}])
    tifffile.imwrite(path / "a.tif", data, photometric="minisblack", metadata={"axes": "TZYX"[-data.ndim :]}, **packed)
    return Stored(f"tiff {packed}", path / "a.tif", {"axes": axes}, data)


def _stack(rng: Rng, path: Path, data: Any, axes: str) -> Stored:
    """A file for each position of the first axis."""
    for number, part in enumerate(data):
        write_hdf5_export(path / f"s{number:03}.h5", part, axes=axes[1:], chunks=part.shape, filters="gzip")
    return Stored("stack", sorted(path.glob("s*.h5")), {"stack_along": axes[0], "order": axes}, data)


def make_layout(rng: Rng, folder: Path) -> Stored:
    """One file in a random format."""
    axes = some(rng, ORDERS)
    shape = tuple(int(rng.integers(1, 4 if a in "tc" else 12)) for a in axes)
    data = exact_data(rng, shape, some(rng, DTYPES))
    makers: list[Callable[..., Stored]] = [_hdf5, _hdf5, _hdf5, _zarr, _zarr, _n5, _npy]
    if axes in ("yx", "zyx", "tyx"):
        makers.append(_tiff)
    if axes in ("tyx", "zyx", "tzyxc", "zyxc"):
        makers.append(_stack)
    stored = some(rng, makers)(rng, folder, data, axes)
    return Stored(
        f"{stored.name} {axes} {shape} {data.dtype.str}", stored.path, {"axes_": axes} | stored.options, stored.data
    )


def opened(rng: Rng, stored: Stored) -> tuple[str, xr.DataArray]:
    """The array as one of the ways to open it gives it."""
    options = dict(stored.options)
    axes = options.pop("axes_")
    options["chunks"] = some(rng, ["auto", {}, None, 3, {axes[-1]: 4}])
    if rng.random() < 0.2:
        options["cache"] = "1MB"
    through_xarray = rng.random() < 0.2 and not isinstance(stored.path, list)
    if rng.random() < 0.2 and "order" not in options and not through_xarray:
        options["order"] = "".join(rng.permutation(list(axes)))
    if rng.random() < 0.2 and stored.data.dtype.kind in "iu":
        options["kind"] = "segmentation"
    said = str({key: value for key, value in options.items() if key != "axes"})
    if through_xarray:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The specified chunks separate")  # which is true
            dataset = xr.open_dataset(stored.path, engine="ilastik", **options)
        return f"engine, {said}", dataset[next(iter(dataset.data_vars))]
    return said, il.open_dataarray(stored.path, **options)


@dataclass
class Outcome:
    """What came of a step, or of computing: an array or an error, and warnings."""

    array: Any = None
    error: BaseException | None = None
    warned: frozenset[str] = frozenset()


def outcome_of(call: Callable[[], Any]) -> Outcome:
    """An error is an answer here, whatever it is: the other array has to give the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            array, error = call(), None
        except Exception as raised:
            array, error = None, raised
    return Outcome(array, error, frozenset(f"{w.category.__name__}: {str(w.message)[:60]}" for w in caught))


def differences(ours: xr.DataArray, plain: xr.DataArray) -> Iterator[str]:
    """In what two computed arrays differ."""
    kinds = [array.dtype.newbyteorder("=") for array in (ours, plain)]  # dask says >u2 of what computes to <u2
    if (ours.dims, ours.shape, kinds[0]) != (plain.dims, plain.shape, kinds[1]):
        yield f"{ours.dims} {ours.shape} {ours.dtype}, expected {plain.dims} {plain.shape} {plain.dtype}"
    elif not _same(ours.values, plain.values):
        wrong = int((~((ours.values == plain.values) | (ours.isnull() & plain.isnull()).values)).sum())
        yield f"{wrong} of {plain.size} values: {ours.values.ravel()[:8]}, expected {plain.values.ravel()[:8]}"
    if not ours.coords.to_dataset().identical(plain.coords.to_dataset()):
        yield f"coordinates {dict(ours.coords)}, expected {dict(plain.coords)}"
    if ours.attrs != plain.attrs or ours.name != plain.name:
        yield f"{ours.name} {ours.attrs}, expected {plain.name} {plain.attrs}"


def _same(ours: np.ndarray[Any, Any], plain: np.ndarray[Any, Any]) -> bool:
    if plain.dtype.kind == "O":
        return bool(((ours == plain) | (pd.isnull(ours) & pd.isnull(plain))).all())
    if plain.dtype.kind != "f":
        return np.array_equal(ours, plain)
    finite = plain[np.isfinite(plain)]
    scale = float(abs(finite).max()) if finite.size else 0.0
    close = 2e-5 if plain.dtype.itemsize < 8 else 1e-9
    return np.allclose(ours, plain, rtol=close, atol=close * scale, equal_nan=True)


def run_chain(rng: Rng, stored: Stored, *, every_step: bool = False) -> list[str]:
    """Differences of one chain, each with all that was done before it."""
    way, ours = opened(rng, stored)
    said = [f"{stored.name}, opened {way}"]
    data = stored.data
    if ours.dtype == data.dtype.newbyteorder("="):
        data = data.astype(ours.dtype)  # some formats keep the order of the bytes
    values = data.transpose([stored.options["axes_"].index(dim) for dim in ours.dims])
    first = xr.DataArray(values, ours.coords, ours.dims, ours.name, dict(ours.attrs))
    if ours.chunks is not None:
        plain = first.chunk(dict(zip(ours.dims, ours.chunks, strict=True)))
    else:
        plain = first.copy(data=indexing.CopyOnWriteArray(indexing.LazilyIndexedArray(LazyInMemory(values))))
    start, steps = ours, []
    scheduler = "threads" if rng.random() < 0.1 else "synchronous"
    with dask.config.set(scheduler=scheduler):
        for number in range(count := int(rng.integers(1, 7))):
            text, step = next_step(rng, plain)
            said.append(text)
            steps.append(step)
            check = bool(rng.random() < 0.2) or every_step or number == count - 1
            found, ours, plain = compared(step, ours, plain, check=check)
            if found and plain is None and _equals_memory(ours, first, steps):
                found = []
            if every_step:
                print(f"{' > '.join(said)}\n    {found or 'the same'}")
            if found or plain is None:
                break
        else:
            if (last := end(rng, ours, plain)) is not None:
                said.append(last[0])
                found += last[1]
        found += [f"the array as opened: {what}" for what in differences(start.compute(), first)]
    return [f"{' > '.join(said)}: {what}" for what in found]


def compared(step: Any, ours: Any, plain: Any, *, check: bool) -> tuple[list[str], Any, Any]:
    """Differences after one step, and both arrays; where they differ or one has an error, ``plain`` is None."""
    mine, other = outcome_of(lambda: step(ours)), outcome_of(lambda: step(plain))
    lazy = mine, other
    if check and mine.error is None and other.error is None:
        mine, other = outcome_of(lambda: lazy[0].array.compute()), outcome_of(lambda: lazy[1].array.compute())
        mine.warned, other.warned = mine.warned | lazy[0].warned, other.warned | lazy[1].warned
    if mine.error is not None or other.error is not None:
        same = type(mine.error) is type(other.error)
        return [] if same else [f"{mine.error!r}, expected {other.error!r}"], lazy[0].array, None
    if found := [f"warned {sorted(mine.warned - other.warned)}"] if mine.warned - other.warned else []:
        return found, None, None
    if check and (found := list(differences(mine.array, other.array))):
        return found, lazy[0].array, None
    return [], lazy[0].array, lazy[1].array


def _equals_memory(ours: xr.DataArray | None, truth: xr.DataArray, steps: list[Any]) -> bool:
    """Whether ``ours`` is what the same steps give on an array of numpy."""
    if ours is None:
        return False
    mine = outcome_of(ours.compute)
    for step in steps:
        truth = (outcome := outcome_of(lambda step=step, before=truth: step(before))).array
        if outcome.error is not None:
            # "Lazily" there is an error that numpy has, too, only later: both are errors.
            return type(mine.error) is type(outcome.error)
    return mine.error is None and not list(differences(mine.array, outcome_of(truth.compute).array))


def run_case(seed: int, case: int, layouts: dict[int, Stored], folder: Path, *, every_step: bool = False) -> list[str]:
    number = case // CASES_PER_LAYOUT
    if number not in layouts:
        layouts.clear()
        (place := folder / str(number)).mkdir()
        layouts[number] = make_layout(np.random.default_rng((seed, 1, number)), place)
    return run_chain(np.random.default_rng((seed, 2, case)), layouts[number], every_step=every_step)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int)
    options = parser.parse_args(arguments)
    started, bad = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        made: dict[int, Stored] = {}
        cases = range(options.count) if options.case is None else [options.case]
        for case in cases:
            try:
                found = run_case(options.seed, case, made, Path(folder), every_step=options.case is not None)
            except Exception as error:
                found = [f"{next(iter(made.values())).name if made else ''}: {error!r} outside a step"]
            bad += bool(found)
            for what in found:
                print(f"seed {options.seed} case {case}: {what[:1500]}", flush=True)
    layouts = -(-len(cases) // CASES_PER_LAYOUT)
    taken = time.monotonic() - started
    print(f"seed {options.seed}: {len(cases)} chains, {layouts} layouts, {bad} differences in {taken:.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
