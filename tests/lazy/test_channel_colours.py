"""Names and colours of channels are coordinates along ``c``, which follow every selection, in every format."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import MetadataWarning
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from ilastik_lazy.lazy.dataset import to_dataset
from ilastik_lazy.lazy.from_xarray import source_of
from tests.support.makers import some_data

COLORS = {"nucleus": "#ffc800", "background": "#3c50a0"}


@pytest.fixture
def prob():
    return il.open_dataarray(sample("probabilities"), project=sample("project"))


def colors_in(array):
    """Colour of each channel by its name; the dict of one where a channel was taken out."""
    names, colors = (np.atleast_1d(array.coords[name].values).tolist() for name in ("c", "class_color"))
    return dict(zip(names, colors, strict=True))


@pytest.mark.parametrize(
    "part",
    [
        lambda a: a,
        lambda a: a.isel(z=slice(2, 4), c=[1, 0]).load(),
        lambda a: a[..., ::-1] * 0.5,
        lambda a: xr.concat([a.sel(c="background"), a.sel(c=["nucleus"])], "c"),
        lambda a: xr.concat([a.isel(z=[0]), a.isel(z=[1])], "z"),
        lambda a: a.to_dataset(name="p").isel(x=slice(5))["p"],
    ],
)
def test_colours_follow_their_classes_through_any_selection(prob, part):
    found = part(prob)
    assert colors_in(found) == COLORS
    assert dict(zip(source_of(found).spec.channel_names, source_of(found).spec.channel_colors, strict=True)) == {
        name: tuple(bytes.fromhex(color[1:])) for name, color in COLORS.items()
    }


def test_reductions_keep_the_colours_of_the_channels_that_remain(prob):
    assert colors_in(il.reductions.reduce(prob, "mean", over="zyx")) == COLORS
    assert colors_in(il.reductions.percentile(prob, 50, by="c")) == COLORS
    assert colors_in(il.reductions.normalise(prob, by="c")) == COLORS
    assert "class_color" not in il.reductions.reduce(prob, "mean", over="c").coords


@pytest.mark.parametrize("part", [{"c": ["background"]}, {"c": "background"}])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_class_that_was_selected_comes_back_from_ome_zarr_with_name_and_colour(tmp_path, prob, part, version):
    chosen = prob.isel(z=slice(3), y=slice(8)).sel(part)
    il.to_ome_zarr(chosen, tmp_path / "a.zarr", version=version, levels=2)
    found = il.open_dataarray(tmp_path / "a.zarr").transpose(*chosen.dims)
    xr.testing.assert_identical(found.rename(chosen.name).compute(), chosen.compute())
    assert colors_in(found) == {"background": COLORS["background"]}
    with xr.open_datatree(tmp_path / "a.zarr", engine="zarr", consolidated=False) as tree:
        assert colors_in(tree["scale1/image"]) == colors_in(found)


@pytest.mark.parametrize("part", [{}, {"c": "nucleus"}])
def test_a_class_that_was_selected_comes_back_from_tiff_with_name_and_colour(tmp_path, prob, part):
    chosen = prob.isel(z=slice(3), y=slice(8)).sel(part).drop_vars(list("zyx"))
    il.to_tiff(chosen, tmp_path / "a.ome.tif")
    found = il.open_dataarray(tmp_path / "a.ome.tif")
    assert colors_in(found) == colors_in(chosen)


def test_the_name_of_the_only_channel_of_a_tiff_is_no_class_of_a_label_image(tmp_path):
    data = some_data((4, 5), "u1")
    tifffile.imwrite(tmp_path / "x_Labels.ome.tif", data, metadata={"axes": "YX", "Channel": {"Name": "mask"}})
    assert "flag_meanings" not in il.open_dataarray(tmp_path / "x_Labels.ome.tif").attrs
    (tmp_path / "x_Labels.ome.tif").rename(tmp_path / "x.ome.tif")
    assert il.open_dataarray(tmp_path / "x.ome.tif").coords["c"].item() == "mask"
    assert "flag_meanings" not in il.open_dataarray(tmp_path / "x.ome.tif", kind="segmentation").attrs


def test_colours_that_a_user_gives_are_taken_and_others_are_left_out_with_a_warning(tmp_path, prob):
    prob = prob.isel(z=slice(2), y=slice(8), x=slice(9))
    chosen = prob.assign_coords(class_color=("c", ["#FF0000", "#0000ff"])).sel(c=["background"])
    il.to_ome_zarr(chosen, tmp_path / "a.zarr")
    (channel,) = zarr.open_group(tmp_path / "a.zarr").attrs["ome"]["omero"]["channels"]
    assert (channel["label"], channel["color"]) == ("background", "0000FF")
    for wrong in (["red", "blue"], [1, 2], ["#ff0000", None]):
        with pytest.warns(
            MetadataWarning, match="exported_data: its coordinate class_color holds other values than te"
        ):
            assert source_of(prob.assign_coords(class_color=("c", wrong))).spec.channel_colors == ()


def test_colours_without_names_come_back(tmp_path):
    array = xr.DataArray(some_data((2, 5, 6)), {"class_color": ("c", ["#ff0000", "#0000ff"])}, ("c", "y", "x"))
    for chosen in (array, array.isel(c=0)):
        il.to_ome_zarr(chosen, tmp_path / "a.zarr", overwrite=True)
        found = il.open_dataarray(tmp_path / "a.zarr")
        assert found.coords["class_color"].values.tolist() == chosen.coords["class_color"].values.tolist()
        assert "c" not in found.coords


def channels(shape, names, colors=()):
    dims = "yxc"[: len(shape)]
    source = source_of(xr.DataArray(np.zeros(shape, "f4"), dims=tuple(dims)))
    return replace(source, spec=replace(source.spec, channel_names=names, channel_colors=colors))


def test_images_of_one_file_with_other_colours_have_channels_of_their_own():
    red, blue = ((255, 0, 0), (0, 0, 0)), ((0, 0, 255), (0, 0, 0))
    one, other = (channels((4, 5, 2), ("a", "b"), colors) for colors in (red, blue))
    found = to_dataset({"one": one, "other": other})
    assert found["other"].dims == ("y", "x", "c_other")
    assert found["other"].coords["class_color_other"].values.tolist() == ["#0000ff", "#000000"]
    assert source_of(found["other"].rename(c_other="c")).spec.channel_colors == blue
    assert to_dataset({"one": one, "same": one})["same"].dims == ("y", "x", "c")


def test_the_name_of_an_only_channel_is_not_that_of_the_other_images_of_a_file():
    named, other = channels((4, 5), ("a",)), channels((4, 5), ())
    assert to_dataset({"named": named})["named"].coords["c"].item() == "a"
    assert "c" not in to_dataset({"named": named, "other": other}).coords


def test_channels_in_files_of_their_own_are_stacked_with_their_names_and_colours(tmp_path, prob):
    for name in COLORS:
        il.to_ome_zarr(prob.isel(z=slice(3)).sel(c=name), tmp_path / f"{name}.zarr")
    paths = [tmp_path / f"{name}.zarr" for name in COLORS]
    assert colors_in(il.open_dataarray(paths, stack_along="c")) == COLORS
    over_time = il.open_dataarray(paths, stack_along="t")
    assert {"c", "class_color"}.isdisjoint(over_time.coords)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"flag_values": [0, 1, 2], "flag_meanings": "background nucleus wall"}, ("nucleus", "wall")),
        ({"flag_values": np.array([2, 1], "u1"), "flag_meanings": "wall nucleus"}, ("nucleus", "wall")),
        ({"flag_values": [1, 3], "flag_meanings": ["nucleus", "wall"]}, ("nucleus", "class 2", "wall")),
        ({"flag_values": np.int64(1), "flag_meanings": "nucleus"}, ("nucleus",)),
        ({"flag_values": [1.0, 2.0], "flag_meanings": "nucleus wall"}, ("nucleus", "wall")),
        ({"flag_values": [1, 70_000], "flag_meanings": "nucleus wall"}, ()),
        ({"flag_values": [1], "flag_meanings": "nucleus wall"}, ()),
        ({"flag_values": [1, "2"], "flag_meanings": "nucleus wall"}, ()),
        ({"flag_values": [1, 1.5], "flag_meanings": "nucleus wall"}, ()),
        ({"flag_masks": [1, 2], "flag_meanings": "nucleus wall"}, ()),
    ],
)
def test_flags_name_whatever_values_they_state(flags, expected):
    image = xr.DataArray(np.ones((3, 4), "u1"), dims=("y", "x"), attrs={"ilastik_kind": "segmentation"} | flags)
    assert source_of(image).spec.channel_names == expected


def test_flags_of_other_values_are_selected_measured_and_written_as_those_values(tmp_path):
    flags = {
        "flag_values": [0, 3, 1],
        "flag_meanings": "nothing wall nucleus",
        "flag_colors": "#000000 #0000ff #ff0000",
    }
    image = xr.DataArray(
        np.array([[0, 1, 3, 3]] * 2, "u1"), dims=("y", "x"), attrs={"ilastik_kind": "segmentation"} | flags
    )
    np.testing.assert_array_equal(il.select_classes(image, "wall"), image == 3)
    il.to_ome_zarr(image, tmp_path / "a.zarr")
    spec = open_source(Location(str(tmp_path / "a.zarr"))).spec
    assert spec.channel_names == ("nucleus", "class 2", "wall")
    assert spec.channel_colors[::2] == ((255, 0, 0), (0, 0, 255))


@pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification")
@pytest.mark.parametrize("writer", ["h5netcdf", "netcdf4", "zarr"])
def test_names_and_colours_in_xarrays_own_files_are_read(tmp_path, prob, writer):
    chosen, path = prob.isel(z=slice(2), y=slice(5), c=[1, 0]), tmp_path / "a_Probabilities.zarr"
    if writer == "zarr":
        chosen.to_dataset().to_zarr(path, consolidated=False)
    else:
        path = tmp_path / "a_Probabilities.h5"
        chosen.to_netcdf(path, engine=writer)
    xr.testing.assert_equal(il.open_dataarray(path).compute(), chosen.compute())


@pytest.mark.parametrize("writer", ["h5netcdf", "netcdf4"])
def test_name_and_colour_of_one_class_in_xarrays_own_files_are_read(tmp_path, prob, writer):
    chosen, path = prob.isel(z=slice(2), y=slice(5), c=1), tmp_path / "a_Probabilities.h5"
    chosen.to_netcdf(path, engine=writer)
    xr.testing.assert_equal(il.open_dataarray(path).compute(), chosen.compute())


def test_colours_that_are_none_hide_no_image(tmp_path, prob):
    path = tmp_path / "a_Probabilities.h5"
    prob.isel(z=slice(2), y=slice(5)).to_netcdf(path, engine="h5netcdf")
    for wrong in (np.zeros(2), np.array([b"red", b"#000000"]), np.zeros((2, 2), "S7"), np.zeros(2, "c16")):
        with h5py.File(path, "a") as file:
            del file["class_color"]
            file["class_color"] = wrong
        found = il.open_dataarray(path)
        assert found.coords["c"].values.tolist() == list(COLORS)
        assert "class_color" not in found.coords


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_kind_and_names_and_colours_of_classes_survive_netcdf(tmp_path, engine):
    flags = {"flag_values": [1, 2], "flag_meanings": "nucleus wall", "flag_colors": "#ff0000 #0000ff"}
    for attributes in (flags, {"flag_values": [1], "flag_meanings": "nucleus", "flag_colors": "#ff0000"}):
        image = xr.DataArray(np.ones((3, 4), "u1"), dims=("y", "x"), attrs={"ilastik_kind": "segmentation"})
        image.attrs |= attributes
        image.to_dataset(name="v").to_netcdf(tmp_path / "a.nc", engine=engine)
        assert il.open_dataarray(tmp_path / "a.nc").attrs == image.attrs | {"long_name": "class"}
        with h5py.File(tmp_path / "a.nc", "a") as file:
            file["v"].attrs["flag_values"] = np.zeros(2, "c16")
            file["v"].attrs["ilastik_kind"] = "nonsense"
        assert "ilastik_kind" not in il.open_dataarray(tmp_path / "a.nc").attrs


def test_channels_that_share_a_colour_all_have_it(prob):
    same = xr.concat([prob.sel(c="nucleus"), prob.sel(c="nucleus")], "c", coords="different", compat="equals")
    assert same.coords["class_color"].dims == ()
    assert source_of(same).spec.channel_colors == (source_of(prob.sel(c="nucleus")).spec.channel_colors[0],) * 2
