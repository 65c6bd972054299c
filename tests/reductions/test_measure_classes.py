"""Voxels, areas and shares of classes, beside what numpy counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, AxesError, MemoryLimitError
from tests.support.makers import write_hdf5_export


def classes_of(shape, dtype="u1", most=4, seed=0):
    return np.random.default_rng(seed).integers(0, most, shape).astype(dtype)


def counted(values, axes):
    """Rows of positions along `axes`, class and count, one voxel after the other."""
    rows: dict[tuple[int, ...], int] = {}
    for index, value in np.ndenumerate(values):
        key = (*(index[axis] for axis in axes), int(value))
        rows[key] = rows.get(key, 0) + 1
    return rows


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.sets(st.integers(0, 3)),
    st.lists(st.integers(1, 6), min_size=4, max_size=4),
    st.sampled_from(["u1", "i1", "<u2", ">i4", "<u8", "?"]),
    st.integers(0, 2**32),
)
def test_the_counts_are_those_of_single_voxels(lengths, by, chunks, dtype, seed):
    dims = "tzyx"[-len(lengths) :]
    values = classes_of(lengths, dtype, seed=seed)
    array = xr.DataArray(values, dims=tuple(dims)).chunk(dict(zip(dims, chunks, strict=False)))
    axes = [axis for axis in sorted(by) if axis < len(dims)]
    table = il.measure_classes(array, [dims[axis] for axis in axes])
    keys = ["timestep" if dims[axis] == "t" else dims[axis] for axis in axes]
    found = {tuple(row[:-1]): row[-1] for row in table[[*keys, "class", "num_pixels"]].itertuples(index=False)}
    expected = counted(values, axes)
    assert {key: count for key, count in found.items() if count} == expected
    positions = int(np.prod([lengths[axis] for axis in axes]))
    assert len(table) == positions * len(np.unique(values))
    assert table["num_pixels"].sum() == values.size
    np.testing.assert_allclose(table["share"], table["num_pixels"] * positions / values.size)
    assert (table["area"] == table["num_pixels"]).all()
    assert "units" not in table.attrs


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">i4", "<i8", "<u8", ">u8", "?"])
@pytest.mark.parametrize("by", ["", "z", "y", "x"])
def test_long_rows_are_counted_as_short_ones(dtype, by):
    values = classes_of((2, 3, 20_000), dtype)
    table = il.measure_classes(xr.DataArray(values, dims=("z", "y", "x")), by)
    for number, group in table.groupby("class"):
        over = tuple(axis for axis, dim in enumerate("zyx") if dim not in by)
        np.testing.assert_array_equal(group["num_pixels"], np.ravel((values == number).sum(over)))


def test_classes_have_names_and_physical_volumes(tmp_path):
    image = il.open_dataarray(sample("segmentation"), project=sample("project"))
    values = image.values
    table = il.measure_classes(image)
    assert table["name"].tolist() == ["nucleus", "background"]
    assert table["num_pixels"].tolist() == [(values == 1).sum(), (values == 2).sum()]
    np.testing.assert_allclose(table["area"], table["num_pixels"] * 0.8 * 0.25 * 0.25)
    assert table.attrs["units"] == {"area": "micrometer^3"}
    slices = il.measure_classes(sample("segmentation"), "z")
    assert slices["z"].unique().tolist() == image.coords["z"].values.tolist()
    np.testing.assert_allclose(slices["area"], slices["num_pixels"] * 0.25 * 0.25)
    assert slices.attrs["units"] == {"area": "micrometer^2"}
    assert slices["name"].unique().tolist() == ["1", "2"]
    assert il.measure_classes(image, "x").attrs["units"] == {"area": "micrometer^2"}
    assert il.measure_classes(image, "zy").attrs["units"] == {"area": "micrometer"}
    assert "units" not in il.measure_classes(image, "zyx").attrs


def test_a_class_without_voxels_has_rows_too():
    image = xr.DataArray(np.array([[1, 1], [3, 1]], "u1"), dims=("t", "x"))
    image.attrs |= {"ilastik_kind": "segmentation", "flag_values": [1, 2], "flag_meanings": "a b"}
    table = il.measure_classes(image, by="t")
    assert table["timestep"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["name"].tolist() == ["a", "b", "3"] * 2
    assert table["num_pixels"].tolist() == [2, 0, 0, 1, 0, 1]
    assert table["share"].tolist() == [1, 0, 0, 0.5, 0, 0.5]


def test_frames_and_channels_are_numbered(tmp_path):
    values = classes_of((3, 4, 5, 2))
    write_hdf5_export(tmp_path / "a.h5", values, axes="tyxc", chunks=(2, 3, 2, 1), filters="gzip")
    table = il.measure_classes(tmp_path / "a.h5", ("c", "t"))
    assert list(table.columns) == ["channel", "timestep", "class", "name", "num_pixels", "area", "share"]
    row = table.query("channel == 1 and timestep == 2 and `class` == 3").iloc[0]
    assert row["num_pixels"] == (values[2, ..., 1] == 3).sum()


def test_frames_keep_their_numbers_in_crops(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", classes_of((4, 4, 5)), axes="tyx", chunks=(2, 3, 2), filters="gzip")
    opened = il.open_dataarray(tmp_path / "a.h5")
    assert sorted(set(il.measure_classes(opened[2:], "t")["timestep"])) == [2, 3]
    assert sorted(set(il.measure_classes(opened[1:], ("t", "y"))["timestep"])) == [1, 2, 3]
    with pytest.raises(ArgumentError, match="holds 2 of 4 frames"):
        il.measure_classes(opened[2:] + 0, "t")
    assert il.measure_classes(opened[2:] + 0)["num_pixels"].sum() == 40


def test_what_classify_gave_is_measured_without_an_image_between():
    probabilities = il.open_dataarray(sample("probabilities"), project=sample("project"))
    table = il.measure_classes(il.classify(probabilities, 0.9), "z")
    assert table["name"].unique().tolist() == ["0", "nucleus", "background"]
    values = probabilities.values
    left = values.max(-1) < np.float32(0.9)
    assert table.query("`class` == 0")["num_pixels"].tolist() == left.sum((1, 2)).tolist()


def test_axes_in_different_units_or_of_no_known_size_count_voxels():
    coords = {"y": ("y", [0.0, 1.0], {"units": "nanometer"}), "x": ("x", [0.0, 2.0], {"units": "micrometer"})}
    image = xr.DataArray(np.ones((2, 2), "u1"), dims=("y", "x"), coords=coords)
    table = il.measure_classes(image)
    assert table["area"].tolist() == pytest.approx([4 * 0.001 * 2])
    assert table.attrs["units"] == {"area": "micrometer^2"}
    for other in (image.drop_vars("y"), image.assign_coords(y=("y", [0.0, 1.0], {"units": "second"}))):
        table = il.measure_classes(other)
        assert table["area"].tolist() == [4]
        assert "units" not in table.attrs


def test_the_table_survives_a_file(tmp_path):
    table = il.measure_classes(sample("segmentation"), "z")
    table.to_csv(tmp_path / "a.csv", index=False)
    again = pd.read_csv(tmp_path / "a.csv", dtype={"name": str})
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


def test_an_empty_image_has_no_rows():
    assert il.measure_classes(xr.DataArray(np.zeros((0, 3), "u1"), dims=("y", "x"))).empty
    assert il.measure_classes(xr.DataArray(np.zeros((0, 3), "u2"), dims=("t", "x")), "t").empty


def test_progress_and_workers():
    seen = []
    expected = il.measure_classes(sample("segmentation"))
    found = il.measure_classes(sample("segmentation"), workers=3, progress=lambda *numbers: seen.append(numbers))
    pd.testing.assert_frame_equal(found, expected)
    assert seen[-1][0] == seen[-1][1]


def test_what_holds_no_classes_is_said():
    with pytest.raises(ArgumentError, match=r"holds probabilities \(float32\), not classes: pass classify"):
        il.measure_classes(sample("probabilities"))
    ids = xr.DataArray(np.array([1, 2**40], "u8"), dims=("x",))
    with pytest.raises(ArgumentError, match="numbers from 1 to 1099511627776"):
        il.measure_classes(ids)
    with pytest.raises(ArgumentError, match="numbers from -1 to 2"):
        il.measure_classes(xr.DataArray(np.array([-1, 2], "i1"), dims=("x",)))
    with pytest.raises(ArgumentError, match="holds object identities, not classes: pass it to measure_objects"):
        il.measure_classes(ids.assign_attrs(ilastik_kind="object identities"))
    with pytest.raises(AxesError, match="no dim 't' to measure by"):
        il.measure_classes(sample("segmentation"), "t")
    with pytest.raises(AxesError, match="names a dim twice"):
        il.measure_classes(sample("segmentation"), "zz")
    with pytest.raises(MemoryLimitError, match="measure by fewer dims"):
        il.measure_classes(sample("segmentation"), "zyx", memory="1MB")


def test_area_is_that_of_measure_objects_also_for_steps_without_a_unit():
    """Both have one idea of a voxel: here 0.5 by 4, in a unit that nobody stated."""
    coords = {"y": ("y", [0.0, 0.5, 1.0]), "x": ("x", [0.0, 4.0, 8.0, 12.0])}
    mask = xr.DataArray(np.ones((3, 4), "u1"), coords, ("y", "x"))
    objects = il.measure_objects(mask, properties=["area"])
    classes = il.measure_classes(mask)
    assert classes["area"].tolist() == objects["area"].tolist() == [24.0]
    assert "units" not in classes.attrs
    assert "units" not in objects.attrs
