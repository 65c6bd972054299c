"""The real napari: what its layers are, and what it draws.

The layers need napari alone.  The pictures need Qt, and a screen with OpenGL, for which ``xvfb-run`` is enough.  Each
test runs in a process of its own, since Qt ends a process that it cannot serve.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from tests.support.makers import some_data, write_hdf5_export

if find_spec("napari") is None:
    pytest.skip("napari is not installed: pip install 'napari[pyqt6]'", allow_module_level=True)
if "ilastik-lazy" not in entry_points(group="napari.manifest").names:
    pytest.skip("napari finds plugins that are installed: pip install -e .", allow_module_level=True)

PROBE = """
from qtpy.QtGui import QOpenGLContext
from qtpy.QtWidgets import QApplication
application = QApplication([])
assert QOpenGLContext().create(), "no OpenGL"
"""


@pytest.fixture(scope="module")
def screen():
    """How to start a program that opens windows."""
    start = [] if "DISPLAY" in os.environ else ["xvfb-run", "-a", "-s", "-screen 0 1280x960x24"]
    if start and shutil.which("xvfb-run") is None:
        pytest.skip("there is no screen: apt-get install xvfb xauth")
    probe = subprocess.run([*start, sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"Qt opens no window with OpenGL, see .ci/run for the packages: {probe.stderr.strip()[-300:]}")
    return start


@pytest.fixture
def run(tmp_path):
    """Run code in a process of its own, which keeps no settings; what it prints last is JSON."""

    def run(code, *arguments, start=()):
        settings = {"NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        finished = subprocess.run(
            [*start, sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | settings, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr[-3000:]
        return json.loads(finished.stdout.splitlines()[-1])

    return run


LAYERS = """
import json, sys
import npe2, numpy as np
from napari.components import ViewerModel

npe2.PluginManager.instance().discover()  # as the window of napari does

def described(layer):
    kind = type(layer).__name__
    colors = layer.colormap.map(np.array([1.0]) if kind == "Image" else np.array([1, 2]))
    return {
        "kind": kind, "name": layer.name, "scale": layer.scale.tolist(), "translate": layer.translate.tolist(),
        "units": [str(unit) for unit in layer.units], "labels": list(layer.axis_labels), "multiscale": layer.multiscale,
        "shape": list(layer.data.shape), "colors": np.rint(np.asarray(colors) * 255).astype(int).tolist(),
        "contrast": list(map(float, layer.contrast_limits)) if kind == "Image" else None,
        "features": layer.features.to_dict("list") if kind == "Labels" else None, "blending": layer.blending,
    }
"""

OPENED = """
found = []
for path in sys.argv[1:]:
    viewer = ViewerModel()
    found.append([described(layer) for layer in viewer.open(path, plugin="ilastik-lazy")])
print(json.dumps(found))
"""


class TestLayers:
    def test_of_the_sample_and_a_series_of_time_are_as_the_files_state(self, run, tmp_path):
        data = some_data((3, 1, 30, 40, 1), "u1")
        write_hdf5_export(
            tmp_path / "series.h5", data, axes="tzyxc", resolution={"t": 2.0, "y": 0.5, "x": 0.5, "z": 3.0},
            units={"t": "s", "y": "um", "x": "um", "z": "um"},
        )  # fmt: skip
        files = [sample("probabilities"), sample("segmentation"), sample("project"), tmp_path / "series.h5"]
        (nucleus, background), (segmentation,), (raw, drawn), (series,) = run(LAYERS + OPENED, *files)

        for layer in (nucleus, background, segmentation, raw, drawn):
            assert layer["scale"] == [0.8, 0.25, 0.25]
            assert layer["units"] == ["micrometer"] * 3
            assert layer["labels"] == ["z", "y", "x"]
            assert layer["shape"] == [40, 128, 160]
        assert [layer["kind"] for layer in (nucleus, segmentation, raw, drawn)] == [
            "Image",
            "Labels",
            "Image",
            "Labels",
        ]
        assert [layer["name"] for layer in (nucleus, background, raw, drawn)] == [
            "nucleus", "background", "Raw Data", "labels",
        ]  # fmt: skip
        assert nucleus["contrast"] == background["contrast"] == [0, 1]
        assert nucleus["blending"] == background["blending"] == "additive"
        yellow, blue = [255, 200, 0, 255], [60, 80, 160, 255]
        assert nucleus["colors"] == [yellow]
        assert background["colors"] == [blue]
        assert segmentation["colors"] == drawn["colors"] == [yellow, blue]
        assert raw["colors"] == [[255] * 4]
        classes = {"index": [1, 2], "class": ["nucleus", "background"]}
        assert segmentation["features"] == drawn["features"] == classes

        assert series["scale"] == [2, 3, 0.5, 0.5]
        assert series["units"] == ["second", "micrometer", "micrometer", "micrometer"]
        assert series["labels"] == ["t", "z", "y", "x"]
        assert series["shape"] == [3, 1, 30, 40]

    def test_of_pyramids_and_tables(self, run, tmp_path):
        prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
        il.to_ome_zarr(prob, tmp_path / "a.zarr", levels=3)
        labels = il.label_objects(prob.sel(c="nucleus"), min_size=20)
        il.to_ilastik(labels, tmp_path / "nuclei_Object Identities.h5")
        table = il.measure_objects(labels)
        table.to_csv(tmp_path / "nuclei_table.csv", index=False)
        files = (tmp_path / "a.zarr", tmp_path / "nuclei_Object Identities.h5")
        (pyramid, _), (objects,) = run(LAYERS + OPENED, *files)
        assert pyramid["multiscale"]
        assert (pyramid["name"], pyramid["scale"]) == ("nucleus", [0.8, 0.25, 0.25])
        assert objects["kind"] == "Labels"
        assert objects["features"]["index"] == table["label"].tolist()
        np.testing.assert_allclose(objects["features"]["area"], table["area"])

    def test_of_arrays_that_are_added_as_they_are(self, run):
        """The lines in README, and a layer for each class."""
        code = """
import ilastik_lazy as il
prob = il.open_dataarray(sys.argv[1], project=sys.argv[2])
viewer = ViewerModel()
one = viewer.add_image(prob.sel(c="nucleus"))
all_classes = viewer.add_image(prob, channel_axis=prob.dims.index("c"), name=list(prob.c.values))
print(json.dumps(list(map(described, [one, *all_classes]))))
"""
        found = run(LAYERS + code, sample("probabilities"), sample("project"))
        assert [layer["name"] for layer in found[1:]] == ["nucleus", "background"]
        for layer in found:
            assert layer["scale"] == [0.8, 0.25, 0.25]
            assert layer["units"] == ["micrometer"] * 3
            assert layer["labels"] == ["z", "y", "x"]


PICTURES = """
import json, sys
import napari, numpy as np
viewer = napari.Viewer()
for name, opens, plane in json.loads(sys.argv[1]):
    viewer.layers.clear()
    for path in opens:
        viewer.open(path, plugin="ilastik-lazy")
    viewer.dims.set_current_step(0, plane)
    np.save(name, viewer.export_figure(flash=False))
viewer.scale_bar.visible = True
viewer.reset_view()
viewer.screenshot("window.png", canvas_only=False, flash=False)
viewer.layers.clear()
print(json.dumps([layer.name for layer in viewer.open_sample("ilastik-lazy", "probabilities")]))
viewer.close()
"""


def read(path, inside):
    with h5py.File(path, "r") as file:
        return file[inside][...]


def test_voxels_have_the_colours_of_their_classes(run, screen, tmp_path):
    drawn = il.open_datatree(sample("project"))["lane0000/labels/labels"].values.squeeze()
    plane = int((drawn > 0).sum((1, 2)).argmax())
    wanted = [["probabilities", [sample("probabilities")], 20], ["project", [sample("project")], plane]]
    assert run(PICTURES, json.dumps(wanted), start=screen) == ["nucleus", "background"]

    colors = np.array([[255, 200, 0], [60, 80, 160]])
    shown = np.load(tmp_path / "probabilities.npy")[..., :3].astype(int)
    probabilities = read(sample("probabilities"), "exported_data")[20]
    assert np.abs(shown - np.minimum(probabilities @ colors, 255)).max() <= 3

    shown = np.load(tmp_path / "project.npy")[..., :3].astype(int)
    gray = read(sample("raw"), "data")[plane][..., np.newaxis].repeat(3, -1)
    labels = drawn[plane]
    # A layer of labels is drawn over the image with an opacity of 0.7.
    expected = np.where(labels[..., np.newaxis] > 0, 0.3 * gray + 0.7 * colors[labels.astype(int) - 1], gray)
    assert np.abs(shown - expected).max() <= 3
    assert (tmp_path / "window.png").stat().st_size > 10_000
