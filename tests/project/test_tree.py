"""A project as a tree: settings, images of its lanes, labels drawn on them."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from ilastik_lazy.core.options import DEFAULTS, Limits
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import (
    IlastikLazyError,
    MetadataError,
    MetadataWarning,
    MissingSourceWarning,
    SourceNotFoundError,
)
from ilastik_lazy.project.inputs import lanes_of, open_input
from ilastik_lazy.project.paths import Roots
from ilastik_lazy.project.tree import open_project
from tests.support.makers import axistags, some_data, write_hdf5_export
from tests.support.shared_files import FILES, SHARED, over_files, shared_path

FOLDERS = ("history", "history/projects", "workflows/projects")
PROJECTS = [path for folder in FOLDERS for path in sorted((FILES / folder).glob("*.ilp"))] + [Path(sample("project"))]
some_project = over_files(
    "path",
    PROJECTS,
    lambda path: str(path.relative_to(FILES) if path.is_relative_to(FILES) else path),
    lambda path: f"{path.parent.name}/{path.name}",
)
# Axes of the label blocks as ilastik wrote them, where these are not the usual zyxc, tyxc or yxc of the input.
ODD_ORDERS = {
    "mitocheckPixelClassification": "txyzc",
    "mitocheckPixelClassificationMergers": "txyc",
    "pc-oc-133": "txyzc",
    "CellDensityCounting2d3c": "xyc",
    "resaved_CellDensityCounting2d3c": "xyc",
}
STAGES = {"PixelClassification": "labels", "PixelClassification01": "labels_stage2"}
STAGES |= {"Counting": "labels", "NNClassApplet": "labels"}


def opened(path, **options):
    """The tree, and the messages of all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree = open_project(path, **options)
    assert all(issubclass(warning.category, (MetadataWarning, MissingSourceWarning)) for warning in caught)
    return tree, [str(warning.message) for warning in caught]


@pytest.fixture
def no_pickles(monkeypatch):
    """Nothing may be unpickled; dask does so for its own tokens, so arrays are read without it."""

    def forbidden(*args, **options):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)


def by_hand(group, shape):
    """The label image, block by block, as h5py gives them."""
    image = np.zeros(shape, np.uint8)
    for block in group.values():
        bounds = re.findall(r"(\d+):(\d+)", block.attrs["blockSlice"])
        image[tuple(slice(int(a), int(b)) for a, b in bounds)] = block[()]
    return image


@some_project
def test_a_project_of_ilastik_opens_as_it_was_made(path, no_pickles):
    tree, _ = opened(path)
    with h5py.File(path) as file:
        assert tree.attrs["workflow"] == file["workflowName"][()].decode()
        assert tree.attrs["ilastik_version"] == file["ilastikVersion"][()].decode()
        infos = file.get("Input Data/infos", {})
        assert list(tree.children) == sorted(infos)
        for lane, roles in infos.items():
            chosen = {role for role, info in roles.items() if len(info)}
            assert {name for name in tree[lane].children if not name.startswith("labels")} == chosen
            for role in chosen:
                node = tree[f"{lane}/{role}"]
                assert node.attrs["file_path"] == roles[f"{role}/filePath"][()].decode()
                assert ("image" in node) == (node.attrs["status"] in ("opened", "embedded"))
                assert ("remedy" in node.attrs) == ("image" not in node)
    json.dumps([node.attrs for node in tree.subtree])


@some_project
def test_drawn_labels_are_where_they_were_drawn(path, no_pickles):
    tree, _ = opened(path, chunks=None)
    with h5py.File(path) as file:
        for applet, name in STAGES.items():
            for number, group in enumerate(file.get(f"{applet}/LabelSets", {}).values()):
                labels = tree[f"lane{number:04d}/{name}/labels"]
                assert labels.dtype == np.uint8
                np.testing.assert_array_equal(labels.values, by_hand(group, labels.shape))
                names = [value.decode() for value in file[f"{applet}/LabelNames"][()]]
                assert labels.attrs["flag_values"] == list(range(1, len(names) + 1))
                assert labels.attrs["flag_meanings"].split() == [name.replace(" ", "_") for name in names]
                colors = ["#" + bytes(color).hex() for color in file[f"{applet}/LabelColors"][()].astype("u1")]
                assert labels.attrs["flag_colors"].split() == colors
                tags = [
                    json.loads(block.attrs["axistags"])["axes"] for block in group.values() if "axistags" in block.attrs
                ]
                order = "".join(axis["key"] for axis in tags[0]) if tags else ODD_ORDERS.get(path.stem)
                if order is None:
                    info = file[f"Input Data/infos/lane{number:04d}/Raw Data/axistags"][()].decode()
                    keys = "".join(axis["key"] for axis in json.loads(info)["axes"]).replace("c", "")
                    order = keys + "c"
                assert "".join(labels.dims) == order


@pytest.mark.shared
def test_all_projects_are_there():
    shared_path("ilastik-files", "workflows")
    assert len(PROJECTS) >= 45


def test_the_sample_with_its_image_and_labels():
    tree = open_project(sample("project"))
    assert tree.attrs["label_names"] == ["nucleus", "background"]
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in tree.attrs["label_colors"])
    assert tree.attrs["export_OutputFormat"]
    image, labels = tree["lane0000/Raw Data/image"], tree["lane0000/labels/labels"]
    assert image.chunks is not None
    assert labels.dims == (*image.dims, "c")
    # Image and labels lie at the same places.
    for name in image.dims:
        assert labels.coords[name].identical(image.coords[name])
    assert set(np.unique(labels)) == {0, 1, 2}
    drawn = image.values[..., None]
    assert drawn[labels.values == 1].mean() > drawn[labels.values == 2].mean()


@pytest.mark.shared
def test_old_projects_learn_the_shape_from_the_image(tmp_path):
    path = shared_path("ilastik-files", "history", "projects", "CellDensityCounting2d3c.ilp")
    (tmp_path / "inputdata").mkdir()
    (tmp_path / "inputdata" / "2d3c.h5").write_bytes(shared_path("ilastik-files", "history", "2d3c.h5").read_bytes())
    tree, messages = opened(path, source_roots=tmp_path)
    assert not messages
    labels, image = tree["lane0000/labels/labels"], tree["lane0000/Raw Data/image"]
    assert labels.dims == ("x", "y", "c")
    assert (labels.sizes["x"], labels.sizes["y"]) == (image.sizes["x"], image.sizes["y"])
    tree, messages = opened(path)
    assert tree["lane0000/labels"].attrs["shape_guessed"] is True
    assert any("shape" in message for message in messages)


@pytest.mark.shared
def test_labels_saved_anew_are_the_same_in_other_axes():
    old = shared_path("ilastik-files", "history", "pc-oc-133.ilp")
    new = shared_path("ilastik-files", "workflows", "projects", "resaved_inputdata_pc-oc-133.ilp")
    before, after = (opened(path)[0]["lane0000/labels/labels"] for path in (old, new))
    assert before.dims == ("t", "x", "y", "z", "c")
    assert after.dims == ("t", "y", "x", "c")
    np.testing.assert_array_equal(before.isel(z=0).transpose(*after.dims).values, after.values)


# --- projects made here


def write_project(path, lanes=1, blocks=(), applet="PixelClassification", version=b"1.4.1", **fields):
    with h5py.File(path, "w") as file:
        file["workflowName"], file["ilastikVersion"] = b"Pixel Classification", version
        file["Input Data/Role Names"] = np.array([b"Raw Data"])
        file[f"{applet}/LabelNames"] = np.array([b"a", b"b"])
        for lane in range(lanes):
            group = file.create_group(f"Input Data/infos/lane{lane:04d}/Raw Data")
            for name, value in ({"filePath": b"a.h5/exported_data"} | fields).items():
                group[name] = value
        for lane, text, data, tags in blocks:
            sets = file.require_group(f"{applet}/LabelSets/labels{lane:03d}")
            block = sets.create_dataset(f"block{len(sets):04d}", data=data)
            block.attrs["blockSlice"] = text
            if tags:
                block.attrs["axistags"] = axistags(tags)
    return path


@pytest.fixture
def image(tmp_path):
    return write_hdf5_export(tmp_path / "a.h5", some_data((6, 7, 8)), axes="zyx", resolution={"z": 2.0})


ONES = np.ones((1, 2, 3, 1), np.uint8)


def test_lanes_keep_their_own_labels_also_where_numbers_are_left_out(tmp_path, image):
    blocks = [(0, "[0:1,0:2,0:3,0:1]", ONES, "zyxc"), (2, "[5:6,0:2,0:3,0:1]", 2 * ONES, "zyxc")]
    tree = open_project(write_project(tmp_path / "p.ilp", 3, blocks))
    assert int(tree["lane0000/labels/labels"].sum()) == 6
    assert "labels" not in tree["lane0001"].children
    assert int(tree["lane0002/labels/labels"].isel(z=5).sum()) == 12


def test_labels_of_a_lane_that_is_not_there_are_mentioned(tmp_path, image):
    path = write_project(tmp_path / "p.ilp", 1, [(4, "[0:1,0:2,0:3,0:1]", ONES, "zyxc")])
    with pytest.warns(MissingSourceWarning, match=r"labels004.*does not exist"):
        open_project(path)


def test_labels_lie_in_the_sub_volume_that_they_were_drawn_on(tmp_path, image):
    blocks = [(0, "[0:1,0:2,0:3,0:1]", ONES, "zyxc")]
    tree = open_project(write_project(tmp_path / "p.ilp", 1, blocks, subvolume_roi=[[3, 0, 0], [6, 7, 8]]))
    window, labels = tree["lane0000/Raw Data/image"], tree["lane0000/labels/labels"]
    np.testing.assert_array_equal(window.values, image[3:])
    assert window.z.values.tolist() == labels.z.values.tolist() == [6, 8, 10]
    assert labels.shape == (3, 7, 8, 1)


def test_an_old_project_without_shape_or_axes_learns_them_from_its_image(tmp_path, image):
    blocks = [(0, "[1:2,2:4,3:6,0:1]", ONES, None)]
    tree, messages = opened(write_project(tmp_path / "p.ilp", 1, blocks, version=b"1.0.0"))
    assert messages == []
    labels = tree["lane0000/labels/labels"]
    assert (labels.dims, labels.shape) == (("z", "y", "x", "c"), (*image.shape, 1))
    assert "shape_guessed" not in labels.attrs
    assert labels.values[1, 2:4, 3:6].all()
    assert int(labels.sum()) == 6


def test_axes_that_might_be_others_are_a_warning(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((3, 8, 8)), axes="txy")
    blocks = [(0, "[0:1,0:2,0:3,0:1]", ONES, None)]
    with pytest.warns(MetadataWarning, match=r"guessed to be txyc"):
        tree = open_project(write_project(tmp_path / "p.ilp", 1, blocks, version=b"1.2.0", axisorder=b"txy"))
    assert tree["lane0000/labels/labels"].dims == ("t", "x", "y", "c")
    assert tree["lane0000/labels/labels"].attrs["axes_guessed"] == 1
    with pytest.warns(MetadataWarning, match=r"guessed to be tyxc"):
        open_project(write_project(tmp_path / "q.ilp", 1, blocks, version=b"1.3.2", axisorder=b"txy"))


def test_a_project_without_its_images_opens_with_one_warning(tmp_path):
    path = write_project(tmp_path / "p.ilp", 5, axistags=axistags("zyx").encode(), shape=[6, 7, 8])
    tree, (message,) = opened(path)
    assert "and 2 more" in message
    attributes = tree["lane0004/Raw Data"].attrs
    assert attributes["status"] == "missing"
    assert attributes["file_path"] == "a.h5/exported_data"
    assert (attributes["recorded_axes"], attributes["recorded_shape"]) == ("zyx", [6, 7, 8])
    assert "source_roots=" in attributes["remedy"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"gone.h5", "missing"),
        (b"/etc/passwd", "outside"),
        (b"https://a.org/b.zarr", "url"),
        (b"file:///etc/passwd", "outside"),
        (b"p.ilp.txt", "unsupported"),
        (b"caf\xe9.h5", "invalid"),
        (b":".join([b"a.h5"] * 2000), "refused"),
        (b"bad.h5", "invalid"),
    ],
)
def test_why_an_image_is_not_there_stands_in_its_node(tmp_path, text, status):
    (tmp_path / "p.ilp.txt").write_text("x")
    (tmp_path / "bad.h5").write_text("x" * 100)
    tree, messages = opened(write_project(tmp_path / "p.ilp", filePath=np.bytes_(text)))
    node = tree["lane0000/Raw Data"]
    assert node.attrs["status"] == status
    assert node.attrs["remedy"]
    assert len(messages) == 1
    assert messages[0].isprintable()


def test_nothing_is_read_before_it_is_asked_for(tmp_path, image, monkeypatch):
    from ilastik_lazy.formats.hdf5.h5py_source import H5pySource
    from ilastik_lazy.project.labels.blocks import LabelBlocksSource

    def forbidden(*args):
        raise AssertionError

    blocks = [(0, "[0:1,0:2,0:3,0:1]", ONES, "zyxc")]
    path = write_project(tmp_path / "p.ilp", 1, blocks)
    monkeypatch.setattr(LabelBlocksSource, "read", forbidden)
    monkeypatch.setattr(H5pySource, "read", forbidden)
    repr(open_project(path))


class _Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB_TARGET"],)


def test_pickles_in_a_project_stay_what_they_are(tmp_path, image, monkeypatch):
    monkeypatch.setenv("BOMB_TARGET", str(tmp_path / "exploded"))
    path = write_project(tmp_path / "p.ilp", 1, [(0, "[0:1,0:2,0:3,0:1]", ONES, "zyxc")])
    bomb = np.void(pickle.dumps(_Bomb()))
    with h5py.File(path, "r+") as file:
        for name in ("ClassifierFactory", "Bookmarks/0000", "ClassifierForests/pickled_type"):
            file[f"PixelClassification/{name}"] = bomb
        file["Prediction Export/OutputFormat"] = bomb
        file["Input Data/infos/lane0000/Raw Data/nickname"] = bomb
    tree, messages = opened(path)
    tree.load()
    assert len(messages) == 2  # what should be text, and is none
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_project_is_refused(tmp_path, image):
    with pytest.raises(MetadataError, match=r"not an ilastik project"):
        open_project(tmp_path / "a.h5")
    with pytest.raises(SourceNotFoundError):
        open_project(tmp_path / "gone.ilp")


# --- hostile projects

MAKER = SHARED / "hostile" / "make_bad_files.py"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    maker, folder = shared_path("hostile", "make_bad_files.py"), tmp_path_factory.mktemp("hostile")
    code = "import sys, json; sys.path.insert(0, sys.argv[1]); import make_bad_files as m; print(json.dumps(m.CASES))"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    listed = subprocess.run(
        [sys.executable, "-c", code, maker.parent], capture_output=True, check=True, env=environment
    )
    names = [case["name"] for case in json.loads(listed.stdout) if case["kind"] == "ilp"] + ["ok_export"]
    command = [sys.executable, maker, folder, "--no-check", "--only", ",".join(names)]
    subprocess.run(command, capture_output=True, check=True, env=environment)
    return folder


@pytest.mark.shared
def test_hostile_projects_end_as_their_manifest_says(corpus, no_pickles):
    cases = [case for case in json.loads((corpus / "manifest.json").read_text())["cases"] if case["kind"] == "ilp"]
    before = sorted(str(path) for path in (corpus / "bait").rglob("*"))
    assert len(cases) >= 14
    for case in cases:
        path, error = str(corpus / case["path"]), None
        try:
            tree, messages = opened(path, chunks=None)
            with h5py.File(path) as file:
                recorded = lanes_of(file, Limits())[0].inputs[0]
            # The tree opens without the image, and says so; asked for the image itself, the reason is raised.
            assert tree["lane0000/Raw Data"].attrs["status"] not in ("opened", "embedded")
            assert messages
            assert int(tree["lane0000/labels/labels"].sum()) == 64
            open_input(path, recorded, Roots.of(path, ()), DEFAULTS)
        except IlastikLazyError as raised:
            error = raised
        if case["expect"] in ("refuse", "corrupt"):
            assert case["error"] in [kind.__name__ for kind in type(error).__mro__], (case, error)
            assert str(error).isprintable()
        elif case["expect"] == "ok_warn":
            assert isinstance(error, SourceNotFoundError)
    tree, messages = opened(corpus / "ilp" / "ok_project.ilp", source_roots=corpus)
    assert tree["lane0000/Raw Data"].attrs["status"] == "opened"
    assert not [message for message in messages if "not all" in message]
    assert sorted(str(path) for path in (corpus / "bait").rglob("*")) == before
