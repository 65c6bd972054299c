"""A column painted into a label image is what a plain loop over ids paints."""

from __future__ import annotations

import pickle
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError, AxesError
from ilastik_lazy.tables import open_table
from ilastik_lazy.tables import rows as table_rows
from ilastik_lazy.tables.paint import mismatches, paint
from tests.support.shared_files import entries, over_files, shared_path


def looped(labels: np.ndarray[Any, Any], axis: int | None, table: pd.DataFrame, column: str, names: tuple[str, str]):
    """The plain way: for each row, the pixels with its id in its frame."""
    label, time = names
    values = table[column].to_numpy()
    result = np.full(labels.shape, np.nan if values.dtype.kind == "f" else 0, values.dtype)
    for frame, number, value in zip(table[time], table[label], values, strict=True):
        where = labels == number
        if axis is not None:
            here = np.zeros(labels.shape, bool)
            here[(slice(None),) * axis + (frame,)] = True
            where &= here
        result[where] = value
    return result


def _pairs() -> list[tuple[str, str]]:
    """Tables, and the identities that ilastik exported from the same project."""
    paths = [entry["path"] for entry in entries("workflows")]
    tables = [p for p in paths if p.startswith("object_tables/") or p.endswith("CSV-Table.csv")]
    folder = {"oc": "object_classification", "trk": "tracking"}
    found = []
    for table in tables:
        stem = table.split("/")[1].split("__")[0]
        found.append((table, f"{folder[stem.split('_')[0]]}/{stem}__Object-Identities__gz.h5"))
    return found


PAIRS = _pairs()


def params(pairs: list[tuple[str, str]]) -> Any:
    return over_files("pair", pairs, lambda pair: f"workflows/{pair[0]}")


def opened(pair: tuple[str, str], **options: Any) -> tuple[pd.DataFrame, xr.DataArray]:
    table, image = (shared_path("ilastik-files", "workflows", path) for path in pair)
    return open_table(table), il.open_dataarray(image, **options)


@pytest.mark.shared
def test_the_pairs_are_all_there():
    shared_path("ilastik-files", "workflows")
    assert len(PAIRS) == 18


@params(PAIRS)
@pytest.mark.parametrize("chunks", ["auto", {"x": 37, "y": 50}, None], ids=str)
def test_real_tables_paint_as_a_loop_does(pair, chunks):
    table, labels = opened(pair, chunks=chunks)
    keys = ("labelimage_oid", "timestep") if "labelimage_oid" in table else ("labelimageId", "frame")
    axis = labels.dims.index("t") if "t" in labels.dims else None
    values = labels.values
    numeric = [name for name in table if table[name].dtype.kind in "if"]
    for column in [*numeric[:4], numeric[-1]]:
        painted = paint(labels, table, column)
        assert painted.chunks is not None
        assert (painted.dims, painted.dtype, painted.name) == (labels.dims, table[column].dtype, column)
        np.testing.assert_array_equal(painted.values, looped(values, axis, table, column, keys))


@params([pair for pair in PAIRS if pair[0].startswith("object_tables")])
def test_painted_classes_and_probabilities_are_the_images_that_ilastik_exports(pair):
    table, labels = opened(pair)
    predictions = il.open_dataarray(
        str(shared_path("ilastik-files", "workflows", pair[1])).replace("Identities", "Predictions")
    )
    painted = paint(labels, table, "Predicted Class")
    assert painted.dtype == np.uint8
    np.testing.assert_array_equal(painted.values, predictions.values)
    assert painted.attrs["flag_values"] == [1, 2]
    assert painted.attrs["flag_meanings"] == "Label_1 Label_2"
    assert painted.attrs["ilastik_kind"] == "object predictions"
    probabilities = il.open_dataarray(
        str(shared_path("ilastik-files", "workflows", pair[1])).replace("Identities", "Probabilities")
    )
    for channel, name in enumerate(("Label 1", "Label 2")):
        painted = paint(labels, table, f"Probability of {name}", background=0).isel(c=0)
        np.testing.assert_allclose(painted.values, probabilities.isel(c=channel).values, atol=1e-6)
    assert not paint(labels, table, "User Label").values.any()


@params([pair for pair in PAIRS if pair[0].startswith("tracking")])
def test_painted_lineages_are_the_tracking_result(pair):
    table, labels = opened(pair)
    result = il.open_dataarray(
        str(shared_path("ilastik-files", "workflows", pair[1])).replace("Object-Identities", "Tracking-Result")
    )
    painted = paint(labels, table, "lineageId")
    assert painted.attrs["ilastik_kind"] == "tracking"
    # Objects without a track have -1 in the table, and 1 in the image.
    np.testing.assert_array_equal(painted.where(painted != -1, 1).values, result.values)


@params(PAIRS)
def test_real_tables_and_images_fit(pair):
    table, labels = opened(pair)
    missing = mismatches(labels, table)
    assert list(missing) == [*missing.columns[:2], "missing_from"]
    assert len(missing) == 0, missing


AXES = ["yx", "xy", "yxc", "zyx", "tyx", "txyzc", "cyxt", "tzyxc"]


@st.composite
def cases(draw):
    """Label images of any axes, type and blocks, and a table with rows for some of their ids and of others."""
    axes = draw(st.sampled_from(AXES))
    shape = tuple(1 if axis == "c" else draw(st.integers(1, 5)) for axis in axes)
    dtype = draw(st.sampled_from(["<u1", "<u4", ">u4", "<u8", "<i2", "<i8", "<f4"]))
    most = draw(st.sampled_from([3, 120, 20_000 if dtype != "<u1" else 120]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    choice = np.concatenate([[0], rng.integers(1, most + 1, 5)]).astype(dtype)
    labels = rng.choice(choice, shape)
    frames = shape[axes.index("t")] if "t" in axes else 1
    keys = sorted(
        {
            (int(rng.integers(frames)), int(rng.choice(choice[1:]) + rng.integers(2)))
            for _ in range(draw(st.integers(0, 8)))
        }
    )
    table = pd.DataFrame(keys, columns=["timestep", "labelimage_oid"], dtype=np.int64).sample(frac=1, random_state=1)
    table["whole"] = rng.integers(-100, 100, len(keys)).astype(draw(st.sampled_from(["int8", "int64"])))
    table["size"] = rng.normal(size=len(keys)).astype(draw(st.sampled_from(["float32", "float64"])))
    blocks = tuple(draw(st.integers(1, length)) for length in shape)
    return xr.DataArray(da.from_array(labels, chunks=blocks), dims=tuple(axes)), labels, table


@given(cases(), st.sampled_from([1, 2**20]))
def test_any_image_and_table_paint_as_a_loop_does(case, dense):
    image, labels, table = case
    axis = image.dims.index("t") if "t" in image.dims else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_rows, "_DENSE", dense)
        for column in ("whole", "size"):
            painted = paint(image, table, column)
            values = painted.compute(scheduler="synchronous").values
            expected = looped(labels, axis, table, column, ("labelimage_oid", "timestep"))
            np.testing.assert_array_equal(values, expected, strict=True)
            assert painted.chunks == image.chunks


@given(cases())
def test_mismatches_are_what_sets_say(case):
    image, labels, table = case
    axis = image.dims.index("t") if "t" in image.dims else None
    there = {
        (i, int(v))
        for i, part in enumerate(np.moveaxis(labels, axis, 0) if axis is not None else [labels])
        for v in np.unique(part)
        if v
    }
    known = set(zip(table["timestep"], table["labelimage_oid"], strict=True))
    found = mismatches(image, table)
    assert {tuple(row) for row in found.itertuples(index=False)} == {(*key, "table") for key in there - known} | {
        (*key, "image") for key in known - there
    }


def small(frames: int = 2) -> tuple[xr.DataArray, pd.DataFrame]:
    labels = xr.DataArray(
        np.tile(np.arange(4, dtype="u4"), (frames, 3, 1)), dims=("t", "y", "x"), coords={"x": [0.0, 0.5, 1.0, 1.5]}
    )
    table = pd.DataFrame(
        {
            "timestep": [0, 0, 1],
            "labelimage_oid": [1, 2, 1],
            "size": np.array([5, 6, 7], "int16"),
            "User Label": ["0", "b c", "a"],
            "Predicted Class": ["a", "a", "b c"],
            "Probability of b c": [0.0, 0.0, 1.0],
            "Probability of a": [1.0, 1.0, 0.0],
        }
    )
    return labels, table


def test_ids_of_one_frame_are_not_those_of_another():
    painted = paint(*small(), "size")
    assert painted.isel(y=0).values.tolist() == [[0, 5, 6, 0], [0, 7, 0, 0]]
    assert painted.coords["x"].values.tolist() == [0, 0.5, 1, 1.5]


def test_nothing_is_computed_until_asked_and_a_slice_computes_its_blocks_only():
    labels, table = small(6)
    touched = []

    def seen(block, block_info=None):
        touched.append(block_info[0]["chunk-location"])
        return block

    lazy = labels.copy(
        data=da.from_array(labels.values, chunks=(1, 3, 4)).map_blocks(seen, dtype="u4", meta=np.empty((0, 0, 0), "u4"))
    )
    painted = paint(lazy, table, "size")
    assert touched == []
    assert painted.isel(t=1, y=0).values.tolist() == [0, 7, 0, 0]
    assert touched == [(1, 0, 0)]


def test_classes_have_the_order_of_their_probabilities_and_no_label_is_background():
    labels, table = small()
    painted = paint(labels, table, "Predicted Class")
    assert painted.isel(y=0).values.tolist() == [[0, 2, 2, 0], [0, 1, 0, 0]]
    assert painted.attrs["flag_meanings"] == "b_c a"
    user = paint(labels, table, "User Label")
    assert user.isel(y=0).values.tolist() == [[0, 0, 1, 0], [0, 2, 0, 0]]
    assert user.attrs["ilastik_kind"] == "labels"
    old = table.drop(columns=["Probability of a", "Probability of b c"])
    assert paint(labels, old, "User Label").attrs["flag_meanings"] == "a b_c"


@pytest.mark.parametrize(
    ("background", "dtype"), [(None, "int16"), (-1, "int16"), (np.nan, "float32"), (70_000, "int64"), (0.5, "float32")]
)
def test_the_type_holds_column_and_background(background, dtype):
    painted = paint(*small(), "size", background=background)
    assert painted.dtype == np.dtype(dtype) or (background == 70_000 and painted.dtype == np.dtype("int32"))
    values = painted.isel(y=0, t=0).values
    np.testing.assert_array_equal(values[:3], [background or 0, 5, 6])


def test_a_flag_paints_as_a_flag():
    labels, table = small()
    painted = paint(labels, table.assign(big=table["size"] > 5), "big")
    assert painted.dtype == bool
    assert painted.isel(y=0, t=0).values.tolist() == [False, False, True, False]


def test_ids_beyond_every_table_are_background():
    ids = np.array([[0, 1, 2**20 + 5, 2**64 - 1]], "u8")
    table = pd.DataFrame({"timestep": 0, "labelimage_oid": [1, 2**20 + 5], "size": [1.5, 2.5]})
    for rows in (table, table[:1]):
        expected = [np.nan, 1.5, 2.5 if len(rows) == 2 else np.nan, np.nan]
        np.testing.assert_array_equal(paint(xr.DataArray(ids, dims=("y", "x")), rows, "size").values[0], expected)


def test_rows_without_an_object_are_left_out():
    labels, table = small()
    table.loc[0, "labelimage_oid"] = -1
    assert paint(labels, table, "size").isel(y=0, t=0).values.tolist() == [0, 0, 6, 0]


def test_a_table_without_frames_paints_an_image_without_t():
    labels, table = small()
    painted = paint(labels.isel(t=0), table[:2].drop(columns="timestep"), "size")
    assert painted.isel(y=0).values.tolist() == [0, 5, 6, 0]


def test_one_frame_of_a_table_paints_one_frame_of_an_image():
    labels, table = small()
    painted = paint(labels.isel(t=1), table[table["timestep"] == 1], "size")
    assert painted.isel(y=0).values.tolist() == [0, 7, 0, 0]


def ten_frames(tmp_path, **options: Any) -> tuple[xr.DataArray, pd.DataFrame]:
    """A file of ten frames with one object each, and a table with its number."""
    data = np.ones((4, 10, 5), "u4")
    path = tmp_path / "cells_Object Identities.h5"
    il.to_ilastik(xr.DataArray(data, dims=("y", "t", "x"), coords={"t": ("t", 100 + 2.0 * np.arange(10))}), path)
    table = pd.DataFrame({"timestep": np.arange(10), "labelimage_oid": 1, "number": np.arange(10) + 20})
    return il.open_dataarray(path, **options), table


CROPS: dict[str, Any] = {
    "the beginning": lambda image: image.isel(t=slice(0, 3)),
    "the middle": lambda image: image.isel(t=slice(3, 6)),
    "a crop of a crop": lambda image: image.isel(t=slice(2, None)).isel(t=slice(1, 4), x=slice(1, 3)),
    "the end, turned": lambda image: image.transpose("x", "t", "y").isel(t=slice(7, None)),
    "other blocks": lambda image: image.isel(t=slice(3, 6)).chunk(t=2),
    "by position": lambda image: image.sel(t=slice(6, 10)),
    "every third": lambda image: image.isel(t=slice(1, None, 3)),
    "some": lambda image: image.isel(t=[8, 2, 5]),
    "computed": lambda image: (image + 0).isel(t=slice(3, 6)),
    "cut, then computed": lambda image: image.isel(t=slice(3, 6)) + 0,
    "one": lambda image: image.isel(t=4),
    "loaded": lambda image: image.isel(t=slice(3, 6)).load(),
    "some, loaded": lambda image: image.isel(t=[8, 2, 5]).compute(),
    "loaded, then cut": lambda image: image.compute().isel(t=slice(1, None, 3)),
    "whole": lambda image: image,
}


@pytest.mark.filterwarnings("ignore:ilastik's HDF5 has no place for an origin")
@pytest.mark.parametrize(
    ("crop", "chunks"),
    # What is computed without dask is in memory. One block for all frames differs from several in the blocks alone.
    [(crop, chunks) for crop in CROPS for chunks in ({"t": 2}, None) if chunks or "computed" not in crop]
    + [("the middle", "auto"), ("loaded", "auto")],
    ids=str,
)
def test_a_crop_along_t_keeps_its_frames(tmp_path, crop, chunks):
    image, table = ten_frames(tmp_path, chunks=chunks)
    cut = CROPS[crop](image)
    painted = paint(cut, table, "number")
    np.testing.assert_array_equal(painted.values, CROPS[crop](paint(image, table, "number")).values, strict=True)
    assert painted.min() >= 20
    assert len(mismatches(cut, table)) == 0
    fewer = mismatches(cut, table[table["timestep"] != 5])
    assert len(fewer) == (5 in (painted.values - 20) and crop != "one")


@pytest.mark.filterwarnings("ignore:ilastik's HDF5 has no place for an origin")
def test_frames_that_nobody_knows_are_refused(tmp_path):
    image, table = ten_frames(tmp_path)
    with pytest.raises(ArgumentError, match="holds 3 of 10 frames, and nothing shows which: take the image as it"):
        paint(image.drop_vars("t").isel(t=slice(3, 6)).load(), table, "number")


@pytest.mark.filterwarnings("ignore:ilastik's HDF5 has no place for an origin")
@pytest.mark.parametrize("has_times", [False, True])
def test_frames_of_what_was_computed_from_a_crop_are_refused_where_no_position_shows_them(tmp_path, has_times):
    image, table = ten_frames(tmp_path)
    image = (
        image.assign_coords(t=np.datetime64("2024-05-01", "ns") + np.arange(10)) if has_times else image.drop_vars("t")
    )
    few = table[table["timestep"] < 3]
    for crop in (image.isel(t=slice(3, 6)) + 0, (image + 0).isel(t=slice(3, 6))):
        with pytest.raises(ArgumentError, match="holds 3 of 10 frames, and nothing shows which"):
            paint(crop, few, "number")
        with pytest.raises(ArgumentError, match="holds 3 of 10 frames, and nothing shows which"):
            il.measure_objects(crop, progress=lambda *_: pytest.fail("measured first"))
    row = xr.concat([image + 0, image + 0], "t").drop_vars("t", errors="ignore")
    assert paint(row, table, "number").sizes["t"] == 20


def test_the_graph_holds_the_rows_once():
    labels = xr.DataArray(da.zeros((40, 1000), "u4", chunks=(1, 10)), dims=("y", "x"))
    ids = np.arange(1, 100_001)
    table = pd.DataFrame({"timestep": 0, "labelimage_oid": ids, "size": ids * 0.5})
    painted = paint(labels, table, "size")
    assert len(pickle.dumps(painted.data.dask)) < 4 * (ids.nbytes * 3)
    assert paint(labels, table, "size").data.name == painted.data.name
    assert paint(labels, table, "size", background=1).data.name != painted.data.name


def test_the_unit_of_a_column_is_kept():
    labels, table = small()
    table.attrs["units"] = {"size": "micrometer^2"}
    assert paint(labels, table, "size").attrs["units"] == "micrometer^2"
    assert "units" not in paint(labels, table, "timestep").attrs


PROBLEMS = {
    "frames without a column": (lambda i, t: paint(i, t[:2].drop(columns="timestep"), "size"), "name them with time="),
    "no such column": (lambda i, t: paint(i, t, "sise"), r"no column 'sise'; similar are 'size'"),
    "no such label": (lambda i, t: paint(i, t, "size", label="x"), "pass label="),
    "no such time": (lambda i, t: paint(i, t, "size", time="x"), "pass time="),
    "no ids": (lambda i, t: paint(i, t.drop(columns="labelimage_oid"), "size"), "with label="),
    "id twice": (lambda i, t: paint(i, pd.concat([t, t]), "size"), "has id 1 twice in frame 0"),
    "fractions of ids": (lambda i, t: paint(i, t.assign(labelimage_oid=0.5), "size"), "whole numbers"),
    "frames without t": (lambda i, t: paint(i.isel(t=0), t, "size"), r"choose one, table\[table\['timestep'\] == 0\]"),
    "too many frames": (lambda i, t: paint(i.isel(t=[0]), t, "size"), "pass the whole image"),
    "no table": (lambda i, t: paint(i, "cells.csv", "size"), r"not str: open it with open_table\(\)"),
    "several images": (
        lambda i, t: paint(i, pd.concat([t.assign(source="a"), t.assign(source="b")]), "size"),
        r"of 2 images: take the rows of one, table\[table\['source'\] == 'a'\]",
    ),
    "no array": (lambda i, t: paint("labels.h5", t, "size"), "not str"),
    "text as image": (lambda i, t: paint(i.astype(str), t, "size"), "not a label image"),
    "objects": (lambda i, t: paint(i, t.assign(size=[[1], [2], [3]]), "size"), "expected numbers or text"),
    "probabilities": (lambda i, t: paint(i * 0.3, t, "size").compute(), "holds fractions"),
    "nan": (lambda i, t: paint(i.where(i > 0), t, "size").compute(), "holds fractions"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_does_not_fit_is_an_error_that_says_what_to_do(case):
    call, message = PROBLEMS[case]
    with pytest.raises(ArgumentError, match=message):
        call(*small())


def test_a_dimension_of_another_name_is_an_error():
    labels, table = small()
    with pytest.raises(AxesError, match=r"'y2' is not one of"):
        paint(labels.rename(y="y2"), table, "size")


@pytest.mark.parametrize(
    ("values", "background", "is_exact"),
    [
        (np.array([2**64 - 1, 1], "u8"), -1, False),
        (np.array([2**53 + 1, 1]), np.nan, False),
        (np.array([2**53, -(2**53)]), np.nan, True),
        (np.array([2**64 - 1, 1], "u8"), 0, True),
    ],
)
def test_whole_numbers_are_never_rounded_for_a_background(values, background, is_exact):
    labels = xr.DataArray(np.array([[1, 2]], "u4"), dims=("y", "x"))
    table = pd.DataFrame({"timestep": 0, "labelimage_oid": [1, 2], "trackId": values})
    if not is_exact:
        with pytest.raises(ArgumentError, match="rounded"):
            paint(labels, table, "trackId", background=background)
        return
    assert [int(value) for value in paint(labels, table, "trackId", background=background).values[0]] == values.tolist()


def test_a_table_of_a_tracking_paints_its_lineages(tmp_path):
    path = tmp_path / "cells_CSV-Table.csv"
    lines = ["0,1,2,2,0,7.5", "0,2,-1,-1,0,1.0", "1,1,3,2,2,3.5", "1,2,4,2,2,4.0"]
    path.write_text("\n".join(["frame,labelimageId,trackId,lineageId,parentTrackId,Size_0", *lines, ""]))
    table = open_table(path)
    assert table.attrs["kind"] == "tracking"
    labels = xr.DataArray(np.array([[[0, 1, 2]], [[2, 1, 1]]], "u4"), dims=tuple("tyx"))
    painted = paint(labels, table, "lineageId", background=0)
    assert painted.attrs["ilastik_kind"] == "tracking"
    assert painted.values.tolist() == [[[0, 2, -1]], [[2, 2, 2]]]
    assert paint(labels, table, "Size_0", background=0).values.tolist() == [[[0, 7.5, 1]], [[4, 3.5, 3.5]]]
    assert len(mismatches(labels, table)) == 0


@pytest.mark.filterwarnings("ignore:ilastik's HDF5 has no place for an origin")
@pytest.mark.parametrize("crop", CROPS)
def test_tracks_give_an_object_one_id_over_time(tmp_path, crop):
    data = np.array([[[1, 2]], [[2, 1]], [[0, 1]], *[[[1, 2]]] * 7], "u4")
    path = tmp_path / "cells_Object-Identities.h5"
    il.to_ilastik(xr.DataArray(data, dims=("t", "y", "x"), coords={"t": ("t", 100 + 2.0 * np.arange(10))}), path)
    table = pd.DataFrame(
        [
            (t, number, 7 if (number == 1) != (t in (1, 2)) else 9 - 10 * (t == 5))
            for t in range(10)
            for number in (1, 2)
        ],
        columns=["frame", "labelimageId", "trackId"],
    )
    painted = paint(CROPS[crop](il.open_dataarray(path)), table, "trackId")
    assert painted.attrs["ilastik_kind"] == "tracking"
    tracks = np.array([[[7, 9]], [[7, 9]], [[0, 9]], [[7, 9]], [[7, 9]], [[7, -1]], *[[[7, 9]]] * 4])
    expected = CROPS[crop](xr.DataArray(tracks, dims=("t", "y", "x"), coords={"t": 2.0 * np.arange(10)}))
    np.testing.assert_array_equal(painted.values, expected.values)
