"""What Neuroglancer is told to show, field by field."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.core.views.window import windowed
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, MetadataWarning
from ilastik_lazy.viewing.neuroglancer import segments
from ilastik_lazy.viewing.neuroglancer.contents import contents_of
from ilastik_lazy.viewing.neuroglancer.layers import layers_of
from ilastik_lazy.viewing.neuroglancer.state import state_of
from tests.support.makers import some_data, write_hdf5_export
from tests.support.ome_zarr.fakes import ArrayBackedSource

STEPS = {"t": (2.0, "minute"), "z": (0.8, "micrometer"), "y": (0.25, "micrometer"), "x": (0.25, "micrometer")}


def image(dims, shape, dtype="u1", steps=STEPS, **attributes):
    """An array with coordinates along the dims that have a step."""
    sizes = dict(zip(dims, shape, strict=True))
    coords = {d: (d, np.arange(n) * steps[d][0], {"units": steps[d][1]}) for d, n in sizes.items() if d in steps}
    return xr.DataArray(some_data(shape, dtype), coords, list(dims), attrs=attributes)


def shown(*images, raw=None, labels=(), table=None):
    """The state of a view, with `http://x/0.zarr` as the address of the first image."""
    contents = [content for _, content in contents_of(images, raw, labels, table)]
    named = [replace(content, name=f"image{k}", url=f"http://x/{k}.zarr") for k, content in enumerate(contents)]
    state = state_of([content.spec for content in named], layers_of(named))
    json.dumps(state, allow_nan=False)
    return state


def by_name(state):
    return {layer["name"]: layer for layer in state["layers"]}


def test_each_class_is_a_layer_with_name_colour_and_contrast():
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    state = shown(prob)
    nucleus, background = state["layers"]
    assert (nucleus["name"], background["name"]) == ("nucleus", "background")
    assert nucleus["shaderControls"] == {
        "contrast": {"range": [0.0, 1.0], "window": [0.0, 1.0]},
        "color": prob["class_color"][0].item(),
    }
    assert background["shaderControls"]["color"] == prob["class_color"][1].item()
    for number, layer in enumerate(state["layers"]):
        assert layer["type"] == "image"
        assert layer["source"] == [{"url": "zarr3://http://x/0.zarr/"}]
        assert (layer["localDimensions"], layer["localPosition"]) == ({"c'": [1, ""]}, [number])
        assert "#uicontrol invlerp contrast" in layer["shader"]
        assert "#uicontrol vec3 color color" in layer["shader"]
        assert layer["opacity"] == 1
    assert (nucleus["blend"], background["blend"]) == ("default", "additive")


def test_the_whole_volume_is_in_view_in_metres():
    state = shown(sample("raw"))
    assert {name: (pytest.approx(scale), unit) for name, (scale, unit) in state["dimensions"].items()} == {
        "x": (2.5e-7, "m"),
        "y": (2.5e-7, "m"),
        "z": (8e-7, "m"),
    }
    assert list(state["dimensions"]) == state["displayDimensions"] == ["x", "y", "z"]
    # x and y in the middle of all, z at the centre of the voxel behind it.
    assert state["position"] == [79.5, 63.5, 20.0]
    assert state["layout"] == "4panel"
    # 160 x 0.25 = 40 micrometer across fit in less than 440 pixels, 128 x 0.25 = 32 upright in less than 330.
    assert 32 / 330 < state["crossSectionScale"] * 0.25 < 40 / 330
    assert state["projectionScale"] * 0.25 > (40**2 + 32**2 + 32**2) ** 0.5


def test_the_raw_image_is_beneath_all_and_grey():
    state = shown(sample("probabilities"), raw=sample("raw"))
    raw = state["layers"][0]
    assert raw["name"] == "image0"
    assert raw["shaderControls"]["color"] == "#999999"
    assert raw["blend"] == "default"
    assert "localPosition" not in raw
    assert [layer["blend"] for layer in state["layers"][1:]] == ["additive", "additive"]
    # A bright voxel of a class, and of the raw image beneath it, is not white.
    assert [layer["opacity"] for layer in state["layers"]] == [1, 0.5, 0.5]
    assert shown(raw=sample("raw"))["layers"][0]["shaderControls"]["color"] == "#ffffff"


def test_images_without_a_stated_range_get_that_of_their_values():
    data = image("zyx", (4, 6, 8), "f8")
    data.values[:] = np.linspace(-3, 5, data.size).reshape(data.shape)
    (layer,) = shown(data)["layers"]
    low, high = layer["shaderControls"]["contrast"]["range"]
    assert -3 <= low < -2.5
    assert 4.5 < high <= 5
    data = image("yx", (6, 8), "u2") % 1000 + 1000
    low, high = shown(data)["layers"][0]["shaderControls"]["contrast"]["range"]
    assert isinstance(low, int)
    assert 1000 <= low < high < 2000


def test_a_mask_is_white_where_it_is_true():
    mask = xr.DataArray(np.zeros((6, 8), bool), dims=("y", "x"))
    mask[:1, :1] = True
    for each in (mask, ~mask, mask & False):
        assert shown(each)["layers"][0]["shaderControls"]["contrast"]["range"] == [0, 1]


def test_a_computed_image_gets_the_range_of_its_values():
    prob = il.open_dataarray(sample("probabilities"))
    for image, (low, high) in ((prob * 200, (0, 200)), (prob - 7, (-7, -6))):
        for layer in shown(image)["layers"]:
            first, last = layer["shaderControls"]["contrast"]["range"]
            assert low <= first < last <= high


def test_the_contrast_is_that_of_the_chunks_that_can_be_read(tmp_path):
    values = some_data((1, 4, 16, 16), "u1")[0] % 50 + 100
    write_hdf5_export(tmp_path / "a.h5", values, axes="zyx", chunks=(1, 16, 16), filters="gzip")
    with h5py.File(tmp_path / "a.h5") as file:
        chunk = file["exported_data"].id.get_chunk_info_by_coord((2, 0, 0))
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + 20] = bytes(20)
    (tmp_path / "a.h5").write_bytes(data)
    low, high = shown(tmp_path / "a.h5")["layers"][0]["shaderControls"]["contrast"]["range"]
    assert 100 <= low < high < 150


def test_a_segmentation_has_the_colours_and_names_of_its_classes():
    ((source, content),) = contents_of([sample("segmentation")], None, [], None)
    assert content.segments is None  # no project: no names
    segmentation = il.open_dataarray(sample("segmentation"), project=sample("project"))
    (layer,) = shown(segmentation)["layers"]
    assert layer["type"] == "segmentation"
    assert layer["segmentColors"] == {
        str(k): color for k, color in enumerate(segmentation.attrs["flag_colors"].split(), 1)
    }
    assert layer["source"] == [
        {"url": "zarr3://http://x/0.zarr/"},
        {"url": "precomputed://http://x/0.zarr/segments"},
    ]
    assert "localPosition" not in layer  # its c has length 1
    ((source, content),) = contents_of([segmentation], None, [], None)
    assert source.spec.dims == ("z", "y", "x")
    document = json.loads(content.segments.document)
    assert document["@type"] == "neuroglancer_segment_properties"
    assert document["inline"] == {
        "ids": ["1", "2"],
        "properties": [{"id": "class", "type": "label", "values": ["nucleus", "background"]}],
    }


def test_labels_are_segments_whatever_their_file_states():
    state = shown(image("zyx", (4, 6, 8)), labels=[image("zyx", (4, 6, 8), "i4"), image("zyx", (4, 6, 8), "?")])
    assert [layer["type"] for layer in state["layers"]] == ["image", "segmentation", "segmentation"]
    assert "segmentColors" not in state["layers"][1]
    with pytest.raises(ArgumentError, match="whole numbers"):
        shown(labels=[image("zyx", (4, 6, 8), "f4")])


def test_a_flat_image_has_one_panel():
    state = shown(image("yx", (60, 80)))
    assert list(state["dimensions"]) == state["displayDimensions"] == ["x", "y"]
    assert state["position"] == [39.5, 29.5]
    assert state["layout"] == "xy"
    assert shown(image("zyx", (1, 60, 80)))["layout"] == "xy"


def test_a_time_series_begins_with_its_first_frame():
    state = shown(image("tyx", (5, 60, 80)))
    assert state["dimensions"]["t"] == [120.0, "s"]
    assert list(state["dimensions"]) == ["x", "y", "t"]
    assert state["displayDimensions"] == ["x", "y"]
    assert state["position"] == [39.5, 29.5, 0.0]


def test_axes_of_one_frame_or_channel_are_not_shown():
    ((source, _),) = contents_of([image("tzyxc", (1, 4, 6, 8, 1))], None, [], None)
    assert source.spec.dims == ("z", "y", "x")
    assert "t" not in shown(image("tzyxc", (1, 4, 6, 8, 1)))["dimensions"]


@pytest.mark.parametrize(
    ("unit", "factor", "base"),
    [("nanometer", 1e-9, "m"), ("angstrom", 1e-10, "m"), ("inch", 0.0254, "m"), ("furlong", 1, "")],
)
def test_lengths_are_in_metres_where_the_client_knows_the_unit(unit, factor, base):
    state = shown(image("yx", (6, 8), steps={"y": (2.0, unit), "x": (2.0, unit)}))
    assert state["dimensions"]["x"] == [pytest.approx(2 * factor), base]


def test_without_a_voxel_size_positions_are_voxels():
    state = shown(image("zyx", (4, 6, 8), steps={}))
    assert state["dimensions"] == {"x": [1.0, ""], "y": [1.0, ""], "z": [1.0, ""]}
    assert state["position"] == [3.5, 2.5, 2.0]


def test_an_image_without_a_voxel_size_takes_that_of_the_other():
    with pytest.warns(MetadataWarning, match="no voxel size along z, y, x"):
        state = shown(image("zyx", (4, 6, 8), steps={}), raw=image("zyx", (4, 6, 8)))
    assert state["dimensions"]["x"] == [pytest.approx(2.5e-7), "m"]
    assert state["position"] == [3.5, 2.5, 2.0]


@pytest.mark.parametrize("unit", ["", "furlong"])
def test_a_step_without_a_known_unit_is_taken_for_that_of_the_other_with_a_warning(unit):
    bare = image("yx", (6, 8), steps={"y": (0.5, unit), "x": (0.5, unit)})
    nanometers = image("yx", (6, 8), steps={"y": (500, "nanometer"), "x": (500, "nanometer")})
    with pytest.warns(MetadataWarning, match="no unit that is understood along y, x: its steps are taken for nanom"):
        shown(nanometers, bare)


def test_images_of_other_extents_and_units_lie_together():
    coarse = image("zyx", (4, 6, 8), steps={"z": (800, "nanometer"), "y": (500, "nanometer"), "x": (500, "nanometer")})
    coarse = coarse.assign_coords(x=coarse.x + 1000)
    coarse.x.attrs["units"] = "nanometer"
    state = shown(image("zyx", (4, 6, 8)), coarse)
    assert state["dimensions"]["x"] == [pytest.approx(2.5e-7), "m"]
    # x: from -0.125 to 1.875 and from 0.75 to 4.75 micrometer, so the middle is 2.3125, or 9.25 voxels of the first.
    assert state["position"] == pytest.approx([9.25, 5.0, 2.0])


def test_channels_without_names_are_named_after_their_image():
    names = list(by_name(shown(image("yxc", (6, 8, 10), "f4"))))
    assert names[:2] == ["image0 channel 0", "image0 channel 1"]
    visible = [layer.get("visible", True) for layer in shown(image("yxc", (6, 8, 10), "f4"))["layers"]]
    assert visible == [True] * 8 + [False] * 2


def test_a_picture_has_its_own_colours():
    layers = by_name(shown(image("yxc", (6, 8, 3))))
    assert {name: layer["shaderControls"]["color"] for name, layer in layers.items()} == {
        "image0 red": "#ff0000",
        "image0 green": "#00ff00",
        "image0 blue": "#0000ff",
    }
    assert {tuple(layer["shaderControls"]["contrast"]["range"]) for layer in layers.values()} == {(0, 255)}
    beneath = by_name(shown(image("yxc", (6, 8, 3), "f4"), raw=image("yxc", (6, 8, 3))))
    assert beneath["image0 red"]["shaderControls"]["color"] == "#990000"
    assert beneath["image0 blue"]["shaderControls"]["color"] == "#000099"
    # Other numbers of channels, and dyes with names, are none.
    assert "image0 channel 0" in by_name(shown(image("yxc", (6, 8, 2))))
    assert "DAPI" in by_name(shown(image("yxc", (6, 8, 3)).assign_coords(c=["DAPI", "GFP", "RFP"])))


def test_names_of_layers_differ():
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    assert list(by_name(shown(prob, prob))) == ["nucleus", "background", "image1 nucleus", "image1 background"]


def table_of(*rows):
    return pd.DataFrame(rows, columns=["timestep", "labelimage_oid", "object_id", "Predicted Class", "Size in pixels"])


def test_the_columns_of_a_table_are_properties_of_its_ids():
    labels = image("yx", (6, 8), "u4")
    table = table_of((0, 7, 0, "big cell", 3.5), (0, 2, 1, "small", np.nan))
    contents = contents_of([], None, [labels], table)
    document = json.loads(contents[0][1].segments.document)
    assert document["inline"]["ids"] == ["2", "7"]
    found = {each["id"]: each for each in document["inline"]["properties"]}
    assert found["Size_in_pixels"] == {
        "id": "Size_in_pixels",
        "description": "Size in pixels",
        "type": "number",
        "data_type": "float32",
        "values": ["NaN", 3.5],
    }
    assert (found["Predicted_Class"]["tags"], found["Predicted_Class"]["values"]) == (["big_cell", "small"], [[1], [0]])
    assert found["object_id"]["values"] == [1, 0]
    (layer,) = shown(labels=[labels], table=table)["layers"]
    assert layer["segmentQuery"] == "|Size_in_pixels"
    assert layer["tab"] == "segments"


def test_ids_that_start_again_in_each_frame_become_unique():
    data = np.array([[[1, 0, 2]], [[1, 1, 0]]], np.uint8)
    labels = xr.DataArray(data, dims=tuple("tyx"))
    table = table_of((0, 1, 0, "a", 1.0), (0, 2, 1, "a", 1.0), (1, 1, 2, "b", 2.0))
    ((source, content),) = contents_of([], None, [labels], table)
    whole = source.read(tuple(slice(0, length) for length in source.spec.shape))
    np.testing.assert_array_equal(whole, [[[1, 0, 2]], [[1001, 1001, 0]]])
    np.testing.assert_array_equal(source.read((slice(1, 2), slice(0, 1), slice(0, 1))), [[[1001]]])
    inline = json.loads(content.segments.document)["inline"]
    assert inline["ids"] == ["1", "2", "1001"]
    assert inline["properties"][0]["values"] == ["1 in frame 0", "2 in frame 0", "1 in frame 1"]


def test_a_part_of_a_time_series_has_the_ids_of_the_whole():
    source = ArrayBackedSource(np.array([[[0, 1]], [[1, 2]], [[2, 1]]], np.uint8), "tyx", kind="object identities")
    table = table_of((0, 1, 0, "a", 1.0), (1, 1, 1, "a", 1.0), (1, 2, 2, "b", 2.0), (2, 1, 3, "b", 3.0))
    part = windowed(source, (slice(1, 3), slice(0, 1), slice(0, 2)))
    ((shown, content),) = contents_of([], None, [part], table)
    np.testing.assert_array_equal(shown.read((slice(0, 2), slice(0, 1), slice(0, 2))), [[[1001, 1002]], [[2002, 2001]]])
    assert json.loads(content.segments.document)["inline"]["ids"] == ["1001", "1002", "2001"]


def test_texts_are_tags_where_objects_can_be_chosen_by_them():
    labels = image("yx", (6, 8), "u4")
    table = table_of((0, 7, 0, "a b", 1.0), (0, 2, 1, "A_b", 2.0)).drop(columns="Predicted Class")
    table = table.assign(file="x.h5", kind=["a b", "A_b"], other=["one", None], big=[2**40, 1], none=[np.nan, np.nan])
    ((_, content),) = contents_of([], None, [labels], table)
    found = {each["id"]: each for each in json.loads(content.segments.document)["inline"]["properties"]}
    # Ids are in order, so the rows are the other way round.
    assert found["file"] == {"id": "file", "description": "file", "type": "string", "values": ["x.h5", "x.h5"]}
    assert (found["kind"]["tags"], found["kind"]["values"]) == (["A_b", "a_b_2"], [[0], [1]])
    assert (found["other"]["type"], found["other"]["values"]) == ("string", ["", "one"])
    assert (found["big"]["type"], found["big"]["values"]) == ("string", ["1", str(2**40)])
    assert "none" not in found


def test_columns_that_are_too_many_for_the_client_are_named_in_a_warning(monkeypatch):
    monkeypatch.setattr(segments, "_MOST_VALUES", 4)
    table = table_of((0, 7, 0, "big cell", 3.5), (0, 2, 1, "small", np.nan))
    with pytest.warns(MetadataWarning, match="without object_id"):
        ((_, content),) = contents_of([], None, [image("yx", (6, 8), "u4")], table)
    assert len(json.loads(content.segments.document)["inline"]["properties"]) == 2


def test_a_table_needs_ids_to_belong_to():
    with pytest.raises(ArgumentError, match="no image holds their ids"):
        shown(sample("probabilities"), table=table_of((0, 1, 0, "a", 1.0)))
    with pytest.raises(ArgumentError, match="twice"):
        shown(labels=[image("yx", (6, 8))], table=table_of((0, 1, 0, "a", 1.0), (0, 1, 1, "a", 1.0)))


def test_the_raw_image_is_no_label_image_whatever_it_states():
    raw = image("zyx", (4, 6, 8), ilastik_kind="segmentation")
    assert [layer["type"] for layer in shown(raw=raw)["layers"]] == ["image"]
    with pytest.raises(ArgumentError, match="no image holds their ids"):
        shown(raw=image("yx", (6, 8), ilastik_kind="object identities"), table=table_of((0, 1, 0, "a", 1.0)))


def test_a_view_needs_an_image():
    with pytest.raises(ArgumentError, match="no image to show"):
        shown()


@pytest.mark.parametrize(
    ("dtype", "as_image", "as_labels"),
    [
        ("?", "u1", "u1"), ("u1", "u1", "u1"), ("i1", "i1", "u1"), ("u2", "u2", "u2"), ("i4", "i4", "u4"),
        ("u8", "f4", "u8"), ("i8", "f4", "u8"), ("f2", "f4", None), ("f8", "f4", None),
    ],
)  # fmt: skip
def test_values_are_served_in_types_that_the_client_reads(dtype, as_image, as_labels):
    data = image("yx", (6, 8), dtype)
    ((source, _),) = contents_of([data], None, [], None)
    everything = tuple(slice(0, length) for length in source.spec.shape)
    np.testing.assert_array_equal(source.read(everything), data.values.astype(as_image), strict=True)
    if as_labels:
        ((source, _),) = contents_of([], None, [data], None)
        expected = np.maximum(data.values, 0).astype(as_labels)
        np.testing.assert_array_equal(source.read(everything), expected, strict=True)
