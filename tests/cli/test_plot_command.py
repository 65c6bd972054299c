"""``ilastik-lazy plot``: a picture in a file, as the options say."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from ilastik_lazy.cli import main
from ilastik_lazy.demo import sample
from tests.support.makers import write_hdf5_export

PROBABILITIES = (sample("probabilities"), "--project", sample("project"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Exit code and output of ``plot`` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run_plot(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["plot", *map(str, arguments)])
        written = capsys.readouterr()
        return ended.value.code, written.out, written.err

    return run_plot


def test_a_picture_is_written_and_described(run):
    code, out, said = run(*PROBABILITIES, "--out", "a.png", "-z", "12500nm", "--dpi", "50")
    assert (code, said) == (0, "")
    height, width = imread("a.png").shape[:2]
    lines = out.splitlines()
    assert lines[0].startswith(f"a.png: {width} x {height} pixels, ")
    assert lines[1] == "  nuclei_Probabilities.h5/exported_data: xy, z = 12.8 µm; zy, x = 20 µm; xz, y = 16 µm"
    assert width == 450
    # The first pixel of the classes' blue that is found belongs to the background.
    assert (np.rint(imread("a.png")[..., :3] * 255) == (60, 80, 160)).all(-1).mean() > 0.3


def test_options_choose_what_is_drawn(run):
    options = ["--plane", "xz", "-y", "8", "-c", "nucleus", "--contrast", "0", "0.5", "--dpi", "30"]
    code, out, said = run(*PROBABILITIES, "--out", "a.svg", *options)
    assert (code, said) == (0, "")
    assert "xz, y = 8 µm" in out
    with open("a.svg") as file:
        assert "<svg" in file.read()


def test_labels_have_the_names_of_the_project_and_raw_data_none(run):
    labels = ["--labels", sample("segmentation"), "--project", sample("project")]
    code, _, said = run(sample("raw"), *labels, "--out", "a.pdf", "--plane", "xy", "--dpi", "30", "-q")
    assert (code, said) == (0, "")
    with open("a.pdf", "rb") as file:
        assert file.read(5) == b"%PDF-"


def test_probabilities_under_any_name_have_the_names_of_the_project_also_with_labels(run, tmp_path):
    shutil.copy(sample("probabilities"), tmp_path / "any.h5")
    labels = ["--labels", sample("segmentation"), "--project", sample("project")]
    code, _, said = run("any.h5", *labels, "--out", "a.svg", "--plane", "xy", "--dpi", "30", "-q")
    assert (code, said) == (0, "")
    with open("a.svg") as file:
        text = file.read()
    assert "<!-- nucleus -->" in text
    assert "channel 0" not in text


def test_a_class_without_a_project_needs_one(run):
    code, _, said = run(sample("probabilities"), "--out", "a.png", "-c", "nucleus")
    assert code == 2
    assert "-c nucleus: expected a number; the channels have no names: pass --project" in said


def test_what_is_not_known_is_printed(run, tmp_path):
    write_hdf5_export(tmp_path / "a.h5", np.ones((3, 4), "u1"), axes="yx")
    code, out, _ = run("a.h5", "--out", "a.png", "--dpi", "30")
    assert code == 0
    assert out.splitlines()[-1] == "  voxel size along y, x not known: axes count voxels"


def test_nothing_is_replaced_unless_that_is_said(run, tmp_path):
    (tmp_path / "a.png").write_bytes(b"mine")
    arguments = [sample("raw"), "--plane", "xy", "--dpi", "20", "--out", "a.png"]
    code, _, said = run(*arguments)
    assert code == 2
    assert "a.png already exists: remove it first, or pass --overwrite" in said
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    assert run(*arguments, "--overwrite")[0] == 0
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    (tmp_path / "b.png").mkdir()
    code, _, said = run(*arguments[:-1], "b.png", "--overwrite")
    assert code == 2
    assert "b.png already exists" in said


@pytest.mark.parametrize("role", ["file", "labels"])
def test_an_image_that_is_read_is_never_replaced(run, tmp_path, role):
    pytest.importorskip("PIL.Image").fromarray(np.arange(48, dtype="u1").reshape(6, 8)).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    given = ["a.png"] if role == "file" else [sample("raw"), "--labels", "a.png"]
    code, _, said = run(*given, "--out", "a.png", "--overwrite")
    assert code == 2
    assert "choose another name for --out" in said
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-z", "99um"], "-z 99um lies outside the image: z goes from 0 to 31.2 micrometer"),
        (["-t", "1"], "-t 1: "),
        (["-c", "cell"], "expected a number or one of nucleus, background"),
        (["--plane", "xc"], "--plane xc: expected two axes out of z, y, x"),
        (["--contrast", "1", "0"], "the smaller one first"),
        (["--dpi", "-3"], "--dpi -3"),
        (["--labels", sample("probabilities")], "labels are whole numbers"),
        (["--out", "a.jpg"], "expected a name that ends in .png, .pdf or .svg"),
        (["--out", "no/a.png"], "make it first"),
    ],
)
def test_wrong_arguments_are_bad_input_and_leave_nothing(run, tmp_path, arguments, message):
    out = [] if "--out" in arguments else ["--out", "a.png"]
    code, _, said = run(*PROBABILITIES, *out, *arguments)
    assert code == (1 if "no/a.png" in arguments else 2)
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_the_extra_is_named_if_matplotlib_is_missing(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, said = run(sample("raw"), "--out", "a.png")
    assert code == 1
    assert "pip install 'ilastik_lazy[plot]'" in said
