"""Every system call on files fails while something is written: a whole result, or a named error and no litter."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import IlastikLazyError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.storage import files
from tests.support.faults import ERRORS, WRITING, Faults, always, from_then_on, injected, once
from tests.support.makers import some_data, write_hdf5_export
from tests.support.open_files import open_files_below

pytestmark = pytest.mark.slow

SHAPE = (6, 40, 24, 2)
DATA = some_data(SHAPE, "u1")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(files, "PAUSE_SECONDS", 0)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source" / "a.h5"
    path.parent.mkdir()
    write_hdf5_export(path, DATA, chunks=(3, 20, 24, 1), filters="gzip")
    return open_source(Location.parse(path))


class Conversion:
    name = "a.zarr"

    def write(self, source, target, *, again=False):
        il.to_ome_zarr(source, target, levels=2, workers=1, resume=again)

    def values(self, target):
        # OME-Zarr wants the channels before the space.
        group = zarr.open_group(target, mode="r")
        return np.moveaxis(group["scale0/image"][...], 0, -1)

    def is_there(self, target):
        return (target / "zarr.json").exists()


class Export:
    name = "a.h5"

    def write(self, source, target, *, again=False):
        il.to_ilastik(source, target, workers=1)

    def values(self, target):
        with h5py.File(target) as file:
            return file["exported_data"][...]

    def is_there(self, target):
        return target.exists()


def attempt(job, source, folder, faults, monkeypatch):
    """Write with faults; what is there must be whole, and without them the work can be done, and leaves no litter."""
    target = folder / job.name
    with injected(faults, monkeypatch):
        try:
            job.write(source, target)
        except IlastikLazyError:
            done = False
        else:
            done = True
    assert open_files_below(folder) == []
    place = f"call {faults.count}: {faults.seen[-3:]}"
    assert not done or job.is_there(target), place
    if job.is_there(target):
        np.testing.assert_array_equal(job.values(target), DATA, err_msg=place)
    if not done:
        try:
            job.write(source, target, again=True)
        except FileExistsError:
            assert job.is_there(target)
        np.testing.assert_array_equal(job.values(target), DATA, err_msg=place)
    # What could not be removed is, when something is written there again.
    if len(os.listdir(folder)) > 1:
        job.write(source, folder / f"next_{job.name}")
    assert sorted(os.listdir(folder)) in ([job.name], [job.name, f"next_{job.name}"]), place
    return done


# Each makes some 40 to 150 calls, of 15 to 40 kinds.
@pytest.mark.parametrize("job", [Conversion(), Export()], ids=["conversion", "export"])
@pytest.mark.parametrize(("error", "kind"), [("EIO", once), ("ENOSPC", once), ("ENOSPC", from_then_on)])
def test_any_call_may_fail_while_writing(job, source, tmp_path, monkeypatch, error, kind):
    (first := tmp_path / "first").mkdir()
    total = Faults(first, None, calls=WRITING)
    assert attempt(job, source, first, total, monkeypatch)
    assert total.count >= 3
    outcomes = []
    for number in total.numbers(last=kind is from_then_on):
        (folder := tmp_path / f"out{number}").mkdir()
        faults = Faults(folder, ERRORS[error], kind(number), WRITING)
        outcomes.append(attempt(job, source, folder, faults, monkeypatch))
    assert False in outcomes


@pytest.mark.parametrize("job", [Conversion(), Export()], ids=["conversion", "export"])
def test_short_writes_are_continued(job, source, tmp_path, monkeypatch):
    (folder := tmp_path / "out").mkdir()
    assert attempt(job, source, folder, Faults(folder, None, always, ("write", "pwrite")), monkeypatch)
