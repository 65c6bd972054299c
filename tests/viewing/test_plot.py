"""`plot`: what stands on a picture, what it looks like, and what it costs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import h5py
import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import ilastik_lazy as il
from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.views.view import DescribedSource
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, AxesError, IncompleteSourceWarning, MissingExtraError
from tests.support.children import run_python
from tests.support.in_memory import ArrayInMemory
from tests.support.makers import write_hdf5_export
from tests.viewing.cases import CASES, placed, probabilities, segmentation, series, unlike

# The references are of matplotlib 3.11; before it, images are drawn a part of a pixel beside.
MOST_UNLIKE = (2.5, 0.01) if tuple(map(int, matplotlib.__version__.split(".")[:2])) >= (3, 11) else (7.0, 0.02)


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def legend(figure):
    (found,) = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    handles = zip(found.get_texts(), found.legend_handles, strict=True)
    return {text.get_text(): to_rgb(handle.get_facecolor()) for text, handle in handles}


def notes(figure):
    return figure.get_supxlabel()


@pytest.mark.parametrize("name", [name for name in CASES if name != "large"])
def test_pictures_look_like_their_references(name):
    mean, share = unlike(name, CASES[name]())
    assert mean < MOST_UNLIKE[0]
    assert share < MOST_UNLIKE[1]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("3-d", lambda: il.plot(sample("raw"), z=14, x="9um")),
        ("labels", lambda: il.plot(sample("raw"), plane="xy")),
        ("one_class", lambda: il.plot(probabilities())),
        ("time_series", lambda: il.plot(series(), t=90)),
    ],
)
def test_other_pictures_do_not(name, other):
    mean, share = unlike(name, other())
    assert mean > MOST_UNLIKE[0] or share > MOST_UNLIKE[1]


_LARGE = """
import json, re
from tests.viewing.cases import CASES, unlike
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
CASES["2-d"]().canvas.draw()
before = peak()
figure = CASES["large"]()
print(json.dumps([peak() - before, [axes.images[0].get_array().shape for axes in figure.axes[:1]],
                  figure.get_supxlabel(), unlike("large", figure)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_plane_of_40000_by_40000_is_drawn_in_little_memory():
    grown, (shape,), note, (mean, share) = json.loads(run_python(_LARGE))
    assert grown < 150 * 2**20
    assert max(shape) < 300
    assert note == "each pixel is the mean of 285 x 285 voxels"
    assert mean < MOST_UNLIKE[0]
    assert share < MOST_UNLIKE[1]


def test_a_volume_is_shown_in_three_slices_to_scale():
    figure = il.plot(probabilities(), z=12.5, y=8)
    assert isinstance(figure, Figure)
    assert [axes.get_title() for axes in panels(figure)] == ["xy, z = 12.8 µm", "zy, x = 20 µm", "xz, y = 8 µm"]
    assert figure.get_suptitle() == "nuclei_Probabilities.h5/exported_data"
    xy, zy, xz = panels(figure)
    assert (xy.get_xlim(), xy.get_ylim()) == ((-0.125, 39.875), (31.875, -0.125))
    assert xz.get_ylim() == pytest.approx((31.6, -0.4))
    assert zy.get_xlim() == pytest.approx((-0.4, 31.6))
    assert {axes.get_aspect() for axes in panels(figure)} == {1.0}
    assert (zy.get_xlabel(), xy.get_ylabel(), xz.get_xlabel()) == ("z [µm]", "y [µm]", "x [µm]")
    assert legend(figure) == {"nucleus": to_rgb("#ffc800"), "background": to_rgb("#3c50a0")}
    assert notes(figure) == ""


def test_slices_are_those_of_xarray():
    raw = il.open_dataarray(sample("raw"))
    figure = il.plot(raw, z=12.5, y="8 um", x=3.1)
    shown = [axes.images[0].get_array() for axes in panels(figure)]
    wanted = [{"z": 12.5}, {"x": 3.1}, {"y": 8}]
    for pixels, where, dims in zip(shown, wanted, ["yx", "yz", "zx"], strict=True):
        expected = raw.sel(where, method="nearest").transpose(*dims)
        np.testing.assert_array_equal(pixels, expected)


def test_a_time_series_is_shown_at_one_frame_that_the_title_tells():
    assert il.plot(series()).get_suptitle() == "made, t = 0 s, frame 0 (of 0 to 4)"
    figure = il.plot(series(), t=70)
    assert figure.get_suptitle() == "made, t = 60 s, frame 2 (of 0 to 4)"
    assert il.plot(series(), t="1min").get_suptitle() == figure.get_suptitle()
    np.testing.assert_array_equal(panels(figure)[0].images[0].get_array(), series()[2])
    assert il.plot(series().isel(t=3)).get_suptitle() == "made, t = 90 s"


def test_the_scale_bar_has_a_round_length():
    (axes,) = panels(il.plot(probabilities(), plane="xy"))
    (bar,) = axes.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(10)
    assert [text.get_text() for text in axes.texts] == ["10 µm"]


def test_without_voxel_size_there_is_no_scale_bar_and_the_picture_says_so():
    figure = il.plot(probabilities().drop_vars("y"), plane="xy")
    (axes,) = panels(figure)
    assert notes(figure) == "voxel size along y not known: axes count voxels"
    assert (list(axes.lines), list(axes.texts)) == ([], [])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x [voxels]", "y [voxels]")
    assert axes.get_xlim() == (-0.5, 159.5)


def test_sizes_without_unit_have_no_scale_bar_and_the_picture_says_so():
    image = ArrayInMemory(np.zeros((4, 6), "u1"), "yx", (4, 6))
    axes = (Axis("y", 2.0), Axis("x", 1.0))
    figure = il.plot(DescribedSource(replace(image.spec, axes=axes), image))
    assert notes(figure) == "unit of positions not known"
    assert panels(figure)[0].get_ylim() == (7, -1)
    assert not panels(figure)[0].lines


def test_one_channel_has_a_colour_bar_with_its_name():
    for figure in (
        il.plot(probabilities(), plane="xy", c="background"),
        il.plot(probabilities(), plane="xy", c=1),
        il.plot(probabilities().sel(c="background"), plane="xy"),
    ):
        axes, bar = figure.axes
        assert bar.get_ylabel() == "background"
        assert "c = " not in figure.get_suptitle()
        image = axes.images[0]
        assert image.get_clim() == (0, 1)
        assert image.get_cmap()(1.0)[:3] == pytest.approx(to_rgb("#3c50a0"))
        np.testing.assert_array_equal(image.get_array(), probabilities().isel(z=20, c=1))


def test_a_measured_column_has_a_colour_bar_with_its_name_and_unit():
    nuclei = il.label_objects(probabilities().sel(c="nucleus"), min_size=20)
    volumes = il.paint(nuclei, il.measure_objects(nuclei), "area")
    _, bar = il.plot(volumes, plane="xy").figure.axes
    assert bar.get_ylabel() == "area [µm³]"


def test_titles_of_narrow_slices_take_lines_of_their_own():
    image = xr.DataArray(np.zeros((60, 300, 300), "u1"), dims=("z", "y", "x"))
    wide, narrow = (axes.get_title() for axes in panels(il.plot(image))[:2])
    assert wide == "xy, z = 30 (voxels 0 to 59)"
    assert narrow == "zy\nx = 150\n(voxels 0 to 299)"


def test_contrast_can_be_chosen():
    figure = il.plot(sample("raw"), contrast=(50, 100))
    assert {axes.images[0].get_clim() for axes in panels(figure)} == {(50, 100)}
    for contrast in ((5, 5), (9, 3), (np.nan, 1)):
        with pytest.raises(ArgumentError, match="the smaller one first"):
            il.plot(sample("raw"), contrast=contrast)


def test_labels_are_contours_with_a_legend_of_classes():
    figure = il.plot(sample("raw"), segmentation(), z=12.5)
    assert list(legend(figure)) == ["nucleus"]  # whose border is that of the background, too
    for axes, (dim, position), dims in zip(
        panels(figure), {"z": 12.5, "x": 20, "y": 16}.items(), ["yx", "yz", "zx"], strict=True
    ):
        overlay = axes.images[1].get_array()
        classes = segmentation().isel(c=0).sel({dim: position}, method="nearest").transpose(*dims).values
        times = [n // m for n, m in zip(overlay.shape, classes.shape, strict=False)]
        assert (overlay[..., 3] > 0).mean() < 0.2  # the image stays to be seen
        nuclei = np.all(overlay == (255, 200, 0, 255), axis=-1)
        assert nuclei.any()
        assert (classes.repeat(times[0], 0).repeat(times[1], 1)[nuclei] == 1).all()


def test_a_segmentation_stored_as_floating_point_numbers_is_drawn_as_one(tmp_path):
    values = np.repeat([[1, 1, 2, 2]], 4, 0).astype("f4")
    path = tmp_path / "a_Simple Segmentation.h5"
    write_hdf5_export(path, values, axes="yx", chunks=(2, 2))
    figure = il.plot(path, labels=path)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["class 1", "class 2"]


def test_contours_are_seen_on_a_ground_of_their_colour_and_listed_once():
    figure = il.plot(probabilities(), segmentation(), plane="xy")
    assert list(legend(figure)) == ["nucleus", "background"]
    overlay = panels(figure)[0].images[1].get_array()
    shown = {tuple(color) for color in overlay[overlay[..., 3] > 0].tolist()}
    assert shown == {(255, 200, 0, 255), (0, 0, 0, 255)}


def test_classes_without_names_have_those_of_the_probabilities(tmp_path):
    write_hdf5_export(tmp_path / "any.h5", il.open_dataarray(sample("probabilities")).values, axes="zyxc")
    unnamed = il.open_dataarray(tmp_path / "any.h5", project=sample("project"))
    for image in (probabilities(), unnamed):
        for options in ({}, {"c": "background"}):
            key = legend(il.plot(image, sample("segmentation"), plane="xy", **options))
            assert list(key)[:1] == ["nucleus"]
    # These channels are not the classes 1 and 2.
    for image in (probabilities().isel(c=[1, 0]), probabilities().sel(c="background"), sample("raw")):
        assert "class 1" in legend(il.plot(image, sample("segmentation"), plane="xy"))


def test_masks_and_ids_are_labels_too():
    mask = probabilities().sel(c="nucleus", drop=True) > 0.5
    for labels in (mask, il.label_objects(mask)):
        figure = il.plot(sample("raw"), labels, plane="xy")
        assert panels(figure)[0].images[1].get_array()[..., 3].any()
        assert not figure.legends


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda: probabilities(), "holds float32, and labels are whole numbers"),
        (lambda: segmentation().isel(y=slice(3, 9)), "has 6 voxels along y and the image 128"),
        (lambda: segmentation().isel(z=3), "has 1 voxels along z and the image 40"),
        (lambda: segmentation().assign_coords(x=segmentation().x + 5), "begins at 5 along x and the image at 0"),
        (lambda: xr.concat([segmentation(), segmentation()], "c"), "has 2 channels"),
        (lambda: segmentation().expand_dims(t=2), "has 2 voxels along t"),
    ],
)
@pytest.mark.filterwarnings("ignore::ilastik_lazy.errors.MetadataWarning")
def test_labels_of_other_voxels_are_refused(labels, message):
    with pytest.raises(ArgumentError, match=message):
        il.plot(sample("raw"), labels())


def test_nothing_is_read_if_an_argument_is_wrong():
    regions = []
    image = ArrayInMemory(np.zeros((4, 6, 7), "u1"), "zyx", (2, 3, 3), regions.append)
    for wrong in ({"z": 99}, {"t": 1}, {"plane": "xc"}, {"dpi": 0}, {"contrast": (1, 0)}, {"labels": sample("raw")}):
        with pytest.raises((ArgumentError, AxesError)):
            il.plot(image, **wrong)
    for contrast in (5, (0, 1, 2), (None, 1), "ab"):
        with pytest.raises(ArgumentError, match="expected two numbers"):
            il.plot(image, contrast=contrast)
    assert regions == []
    il.plot(image)
    assert regions


def test_only_the_chunks_of_the_slices_are_read(tmp_path):
    """All other chunks are damaged, which is an error as soon as one is read."""
    data = np.arange(40 * 60 * 50, dtype="u2").reshape(40, 60, 50)
    write_hdf5_export(tmp_path / "a.h5", data, axes="zyx", chunks=(8, 8, 8), filters="gzip")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        dataset = file["exported_data"]
        for index in np.ndindex(5, 8, 7):
            if 2 not in index[:1] and index[1] != 3 and index[2] != 3:
                dataset.id.write_direct_chunk(tuple(8 * k for k in index), b"damaged")
    figure = il.plot(tmp_path / "a.h5")
    np.testing.assert_array_equal(panels(figure)[0].images[0].get_array(), data[20])
    with pytest.raises(il.errors.CorruptChunkError):
        il.plot(tmp_path / "a.h5", z=3)


def test_chunks_that_were_never_written_are_mentioned(tmp_path):
    data = np.ones((16, 16), "u1")
    write_hdf5_export(tmp_path / "a.h5", data, axes="yx", chunks=(8, 8), missing=[(0, 8), (8, 8)])
    with pytest.warns(IncompleteSourceWarning):
        figure = il.plot(tmp_path / "a.h5")
    assert "2 chunks of the file were never written: drawn as the fill value" in notes(figure)


def test_many_channels_are_shown_one_at_a_time():
    features = xr.DataArray(np.random.default_rng(0).normal(size=(12, 8, 9)), dims=("c", "y", "x"), name="features")
    figure = il.plot(features)
    assert figure.get_suptitle() == "features, c = 0 (channels 0 to 11)"
    np.testing.assert_array_equal(il.plot(features, c=5).axes[0].images[0].get_array(), features[5])


def test_names_from_files_are_text_and_no_formula(tmp_path):
    hostile = ["$\\frac{a", "x" * 5000]
    figure = il.plot(probabilities().assign_coords(c=hostile).rename("$_{"), plane="xy")
    figure.savefig(tmp_path / "a.png")
    assert next(iter(legend(figure))) == "$\\frac{a"
    assert max(map(len, legend(figure))) <= 40


def test_a_notebook_shows_the_picture_without_pyplot():
    assert il.plot(sample("raw"), plane="xy", dpi=20)._repr_png_().startswith(b"\x89PNG")


def test_figures_are_made_without_pyplot():
    code = "import sys, ilastik_lazy as il; from ilastik_lazy.demo import sample; il.plot(sample('raw'), plane='xy')"
    run_python(f"{code}; assert 'matplotlib.pyplot' not in sys.modules")


def test_the_extra_is_named_if_matplotlib_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ilastik_lazy\[plot\]'"):
        il.plot(sample("raw"))


def test_large_slices_are_as_fine_as_the_figure():
    values = np.random.default_rng(0).integers(0, 255, (1000, 700)).astype("u1")
    figure = il.plot(placed(values, y=0.5, x=0.5), dpi=40)
    shown = panels(figure)[0].images[0]
    blocks = values[:999, :699].reshape(333, 3, 233, 3)
    np.testing.assert_allclose(shown.get_array()[:333, :233], blocks.mean((1, 3)))
    assert shown.get_array().shape == (334, 234)
    assert notes(figure) == "each pixel is the mean of 3 x 3 voxels"
    # Pixels at the edge reach beyond the image, and the panel ends with it.
    assert shown.get_extent() == [-0.25, 350.75, 500.75, -0.25]
    assert panels(figure)[0].get_xlim() == (-0.25, 349.75)
