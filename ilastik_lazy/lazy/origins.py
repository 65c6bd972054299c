"""Find what an array is made of: every source that its graph reads, and every array of other libraries.

Whatever users do with an array, its sources stay in its graph: in tasks, in the functions of a blockwise layer,
in closures, in xarray's wrappers of arrays that are indexed lazily.  Everything that can be reached is searched as
Python's garbage collector does it, so that no class of dask or xarray has to be known.  Data in memory have no origin.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import io
import logging
import os
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from xarray.backends import CachingFileManager

from ilastik_lazy.core.spec import ArraySource, Storage
from ilastik_lazy.lazy.indexing import SourceArray

__all__ = ["data_of", "found_in", "layers_of", "origins_of"]

# Modules and classes lead to the whole program, running things to arrays that have nothing to do with this one.
_CLOSED = (
    types.ModuleType, type, types.CodeType, types.FrameType, types.TracebackType, types.CoroutineType, weakref.ref,
    threading.Thread, asyncio.AbstractEventLoop, asyncio.Future, concurrent.futures.Executor, logging.Logger,
    bytes, bytearray, int, float, complex, type(None), slice, np.dtype, np.generic, np.random.Generator,
)  # fmt: skip
_CACHED = type(functools.lru_cache(int))
_FOREIGN = (np.memmap, io.IOBase, os.PathLike, str, CachingFileManager)
# Classes of modules that may be missing or not imported yet, so that no object of them exists.
_FOREIGN_NAMES = {
    "zarr": ("Array", "AsyncArray"),
    "zarr.abc.store": ("Store",),
    "h5py": ("HLObject",),
    "netCDF4": ("Variable", "Dataset"),
}
# Objects in the memory of a cluster.
_CLOSED_NAMES = {"distributed": ("Future", "Client", "Worker", "Scheduler")}
# The only globals of a function that are followed.
_GLOBALS = (da.Array, xr.DataArray, xr.Variable, xr.Dataset, SourceArray)
_MARKS = ("zarr.json", ".zarray", ".zgroup", "attributes.json")


def data_of(variable: xr.Variable) -> list[Any]:
    """Return what a variable holds, without loading it as ``variable.data`` does for lazily indexed arrays."""
    return [part for part in gc.get_referents(variable) if hasattr(part, "dtype") and not isinstance(part, type)]


def layers_of(data: Any) -> list[str]:
    """Return the names of the layers of a dask graph; none for array expressions, which have another."""
    return list(getattr(getattr(data, "dask", None), "layers", ()))


def origins_of(variable: xr.Variable) -> tuple[ArraySource | Storage, ...]:
    """Find all that a variable is read from, each once; arrays of zarr, h5py and others as their place alone."""
    found = (each.source if isinstance(each, SourceArray) else each for each in found_in(data_of(variable)))
    return tuple({_key_of(origin): origin for origin in found}.values())


def _key_of(origin: ArraySource | Storage) -> Any:
    """Return `origin`, or its id if it is a caller's source without a hash."""
    try:
        hash(origin)
    except TypeError:
        return id(origin)
    return origin


def found_in(roots: Iterable[Any]) -> Iterator[SourceArray | Storage]:
    """Return the windows of sources, and places of arrays of other libraries, that can be reached from `roots`."""
    closed = (*_CLOSED, *_known(_CLOSED_NAMES))
    foreign = (*_FOREIGN, *_known(_FOREIGN_NAMES))
    # What to do with the objects of a class: to ask for each of a million of them would take seconds.
    treatments: dict[type, str] = {}
    seen: set[int] = set()
    todo = list(roots)
    while todo:
        follow: list[Any] = []
        further: list[Any] = []
        for each in todo:
            kind = type(each)
            if (treatment := treatments.get(kind)) is None:
                treatment = treatments[kind] = _treatment_of(kind, closed, foreign)
            if treatment == "closed" or id(each) in seen:
                continue
            seen.add(id(each))
            if treatment == "open":
                follow.append(each)
            elif treatment == "array":
                yield each
            elif treatment == "foreign":
                if (place := _place_of(each)) is not None:
                    yield place
            elif treatment == "source" and isinstance(each, ArraySource):
                yield SourceArray(each)
            else:
                further += _parts_of(each)
        todo = gc.get_referents(*follow) + further


def _known(names: Mapping[str, tuple[str, ...]]) -> list[type]:
    modules = [(sys.modules[module], classes) for module, classes in names.items() if module in sys.modules]
    return [getattr(module, name) for module, classes in modules for name in classes if hasattr(module, name)]


def _treatment_of(kind: type, closed: tuple[type, ...], foreign: tuple[type, ...]) -> str:
    if issubclass(kind, SourceArray):
        return "array"
    if issubclass(kind, foreign):
        return "foreign"
    if issubclass(kind, closed):
        return "closed"
    if issubclass(kind, types.FunctionType | _CACHED | np.ndarray):
        return "parts"
    return "source" if hasattr(kind, "read") else "open"


def _parts_of(each: Any) -> list[Any]:
    """Return the objects to follow behind one that is not followed as a whole."""
    if isinstance(each, np.ndarray):
        # A part of a memory map may be a plain array, whose base is the map.
        inside = each.reshape(-1).tolist() if each.dtype.kind in "OU" else []
        base: Any = each.base  # numpy's types know no other base than an array
        if base is None or isinstance(base, np.ndarray):
            return [*inside, base]
        return [*inside, base, _file_mapped_at(each.__array_interface__["data"][0])]
    if isinstance(each, types.FunctionType):
        globals_read = (each.__globals__.get(name) for name in each.__code__.co_names)
        return [
            *(each.__closure__ or ()), *(each.__defaults__ or ()), *(each.__kwdefaults__ or {}).values(),
            *each.__dict__.values(), *(value for value in globals_read if isinstance(value, _GLOBALS)),
        ]  # fmt: skip
    return [each.__wrapped__] if isinstance(each, _CACHED) else gc.get_referents(each)


def _file_mapped_at(address: int) -> str | None:
    """Return the path of the file that is mapped at `address`; an `mmap` does not know it, and only Linux does."""
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            span, *_, path = line.rstrip("\n").split(maxsplit=5)
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= address < high:
                # Others are in memory alone: "[heap]", "/dev/zero (deleted)", the number of no file.
                return path if path.startswith("/") and os.path.isfile(path) else None
    return None


def _place_of(each: Any) -> Storage | None:
    """Locate an array, a file or a store of another library; None for a text that names no file."""
    if isinstance(each, str | os.PathLike):
        path = os.fspath(each)
        may_be_path = isinstance(path, str) and (os.sep in path or "/" in path)
        return Storage(path, path) if may_be_path and _holds_data(path) else None
    if isinstance(each, CachingFileManager):
        # What it is pickled as: its cache holds the files of all others.
        args = each.__getstate__()[1]  # type: ignore[no-untyped-call]
        return _named(args[0] if args else "")
    if isinstance(each, np.memmap):
        return _named(each.filename or "") if each.filename else None
    if isinstance(each, io.IOBase):
        return _named(name) if isinstance(name := getattr(each, "name", None), str | os.PathLike) else None
    kind = type(each).__module__.partition(".")[0]
    if kind == "h5py":
        return _named(each.file.filename if each else "")
    if kind == "netCDF4":
        group = each if hasattr(each, "filepath") else each.group()
        return _named(group.filepath())
    store, inside = each, ""
    if hasattr(each, "store_path"):
        store, inside = each.store_path.store, each.store_path.path
    # A folder, or a zip file; any other store is named by its address, and its version is unknown.
    root = getattr(store, "root", None) or getattr(store, "path", None)
    if isinstance(root, str | os.PathLike) and os.path.exists(root):
        return _named(os.path.join(root, inside) if os.path.isdir(root) and inside else root)
    return Storage(f"{store}/{inside}" if inside else str(store))


def _named(path: str | os.PathLike[str] | bytes) -> Storage:
    text = os.path.abspath(os.fsdecode(path)) if path else ""
    return Storage(text, text) if os.path.exists(text) else Storage(os.fsdecode(path) or "a file that is closed")


def _holds_data(path: str) -> bool:
    """Whether a path is that of a file, or of a folder with an array in it."""
    try:
        return os.path.isfile(path) or any(os.path.exists(os.path.join(path, mark)) for mark in _MARKS)
    except ValueError:
        return False  # a NUL in it
