"""Pieces of a volume as a stack: their positions follow one another, or the stack is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import MetadataError, MetadataWarning
from tests.support.makers import some_data, write_hdf5_export

LENGTH = 8
DATA = np.arange(3 * LENGTH * 4 * 5, dtype="f4").reshape(3 * LENGTH, 4, 5)


def piece(folder, name, start, *, step=1.0, length=LENGTH, unit="um", writer="ome", t=False, **others):
    """Planes of `DATA` from `start` on, at their positions along z."""
    coords = {"z": ("z", step * np.arange(start, start + length), {"units": unit}), "y": np.arange(4) * 0.5}
    array = xr.DataArray(DATA[start : start + length], coords | others, ("z", "y", "x"), "image")
    path = folder / f"{name}.{'h5' if writer == 'netcdf' else 'zarr'}"
    if writer == "ome":
        il.to_ome_zarr(array, path, levels=1)
    elif writer == "netcdf":
        array.to_netcdf(path, engine="h5netcdf")
    else:
        array.to_dataset().to_zarr(path, consolidated=False)
    return path


@pytest.mark.parametrize("writer", ["ome", "xarray", "netcdf"])
class TestPieces:
    def test_in_their_order_they_are_the_volume(self, tmp_path, writer):
        paths = [piece(tmp_path, name, start, writer=writer) for name, start in zip("abc", (0, 8, 16), strict=True)]
        found = il.open_dataarray(paths, stack_along="z")
        np.testing.assert_array_equal(found.values, DATA)
        np.testing.assert_array_equal(found.coords["z"], np.arange(24.0))

    def test_that_begin_elsewhere_keep_their_positions(self, tmp_path, writer):
        paths = [piece(tmp_path, name, start, writer=writer) for name, start in zip("bc", (8, 16), strict=True)]
        np.testing.assert_array_equal(il.open_dataarray(paths, stack_along="z").coords["z"], np.arange(8.0, 24.0))

    @pytest.mark.parametrize("starts", [(8, 0), (0, 16), (0, 4), (8, 8)])
    def test_in_another_order_with_a_gap_or_overlapping_they_are_refused(self, tmp_path, writer, starts):
        paths = [piece(tmp_path, f"p{k}", start, writer=writer) for k, start in enumerate(starts)]
        with pytest.raises(MetadataError, match=r"p1\S* begins at z = .*without gap or overlap"):
            il.open_dataarray(paths, stack_along="z")

    @pytest.mark.parametrize(
        "other", [{"step": 2.0}, {"unit": "nanometer"}, {"y": np.arange(4) * 0.25}, {"y": 1 + np.arange(4) * 0.5}]
    )
    @pytest.mark.parametrize("along", ["z", "t"])
    def test_of_another_step_unit_or_origin_they_are_refused(self, tmp_path, writer, other, along):
        start = 8 if along == "z" else 0
        paths = [piece(tmp_path, "a", 0, writer=writer), piece(tmp_path, "b", start, writer=writer, **other)]
        with pytest.raises(MetadataError, match=r"b\.\S* (has along [yz] step|begins at z)"):
            il.open_dataarray(paths, stack_along=along)


def test_single_planes_have_the_step_of_their_positions(tmp_path):
    paths = [piece(tmp_path, f"p{k}", k, step=0.5, length=1, writer="xarray") for k in range(3)]
    np.testing.assert_array_equal(il.open_dataarray(paths, stack_along="z").coords["z"], [0, 0.5, 1])
    with pytest.raises(MetadataError, match="do not rise evenly"):
        il.open_dataarray([paths[1], paths[0], paths[2]], stack_along="z")


def test_two_files_that_both_say_that_they_begin_at_0_are_no_stack(tmp_path):
    paths = [piece(tmp_path, name, 0, writer="xarray") for name in "ab"]
    with pytest.raises(MetadataError, match=r"b\.zarr/image begins at z = 0 micrometer, where 8 would follow"):
        il.open_dataarray(paths, stack_along="z")


def test_exports_that_state_no_origin_follow_one_another(tmp_path):
    for name in "ab":
        write_hdf5_export(tmp_path / f"{name}.h5", some_data((3, 4, 5)), axes="zyx", resolution={"z": 0.5, "y": 2})
    found = il.open_dataarray([tmp_path / "a.h5", tmp_path / "b.h5"], stack_along="z")
    np.testing.assert_array_equal(found.coords["z"], np.arange(6) * 0.5)


def test_what_only_some_files_state_counts_for_all(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5)), axes="yx")
    write_hdf5_export(tmp_path / "b.h5", some_data((4, 5)), axes="yx", resolution={"y": 2}, units={"y": "um"})
    found = il.open_dataarray([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert found.coords["y"].attrs["units"] == "micrometer"


def test_a_warning_of_one_file_is_no_end(tmp_path):
    for name in "ab":
        write_hdf5_export(tmp_path / f"{name}.h5", some_data((4, 5)), axes="yx", attributes={"element_size_um": "tiny"})
    with pytest.warns(MetadataWarning, match="element_size_um is 'tiny'"):
        assert il.open_dataarray([tmp_path / "a.h5", tmp_path / "b.h5"]).dims == ("t", "y", "x")
