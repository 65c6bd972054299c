"""What becomes of one damaged file: named errors, or the data that the HDF5 library reads from it.

Definitions.  An image *differs* if it was read without an error, and is neither what h5py reads of the same
damaged file nor what was in the file before.  Pixels that no checksum protects may change, and then both see
the change.  Where h5py fails or differs, only the values from before are right; of data without a checksum, as
many elements may be other ones as bytes of the file were changed.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.errors import IlastikLazyError, IlastikLazyWarning
from ilastik_lazy.formats import list_images, open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.project.tree import open_project
from ilastik_lazy.tables import open_table

Values = dict[str, np.ndarray[Any, Any]]
# Only a corner is read of a damaged file that claims to be large.
_MOST_BYTES = 2**25
_WITH_MESSAGES = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Outcome:
    """Values by name, errors by name, and what must not be."""

    def __init__(self) -> None:
        self.values: Values = {}
        self.unchecked: set[str] = set()
        """Names of values that no checksum protects."""
        self.szip: set[str] = set()
        """Names of values that libhdf5 decodes from szip: of a damaged chunk it may return what was in memory."""
        self.errors: dict[str, str] = {}
        """Names of the errors by what failed, and their messages."""
        self.messages: dict[str, str] = {}
        self.warned: set[str] = set()
        """Names of the warnings."""
        self.faults: list[str] = []

    def attempt(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` gives; None, and a note, where it fails."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = read()
        except IlastikLazyError as error:
            self.errors[name] = type(error).__name__
            text = self.messages[name] = str(error)
            if len(text) > 500 or _WITH_MESSAGES.search(text):
                self.faults.append(f"{name}: message {ascii(text)[:600]}")
            return None
        except Exception as error:
            import traceback

            where = traceback.extract_tb(error.__traceback__)
            place = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in where][-4:]
            self.faults.append(f"{name}: unnamed {type(error).__name__}: {ascii(str(error))[:150]} at {place}")
            return None
        self.warned.update(warning.category.__name__ for warning in caught)
        for warning in caught:
            if not issubclass(warning.category, IlastikLazyWarning):
                self.faults.append(f"{name}: unnamed warning {warning.category.__name__} {str(warning.message)[:100]}")
        return found


def region_of(shape: tuple[int, ...], itemsize: int) -> tuple[slice, ...]:
    """All of the array, or as much of its corner as fits."""
    lengths = list(shape)
    while np.prod(lengths, dtype=float) * itemsize > _MOST_BYTES:
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        lengths[longest] = (lengths[longest] + 1) // 2
    return tuple(slice(0, length) for length in lengths)


def ours(path: str, options: OpenOptions) -> Outcome:
    """All that the package reads of a file."""
    outcome = Outcome()
    before = len(os.listdir("/proc/self/fd"))
    if path.endswith(".ilp"):
        _read_project(path, options, outcome)
    elif path.endswith(("_table.h5", ".csv")):
        table = outcome.attempt("table", lambda: open_table(path, trust=options.trust))
        if table is not None:
            outcome.values |= {str(name): table[name].to_numpy() for name in table.columns}
    else:
        _read_images(path, options, outcome)
    # Fewer is right: threads of another reader may close theirs meanwhile.
    if len(os.listdir("/proc/self/fd")) > before:
        outcome.faults.append("descriptors were left open")
    return outcome


def _read_images(path: str, options: OpenOptions, outcome: Outcome) -> None:
    location = outcome.attempt("parse", lambda: Location.parse(path))
    found = outcome.attempt("list", lambda: list_images(location, options)) or []
    # Each takes a process, or the time until one is given up.
    for inside in found if options.trust == "local" else found[:6]:
        source = outcome.attempt(inside, lambda inside=inside: open_source(Location(path, inside), options))
        if source is not None:
            region = region_of(source.spec.shape, source.spec.dtype.itemsize)
            values = outcome.attempt(inside, lambda source=source, region=region: source.read(region))
            if values is not None:
                outcome.values[inside] = values
                if source.spec.storage.compression in ("none", "shuffle"):
                    outcome.unchecked.add(inside)
                elif "szip" in source.spec.storage.compression:
                    outcome.szip.add(inside)


def _read_project(path: str, options: OpenOptions, outcome: Outcome) -> None:
    tree = outcome.attempt("project", lambda: open_project(path, chunks=None, options=options))
    for node in tree.subtree if tree is not None else ():
        for name, variable in node.data_vars.items():
            region = region_of(variable.shape, variable.dtype.itemsize)
            found = outcome.attempt(f"{node.path}/{name}", lambda v=variable, r=region: v[r].values)
            if found is not None:
                outcome.values[f"{node.path}/{name}"] = found


def theirs(path: str, outcome: Outcome) -> Values:
    """What h5py reads of the same images; those that it cannot read are left out."""
    found: Values = {}
    try:
        with h5py.File(path, "r") as file:
            if path.endswith("_table.h5"):
                rows = file["table"][...]
                return {name: rows[name] for name in rows.dtype.names}
            for inside, values in outcome.values.items():
                try:
                    dataset = file[inside.encode("utf-8", "surrogateescape")]
                    if isinstance(dataset, h5py.Dataset) and dataset.ndim == values.ndim:
                        found[inside] = dataset[region_of(dataset.shape, dataset.dtype.itemsize)]
                except Exception:
                    continue
    except Exception:
        return found
    return found


def same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any] | None) -> bool:
    """Whether two arrays have the same shape, type and bytes; text columns are compared as text."""
    if other is None or one.shape != other.shape:
        return False
    if one.dtype.kind == other.dtype.kind == "O":
        return bool(one.tolist() == other.tolist())
    if other.dtype.kind == "S":
        return [str(text) for text in one] == [text.decode("utf-8", "replace") for text in other.tolist()]
    if one.dtype.newbyteorder("=") != other.dtype.newbyteorder("="):
        return False
    return np.ascontiguousarray(one).astype(other.dtype).tobytes() == np.ascontiguousarray(other).tobytes()


def nearly_same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any] | None, most: int) -> bool:
    """Whether at most so many elements differ."""
    if other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    differs = one != other
    if one.dtype.kind == "f":
        differs &= ~(np.isnan(one) & np.isnan(other))
    return int(np.count_nonzero(differs)) <= most
