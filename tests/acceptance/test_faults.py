"""Every system call on files fails once, or from then on: the outcome is right data, or an error with a name."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest

from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import IlastikLazyError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.chunks.index import _indexes
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.stack import open_stack
from ilastik_lazy.project.labels.blocks import _lanes
from ilastik_lazy.project.tree import open_project
from ilastik_lazy.storage import files
from tests.support.faults import CALLS, ERRORS, LONG, READING, Faults, always, from_then_on, injected, once
from tests.support.makers import some_data, write_hdf5_export
from tests.support.n5_makers import write_n5
from tests.support.open_files import open_files_below
from tests.support.zarr_makers import write_array

SHAPE = (6, 7, 8, 2)
# For stores with one file for each chunk: each call is another run.
FEW_CHUNKS = (4, 5, 6, 1)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(files, "PAUSE_SECONDS", 0)


def _read(source):
    return source.read(tuple(slice(0, n) for n in source.spec.shape))


def hdf5(folder, **options):
    data = write_hdf5_export(folder / "a.h5", some_data(SHAPE), chunks=(3, 4, 4, 1), **options)
    return data, lambda: _read(open_source(Location.parse(folder / "a.h5")))


def n5(folder):
    data = some_data(FEW_CHUNKS)
    write_n5(folder / "a.n5", data)
    return data, lambda: _read(open_source(Location.parse(folder / "a.n5"), OpenOptions("zyxc")))


def zarr_array(folder):
    data = some_data(FEW_CHUNKS)
    write_array(folder / "a.zarr", "v2 blosc", data)
    return data, lambda: _read(open_source(Location.parse(folder / "a.zarr"), OpenOptions("zyxc")))


def sharded(folder):
    data = some_data(FEW_CHUNKS)
    write_array(folder / "a.zarr", "v3 shards", data)
    return data, lambda: _read(open_source(Location.parse(folder / "a.zarr"), OpenOptions("zyxc")))


def stack(folder):
    data = some_data((3, 6, 7), "u1")
    for number, plane in enumerate(data):
        np.save(folder / f"{number}.npy", plane)
    return data, lambda: _read(open_stack(str(folder / "*.npy")))


def project(folder):
    path = shutil.copy(sample("project"), folder / "p.ilp")
    labels = open_project(path, chunks=None)["lane0000/labels/labels"].values
    return labels, lambda: open_project(path, chunks=None)["lane0000/labels/labels"].values


SCENES = {
    "gzip": lambda folder: hdf5(folder, filters="shuffle+gzip+fletcher32"),
    "raw": lambda folder: hdf5(folder),
    "N5": n5,
    "Zarr": zarr_array,
    "sharded Zarr": sharded,
    "stack": stack,
    "project": project,
}


@pytest.fixture(params=SCENES)
def scene(request, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield folder, *SCENES[request.param](folder)


def run(read, expected, faults, monkeypatch):
    """Whether the data came; anything but them or a named error fails the test."""
    _indexes.clear()
    _lanes.clear()
    with injected(faults, monkeypatch):
        try:
            found = read()
        except IlastikLazyError:
            found = None
    assert open_files_below(faults.folder) == []
    if found is not None:
        np.testing.assert_array_equal(found, expected, err_msg=f"call {faults.count}: {faults.seen[-3:]}")
    return found is not None


# All are tried again in one place, or none: for most formats, one that passes and one that stays will do.
CASES = [
    (scene, name, kind)
    for scene in SCENES
    for name in ERRORS
    for kind in (once, from_then_on)
    if LONG or scene == "gzip" or (name, kind) in (("EIO", once), ("ENOSPC", from_then_on))
]


@pytest.mark.parametrize(("scene", "name", "kind"), CASES, indirect=["scene"])
def test_any_call_may_fail_while_reading(scene, monkeypatch, name, kind):
    folder, expected, read = scene
    total = Faults(folder, None)
    assert run(read, expected, total, monkeypatch)
    assert total.count > 3
    survived = 0
    for number in total.numbers(last=kind is from_then_on):
        survived += run(read, expected, Faults(folder, ERRORS[name], kind(number)), monkeypatch)
    if kind is once and name != "ENOSPC":
        # A moment's failure of a network file system is not a reason to give up.
        assert survived > 0


def test_short_reads_give_right_values(scene, monkeypatch):
    folder, expected, read = scene
    faults = Faults(folder, None, always, ("pread", "preadv", "read"))
    assert run(read, expected, faults, monkeypatch)


def test_files_are_read_through_calls_that_can_fail(scene, monkeypatch):
    folder, expected, read = scene
    faults = Faults(folder, None)
    run(read, expected, faults, monkeypatch)
    assert set(faults.seen) <= set(READING)
    assert {"pread", "preadv", "read"} & set(faults.seen)
    assert set(CALLS) > set(faults.seen)
