"""`--select`: the same part of an image in every command."""

import json

import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.demo import sample
from ilastik_lazy.lazy.from_xarray import as_source
from tests.support.children import run_command

PART = ("--select", "c=nucleus", "--select", "z=5um:20um", "--project", sample("project"))


def run(*arguments):
    return run_command(*arguments)


def test_a_class_and_a_range_are_converted_as_with_xarray(tmp_path):
    (tmp_path / "a").mkdir()
    result = run("convert", sample("probabilities"), tmp_path / "a" / "part.zarr", *PART, "--levels", 2, "-q")
    assert result.returncode == 0, result.stdout + result.stderr
    (tmp_path / "b").mkdir()
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    il.to_ome_zarr(prob.sel(c="nucleus", z=slice(5, 20)), tmp_path / "b" / "part.zarr", levels=2)
    documents = [json.loads((tmp_path / name / "zarr.json").read_text()) for name in ("a/part.zarr", "b/part.zarr")]
    assert documents[0]["attributes"] == documents[1]["attributes"]
    found, wanted = (il.open_dataarray(tmp_path / name) for name in ("a/part.zarr", "b/part.zarr"))
    xr.testing.assert_identical(found, wanted)
    assert (found.coords["c"].item(), found.coords["class_color"].item()) == ("nucleus", "#ffc800")


@pytest.mark.parametrize("command", ["info", "reduce", "export", "plot", "classes"])
def test_every_command_takes_the_part(command, tmp_path):
    prob = il.open_dataarray(sample("probabilities"), project=sample("project"))
    if command == "info":
        (entry,) = json.loads(run("info", sample("probabilities"), *PART, "--json").stdout)
        assert (entry["shape"], entry["channel_names"]) == ([19, 128, 160], ["nucleus"])
    if command == "reduce":
        result = run("reduce", sample("probabilities"), "max", *PART, "--out", tmp_path / "m.npy", "-q")
        assert result.returncode == 0, result.stdout + result.stderr
        assert np.load(tmp_path / "m.npy") == prob.sel(c="nucleus", z=slice(5, 20)).max()
    if command == "export":
        result = run("export", sample("probabilities"), tmp_path / "e.h5", *PART, "-q")
        assert result.returncode == 0, result.stdout + result.stderr
        spec = as_source(str(tmp_path / "e.h5")).spec
        assert spec.shape == (19, 128, 160)
        assert spec.axes[0].scale == 0.8
    if command == "plot":
        result = run("plot", sample("probabilities"), *PART, "--out", tmp_path / "p.png")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "z = 12.8" in result.stdout + result.stderr
    if command == "classes":
        part = ("--select", "z=0", "--project", sample("project"))
        result = run("classes", sample("segmentation"), *part, "--out", tmp_path / "c.csv", "-q")
        assert result.returncode == 0, result.stdout + result.stderr
        assert sum(map(float, [line.split(",")[3] for line in (tmp_path / "c.csv").read_text().split()[1:]])) > 0


def test_labels_beside_an_image_are_cut_with_it(tmp_path):
    result = run(
        "plot", sample("probabilities"), *PART, "--labels", sample("segmentation"), "--out", tmp_path / "p.png"
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_wrong_name_ends_with_the_names(tmp_path):
    result = run("info", sample("probabilities"), "--project", sample("project"), "--select", "c=nucleous")
    assert result.returncode
    assert "no channel 'nucleous' in c: nucleus, background (did you mean 'nucleus'?)" in (
        result.stdout + result.stderr
    )
