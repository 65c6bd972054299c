"""Many files in one command: what becomes of each, what fails, what is stopped and continued."""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings

import h5py
import numpy as np
import pytest
import zarr

from ilastik_lazy.cli import main
from ilastik_lazy.cli.batch import run as batch_run
from ilastik_lazy.errors import MetadataWarning
from ilastik_lazy.writers.ome_zarr import convert
from ilastik_lazy.writers.ome_zarr.conversion import image as conversion
from tests.support.clusters import forked_workers
from tests.support.damage import damage
from tests.support.makers import write_hdf5_export

DATA = {number: np.full((4, 8, 9), number, "u1") for number in (1, 2, 10)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files ``in/t1.h5``, ``in/t2.h5`` and ``in/t10.h5`` in the current folder."""
    (tmp_path / "in").mkdir()
    for number, data in DATA.items():
        write_hdf5_export(tmp_path / "in" / f"t{number}.h5", data, axes="zyx", chunks=(2, 4, 4), filters="gzip")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys, folder):
    def call(*arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("always", MetadataWarning)  # the command prints it
            with pytest.raises(SystemExit) as ended:
                main([*map(str, arguments)])
        written = capsys.readouterr()
        return ended.value.code, written.out, written.err

    return call


def image(path):
    return zarr.open_array(f"{path}/scale0/image", mode="r")[...]


def exported(path):
    with h5py.File(path) as file:
        return file["exported_data"][...]


MAKE = {
    "convert": (["convert"], [], "{}.zarr", image, lambda data: data),
    "export": (["export"], [], "{}.h5", exported, lambda data: data),
    "reduce": (["reduce"], ["max", "--over", "z"], "{}_max.npy", np.load, lambda data: data.max(0)),
}
every_command = pytest.mark.parametrize("command", MAKE)


@every_command
@pytest.mark.parametrize("jobs", [1, 2])
def test_one_damaged_file_does_not_end_the_rest(folder, run, command, jobs):
    first, then, name, read, expected = MAKE[command]
    damage(folder / "in" / "t2.h5")
    arguments = [*first, "in/t*.h5", *then, "--out-dir", "out", "--jobs", jobs]
    code, out, errors = run(*arguments, "--report", "r.json", "--log-file", "log.txt")
    assert code == 1, errors
    for number in (1, 10):
        np.testing.assert_array_equal(read("out/" + name.format(f"t{number}")), expected(DATA[number]))
    lines = out.splitlines()
    assert sorted(line.split(", ")[0] for line in lines[:-1]) == sorted(
        [f"in/t{number}.h5: out/{name.format(f't{number}')}" for number in (1, 10)] + ["in/t2.h5: failed"]
    )
    assert lines[-1].startswith("2 of 3 files ")
    assert errors.splitlines()[-1].startswith("ilastik-lazy: error: 1 of 3 files could not be ")
    assert "in/t2.h5" in errors
    report = json.loads((folder / "r.json").read_text())
    assert {entry["source"]: entry["status"] for entry in report["files"]} == {
        "in/t1.h5": "done", "in/t2.h5": "failed", "in/t10.h5": "done",
    }  # fmt: skip
    assert report["files"][1]["error"] == "CorruptChunkError"
    logged = (folder / "log.txt").read_text()
    assert all(f"INFO in/t{number}.h5: out/{name.format(f't{number}')}" in logged for number in (1, 10))
    assert "ERROR in/t2.h5: CorruptChunkError" in logged


@every_command
def test_resume_skips_what_is_finished(folder, run, command):
    first, then, name, read, expected = MAKE[command]
    assert run(*first, "in/t1.h5", *then, "--out-dir", "out")[0] == 0
    code, _, errors = run(*first, "in/t1.h5", "in/t2.h5", *then, "--out-dir", "out")
    assert code == 2
    assert f"1 of 2 files exist, such as out/{name.format('t1')}: pass --resume" in errors
    code, out, _ = run(*first, "in/t1.h5", "in/t2.h5", *then, "--out-dir", "out", "--resume")
    assert code == 0
    assert out.splitlines()[0] == f"in/t1.h5: out/{name.format('t1')}, made by an earlier run"
    assert "2 of 2 files" in out
    assert "1 of them by an earlier run" in out
    np.testing.assert_array_equal(read("out/" + name.format("t2")), expected(DATA[2]))


@pytest.mark.parametrize("command", ["export", "reduce"])
@pytest.mark.parametrize("what", ["the source", "the options", "the target"])
def test_what_was_made_otherwise_is_not_taken_for_finished(folder, run, command, what):
    first, then, name, read, expected = MAKE[command]
    assert run(*first, "in/t1.h5", *then, "--out-dir", "out")[0] == 0
    more = []
    if what == "the source":  # a file with an older time is another file, too
        os.utime("in/t1.h5", (2**30, 2**30))
    elif what == "the options":
        more = ["--select", "y=0:2"]
    else:
        (folder / "out" / name.format("t1")).write_bytes(b"")
    code, _, errors = run(*first, "in/t1.h5", *then, *more, "--out-dir", "out", "--resume")
    assert code == 1
    assert "was not made from" in errors
    if command == "export":
        assert run(*first, "in/t1.h5", *then, "--out-dir", "out", "--resume", "--overwrite")[0] == 0
        np.testing.assert_array_equal(read("out/" + name.format("t1")), expected(DATA[1]))


@pytest.mark.parametrize(
    "options",
    [("--out-dir", "in/t2.h5"), ("--out-dir", "new.h5"), ("--out-dir", ""), ("--report", "in/t1.h5"),
     ("--report", "notes.json"), ("--log-file", "in/t2.h5"), ("--log-file", "notes.json")],
    ids=" ".join,
)  # fmt: skip
def test_a_name_given_for_another_file_harms_no_file(folder, run, options):
    (folder / "notes.json").write_text("{}")
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    with_folder = options if options[0] == "--out-dir" else ("--out-dir", "out", *options)
    code, _, errors = run("export", "in/t1.h5", "in/t2.h5", *with_folder)
    assert code == 2, errors
    assert {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()} == before


def test_each_line_says_that_the_image_was_verified(folder, run):
    code, text, errors = run("convert", "in/*.h5", "--out-dir", "out", "--verify")
    assert code == 0, errors
    assert text.count("every voxel verified") == len(DATA)


def test_a_report_and_a_log_of_an_earlier_run_are_written_again(folder, run):
    for _ in range(2):
        code, _, errors = run(
            "convert", "in/t1.h5", "--out-dir", "out", "--overwrite", "--report", "r", "--log-file", "l"
        )
        assert code == 0, errors
    assert json.loads((folder / "r").read_text())["done"] == 1
    assert (folder / "l").read_text().count("begun") == 4


@every_command
def test_two_files_with_one_target_are_refused_before_anything_is_read(folder, run, command):
    first, then, name, *_ = MAKE[command]
    (folder / "other").mkdir()
    (folder / "other" / "t1.h5").write_bytes(b"")
    code, _, errors = run(*first, "in/t1.h5", "other/t1.h5", *then, "--out-dir", "out")
    assert code == 2
    assert f"in/t1.h5 and other/t1.h5 would both become out/{name.format('t1')}" in errors
    assert not (folder / "out").exists()


def test_a_pattern_is_many_images_and_a_stack_only_if_asked_for(folder, run):
    code, _, errors = run("convert", "in/t*.h5", "o.zarr")
    assert code == 2
    assert "3 images cannot all become o.zarr: pass --out-dir FOLDER" in errors
    assert "--stack t" in errors
    code, _, errors = run("convert", "in/t*.h5", "o.zarr", "--stack", "t", "--quiet")
    assert code == 0
    assert "t2.h5 comes before t10.h5; ilastik would sort them as text; --order text does the same" in errors
    np.testing.assert_array_equal(image("o.zarr"), np.stack(list(DATA.values())))
    assert run("convert", "in/t*.h5", "text.zarr", "--stack", "t", "--order", "text", "--quiet")[0] == 0
    np.testing.assert_array_equal(image("text.zarr")[:, 0, 0, 0], [1, 10, 2])


def test_files_that_the_shell_has_sorted_are_put_right_by_the_option_that_the_warning_names(folder, run):
    names = ["in/t1.h5", "in/t10.h5", "in/t2.h5"]
    code, _, errors = run("convert", *names, "given.zarr", "--stack", "t", "--quiet")
    assert code == 0
    assert "in/t10.h5 comes before in/t2.h5, as the files were named: pass --order natural" in errors
    np.testing.assert_array_equal(image("given.zarr")[:, 0, 0, 0], [1, 10, 2])
    assert run("convert", *names, "o.zarr", "--stack", "t", "--order", "natural", "--quiet")[::2] == (0, "")
    np.testing.assert_array_equal(image("o.zarr")[:, 0, 0, 0], [1, 2, 10])


def test_a_pattern_inside_a_file_is_its_images(folder, run):
    with h5py.File("a.h5", "w") as file:
        for number, data in DATA.items():
            file[f"t{number}/raw"] = data
    assert run("convert", "a.h5/t*/raw", "--axes", "zyx", "--out-dir", "out", "--quiet")[0] == 0
    for number, data in DATA.items():
        np.testing.assert_array_equal(image(f"out/a_t{number}_raw.zarr"), data)


def test_results_without_a_folder_are_printed_by_file(run):
    code, out, _ = run("reduce", "in/t*.h5", "max", "--quiet")
    assert (code, out) == (0, "in/t1.h5: 1\nin/t2.h5: 2\nin/t10.h5: 10\n")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stopped_command_says_how_to_go_on(folder, run, monkeypatch, sent, code, jobs):
    tried, first_is_done = batch_run._try, threading.Event()

    def stopped(work, progress, name, callback):
        if name == "in/t1.h5":
            tried(work, progress, name, callback)
            first_is_done.set()
            return
        first_is_done.wait(60)
        os.kill(os.getpid(), sent)
        while jobs == 2:  # the thread goes on until it is asked
            callback(0, 1)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = ("convert", "in/t1.h5", "in/t2.h5", "--out-dir", "out", "--jobs", jobs, "--report", "r.json")
    with monkeypatch.context() as patched:
        patched.setattr(batch_run, "_try", stopped)
        ended, _, errors = run(*arguments)
    signal.signal(signal.SIGINT, before)
    assert ended == code
    assert "stopped; 1 of 2 files converted; run the same command with --resume to continue" in errors
    statuses = [entry["status"] for entry in json.loads((folder / "r.json").read_text())["files"]]
    assert statuses == ["done", "not finished"]
    assert run(*arguments, "--resume")[0] == 0
    np.testing.assert_array_equal(image("out/t2.zarr"), DATA[2])


def test_a_running_cluster_does_the_work_if_its_address_is_given(folder, run, monkeypatch):
    distributed = pytest.importorskip("distributed")
    clients = []
    write = conversion.write_on_cluster

    def write_on_cluster(client, *rest, **named):
        clients.append(client)
        write(client, *rest, **named)

    monkeypatch.setattr(conversion, "write_on_cluster", write_on_cluster)
    with (
        forked_workers(),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
    ):
        code, _, errors = run("convert", "in/t1.h5", "o.zarr", "--scheduler", cluster.scheduler_address, "--quiet")
    assert code == 0, errors
    assert [client.status for client in clients] == ["closed"]
    np.testing.assert_array_equal(image("o.zarr"), DATA[1])


def test_an_error_of_the_system_in_one_file_does_not_end_the_rest(folder, run, monkeypatch):
    real = convert.to_ome_zarr

    def failing(source, *arguments, **options):
        if "t2.h5" in source.spec.storage.location:
            raise OSError(5, "Input/output error")
        return real(source, *arguments, **options)

    monkeypatch.setattr(convert, "to_ome_zarr", failing)
    code, out, errors = run("convert", "in/t*.h5", "--out-dir", "out")
    assert code == 1
    assert "in/t2.h5: [Errno 5] Input/output error" in errors
    assert out.splitlines()[-1].startswith("2 of 3 files converted")


def test_a_dry_run_goes_on_after_a_file_that_cannot_be_opened(folder, run):
    (folder / "in" / "t2.h5").write_bytes(b"no HDF5")
    code, out, errors = run("convert", "in/t*.h5", "--out-dir", "out", "--dry-run")
    assert code == 1
    assert "out/t1.zarr: OME-Zarr 0.5" in out
    assert "out/t10.zarr: OME-Zarr 0.5" in out
    assert "1 of 3 files could not be planned" in errors
    assert not (folder / "out").exists()


def test_a_table_belongs_to_one_image(folder, run):
    code, _, errors = run("convert", "in/t*.h5", "--out-dir", "out", "--table", "cells.csv")
    assert code == 2
    assert "belong to one image: convert it by a command of its own" in errors


def test_objects_reports_for_programs_and_logs_what_became_of_each_file(folder, run):
    (folder / "in" / "t2.h5").write_bytes(b"no HDF5")
    arguments = ["objects", "in/t*.h5", "--kind", "object identities", "--out", "all.csv"]
    code, _, _ = run(*arguments, "--report", "r.json", "--log-file", "log.txt")
    assert code == 1
    report = json.loads((folder / "r.json").read_text())
    assert [(entry["source"], entry["status"], entry.get("objects")) for entry in report["files"]] == [
        ("in/t1.h5", "done", 1), ("in/t2.h5", "failed", None), ("in/t10.h5", "done", 1),
    ]  # fmt: skip
    assert (report["done"], report["failed"]) == (2, 1)
    logged = (folder / "log.txt").read_text()
    assert "INFO in/t10.h5: 1 object" in logged
    assert "t2.h5" in logged
