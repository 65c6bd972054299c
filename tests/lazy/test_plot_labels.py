"""xarray's own plots name the values, the axes with their units, and the place that they show."""

import pytest

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from tests.support.makers import some_data, write_hdf5_export

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize(
    ("name", "label", "title"),
    [
        ("probabilities", "probability", "z = 2.4 [micrometer], c = background"),
        ("segmentation", "class", "z = 2.4 [micrometer]"),
    ],
)
def test_a_plane_is_plotted_with_names_and_units(name, label, title):
    image = il.open_dataarray(sample(name), project=sample("project")).isel(z=3, c=-1, y=slice(9), x=slice(9))
    drawn = image.plot()
    assert drawn.colorbar.ax.get_ylabel() == label
    assert drawn.axes.get_title().startswith(title)
    assert (drawn.axes.get_xlabel(), drawn.axes.get_ylabel()) == ("x [micrometer]", "y [micrometer]")


def test_what_is_made_of_an_image_is_named_after_what_was_done():
    prob = il.open_dataarray(sample("probabilities"), project=sample("project")).isel(z=slice(2))
    assert il.reductions.reduce(prob, "max", over="zyx").attrs["long_name"] == "max probability"
    assert il.reductions.normalise(prob).attrs["long_name"] == "scaled probability"
    assert il.classify(prob).attrs["long_name"] == "class"
    assert il.label_objects(prob.sel(c="nucleus")).attrs["long_name"] == "object id"
    prob.isel(y=0, x=0).plot.line(x="z")
    assert plt.gca().get_legend().get_title().get_text() == "class"


def test_an_export_of_unknown_kind_holds_values_and_other_datasets_have_their_names(tmp_path):
    write_hdf5_export(tmp_path / "brain.h5", some_data((4, 5), "u1"), axes="yx")
    assert il.open_dataarray(tmp_path / "brain.h5").plot().colorbar.ax.get_ylabel() == "value"
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5), "u1"), axes="yx", internal_path="volume/raw")
    assert il.open_dataarray(tmp_path / "a.h5").plot().colorbar.ax.get_ylabel() == "raw"
