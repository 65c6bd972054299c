"""What a person sees: a browser without a window shows the sample, and its pixels are compared with the voxels."""

import json

import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from tests.support.chromium import chromium, opened_page

pytest.importorskip("neuroglancer", reason="Neuroglancer draws the page: pip install 'ilastik_lazy[view]'")
PROGRAM = chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no browser: apt-get install chromium")

PLANE = 20
# Messages of software rendering, the icon that Neuroglancer's server does not have, and 412, Precondition Failed: the
# page sends its state when a test has just changed it, and takes over that of the test.
HARMLESS = ("GPU stall due to ReadPixels", "favicon.ico", "412")
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Shown:
    """A view in a browser."""

    def __init__(self, view, browser):
        self.view, self.browser = view, browser

    def pixels(self, *names):
        """The panel xy with only the layers `names`: one pixel for each voxel (y, x, RGB), and the panel itself."""
        with self.view.viewer.txn() as state:
            for layer in state.layers:
                layer.visible = layer.name in names
            state.show_axis_lines = False
        wanted = json.dumps(sorted(names))
        self.browser.wait(
            "JSON.stringify(viewer.layerManager.managedLayers.filter(l => l.visible).map(l => l.name).sort()) === "
            f"{json.dumps(wanted.replace(', ', ','))} && viewer.isReady()"
        )
        self.browser.run(DRAWN)
        box = self.browser.run(
            "(({x, y, width, height}) => [x, y, width, height])"
            "(document.querySelector('.neuroglancer-rendered-data-panel').getBoundingClientRect())"
        )
        x, y, width, height = map(round, box)
        panel = self.browser.pixels()[y : y + height, x : x + width].astype(float)
        state = self.view.viewer.state
        rows, columns = (
            np.round(middle + (np.arange(length) - position) / state.cross_section_scale - 0.5).astype(int)
            for middle, length, position in ((box[3] / 2, 128, 63.5), (box[2] / 2, 160, 79.5))
        )
        return panel[np.ix_(rows, columns)][2:-2, 2:-2], panel


@pytest.fixture(scope="module")
def arrays():
    """Probabilities, classes, ids and their table."""
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    ids = il.label_objects(prob.sel(c="nucleus"), min_size=20).compute()
    return prob, il.open_dataarray(sample("segmentation"), project=sample("project")), ids, il.measure_objects(ids)


@pytest.fixture(scope="module")
def shown(arrays):
    prob, segmentation, ids, table = arrays
    with (
        il.view(prob, segmentation, raw=sample("raw"), labels=ids, table=table, open_browser=False) as view,
        opened_page(PROGRAM) as browser,
    ):
        browser.open(view.url)
        browser.wait("typeof viewer !== 'undefined' && viewer.isReady()")
        yield Shown(view, browser)


def colors_of(array):
    texts = array.coords["class_color"].values if "class_color" in array.coords else array.attrs["flag_colors"].split()
    return np.array([[int(text[k : k + 2], 16) for k in (1, 3, 5)] for text in texts], float)


def assert_alike(pixels, expected):
    """Equal but for rounding, and for the pixels at borders of voxels."""
    off = np.abs(pixels - expected[2:-2, 2:-2]).max(axis=-1)
    assert (off <= 4).mean() > 0.97, off.mean()


def test_probabilities_have_the_colours_of_the_project(shown, arrays):
    prob = arrays[0]
    plane = prob.isel(z=PLANE).values
    opacity = shown.view.viewer.state.layers["nucleus"].opacity
    for number, name in enumerate(prob["c"].values):
        pixels, _ = shown.pixels(name)
        assert_alike(pixels, plane[..., number, None] * colors_of(prob)[number] * opacity)
    pixels, _ = shown.pixels("nucleus", "background")
    assert_alike(pixels, plane @ colors_of(prob) * opacity)


def test_the_raw_image_is_grey(shown):
    plane = il.open_dataarray(sample("raw")).isel(z=PLANE).values
    layer = shown.view.viewer.state.layers["nuclei"]
    low, high = layer.shader_controls["contrast"].range
    pixels, _ = shown.pixels("nuclei")
    grey = np.clip((plane.astype(float) - low) / (high - low), 0, 1) * int(layer.shader_controls["color"][1:3], 16)
    assert_alike(pixels, np.repeat(grey[..., None], 3, axis=2))


def test_a_segmentation_has_the_colours_of_the_project(shown, arrays):
    segmentation = arrays[1]
    pixels, _ = shown.pixels("nuclei_Simple_Segmentation")
    plane = segmentation.isel(z=PLANE, c=0).values
    assert_alike(pixels, colors_of(segmentation)[plane.astype(int) - 1])


def test_each_object_has_one_colour_and_a_row_of_the_table(shown, arrays):
    _, _, ids, table = arrays
    pixels, _ = shown.pixels("objects")
    plane = ids.isel(z=PLANE).values[2:-2, 2:-2]
    assert (pixels[plane == 0] == 0).all(axis=-1).mean() > 0.97
    for number in np.unique(plane[plane > 0]):
        of_object = pixels[plane == number]
        assert (np.abs(of_object - np.median(of_object, axis=0)).max(axis=-1) <= 4).mean() > 0.8
        assert np.median(of_object, axis=0).max() > 20
    text = shown.browser.run("document.body.innerText")
    assert f"{len(table)} total ids" in text
    assert "num_pixels" in text


def test_there_is_a_scale_bar_in_physical_units(shown):
    _, panel = shown.pixels("nucleus")
    white = (panel > 250).all(axis=-1)
    runs = [max(map(len, "".join("x" if each else " " for each in row).split()), default=0) for row in white]
    length = max(runs) * shown.view.viewer.state.cross_section_scale * 0.25  # micrometer
    assert max(runs) > 40
    significand = length / 10 ** np.floor(np.log10(length))
    assert min(abs(significand / nice - 1) for nice in (1, 1.5, 2, 3, 5, 7.5, 10)) < 0.02


def test_the_console_shows_no_error(shown):
    shown.pixels(*shown.view.layer_names)
    assert [each for each in shown.browser.problems if not any(text in each for text in HARMLESS)] == []
