"""Ids that differ between frames are those of a plain loop over frames, in the image and in its table."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skimage.measure
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError
from ilastik_lazy.lazy.dataset import chunked, to_dataset
from ilastik_lazy.tables.paint import mismatches
from tests.support.ome_zarr.fakes import ArrayBackedSource
from tests.tables.test_paint import CROPS, PAIRS, opened, params, ten_frames

LABELS = np.array([[[0, 1, 2], [3, 3, 0]], [[1, 1, 0], [0, 0, 2]], [[0, 0, 0], [0, 4, 4]]])


def labels_of(dtype: str = "u4", **coords: Any) -> xr.DataArray:
    return xr.DataArray(LABELS.astype(dtype), dims=tuple("tyx"), coords=coords, name="cells")


def looped(labels: np.ndarray[Any, Any], step: int) -> list[Any]:
    """The plain way: frame after frame, in whole numbers of Python."""
    return [
        [[frame * step + int(value) if value > 0 else 0 for value in row] for row in plane]
        for frame, plane in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("dtype", "step", "made"),
    [
        ("u1", 10**3, "u4"),
        ("i2", 10**5, "u4"),
        ("u2", 10**5, "u4"),
        ("u4", 10**6, "u4"),
        ("i8", 10**10, "u8"),
        ("u8", 10**10, "u8"),
        ("f4", 10**6, "u4"),
    ],
)
def test_differ_between_frames_in_a_type_that_holds_them(dtype: str, step: int, made: str) -> None:
    unique = il.unique_ids(labels_of(dtype, t=[5, 7, 8]))
    assert unique.values.tolist() == looped(LABELS, step)
    assert (unique.dtype, unique.name, unique.dims) == (np.dtype(made), "cells", ("t", "y", "x"))
    assert unique.t.values.tolist() == [5, 7, 8]
    assert unique.attrs["ilastik_kind"] == "object identities"


@pytest.mark.parametrize(
    ("step", "made"), [(5, "u4"), (2**32 // 3, "u4"), (2**32 // 3 + 1, "u8"), (2**63 - 2**31, "u8")]
)
def test_are_as_large_as_their_step(step: int, made: str) -> None:
    unique = il.unique_ids(labels_of(), step=step)
    assert unique.dtype == np.dtype(made)
    assert unique.values.tolist() == looped(LABELS, step)
    assert il.unique_ids(labels_of(), step=step).data.name == unique.data.name != il.unique_ids(labels_of()).data.name


def test_of_more_frames_or_larger_ids_have_64_bits() -> None:
    for frames, made in ((4294, "u4"), (4295, "u8")):
        unique = il.unique_ids(xr.DataArray(np.ones((frames, 1), "u4"), dims=("t", "x")))
        step = 10**6 if made == "u4" else 10**10
        assert unique.dtype == np.dtype(made)
        assert unique.values[:, 0].tolist() == [frame * step + 1 for frame in range(frames)]
    large = labels_of() * np.uint32(10**6)
    unique, rows = il.unique_ids(large, il.measure_objects(large, properties="num_pixels"))
    assert unique.values.tolist() == looped(LABELS * 10**6, 10**10)
    assert sorted(rows["label"]) == sorted(set(unique.values.ravel().tolist()) - {0})


def test_of_a_frame_are_read_without_any_other() -> None:
    source = ArrayBackedSource(LABELS.astype("u2"), "tyx", chunks=(1, 2, 3))
    whole = chunked(to_dataset({"a": source}), {"a": source}, {})["a"]
    unique = il.unique_ids(whole)
    assert source.regions == []
    assert unique.isel(t=1, y=1).values.tolist() == [0, 0, 100002]
    assert source.times_read.sum((1, 2)).tolist() == [0, 3, 0]
    assert pickle.loads(pickle.dumps(unique)).values.tolist() == unique.values.tolist()


@pytest.mark.filterwarnings("ignore:ilastik's HDF5 has no place for an origin")
@pytest.mark.parametrize("crop", CROPS)
def test_of_a_crop_are_those_of_the_whole(tmp_path: Any, crop: str) -> None:
    image, table = ten_frames(tmp_path)
    whole = CROPS[crop](il.unique_ids(image))
    cut, rows = il.unique_ids(CROPS[crop](image), table)
    xr.testing.assert_equal(cut.compute(), whole.compute())
    assert cut.dtype == whole.dtype == np.uint32
    assert set(rows["labelimage_oid"]) == set(whole.values.ravel().tolist())
    assert ((rows["number"] - 20) * 10**6 + 1 == rows["labelimage_oid"]).all()


def test_of_a_table_are_those_of_its_image() -> None:
    table = il.measure_objects(labels_of(), properties="num_pixels").sample(frac=1, random_state=2)
    unique, rows = il.unique_ids(labels_of(), table, step=100)
    assert rows.index.tolist() == table.index.tolist()
    found = skimage.measure.regionprops_table(unique.values.astype(np.int64), properties=("label", "num_pixels"))
    assert dict(zip(rows["label"], rows["num_pixels"], strict=True)) == dict(zip(*found.values(), strict=True))
    assert il.measure_objects(unique, properties="num_pixels").equals(rows.sort_values("label").reset_index(drop=True))
    assert len(mismatches(unique, rows)) == 0
    assert table["label"].max() == 4


def test_of_objects_are_made_of_new_objects_too() -> None:
    mask = xr.DataArray(LABELS > 0, dims=tuple("tyx"))
    objects = il.label_objects(mask)
    assert il.unique_ids(objects, step=10).values.tolist() == looped(objects.values, 10)


def test_are_there_already_without_frames() -> None:
    flat, table = labels_of().isel(t=0), pd.DataFrame({"label": [1, 2, 3]})
    unique, rows = il.unique_ids(flat.drop_vars("t", errors="ignore"), table)
    assert unique.values.tolist() == LABELS[0].tolist()
    assert rows["label"].tolist() == [1, 2, 3]


def test_rows_of_no_object_and_of_other_frames_are_left_out() -> None:
    table = pd.DataFrame({"frame": [0, 0, 1, 2], "labelimageId": [1, 0, 2, 4], "trackId": [7, -1, 7, 8]})
    image = chunked(to_dataset({"a": ArrayBackedSource(LABELS.astype("u1"), "tyx")}), {}, None)["a"]
    unique, rows = il.unique_ids(image.isel(t=slice(1, 3)), table)
    assert rows["labelimageId"].tolist() == [1002, 2004]
    assert il.paint(unique, rows, "trackId").values.max((1, 2)).tolist() == [7, 8]


PROBLEMS = {
    "classes": (lambda: il.unique_ids(labels_of().assign_attrs(ilastik_kind="segmentation")), "holds segmentation"),
    "tracks": (lambda: il.unique_ids(labels_of().assign_attrs(ilastik_kind="tracking")), "over time already"),
    "mask": (lambda: il.unique_ids(labels_of() > 0), r"holds bool, .*label_objects\(\)"),
    "probabilities": (lambda: il.unique_ids(labels_of() / 3).compute(), "holds 0.333"),
    "large ids of 32 bits": (lambda: il.unique_ids(labels_of() * 10**6).compute(), "pass a larger step"),
    "large ids": (lambda: il.unique_ids(labels_of("u8") * 10**10).compute(), "has id 40000000000 in a frame"),
    "small step": (
        lambda: il.unique_ids(labels_of(), step=4).compute(),
        "has id 4 in a frame, and only ids below 4",
    ),
    "no step": (lambda: il.unique_ids(labels_of(), step=0), "expected a whole number that is larger"),
    "large step": (lambda: il.unique_ids(labels_of(), step=2**63), "of which 3 fit into 64 bits"),
    "large ids of a table": (
        lambda: il.unique_ids(labels_of(), pd.DataFrame({"timestep": [0], "label": [40]}), step=40),
        "has id 40 in a frame",
    ),
    "an id twice": (
        lambda: il.unique_ids(labels_of(), pd.DataFrame({"timestep": [1, 1], "label": [2, 2]})),
        "has id 2 twice in frame 1",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_cannot_be_unique_is_an_error_that_says_what_to_do(case: str) -> None:
    call, message = PROBLEMS[case]
    with pytest.raises(ArgumentError, match=message):
        call()


@params(PAIRS)
def test_of_real_images_are_those_of_their_tables(pair: tuple[str, str]) -> None:
    table, labels = opened(pair)
    unique, rows = il.unique_ids(labels, table)
    name = "labelimageId" if "labelimageId" in table else "labelimage_oid"
    assert len(mismatches(unique, rows)) == 0
    assert rows[name].is_unique
    assert len(rows) == len(table)
    if "t" in labels.dims:
        planes = [plane.values.astype(int) for plane in labels.transpose("t", ...)]
        frames = [np.where(plane > 0, plane + frame * 10**6, 0) for frame, plane in enumerate(planes)]
        np.testing.assert_array_equal(unique.transpose("t", ...).values, frames)


def test_a_step_may_be_a_whole_number_of_numpy():
    labels = xr.DataArray(np.array([[0, 1], [1, 2]], "u1"), dims=("t", "x"))
    assert il.unique_ids(labels, step=np.int64(10)).values.tolist() == [[0, 1], [11, 12]]
    for wrong in (True, 10.0, "10"):
        with pytest.raises(ArgumentError, match="expected a whole number"):
            il.unique_ids(labels, step=wrong)
