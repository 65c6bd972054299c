"""What `measure_objects` promises beside its values: names, units, ids, errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage as ndi
import xarray as xr
from skimage.measure import regionprops_table

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, MetadataWarning
from tests.fuzz.objects import blocks_are_chunks
from tests.support.makers import write_hdf5_export


@pytest.fixture
def cells():
    image = xr.DataArray(np.zeros((3, 4, 6), np.int64), dims=("t", "y", "x"))
    image[0, :2, :2] = 2**62
    image[2, 1:, 3:] = 7
    image[2, 0, 0] = 7
    image[1] = -1
    return image.chunk({"t": 1, "y": 2, "x": 5})


def test_rows_are_in_the_order_of_frames_and_ids(cells):
    table = il.measure_objects(cells, properties=("num_pixels", "bbox"))
    assert table["timestep"].tolist() == [0, 2]
    assert table["label"].tolist() == [2**62, 7]
    assert table["num_pixels"].tolist() == [4, 10]
    assert table[["bbox_y_min", "bbox_x_min", "bbox_y_max", "bbox_x_max"]].values.tolist() == [
        [0, 0, 2, 2],
        [0, 0, 4, 6],
    ]
    assert list(il.paint(cells, table, "num_pixels").values[2, 1]) == [0, 0, 0, 10, 10, 10]


def test_units_are_those_of_the_image():
    nuclei = il.open_dataarray(sample("probabilities"), project=sample("project")).sel(c="nucleus")
    table = il.measure_objects(il.label_objects(nuclei), sample("raw"), properties=("num_pixels", "area", "centroid"))
    np.testing.assert_allclose(table["area"], table["num_pixels"] * 0.8 * 0.25 * 0.25)
    assert table.attrs["units"] == {
        "area": "micrometer^3", "centroid_z": "micrometer", "centroid_y": "micrometer", "centroid_x": "micrometer",
    }  # fmt: skip


def test_classes_and_masks_that_are_measured_as_objects_are_said_to_be_no_objects():
    """As in napari-skimage-regionprops#8, where `label` was forgotten."""
    with pytest.warns(MetadataWarning, match=r"holds classes, so each is measured as one object: pass label_objects\("):
        table = il.measure_objects(sample("segmentation"))
    assert table["label"].tolist() == [1, 2]
    assert len(il.measure_objects(il.label_objects(sample("segmentation"), classes=1))) > 2  # without a warning
    mask = xr.DataArray(np.array([[1, 0, 1]], np.bool_), dims=("y", "x"))
    with pytest.warns(MetadataWarning, match=r"is a mask, so it is measured as one object: pass label_objects\(mask\)"):
        assert len(il.measure_objects(mask)) == 1
    assert len(il.measure_objects(il.label_objects(mask))) == 2


def test_moments_far_from_the_origin_lose_no_digits():
    labels = np.zeros((1, 400_000), np.uint8)
    labels[0, -9:] = 1
    image = xr.DataArray(labels, dims=("y", "x")).chunk({"x": 399_995})
    with blocks_are_chunks():
        table = il.measure_objects(image, image * 1e9 + 1, properties=("inertia_tensor_eigvals", "intensity_std"))
    assert table["inertia_tensor_eigvals_0"][0] == pytest.approx((9**2 - 1) / 12, rel=1e-12)
    assert table["intensity_std"][0] == 0


def test_the_table_survives_csv_and_parquet(cells, tmp_path):
    table = il.measure_objects(cells, cells.astype("f4"))
    table.to_csv(tmp_path / "a.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), table, check_dtype=False)


def test_channels_name_their_columns(cells):
    raw = xr.DataArray(np.ones((3, 4, 6, 2)), dims=("t", "y", "x", "c"), coords={"c": ["red", "green"]})
    table = il.measure_objects(cells, raw, properties=("intensity_mean", "centroid_weighted"))
    assert list(table.columns[2:]) == [
        "intensity_mean_red", "intensity_mean_green", "centroid_weighted_y_red", "centroid_weighted_x_red",
        "centroid_weighted_y_green", "centroid_weighted_x_green",
    ]  # fmt: skip


def test_progress_reaches_the_end(cells):
    calls = []
    with blocks_are_chunks():
        il.measure_objects(cells, progress=lambda *numbers: calls.append(numbers))
    assert calls[-1] == (12, 12, cells.nbytes)
    assert len(calls) == 12


def test_what_cannot_be_measured_is_refused(cells):
    with pytest.raises(ArgumentError, match="colour"):
        il.measure_objects(cells, properties=("colour",))
    with pytest.raises(ArgumentError, match=r"did you mean axis_major_length\?\): expected .*, solidity, "):
        il.measure_objects(cells, properties="major_axis_length")
    with pytest.raises(ArgumentError, match=r"did you mean area\?"):
        il.measure_objects(cells, properties=("num_pixels", "volume"))
    with pytest.raises(ArgumentError, match="each table has it"):
        il.measure_objects(cells, properties=("label", "area"))
    with pytest.raises(ArgumentError, match="intensity"):
        il.measure_objects(cells, properties=("intensity_mean",))
    with pytest.raises(ArgumentError, match="same voxels"):
        il.measure_objects(cells, cells.isel(x=slice(1, None)))
    with pytest.raises(ArgumentError, match="3 dimensions"):
        il.measure_objects(cells.rename(t="z"), properties=("orientation",))
    with pytest.raises(ArgumentError, match="fractions"):
        il.measure_objects(cells / 2.5)


def test_frames_keep_their_numbers_in_crops(cells, tmp_path):
    write_hdf5_export(tmp_path / "a.h5", np.maximum(cells.values, 0), axes="tyx", chunks=(1, 2, 5), filters="gzip")
    opened = il.open_dataarray(tmp_path / "a.h5", kind="object identities")
    crop = opened.isel(t=slice(1, 3))
    table = il.measure_objects(crop, properties=("num_pixels",))
    assert table["timestep"].tolist() == [2]
    assert il.paint(crop, table, "num_pixels").values.max() == 10
    assert il.measure_objects(opened.isel(t=2), properties=("num_pixels",))["timestep"].tolist() == [2]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["objects", "labels"])
def test_properties_of_whole_objects_are_those_of_scikit_image(ndim, kind):
    rng = np.random.default_rng(ndim)
    dims = ("z", "y", "x")[-ndim:]
    mask = ndi.gaussian_filter(rng.random((2, *(18, 20, 22)[-ndim:])), (0, *[1.5] * ndim)) > 0.51
    frames = [ndi.label(frame)[0] for frame in mask]
    kept = [np.flatnonzero(np.bincount(frame.ravel()) >= 12) for frame in frames]
    frames = [np.where(np.isin(frame, keep), frame, 0) for frame, keep in zip(frames, kept, strict=True)]
    positions = {
        name: (name, np.arange(n) * 0.5, {"units": "mm"}) for name, n in zip(dims, mask.shape[1:], strict=True)
    }
    chunks = dict.fromkeys(dims, 7)
    raw = xr.DataArray(rng.integers(0, 99, mask.shape), dims=("t", *dims), coords=positions).chunk(chunks)
    if kind == "objects":
        image = xr.DataArray(np.stack(frames) > 0, dims=("t", *dims), coords=positions).chunk(chunks)
        image = il.label_objects(image)
    else:
        image = xr.DataArray(np.stack(frames), dims=("t", *dims), coords=positions).chunk(chunks)
    names = ["euler_number", "intensity_median", "area_convex", "solidity", "feret_diameter_max"]
    names += ["perimeter"] if ndim == 2 else []
    with blocks_are_chunks():
        table = il.measure_objects(image, raw, properties=[*names, "num_pixels"])
    for number, frame in enumerate(frames):
        wanted = regionprops_table(frame, raw.values[number], properties=[*names, "num_pixels"], spacing=[0.5] * ndim)
        rows = table[table["timestep"] == number]
        assert len(rows) == len(wanted["num_pixels"]) > 0
        for name in wanted:
            np.testing.assert_allclose(rows[name], wanted[name], rtol=1e-9, err_msg=name)
    assert table.attrs["units"]["feret_diameter_max"] == "millimeter"
    assert "euler_number" not in table.attrs["units"]


def test_perimeters_are_those_of_square_pixels():
    image = xr.DataArray(np.eye(4, dtype=np.uint8), dims=("y", "x"), coords={"y": np.arange(4), "x": np.arange(4) / 2})
    with pytest.raises(ArgumentError, match="not square"):
        il.measure_objects(image, properties=("perimeter",))
    with pytest.raises(ArgumentError, match="intensity"):
        il.measure_objects(image, properties=("intensity_median",))


def test_a_mean_that_all_blocks_need_is_computed_once():
    reads = []

    def read(block):
        reads.append(block.shape)
        return block

    values = np.random.default_rng(0).random((8, 12))
    image = xr.DataArray(values, dims=("y", "x")).chunk({"y": 2, "x": 3})
    image = image.copy(data=image.data.map_blocks(read, dtype=image.dtype, meta=np.empty((0, 0))))
    with blocks_are_chunks():
        table = il.measure_objects(il.label_objects(image / image.mean(), threshold=1), image - image.mean())
    assert len(table) == ndi.label(values >= values.mean())[1]
    assert len(reads) <= 5 * 16


def test_renamed_axes_of_new_objects_are_measured_by_their_names():
    mask = xr.DataArray(np.ones((3, 2, 4), np.bool_), dims=("z", "y", "x"))
    renamed = il.label_objects(mask).rename(z="t")
    table = il.measure_objects(renamed, properties=("num_pixels",))
    assert table.values.tolist() == il.measure_objects(renamed.compute(), properties=("num_pixels",)).values.tolist()
    assert table.values.tolist() == [[0, 1, 8], [1, 1, 8], [2, 1, 8]]


def _placed(first=0.0, step=0.5, unit="um"):
    positions = xr.Variable("x", first + step * np.arange(4), {"units": unit})
    return xr.DataArray(np.ones((2, 4), np.uint8), dims=("y", "x"), coords={"x": positions})


@pytest.mark.parametrize("other", [_placed(0.5), _placed(step=1.0), _placed(0, 250, "nm"), _placed(-2)])
def test_intensities_at_other_positions_are_refused(other):
    with pytest.raises(ArgumentError, match=r"along x, and .* at 0 to 1.5 micrometer: pass the same part of both"):
        il.measure_objects(_placed(), other)
    assert len(il.measure_objects(_placed(), other.drop_vars("x"))) == 1


@pytest.mark.parametrize("other", [_placed(0.25), _placed(0, 500, "nm"), _placed(7, 3, "pixel"), _placed(7, 3, "")])
def test_intensities_at_the_same_or_unknown_positions_are_measured(other):
    assert il.measure_objects(_placed(), other)["intensity_mean"].tolist() == [1]


def test_intensities_of_another_crop_are_refused():
    raw = il.open_dataarray(sample("raw"))
    labels = il.label_objects(raw, threshold=200)
    with pytest.raises(ArgumentError, match="pass the same part of both"):
        il.measure_objects(labels.isel(z=slice(0, 9)), raw.isel(z=slice(2, 11)))
    assert len(il.measure_objects(labels.isel(z=slice(2, 11)), raw.isel(z=slice(2, 11))))


DAYS = np.arange("2024-05-01", "2024-05-07", dtype="M8[D]")


def _film(first, last, unit):
    """Frames of some days, by their dates, or by numbers since the first of them."""
    days = DAYS[first:last]
    since = xr.Variable(
        "t", np.arange(len(days)) * {"day": 1.0, "hour": 24.0}.get(unit, 0), {"units": f"{unit}s since {days[0]}"}
    )
    times = since if unit else xr.Variable("t", days.astype("M8[ns]"))
    return xr.DataArray(np.ones((len(days), 2, 2), np.uint8), dims=("t", "y", "x"), coords={"t": times})


@pytest.mark.parametrize("unit", ["", "day", "hour"])
def test_frames_of_other_dates_are_refused(unit):
    labels = il.label_objects(_film(3, 6, unit), threshold=1)
    assert len(il.measure_objects(labels, _film(3, 6, unit))) == 3
    with pytest.raises(ArgumentError, match=r"lies at -.* along t, and .* at 0 to .*: pass the same part of both"):
        il.measure_objects(labels, _film(0, 3, unit))


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**64 - 1])
def test_whole_numbers_that_would_be_rounded_are_refused(value):
    labels = xr.DataArray(np.array([[0, 1, 1]], np.uint8), dims=("y", "x"))
    image = xr.DataArray(np.array([[value, 2**53, 1]], "i8" if value < 2**63 else "u8"), dims=("y", "x"))
    assert il.measure_objects(labels, image)["intensity_max"].tolist() == [2**53]
    with pytest.raises(ArgumentError, match=rf"holds {value}, and numbers beyond 2\*\*53 would be rounded"):
        il.measure_objects(labels, image[:, ::-1])
    assert il.measure_objects(labels, image[:, ::-1].astype("f8"))["intensity_min"].tolist() == [
        float(min(2**53, value))
    ]


def test_flat_objects_in_a_volume_have_no_hull_and_stop_nothing():
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[0, 0, 0] = 1
    labels[2, 1:4, 1:4] = 2
    labels[0:3, 4:6, 4:6] = 3
    labels[range(3), range(3), 5] = 4
    labels[range(1, 4), 5, range(1, 4)] = labels[1:4, 5, 0] = 5  # in a plane that no axis is normal to
    labels[3, 0, :4] = 6
    names = ["num_pixels", "euler_number", "area_convex", "solidity", "feret_diameter_max"]
    table = il.measure_objects(xr.DataArray(labels, dims=("z", "y", "x")), properties=names)
    assert table["num_pixels"].tolist() == [1, 9, 12, 3, 6, 4]
    wanted = regionprops_table(labels * (labels == 3), properties=names)
    assert table[names].iloc[2].tolist() == [float(wanted[name][0]) for name in names]
    assert table[names[2:]].isna().all(axis=1).tolist() == [True, True, False, True, True, True]
    assert table["euler_number"].notna().all()


@pytest.mark.parametrize("names", [["a", "a"], None])
def test_channels_of_one_name_have_a_column_each(names):
    labels = xr.DataArray(np.ones((1, 2), np.uint8), dims=("y", "x"))
    image = xr.DataArray([[[1, 5], [3, 7]]], dims=("y", "x", "c"), coords={} if names is None else {"c": names})
    table = il.measure_objects(labels, image, properties=("intensity_mean",))
    assert table.to_dict("list") == {"label": [1], "intensity_mean_0": [2], "intensity_mean_1": [6]}


def test_an_image_without_channels_is_refused():
    labels = xr.DataArray(np.ones((1, 2), np.uint8), dims=("y", "x"))
    with pytest.raises(ArgumentError, match="has no channels"):
        il.measure_objects(labels, xr.DataArray(np.ones((1, 2, 0)), dims=("y", "x", "c")))


@pytest.mark.filterwarnings("error")
def test_nan_and_infinity_warn_of_nothing():
    labels = xr.DataArray(np.array([[1, 1, 2, 2]], np.float16), dims=("y", "x")).chunk({"x": 3})
    image = xr.DataArray([[1.0, np.nan, np.inf, -np.inf]], dims=("y", "x")).chunk({"x": 3})
    names = ("intensity_mean", "intensity_std", "intensity_min", "intensity_max", "centroid_weighted")
    with blocks_are_chunks():
        table = il.measure_objects(labels, image, properties=names)
    assert table["intensity_min"].tolist()[1:] == [-np.inf]
    assert table.drop(columns=["label", "intensity_min", "intensity_max"]).isna().all(axis=None)
