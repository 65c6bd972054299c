"""Write HDF5 datasets in thousands of random layouts, and read each as h5py does.

    python -m tests.fuzz.hdf5_layouts --count 5000 --seed 1

A finding is shown with its number: ``--seed S --only NUMBER --keep FILE`` writes the same file again.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilastik_lazy.errors import IlastikLazyError, IncompleteSourceWarning, MetadataError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from tests.support.hdf5_layouts import Rng, Written, write_random

# What libhdf5 cannot write: filters that do not take the type, chunks of szip that are too small.
_BATCH = 100
_UNWRITABLE = (OSError, ValueError, RuntimeError, TypeError, KeyError)


def check_layout(rng: Rng, folder: Path | None = None) -> str:
    """Write one dataset and compare: ``direct``, ``h5py``, ``empty``, ``refused`` or ``unwritable``.

    Raises
    ------
    AssertionError
        Other values than h5py's, another type or shape, an error where h5py has none, or a false count of chunks.
    """
    with tempfile.TemporaryDirectory(dir=folder) as made:
        try:
            written = write_random(Path(made) / "random.h5", rng)
        except _UNWRITABLE:
            return "unwritable"
        return compared(written, rng)


def compared(written: Written, rng: Rng) -> str:
    """Outcome of one file."""
    with h5py.File(written.path) as file:
        try:
            dataset = file[written.name]
            expected, is_known = _by_h5py(dataset)
        except (OSError, KeyError):
            return "unwritable"  # such as bytes of a chunk that nbit cannot take
        absent = 0
        if dataset.chunks is not None and dataset.size:
            grid = [-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
            absent = math.prod(grid) - dataset.id.get_num_chunks()
        never = dataset.chunks is None and dataset.size and not dataset.id.get_storage_size()
    refused = expected.ndim == 1 or expected.dtype.kind == "c"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            source = open_source(Location(str(written.path), written.name))
            regions = [tuple(slice(0, n) for n in expected.shape), *(_a_region(rng, expected.shape) for _ in range(3))]
            found = [source.read(region) for region in regions]
        except IlastikLazyError as error:
            if refused and isinstance(error, MetadataError):
                return "refused"
            raise AssertionError(f"{type(error).__name__}: {error}") from error
    assert not refused, "not refused"
    for region, values in zip(regions, found, strict=True):
        assert values.dtype == np.dtype(expected.dtype.str), f"{values.dtype} instead of {expected.dtype}"
        assert values.shape == expected[region].shape
        same = (values == expected[region]) | ((values != values) & (expected[region] != expected[region]))
        wrong = int((~same & is_known[region]).sum())
        assert not wrong, f"{wrong} of {values.size} elements differ in {region} ({source.spec.storage.access})"
    told = any(issubclass(one.category, IncompleteSourceWarning) for one in caught)
    assert told == bool(absent or never), f"{absent} chunks were never written, and warned is {told}"
    if not expected.size:
        return "empty"
    return source.spec.storage.access.split()[0]


def _by_h5py(dataset: h5py.Dataset) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What h5py reads, and of which elements it knows: without fill values it leaves memory as it is."""
    read = [np.full(dataset.shape, number, dataset.dtype) for number in (0, 1)]
    if dataset.size:
        for array in read:
            dataset.read_direct(array)
    one, other = read
    return one, (one == other) | ((one != one) & (other != other))


def _a_region(rng: Rng, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(*sorted(rng.integers(0, length + 1, 2).tolist())) for length in shape)


def _work(seed: int, numbers: Sequence[int], out: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            try:
                out.send(check_layout(np.random.default_rng([seed, number]), Path(folder)))
            except AssertionError as error:
                out.send(f"difference: {error}")
    out.close()
    os._exit(0)


def _outcomes(seed: int, numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Outcome of each number, from children that do some of them: libhdf5 may end one."""
    from tests.fuzz.children import received, started  # which Windows cannot import

    left = list(numbers)
    while left:
        batch = left[:_BATCH]
        child, pipe = started(_work, seed, batch)
        answers = list(received(child, pipe))
        if len(answers) < len(batch):
            answers.append(f"crash of libhdf5 (exit {child.exitcode})")
        yield from zip(batch, answers, strict=False)
        left = left[len(answers) :]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one layout")
    parser.add_argument("--keep", type=Path, help="with --only: where to write its file")
    options = parser.parse_args()
    numbers = range(options.count) if options.only is None else [options.only]
    start, counts, findings = time.monotonic(), collections.Counter[str](), 0
    if options.keep:
        write_random(options.keep, np.random.default_rng([options.seed, numbers[0]]))
    for number, outcome in _outcomes(options.seed, numbers):
        word = outcome.split()[0]
        counts[word] += 1
        if word in ("difference:", "crash"):
            findings += 1
            print(f"--seed {options.seed} --only {number}: {outcome}", flush=True)
    done = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    seconds = time.monotonic() - start
    print(f"seed {options.seed}: {len(numbers)} layouts in {seconds:.0f} s: {done}; {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
