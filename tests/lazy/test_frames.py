"""Frames of a time series keep their numbers, whatever was cut out of it, and whatever was computed of that."""

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.core.views.window import window_of, windowed
from ilastik_lazy.lazy.dataset import chunked, to_dataset
from ilastik_lazy.lazy.frames import frames_of
from tests.support.ome_zarr.fakes import ArrayBackedSource

DATA = (np.arange(6 * 3 * 4).reshape(6, 3, 4) % 5).astype("u1")


def source(has_positions: bool = True) -> ArrayBackedSource:
    return ArrayBackedSource(DATA, "tyx", scales={"t": 2.0} if has_positions else {})


def opened(has_positions: bool = True) -> xr.DataArray:
    sources = {"image": source(has_positions)}
    return chunked(to_dataset(sources), sources, "auto")["image"]


def test_of_a_part_of_a_source_are_those_of_the_whole() -> None:
    part = windowed(windowed(source(), (slice(1, 6), slice(0, 3), slice(0, 4))), (slice(2, 4), slice(0, 2), 1))
    frames, length = frames_of(part)
    assert frames is not None
    assert (frames.tolist(), length) == ([3, 4], 6)
    frames, length = frames_of(windowed(part, (1, slice(0, 2))))
    assert frames is not None
    assert (frames.ndim, int(frames), length) == (0, 4, 6)
    assert frames_of(windowed(source(), (slice(0, 6), 0, slice(0, 4))))[1] == 6
    assert frames_of(ArrayBackedSource(DATA[0], "yx")) == (None, None)


def test_of_the_sub_volume_of_a_project_begin_at_0() -> None:
    lane = window_of(source(), (2, 0, 0), (6, 3, 4))
    frames, length = frames_of(windowed(lane, (slice(1, 3), slice(0, 3), slice(0, 4))))
    assert frames is not None
    assert (frames.tolist(), length) == ([1, 2], 4)


MADE: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "labelled": lambda image: il.label_objects(image, threshold=1),
    "labelled, loaded": lambda image: il.label_objects(image, threshold=1).compute(),
    "labelled, computed": lambda image: il.label_objects(image, threshold=1).astype("u8"),
    "computed, labelled": lambda image: il.label_objects(image > 1),
    "loaded": lambda image: image.compute(),
}


@pytest.mark.parametrize("made", MADE)
def test_of_what_was_made_of_a_part_are_those_of_the_whole(made: str) -> None:
    labels = MADE[made](opened().isel(t=slice(2, 5)))
    for part in (labels, labels.isel(t=slice(1, None))):
        table = il.measure_objects(part, properties="num_pixels")
        assert table["timestep"].unique().tolist() == [2, 3, 4][-part.sizes["t"] :]


@pytest.mark.parametrize("made", ["labelled", "labelled, loaded", "labelled, computed"])
def test_are_known_without_positions_where_all_frames_of_a_part_are_there(made: str) -> None:
    labels = MADE[made](opened(has_positions=False).isel(t=slice(2, 5)))
    assert il.measure_objects(labels, properties="num_pixels")["timestep"].unique().tolist() == [2, 3, 4]


def test_of_one_frame_that_was_labelled_is_its_own() -> None:
    assert il.measure_objects(il.label_objects(opened().isel(t=4), threshold=1))["timestep"].unique().tolist() == [4]


def test_of_classes_are_counted_in_the_image_as_it_was_opened() -> None:
    whole = ArrayBackedSource(DATA, "tyx", kind="segmentation")
    part = windowed(whole, (slice(2, 4), slice(0, 3), slice(0, 4)))
    for classes, frames in ((whole, [0, 1, 2, 3, 4, 5]), (part, [2, 3])):
        assert il.measure_classes(classes, by="t")["timestep"].unique().tolist() == frames


def test_of_an_array_that_was_never_opened_are_all() -> None:
    frames, length = frames_of(xr.DataArray(da.zeros((4, 2)), dims=("t", "x"), coords={"t": [3, 4, 5, 6]}))
    assert frames is not None
    assert (frames.tolist(), length) == ([0, 1, 2, 3], 4)


def test_of_one_frame_that_was_computed_is_found_by_its_position() -> None:
    for one in ((opened() + 0).isel(t=4), opened().isel(t=[1, 4]).isel(t=1), opened().load().isel(t=4)):
        frames, length = frames_of(one)
        assert frames is not None
        assert (frames.ndim, int(frames), length) == (0, 4, 6)
    assert frames_of((opened(has_positions=False) + 0).isel(t=4)) == (None, None)
    assert frames_of(opened().mean("t")) == (None, None)
