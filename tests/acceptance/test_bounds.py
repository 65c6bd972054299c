"""Small files that ask for much, and calls that ask for nonsense: a named error, at once."""

from __future__ import annotations

import json
import os
import struct

import h5py
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import (
    ArgumentError,
    AxesError,
    CorruptChunkError,
    IncompleteSourceWarning,
    LimitExceededError,
    MetadataWarning,
    SourceIOError,
)
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.reductions import histogram, normalise, percentile, reduce
from tests.support.makers import some_data, write_hdf5_export, write_ilp


def tags(**steps):
    return json.dumps({"axes": [{"key": key, "resolution": step} for key, step in steps.items()]})


def unwritten(path, shape, **options):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("exported_data", shape, dtype="u1", **options)
        dataset.attrs["axistags"] = tags(y=1, x=0)
    return path


@pytest.mark.parametrize("shape", [(2**40, 2**10), (2**48, 4), (2**23, 2**10)])
def test_an_array_of_which_nothing_was_written_may_not_be_huge(tmp_path, shape):
    with pytest.raises(LimitExceededError):
        il.open_dataarray(unwritten(tmp_path / "a.h5", shape))


def test_a_long_axis_is_refused_before_it_gets_coordinates(tmp_path):
    with pytest.raises(LimitExceededError, match="has an axis of 68719476736 elements"):
        il.open_dataarray(unwritten(tmp_path / "a.h5", (2**36, 4), chunks=(2**24, 4)))


def test_an_array_that_was_never_written_warns(tmp_path):
    with pytest.warns(IncompleteSourceWarning, match="never written"):
        array = il.open_dataarray(unwritten(tmp_path / "a.h5", (20, 30)))
    assert not array.values.any()


def test_a_chunk_that_claims_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a.h5"
    write_hdf5_export(path, some_data((16, 16), "uint8"), axes="yx", chunks=(16, 16), filters="gzip")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"TREE\x01") + 24, 3 * 2**30)
    path.write_bytes(raw)
    os.truncate(path, 4 * 2**30)  # sparse
    with pytest.raises(CorruptChunkError, match="would hold 3221225472 bytes for 256"):
        il.open_dataarray(path).compute()


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "x.ilp")
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 2)), axes="yxc")
    with pytest.raises(SourceIOError, match="not a regular file"):
        il.open_dataarray(tmp_path / "a.h5", project=tmp_path / "x.ilp")


@pytest.mark.parametrize("resolution", [1e308, 1e-300])
def test_a_step_beyond_physics_is_unknown(tmp_path, resolution):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.zeros((4, 5))
        file["a"].attrs["axistags"] = tags(y=resolution, x=0)
    with pytest.warns(MetadataWarning, match="resolution"):
        assert "y" not in il.open_dataarray(tmp_path / "a.h5").coords


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"axes": 5}, AxesError),
        ({"axes": "zz"}, AxesError),
        ({"order": 5}, AxesError),
        ({"internal_path": 5}, ArgumentError),
        ({"internal_path": ""}, ArgumentError),
        ({"chunks": "many"}, ArgumentError),
        ({"cache": "lots"}, ArgumentError),
    ],
)
def test_a_wrong_argument_is_not_blamed_on_the_file(tmp_path, options, error):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 2)), axes="yxc")
    with pytest.raises(error):
        il.open_dataarray(tmp_path / "a.h5", **options)


def test_an_open_file_is_not_a_path(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 2)), axes="yxc")
    with h5py.File(tmp_path / "a.h5") as file, pytest.raises(ArgumentError, match="pass its name"):
        il.open_dataarray(file["exported_data"])


def test_no_image_is_lost_when_names_collide(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for value, name in enumerate(("a/data", "b/data", "a_data")):
            file[name] = np.full((5, 6, 7), value, "u1")
            file[name].attrs["axistags"] = tags(z=0, y=0, x=0)
    dataset = il.open_dataset(tmp_path / "a.h5")
    assert sorted(int(array.max()) for array in dataset.data_vars.values()) == [0, 1, 2]


COLLIDING = [
    ["x", "vol/x"],
    ["raw", "z_raw"],
    ["q/raw", "raw", "z_raw", "z_raw_"],
    ["t", "z", "y", "x", "c"],
    ["image_x", "v/x", "x"],
    ["vol/x", "vol_x", "x"],
    ["a_raw", "z_z_raw", "z_raw"],
]


@pytest.mark.parametrize("names", COLLIDING, ids="+".join)
# With steps, the axes have coordinates, with which names of images may collide; xarray makes variables of its own.
@pytest.mark.parametrize(("step", "engine"), [(0, None), (0.5, None), (0.5, "ilastik")])
def test_no_image_becomes_a_coordinate(tmp_path, names, step, engine):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for value, name in enumerate(names):
            file[name] = np.full((5 + value, 6, 7), value, "u1")
            file[name].attrs["axistags"] = tags(z=step * (value + 1), y=step, x=step)

    def opened(**options):
        if engine is None:
            return il.open_dataset(tmp_path / "a.h5", **options)
        return xr.open_dataset(tmp_path / "a.h5", engine=engine, **options)

    dataset = opened()
    assert sorted(int(array.max()) for array in dataset.data_vars.values()) == list(range(len(names)))
    assert not set(dataset.dims) & set(dataset.data_vars)
    # A name does not depend on what else is left out.
    some = list(dataset.data_vars)[1:]
    assert list(opened(drop_variables=next(iter(dataset.data_vars))).data_vars) == some
    again = il.open_dataset(tmp_path / "a.h5")
    assert all(again[name].max() == array.max() for name, array in dataset.data_vars.items())


def test_what_is_called_like_an_axis_can_be_measured(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(120, dtype="u1").reshape(4, 5, 6)
        file["x"].attrs["axistags"] = tags(z=0, y=0, x=2)
    assert reduce(tmp_path / "a.h5", "max").item() == 119
    assert histogram(tmp_path / "a.h5", by="x").counts.shape == (6, 256)
    assert percentile(tmp_path / "a.h5", 50, by="x").coords["x"].values.tolist() == [0, 2, 4, 6, 8, 10]
    assert normalise(open_source(Location.parse(tmp_path / "a.h5"))).max() == 1


@pytest.mark.parametrize("name", ["z", "x", "c"])
def test_a_dataset_may_be_called_like_an_axis(tmp_path, name):
    path, data = tmp_path / "a.h5", some_data((5, 6, 7, 2))
    with h5py.File(path, "w") as file:
        file[name] = data
        file[name].attrs["axistags"] = tags(z=2, y=0, x=0, c=0)
    write_ilp(tmp_path / "p.ilp")
    array = il.open_dataarray(path, project=tmp_path / "p.ilp")
    np.testing.assert_array_equal(array.values, data)
    assert array.coords["z"].values.tolist() == [0, 2, 4, 6, 8]
    through_xarray = xr.open_dataset(path, engine="ilastik")[array.name]
    xr.testing.assert_identical(through_xarray.load(), il.open_dataarray(path).load())


def test_the_usual_decoders_may_be_switched_off(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5, 2)), axes="yxc")
    dataset = xr.open_dataset(tmp_path / "a.h5", engine="ilastik", mask_and_scale=False, decode_times=False)
    np.testing.assert_array_equal(dataset["exported_data"].values, some_data((4, 5, 2)))
