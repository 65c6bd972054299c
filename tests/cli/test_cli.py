"""The command line, run as people run it: in a process of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.cli import main
from ilastik_lazy.demo import sample
from tests.support.children import run_command as run


def exported(name):
    with h5py.File(sample(name)) as file:
        return file["exported_data"][...]


def test_info_says_what_a_person_asks():
    result = run("info", sample("probabilities"), "--project", sample("project"))
    assert result.returncode == 0, result.stderr
    for text in (
        "exported_data",
        "probabilities, float32",
        "z 40  y 128  x 160  c 2",
        "z 0.8 micrometer",
        "nucleus, background",
    ):
        assert text in result.stdout


def test_info_as_json_is_json():
    (entry,) = json.loads(run("info", "--json", sample("segmentation")).stdout)
    assert entry["dims"] == ["z", "y", "x", "c"]
    assert entry["shape"] == [40, 128, 160, 1]
    assert entry["axes"][0] == {"name": "z", "scale": 0.8, "translation": 0.0, "unit": "micrometer"}
    assert entry["kind"] == "segmentation"


def test_info_lists_every_image_of_a_file(tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["volume/a"] = np.zeros((10, 20), "u1")
        file["volume/b"] = np.zeros((10, 20, 30), "f4")
    result = run("info", tmp_path / "two.h5")
    assert "volume/a" in result.stdout
    assert "volume/b" in result.stdout
    assert "axes guessed from the shape" in result.stdout
    assert result.stderr == ""  # the table says it already


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["info", "nowhere.h5"], 2, "no such file: nowhere.h5"),
        (["info", "text.h5"], 2, "is not an HDF5 file"),
        (["info", "text.txt"], 2, "no format that ilastik writes images in"),
        (["reduce", "line.h5", "mean"], 2, "holds no image"),
        (["convert", "two.h5", "out.zarr"], 2, "name one with --dataset"),
        (["convert", "one.h5", "taken"], 2, "remove it, or pass --overwrite"),
        (["convert", "one.h5", "out.zarr", "--memory", "1kB"], 2, "would do"),
        (["convert", "one.h5", "out.zarr", "--memory", "lots"], 2, "expected a size such as"),
        (["convert", "one.h5", "one.h5/out.zarr"], 2, "one.h5, which is a file"),
        (["reduce", "one.h5", "mean", "--over", "t"], 2, "'t'"),
        (["reduce", "one.h5", "median"], 2, "median"),
        (["reduce", "one.h5", "mean", "--over", "z", "--out", "mean.csv"], 2, ".npy, .zarr, .tif"),
        (["info", "one.h5", "--axes", "zzy"], 2, "names an axis twice"),
        (["info", "one.h5", "--project", "two.h5"], 2, "is not an ilastik project"),
    ],
)  # fmt: skip
def test_errors_take_one_line_and_no_traceback(tmp_path, arguments, code, says):
    (tmp_path / "text.h5").write_text("<html>")
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "taken").mkdir()
    with h5py.File(tmp_path / "line.h5", "w") as file:
        file["line"] = np.zeros(4)
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["a"] = np.zeros((8, 9, 10), "f4")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = np.zeros((8, 9)), np.zeros((8, 9))
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert says in result.stderr
    assert len([line for line in result.stderr.splitlines() if "error:" in line.lower()]) == 1
    assert not (tmp_path / "out.zarr").exists()


def test_convert_writes_an_image_with_class_names(tmp_path):
    result = run("convert", sample("probabilities"), tmp_path / "o.zarr", "--project", sample("project"), "--verify")
    assert result.returncode == 0, result.stderr
    assert "verified" in result.stdout
    with xr.open_datatree(tmp_path / "o.zarr", engine="zarr", consolidated=False) as tree:
        image = tree["scale0/image"]
        np.testing.assert_array_equal(image.transpose("z", "y", "x", "c").values, exported("probabilities"))
        assert [str(name) for name in image.coords["c"].values] == ["nucleus", "background"]


def test_dry_run_writes_nothing(tmp_path):
    result = run("convert", sample("probabilities"), tmp_path / "o.zarr", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "shards: 1 of" in result.stdout
    assert "\n  gzip chunks are moved as they are\n" in result.stdout
    assert "of memory" in result.stdout
    assert re.search(r"about [\d.]+ m?s and [\d.]+ .B on disk, an estimate", result.stdout)
    assert list(tmp_path.iterdir()) == []


def test_convert_takes_a_table_of_the_objects(tmp_path):
    with h5py.File(tmp_path / "cells_Object Identities.h5", "w") as file:
        file["exported_data"] = np.ones((4, 5, 1), np.uint32)
    (tmp_path / "cells.csv").write_text("object_id,timestep,labelimage_oid,Size\n0,0,1,20\n")
    image, table = tmp_path / "cells_Object Identities.h5", tmp_path / "cells.csv"
    result = run("convert", image, tmp_path / "o.zarr", "--table", table, "--quiet")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "o.zarr" / "zarr.json").read_text())["attributes"]["ome"]["image-label"]
    assert found["properties"] == [{"label-value": 1, "object_id": 0, "timestep": 0, "Size": 20}]


def test_convert_writes_the_version_that_older_programs_read(tmp_path):
    result = run("convert", sample("probabilities"), tmp_path / "o.zarr", "--ome-version", "0.4", "--quiet")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "o.zarr" / ".zattrs").read_text())["multiscales"][0]["version"] == "0.4"


@pytest.mark.parametrize("operation", ["mean", "max", "min", "sum", "std"])
def test_reduce_gives_what_numpy_gives(tmp_path, operation):
    out = tmp_path / "result.npy"
    result = run("reduce", sample("probabilities"), operation, "--over", "z", "--out", out)
    assert result.returncode == 0, result.stderr
    expected = getattr(exported("probabilities").astype("f8"), operation)(0)
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-6, atol=1e-7)


def test_reduce_prints_a_table_with_names():
    result = run("reduce", sample("probabilities"), "mean", "--over", "zyx", "--project", sample("project"))
    assert result.returncode == 0, result.stderr
    values = dict(re.findall(r"^(nucleus|background)\s+([\d.]+)$", result.stdout, re.MULTILINE))
    expected = exported("probabilities").astype("f8").mean((0, 1, 2))
    np.testing.assert_allclose([float(values["nucleus"]), float(values["background"])], expected, rtol=1e-5)


def test_reduce_to_zarr_keeps_coordinates(tmp_path):
    result = run("reduce", sample("probabilities"), "max", "--over", "z", "--out", tmp_path / "m.zarr")
    assert result.returncode == 0, result.stderr
    with xr.open_zarr(tmp_path / "m.zarr", consolidated=False) as found:
        (array,) = found.data_vars.values()
        np.testing.assert_array_equal(array.values, exported("probabilities").max(0))
        assert array.coords["y"].attrs["units"] == "micrometer"
    assert "y 0.25 micrometer  x 0.25 micrometer" in run("info", tmp_path / "m.zarr").stdout


def test_histogram_counts_every_voxel():
    result = run("reduce", sample("segmentation"), "histogram")
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^[\d.]+ +(\d+) +([\d.e-]+)$", result.stdout, re.MULTILINE)
    assert sum(float(share) for _, share in rows) == pytest.approx(1, abs=1e-5)
    assert sum(int(count) for count, _ in rows) == exported("segmentation").size


def test_histogram_of_classes_names_them():
    result = run("reduce", sample("segmentation"), "histogram", "--project", sample("project"))
    assert re.search(r"^1 +nucleus +46473 +0\.056", result.stdout, re.MULTILINE), result.stdout


def test_a_large_result_is_refused_before_anything_is_read(tmp_path):
    for options in ([], ["--out", tmp_path / "nowhere" / "mean.npy"]):
        result = run("reduce", sample("probabilities"), "mean", "--over", "z", *options)
        assert result.returncode in (1, 2)
        assert "--out mean.npy" in result.stderr or "make it first" in result.stderr
        assert "%" not in result.stderr  # no progress: nothing was read


def test_info_goes_on_after_a_file_that_is_not_there():
    result = run("info", sample("raw"), "nowhere.h5", sample("segmentation"))
    assert result.returncode == 2
    assert "nuclei.h5" in result.stdout
    assert "nuclei_Simple_Segmentation.h5" in result.stdout
    assert "no such file: nowhere.h5" in result.stderr


def test_a_project_as_file_says_what_it_is_for():
    result = run("info", sample("project"))
    assert result.returncode == 0, result.stderr
    for text in (
        "Pixel Classification",
        "nucleus, background",
        "Raw Data: nuclei.h5/data: uint8, z 40",
        "labels: uint8",
    ):
        assert text in result.stdout
    assert "is a project" in run("convert", sample("project"), "x.zarr").stderr


def test_a_project_whose_images_are_elsewhere_says_so(tmp_path):
    shutil.copy(sample("project"), tmp_path / "p.ilp")
    result = run("info", tmp_path / "p.ilp")
    assert result.returncode == 0, result.stderr
    assert "nuclei.h5/data: missing" in result.stdout


def test_options_of_the_histogram_are_refused_elsewhere():
    assert run("reduce", sample("raw"), "mean", "--bins", "8").returncode == 2
    assert run("reduce", sample("raw"), "mean", "--over", "Z, y, x").returncode == 0


def test_an_interrupted_conversion_exits_with_130_and_says_how_to_go_on(tmp_path):
    path, target = tmp_path / "large.h5", tmp_path / "o.zarr"
    data = np.random.default_rng(0).random((200, 300, 300), "f4")
    with h5py.File(path, "w") as file:
        file.create_dataset("exported_data", data=data, chunks=(50, 50, 50))
    # A shell lets what it runs in the background ignore Ctrl-C, and its children inherit that.
    code = "import signal; signal.signal(2, signal.default_int_handler); from ilastik_lazy.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "convert", str(path), str(target), "--workers", "1"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not list(target.glob(".ilz/journal*/*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "ilastik-lazy: stopped; run the same command with --resume to continue"
    assert "Traceback" not in errors
    assert "continue it with ilastik-lazy convert --resume" in run("verify", target).stderr
    resumed = run("convert", path, target, "--workers", "1", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "written by an earlier run" in resumed.stdout
    np.testing.assert_array_equal(zarr.open_array(target / "scale0" / "image", mode="r")[...], data)


def test_progress_in_a_log_is_plain_lines(tmp_path):
    result = run("convert", sample("probabilities"), tmp_path / "o.zarr")
    assert "converting: 100 % of" in result.stderr
    assert "\x1b" not in result.stderr


def test_quiet_says_nothing(tmp_path):
    result = run("convert", "-q", sample("probabilities"), tmp_path / "o.zarr")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_version():
    assert il.__version__ in run("--version").stdout


def test_info_needs_neither_xarray_nor_dask_array_nor_zarr():
    code = (
        "import sys; from ilastik_lazy.cli import main\n"
        f"try: main(['info', {sample('probabilities')!r}, '--project', {sample('project')!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('HEAVY', sorted({'xarray', 'dask.array', 'zarr', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert "HEAVY []" in result.stdout, result.stdout + result.stderr


def test_table_says_what_is_in_it(tmp_path):
    rows = np.zeros(
        3,
        [
            ("object_id", "i8"),
            ("timestep", "i8"),
            ("labelimage_oid", "i8"),
            ("User Label", "S1"),
            ("Size in pixels", "f4"),
        ],
    )
    rows["object_id"], rows["labelimage_oid"], rows["Size in pixels"] = [0, 1, 2], [1, 2, 3], [5, 7, 9]
    with h5py.File(tmp_path / "a_table.h5", "w") as file:
        file["table"] = rows
    result = run("table", tmp_path / "a_table.h5")
    assert result.returncode == 0, result.stderr
    assert "objects: 3 rows, 5 columns" in result.stdout
    assert run("table", tmp_path / "a_table.h5", "--out", tmp_path / "a.csv").returncode == 0
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("0,0,1,")
    assert run("table", sample("raw")).returncode == 2


def test_a_table_fits_a_narrow_terminal(tmp_path, monkeypatch, capsys):
    table = pd.DataFrame({f"a feature of objects {k}": [k, 1000 * k] for k in range(6)})
    table.insert(0, "object_id", [0, 1])
    table.insert(1, "timestep", 0)
    table.insert(2, "labelimage_oid", [1, 2])
    table.to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit) as ended:
        main(["table", "a.csv"])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[1:])) <= 50  # the first line is the path
    assert "5000" in lines[-1] or "5000" in lines[-2]


def test_a_pattern_in_quotes_may_be_a_stack(tmp_path):
    for k in range(3):
        np.save(tmp_path / f"a{k}.npy", np.full((20, 30), k, np.uint8))
    result = run("convert", "-q", f"{tmp_path}/a*.npy", tmp_path / "o.zarr", "--stack", "z", "--verify")
    assert result.returncode == 0, result.stderr
    assert zarr.open_array(tmp_path / "o.zarr/scale0/image", mode="r").shape == (3, 20, 30)


@pytest.mark.parametrize("option", [("--levels", "0"), ("--workers", "0"), ("--memory", "1MB")])
def test_a_message_names_the_option_and_not_the_argument_of_python(tmp_path, option):
    result = run("convert", sample("probabilities"), tmp_path / "a.zarr", *option)
    assert result.returncode == 2
    assert f"error: {option[0]} " in result.stderr
    assert "=" not in result.stderr
