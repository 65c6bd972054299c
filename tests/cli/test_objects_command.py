"""``ilastik-lazy objects``: many files into one table, whatever happens to one of them or to the process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.cli import main
from ilastik_lazy.cli.batch.names import expanded
from ilastik_lazy.cli.objects.files import paired
from ilastik_lazy.demo import sample
from ilastik_lazy.errors import ArgumentError, MetadataWarning
from ilastik_lazy.storage import isolation
from ilastik_lazy.storage.folders import hold_lock, release_lock
from ilastik_lazy.tables import open_table
from tests.support.children import run_command, run_forked
from tests.support.faults import LONG
from tests.support.makers import write_hdf5_export

NUCLEUS = ("--project", "nuclei.ilp", "--class", "nucleus")


def parts(folder, count, *, raw=False):
    """So many exports, each a part of the sample."""
    (folder / "exports").mkdir()
    shutil.copy(sample("project"), folder / "nuclei.ilp")
    with warnings.catch_warnings():
        # These files have no place for an origin.
        warnings.simplefilter("ignore", MetadataWarning)
        for k in range(count):
            part = {"x": slice(4 * k, 4 * k + 60), "y": slice(0, 70)}
            probabilities = il.open_dataarray(sample("probabilities")).isel(part)
            il.to_ilastik(probabilities, folder / f"exports/cells_{k}_Probabilities.h5")
            if raw:
                il.to_ilastik(il.open_dataarray(sample("raw")).isel(part), folder / f"exports/cells_{k}.h5")


@pytest.fixture(scope="module")
def three_exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three_exports")
    parts(folder, 3, raw=True)
    return folder


@pytest.fixture
def folder(three_exports, tmp_path, monkeypatch):
    shutil.copytree(three_exports, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Exit code and output of the command in this process."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["objects", *map(str, arguments)])
        written = capsys.readouterr()
        return ended.value.code, written.out, written.err

    return call


def expected(name, intensity=None, **options):
    nuclei = il.open_dataarray(name, project="nuclei.ilp").sel(c="nucleus")
    return il.measure_objects(il.label_objects(nuclei, **options), intensity)


def of(table, name):
    return table[table["source"] == name].drop(columns=["source", "length_unit", "area_unit"]).reset_index(drop=True)


# --- one table of many files


def test_of_20_exports_the_damaged_one_is_named_and_19_are_in_the_table(tmp_path):
    parts(tmp_path, 20)
    damaged = tmp_path / "exports" / "cells_7_Probabilities.h5"
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    result = run_command("objects", "exports/*.h5", *NUCLEUS, "--out", "cells.csv", cwd=tmp_path)
    assert result.returncode == 1
    assert "cells_7_Probabilities.h5 cannot be opened" in result.stderr
    assert result.stderr.splitlines()[-1] == (
        "ilastik-lazy: error: 1 of 20 files could not be measured; run the same command with --resume to retry them"
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 20
    assert lines[0].startswith("exports/cells_0_Probabilities.h5: ")
    assert lines[10].startswith("exports/cells_11_Probabilities.h5: ")  # by number, and without the seventh
    table = open_table(tmp_path / "cells.csv")
    assert lines[-1] == f"cells.csv: {len(table)} objects of 19 files"
    assert table["source"].nunique() == 19
    assert "exports/cells_7_Probabilities.h5" not in set(table["source"])


def test_a_damaged_chunk_fails_its_file_alone_and_leaves_no_rows_of_it(folder, run):
    path = folder / "exports" / "cells_1_Probabilities.h5"
    data = np.random.default_rng(0).random((40, 70, 60, 2), "f4")
    write_hdf5_export(path, data, axes="zyxc", chunks=(10, 70, 60, 1), filters="gzip")
    content = bytearray(path.read_bytes())
    for k in range(1, 16, 2):  # in the middle of each of the eight chunks
        middle = k * len(content) // 16
        content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    code, _, errors = run("exports/*_Prob*.h5", *NUCLEUS, "--out", "cells.csv")
    assert code == 1
    assert "cells_1_Probabilities.h5" in errors
    assert set(open_table("cells.csv")["source"]) == {f"exports/cells_{k}_Probabilities.h5" for k in (0, 2)}


@pytest.mark.parametrize("out", ["cells.csv", "cells.parquet"])
def test_the_table_is_that_of_python(folder, run, out):
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pip install 'ilastik_lazy[parquet]'")
    code, _, errors = run("exports/*_Prob*.h5", *NUCLEUS, "--intensity", "exports/*.h5", "--out", out)
    assert code == 0, errors
    table = open_table(out)
    for k in range(3):
        name = f"exports/cells_{k}_Probabilities.h5"
        made = expected(name, f"exports/cells_{k}.h5")
        pd.testing.assert_frame_equal(of(table, name), made, check_exact=True)
        assert table.attrs["units"] == made.attrs["units"]
    assert set(table["area_unit"]) == {"micrometer^3"}


OPTIONS = {
    "threshold": (("--threshold", 0.7), {"threshold": 0.7}),
    "core": (("--threshold", 0.4, "--core", 0.95), {"threshold": 0.4, "core": 0.95}),
    "smooth": (("--smooth", 1.5), {"smooth": 1.5}),
    "smooth by axis": (("--smooth", "y=1,x=2"), {"smooth": {"y": 1, "x": 2}}),
    "sizes": (("--min-size", 3, "--max-size", 9), {"min_size": 3, "max_size": 9}),
    "connectivity": (("--connectivity", 3), {"connectivity": 3}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_those_of_python(folder, run, name):
    given, options = OPTIONS[name]
    source = "noise_Probabilities.h5"
    noise = np.random.default_rng(0).random((8, 20, 20, 2), "f4")
    write_hdf5_export(Path(source), noise, axes="zyxc", chunks=(4, 20, 20, 1), filters="gzip")
    code, _, errors = run(source, *NUCLEUS, *given, "--out", "cells.csv")
    assert code == 0, errors
    made = expected(source, **options)
    pd.testing.assert_frame_equal(of(open_table("cells.csv"), source), made, check_exact=True)
    assert not made.equals(expected(source))


def test_properties_are_chosen_by_name(folder, run):
    code, _, errors = run(
        "exports/cells_0_Probabilities.h5", "--class", 1, "--properties", "area,extent", "--out", "a.csv"
    )
    assert code == 0, errors
    assert list(open_table("a.csv")) == ["source", "label", "area", "extent", "length_unit", "area_unit"]
    code, _, errors = run("exports/cells_0_Probabilities.h5", "--class", 1, "--properties", "size", "--out", "b.csv")
    assert code == 2
    assert "--properties size: expected some of num_pixels, area" in errors
    errors = run("exports/cells_0_Probabilities.h5", *NUCLEUS, "--properties", "mean_intensity")[2]
    assert "--properties mean_intensity (did you mean intensity_mean?): expected some of" in errors


# --- kinds of images


def test_classes_of_a_segmentation_and_the_map_have_the_same_objects(folder, run):
    assert run(sample("segmentation"), *NUCLEUS, "--out", "a.csv")[0] == 0
    made = il.measure_objects(il.label_objects(il.classify(sample("probabilities")), classes=[1]))
    pd.testing.assert_frame_equal(of(open_table("a.csv"), sample("segmentation")), made, check_exact=True)


def test_ids_are_measured_as_they_are(folder, run):
    ids = xr.DataArray(np.array([[0, 7, 7], [0, 0, 9]], "u4"), dims=("y", "x"))
    il.to_ilastik(ids, "a_Object Identities.h5")
    code, out, errors = run("a_Object Identities.h5", "--out", "a.csv")
    assert (code, out.splitlines()[0]) == (0, "a_Object Identities.h5: 2 objects"), errors
    table = open_table("a.csv")
    assert table[["label", "num_pixels"]].to_numpy().tolist() == [[7, 2], [9, 1]]
    assert set(table["length_unit"]) == {"voxel"}
    assert "units" not in table.attrs
    code, _, errors = run("a_Object Identities.h5", "--min-size", 2)
    assert code == 2
    assert "omit --min-size" in errors


def test_settings_of_a_project_find_its_objects(folder, run):
    shutil.copy("nuclei.ilp", "objects.ilp")
    with h5py.File("objects.ilp", "a") as file:
        file["ThresholdTwoLevels/LowThreshold"], file["ThresholdTwoLevels/MinSize"] = 0.6, 50
    source = "exports/cells_0_Probabilities.h5"
    assert run(source, "--project", "objects.ilp", "--out", "a.csv")[0] == 0
    made = il.measure_objects(il.label_objects(source, project="objects.ilp"))
    pd.testing.assert_frame_equal(of(open_table("a.csv"), source), made, check_exact=True)
    # With a class, the project only names it.
    assert run(source, "--project", "objects.ilp", "--class", "nucleus", "--out", "b.csv")[0] == 0
    pd.testing.assert_frame_equal(of(open_table("b.csv"), source), expected(source), check_exact=True)


REFUSED = {
    "no class": (("exports/cells_0_Probabilities.h5",), "has 2 classes: say which one is objects, --class 1 or"),
    "no such class": (("exports/cells_0_Probabilities.h5", *NUCLEUS[:2], "--class", "x"), "has nucleus, background"),
    "two classes of a map": (("exports/cells_0_Probabilities.h5", "--class", 1, "--class", 2), "pass --class once"),
    "class of a segmentation": ((sample("segmentation"),), "say which are objects"),
    "threshold of a segmentation": ((sample("segmentation"), "--class", 1, "--threshold", 0.3), "omit --threshold"),
    "raw image": (("exports/cells_0.h5",), "numbers of unknown meaning (uint8): pass --threshold"),
    "percent": (
        ("exports/cells_0_Probabilities.h5", "--class", 1, "--threshold", 50),
        "holds probabilities, expected 0 to 1: 50 percent are 0.5",
    ),
    "core below": (("exports/cells_0_Probabilities.h5", "--class", 1, "--core", 0.1), "--core 0.1: expected at least"),
    "smooth": (("exports/cells_0_Probabilities.h5", "--class", 1, "--smooth", "a"), "--smooth a: expected"),
    "resume nothing": (("exports/cells_0_Probabilities.h5", "--class", 1, "--resume"), "of --out: name it"),
    "labels": (
        ("exports/cells_0_Probabilities.h5", "--class", 1, "--labels", "a.h5"),
        "choose a name that ends in .zarr",
    ),
    "ending": (("exports/cells_0_Probabilities.h5", "--class", 1, "--out", "a.xls"), "ends in .csv or .parquet"),
    "twice": (("exports/cells_0_Probabilities.h5", "exports/*.h5"), "is named twice"),
    "no file": (("exports/*.tif",), "no file matches"),
    "sizes differ": (
        ("exports/cells_0_Probabilities.h5", "--class", 1, "--intensity", sample("raw")),
        "must show the same voxels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_what_to_do(folder, run, name):
    given, says = REFUSED[name]
    code, _, errors = run(*given)
    assert code == 2
    assert says in errors
    assert "Traceback" not in errors


# --- which image brightness is measured in


def test_images_are_matched_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("img_1.tif", "img_10.tif", "img_2.ome.tif", "other.tif"):
        (tmp_path / name).touch()
    sources = ["m/img_10_Probabilities.h5", "m/img_1_Probabilities.h5", "m/img_2-data_Probabilities.h5"]
    assert paired(sources, ["*.tif"]) == ["img_10.tif", "img_1.tif", "img_2.ome.tif"]
    assert paired(["a/x_Prob.h5", "b/x_Prob.h5"], ["a/x.h5", "b/x.h5"]) == ["a/x.h5", "b/x.h5"]
    assert paired(["a.h5", "b.h5"], []) == [None, None]
    assert paired(["a.h5"], ["r.tif"]) == ["r.tif"]
    assert paired(["a.h5", "b.h5"], ["r1.tif", "r2.tif"]) == ["r1.tif", "r2.tif"]


@pytest.mark.parametrize(
    ("sources", "images", "says"),
    [
        (["a_P.h5", "b_P.h5"], ["a.tif", "c.tif"], "no image of --intensity fits b_P.h5"),
        (["a_P.h5", "b_P.h5"], ["r.tif"], "no image of --intensity fits a_P.h5"),
        (["m/a_P.h5", "m/b_P.h5"], ["r/a.tif", "s/a.tif", "r/b.tif"], "r/a.tif and s/a.tif, and both fit m/a_P.h5"),
    ],
)
def test_images_that_do_not_match_are_refused(sources, images, says):
    with pytest.raises(ArgumentError, match="--intensity") as refused:
        paired(sources, images)
    assert says in str(refused.value)


def test_patterns_are_many_files_in_the_order_of_their_numbers(folder):
    (folder / "exports" / "cells_10_Probabilities.h5").touch()
    found = expanded(["exports/*_Prob*.h5/exported_data", "./nuclei.ilp"])
    assert found[2:] == [
        "exports/cells_2_Probabilities.h5/exported_data",
        "exports/cells_10_Probabilities.h5/exported_data",
        "nuclei.ilp",
    ]


def test_a_file_by_two_paths_is_counted_once(folder):
    with pytest.raises(ArgumentError, match="is named twice: name each file once"):
        expanded(["exports/cells_2_Probabilities.h5", str(folder / "exports" / "cells_2_Probabilities.h5")])


# --- stopped, and continued

COUNTED = """
import os, signal, sys
from ilastik_lazy.cli import main
from ilastik_lazy.cli.objects import table
kept, left = table._write_whole, int(sys.argv.pop(1))
def write(path, parts):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), {signal})
    kept(path, parts)
table._write_whole = write
signal.signal(signal.SIGINT, signal.default_int_handler)
main(sys.argv[1:])
"""


def stopped(folder, writes, how, *arguments):
    """The command, which is sent a signal before its so-manieth write."""
    code = COUNTED.replace("{signal}", how)
    return run_forked(code, writes, "objects", *arguments, cwd=folder)


# Each file is two writes: the table, and its record; an empty record comes first.  One death at each kind of write,
# and at all of them with ILASTIK_LAZY_LONG=1.
@pytest.mark.parametrize(("writes", "files"), [(2, 0), (3, 1), *([(1, 0), (4, 1), (5, 2), (6, 2)] * LONG)])
def test_a_killed_run_loses_one_file_at_most_and_is_continued_to_the_same_table(folder, run, writes, files):
    arguments = ("exports/*_Prob*.h5", *NUCLEUS, "--out", "a.csv")
    assert stopped(folder, writes, "signal.SIGKILL", *arguments).returncode == -signal.SIGKILL
    if files:
        assert open_table("a.csv")["source"].nunique() == files
    code, out, errors = run(*arguments, "--resume")
    assert code == 0, errors
    known = max(0, writes - 2) // 2
    assert ("measured by an earlier run" in out) == (known > 0)
    assert sum(" objects" in line for line in out.splitlines()) == 3 - known + 1
    assert run(*arguments[:-1], "whole.csv")[0] == 0
    assert Path("a.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert sorted(os.listdir()) == [
        "a.csv", "a.csv.resume.json", "exports", "nuclei.ilp", "whole.csv", "whole.csv.resume.json",
    ]  # fmt: skip


def test_an_interrupted_run_says_how_to_go_on(folder):
    result = stopped(folder, 4, "signal.SIGINT", "exports/*_Prob*.h5", *NUCLEUS, "--out", "a.csv")
    assert result.returncode == 130, result.stderr
    assert result.stderr.splitlines()[-1] == (
        "ilastik-lazy: stopped; a.csv has 1 file: run the same command with --resume to continue"
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("out", ["a.csv", "a.parquet"])
def test_a_repaired_file_comes_to_its_place_and_a_changed_one_is_measured_again(folder, run, out):
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pip install 'ilastik_lazy[parquet]'")
    arguments = ("exports/*_Prob*.h5", *NUCLEUS, "--out")
    path = folder / "exports" / "cells_1_Probabilities.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])
    assert run(*arguments, out)[0] == 1
    path.write_bytes(whole)
    shutil.copy("exports/cells_0_Probabilities.h5", "exports/cells_2_Probabilities.h5")
    code, text, errors = run(*arguments, out, "--resume")
    assert code == 0, errors
    assert "1 file measured by an earlier run" in text
    assert run(*arguments, f"whole_{out}")[0] == 0
    pd.testing.assert_frame_equal(open_table(out), open_table(f"whole_{out}"), check_exact=True)


def test_a_table_is_not_replaced_and_not_continued_with_other_settings(folder, run):
    arguments = ("exports/cells_0_Probabilities.h5", *NUCLEUS, "--out", "a.csv")
    assert run(*arguments)[0] == 0
    before = Path("a.csv").read_bytes()
    code, _, errors = run(*arguments)
    assert (code, "continue it with --resume" in errors) == (2, True)
    code, _, errors = run(*arguments, "--resume", "--min-size", 9)
    assert code == 1
    assert "a.csv was made without --min-size, and this command is with --min-size 9" in errors
    os.remove("a.csv.resume.json")
    code, _, errors = run(*arguments, "--resume")
    assert code == 1
    assert "cannot be continued, as its record a.csv.resume.json is missing" in errors
    assert Path("a.csv").read_bytes() == before


def test_a_table_that_another_process_writes_is_left_alone(folder, run):
    arguments = ("exports/cells_0_Probabilities.h5", *NUCLEUS, "--out", "a.csv")
    held = hold_lock("a.csv.lock")
    code, _, errors = run(*arguments)
    assert (code, "another process is writing a.csv: wait for it" in errors) == (1, True)
    assert not Path("a.csv").exists()
    release_lock(held)  # as that of a process that was killed, whose file stays
    assert run(*arguments)[0] == 0
    assert not Path("a.csv.lock").exists()


def test_a_file_with_other_columns_fails_alone(folder, run):
    il.to_ilastik(il.open_dataarray("exports/cells_0_Probabilities.h5").isel(z=3), "flat_Probabilities.h5")
    code, _, errors = run("exports/cells_0_Probabilities.h5", "flat_Probabilities.h5", "--class", 1, "--out", "a.csv")
    assert code == 1
    assert "flat_Probabilities.h5 has other columns than exports/cells_0_Probabilities.h5 (bbox_z_max" in errors
    assert open_table("a.csv")["source"].nunique() == 1


# --- label images, and tables as others read them


def test_label_images_have_the_ids_of_the_table(folder, run):
    arguments = ("exports/*_Prob*.h5", *NUCLEUS, "--labels", "objects", "--out", "a.csv")
    assert run(*arguments)[0] == 0
    table = open_table("a.csv")
    for k in range(3):
        labels = il.open_dataarray(f"objects/cells_{k}_Probabilities_objects.zarr")
        rows = table[table["source"] == f"exports/cells_{k}_Probabilities.h5"]
        sizes = np.bincount(labels.values.ravel())[1:]
        np.testing.assert_array_equal(sizes, rows["num_pixels"])
        painted = il.paint(labels, rows, "num_pixels")
        assert float(painted.max()) == rows["num_pixels"].max()
    assert run(*arguments, "--resume")[0] == 0
    code, _, errors = run(*arguments[:-1], "b.csv")
    assert code == 2
    assert "objects/cells_0_Probabilities_objects.zarr already exists: remove it first" in errors


@pytest.mark.parametrize("what", ["folder", "chunk", "bytes"])
def test_a_label_image_that_is_gone_or_damaged_is_written_again(folder, run, what):
    arguments = ("exports/*_Prob*.h5", *NUCLEUS, "--labels", "objects", "--out", "a.csv")
    assert run(*arguments)[0] == 0
    table, image = Path("a.csv").read_bytes(), Path("objects/cells_1_Probabilities_objects.zarr")
    values, chunk = il.open_dataarray(image).values, image / "scale0/image/c/0/0/0"
    if what == "folder":
        shutil.rmtree(image)
    elif what == "chunk":
        chunk.unlink()
    else:
        chunk.write_bytes(bytes(chunk.stat().st_size))
    code, out, errors = run(*arguments, "--resume")
    assert code == 0, errors
    assert "2 files measured by an earlier run" in out
    np.testing.assert_array_equal(il.open_dataarray(image).values, values)
    assert Path("a.csv").read_bytes() == table
    assert "3 files measured by an earlier run" in run(*arguments, "--resume")[1]


def test_one_file_has_its_label_image_where_it_is_named(folder, run):
    assert run("exports/cells_0_Probabilities.h5", "--class", 1, "--labels", "one.zarr")[0] == 0
    made = il.label_objects(il.open_dataarray("exports/cells_0_Probabilities.h5").isel(c=0))
    np.testing.assert_array_equal(il.open_dataarray("one.zarr").values, made.values)


def test_frames_have_objects_of_their_own(folder, run):
    masks = np.zeros((2, 1, 6, 8, 1), "f4")
    masks[0, 0, 1:3, 1:3], masks[1, 0, 2, 5], masks[1, 0, 4, 1:4] = 1, 1, 1
    write_hdf5_export(Path("film_Probabilities.h5"), masks, axes="tzyxc", chunks=(1, 1, 6, 8, 1))
    assert run("film_Probabilities.h5", "--threshold", 0.5, "--labels", "film.zarr", "--out", "a.csv")[0] == 0
    table = open_table("a.csv")
    assert table[["timestep", "label", "num_pixels"]].to_numpy().tolist() == [[0, 1, 4], [1, 1, 1], [1, 2, 3]]
    painted = il.paint(il.open_dataarray("film.zarr"), table, "num_pixels")
    assert [int(frame.sum()) for frame in painted] == [16, 1 + 9]


def test_ids_and_frames_are_those_of_the_whole_series(tmp_path, run):
    ids = np.array([[[0, 1, 2]], [[1, 1, 0]], [[2, 0, 1]]], "u2")
    il.to_ilastik(xr.DataArray(ids, dims=tuple("tyx")), tmp_path / "a_Object Identities.h5")
    made = ("--labels", tmp_path / "a.zarr", "--unique-ids", "--select", "t=1:3", "--out", tmp_path / "a.csv")
    assert run(tmp_path / "a_Object Identities.h5", *made)[0] == 0
    table = open_table(tmp_path / "a.csv")
    rows = table[["timestep", "label", "num_pixels"]].values.tolist()
    assert rows == [[1, 100001, 2], [2, 200001, 1], [2, 200002, 1]]
    assert il.open_dataarray(tmp_path / "a.zarr").values.tolist() == [[[100001, 100001, 0]], [[200002, 0, 200001]]]
    written = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["ome"]["image-label"]
    assert [row["label-value"] for row in written["properties"]] == table["label"].tolist()


def test_a_conversion_takes_the_table(folder, run):
    source = "exports/cells_0_Probabilities.h5"
    assert run(source, *NUCLEUS, "--labels", "a.zarr", "--out", "a.csv")[0] == 0
    report = il.to_ome_zarr(il.open_dataarray("a.zarr"), "b.zarr", table=open_table("a.csv"))
    assert report.levels
    attributes = json.loads(Path("b.zarr/zarr.json").read_text())["attributes"]["ome"]
    ids = [entry["label-value"] for entry in attributes["image-label"]["properties"]]
    assert ids == open_table("a.csv")["label"].tolist()


def test_the_kind_is_a_setting(folder, run):
    np.save("a.npy", np.array([[1, 1, 0], [0, 2, 2]], "u1"))
    arguments = ("a.npy", "--axes", "yx", "--out", "a.csv", "--kind")
    assert run(*arguments, "object identities")[0] == 0
    code, _, errors = run(*arguments, "segmentation", "--class", 1, "--resume")
    assert code == 1
    assert "a.csv was made without --class, and this command is with --class 1" in errors
    assert open_table("a.csv")["num_pixels"].tolist() == [2, 2]


def test_a_file_without_objects_has_no_rows_and_is_not_measured_again(folder, run):
    arguments = ("exports/*_Prob*.h5", *NUCLEUS, "--min-size", 10**6, "--out", "a.csv")
    code, out, _ = run(*arguments)
    assert code == 0
    assert "exports/cells_0_Probabilities.h5: 0 objects" in out
    assert len(open_table("a.csv")) == 0
    assert "3 files measured by an earlier run" in run(*arguments, "--resume")[1]


# --- files from strangers


@pytest.fixture
def asked(monkeypatch):
    """The trust and the name of each file that the HDF5 library sees, as they are asked for."""
    found = []
    kept = isolation.ask_hdf5
    for name, module in list(sys.modules.items()):
        if name.startswith("ilastik_lazy") and getattr(module, "ask_hdf5", None) is kept:

            def ask(trust, path, *arguments, **options):
                found.append((trust, os.path.basename(path)))
                return kept(trust, path, *arguments, **options)

            monkeypatch.setattr(module, "ask_hdf5", ask)
    return found


def test_untrusted_files_are_seen_by_the_library_in_another_process_only(folder, run, asked):
    source = "exports/cells_0_Probabilities.h5"
    code, _, errors = run(
        source, *NUCLEUS, "--intensity", "exports/cells_0.h5", "--trust", "untrusted", "--out", "a.csv"
    )
    assert code == 0, errors
    assert {"cells_0_Probabilities.h5", "cells_0.h5", "nuclei.ilp"} <= {name for _, name in asked}
    assert {trust for trust, _ in asked} == {"untrusted"}
    pd.testing.assert_frame_equal(
        of(open_table("a.csv"), source), expected(source, "exports/cells_0.h5"), check_exact=True
    )


def test_the_settings_of_an_untrusted_project_are_read_in_another_process(folder, run, asked):
    with h5py.File("nuclei.ilp", "a") as file:
        file["ThresholdTwoLevels/LowThreshold"], file["ThresholdTwoLevels/MinSize"] = 0.6, 50
    source = "exports/cells_0_Probabilities.h5"
    code, _, errors = run(source, "--project", "nuclei.ilp", "--trust", "untrusted", "--out", "a.csv")
    assert code == 0, errors
    labels = il.label_objects(source, project="nuclei.ilp", trust="untrusted")
    table = il.measure_objects(labels, source, project="nuclei.ilp", trust="untrusted", properties=["num_pixels"])
    assert {trust for trust, _ in asked} == {"untrusted"}
    assert {name for _, name in asked} == {"cells_0_Probabilities.h5", "nuclei.ilp"}
    assert open_table("a.csv")["num_pixels"].tolist() == table["num_pixels"].tolist()


def test_names_of_files_cannot_write_to_the_terminal_or_shift_columns(folder, run):
    name = 'a,"b"\x1b[31m\n_Probabilities.h5'
    shutil.copy("exports/cells_0_Probabilities.h5", name)
    code, out, errors = run(name, "--class", 1, "--out", "a.csv")
    assert code == 0, errors
    assert "\x1b" not in out + errors
    assert set(open_table("a.csv")["source"]) == {name}


def test_without_pyarrow_parquet_names_the_extra(folder, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, errors = run("exports/cells_0_Probabilities.h5", "--class", 1, "--out", "a.parquet")
    assert code == 1
    assert "pip install 'ilastik_lazy[parquet]'" in errors
