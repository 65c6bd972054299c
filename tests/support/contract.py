"""What every `ArraySource` must do; the test class of each format inherits it."""

from __future__ import annotations

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ilastik_lazy.core.spec import ArraySource
from ilastik_lazy.errors import ArgumentError, SourceChangedError
from tests.support.children import read_elsewhere
from tests.support.open_files import open_files_below


@dataclass(frozen=True)
class Stored:
    """A source, where its file lies, and what must be read from it."""

    path: Path
    source: ArraySource
    data: np.ndarray[Any, Any]

    @property
    def whole(self) -> tuple[slice, ...]:
        return tuple(slice(0, length) for length in self.data.shape)


def regions_of(shape: tuple[int, ...], chunks: tuple[int, ...]) -> dict[str, tuple[slice, ...]]:
    """Regions that have a name, and twenty random ones."""
    regions = {
        "whole": tuple(slice(0, n) for n in shape),
        "first element": tuple(slice(0, 1) for _ in shape),
        "last element": tuple(slice(n - 1, n) for n in shape),
        "first chunk": tuple(slice(0, min(c, n)) for n, c in zip(shape, chunks, strict=True)),
        "ragged last chunk": tuple(slice((n - 1) // c * c, n) for n, c in zip(shape, chunks, strict=True)),
        "across a border": tuple(
            slice(max(0, min(c, n) - 1), min(c + 1, n)) for n, c in zip(shape, chunks, strict=True)
        ),
        "one row of each chunk": (slice(min(1, shape[0] - 1), min(2, shape[0])), *(slice(0, n) for n in shape[1:])),
        "empty": tuple(slice(n // 2, n // 2) for n in shape),
        "empty at the end": (slice(shape[0], shape[0]), *(slice(0, n) for n in shape[1:])),
    }
    rng = np.random.default_rng(1)
    for number in range(20):
        bounds = [sorted(rng.integers(0, n + 1, 2).tolist()) for n in shape]
        regions[f"random {number}"] = tuple(slice(*pair) for pair in bounds)
    return regions


def overwrite_in_place(path: Path) -> None:
    """Change one byte in the middle; the size stays."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 255]))
    _a_tick_later(path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def replace_by_a_copy(path: Path) -> None:
    """What ilastik does when it exports again: another file of the same name."""
    other = path.with_name("other")
    shutil.copyfile(path, other)
    os.replace(other, path)
    _a_tick_later(path)


def delete(path: Path) -> None:
    path.unlink()


def _a_tick_later(path: Path) -> None:
    # Kernels before 6.13 count file times in ticks of 1 to 10 ms; a test is quicker than that.
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10_000_000))


CHANGES = [overwrite_in_place, cut, replace_by_a_copy, delete]


class SourceContract:
    """A test class inherits this and defines a fixture `stored`, which gives a `Stored`."""

    most_pickled = 4000
    """Bytes; a source of many datasets holds the path of each."""

    def test_reads_what_was_written_and_gives_it_away(self, stored: Stored) -> None:
        """In one test, since most of the time is needed to write the file."""
        assert isinstance(stored.source, ArraySource)
        assert stored.source.spec.shape == stored.data.shape
        assert stored.source.spec.dtype == stored.data.dtype
        for name, region in regions_of(stored.data.shape, stored.source.spec.chunks).items():
            found = stored.source.read(region)
            np.testing.assert_array_equal(found, stored.data[region], strict=True, err_msg=name)
        found = stored.source.read(stored.whole)
        assert found.flags.writeable
        found[...] = 0
        np.testing.assert_array_equal(stored.source.read(stored.whole), stored.data)

    @pytest.mark.any_layout
    def test_refuses_a_region_that_does_not_fit(self, stored: Stored) -> None:
        whole = stored.whole
        length = stored.data.shape[0]
        bad: list[Any] = [
            (),
            whole[1:],
            (*whole, slice(0, 1)),
            (slice(0, length + 1), *whole[1:]),
            (slice(-1, length), *whole[1:]),
            (slice(2, 1), *whole[1:]),
            (slice(0, length, 2), *whole[1:]),
            (slice(length, 0, -1), *whole[1:]),
        ]
        for region in bad:
            with pytest.raises(ArgumentError):
                stored.source.read(region)

    @pytest.mark.any_layout
    def test_refuses_what_is_no_region(self, stored: Stored) -> None:
        for part in (slice(None), slice(0, None), 0, None, ...):
            with pytest.raises(ArgumentError):
                stored.source.read((part, *stored.whole[1:]))  # type: ignore[arg-type]

    @pytest.mark.any_layout
    def test_pickles_small_also_after_a_read(self, stored: Stored) -> None:
        stored.source.read(stored.whole)
        assert len(pickle.dumps(stored.source)) < self.most_pickled

    @pytest.mark.any_layout
    def test_a_pickled_copy_reads_the_same_in_another_process(self, stored: Stored) -> None:
        region = tuple(slice(n // 3, n) for n in stored.data.shape)
        assert read_elsewhere(stored.source, region) == stored.data[region].tobytes()

    @pytest.mark.any_layout
    def test_eight_threads_read_the_same(self, stored: Stored) -> None:
        regions = list(regions_of(stored.data.shape, stored.source.spec.chunks).values()) * 2
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(stored.source.read, regions))
        for region, values in zip(regions, found, strict=True):
            np.testing.assert_array_equal(values, stored.data[region], strict=True)

    @pytest.mark.any_layout
    @pytest.mark.parametrize("change", CHANGES)
    def test_notices_a_changed_file(self, stored: Stored, change: Any) -> None:
        stored.source.read(stored.whole)
        change(stored.path)
        with pytest.raises(SourceChangedError):
            stored.source.read(stored.whole)

    @pytest.mark.any_layout
    @pytest.mark.parametrize("change", CHANGES)
    def test_notices_a_file_changed_before_the_first_read(self, stored: Stored, change: Any) -> None:
        change(stored.path)
        with pytest.raises(SourceChangedError):
            stored.source.read(stored.whole)

    @pytest.mark.any_layout
    def test_keeps_no_file_open(self, stored: Stored) -> None:
        stored.source.read(stored.whole)
        assert open_files_below(stored.path.parent) == []
