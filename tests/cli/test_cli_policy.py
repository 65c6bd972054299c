"""Options of the command line that say how far a file is trusted, where it may lead, and what it holds."""

from __future__ import annotations

import os
import shutil

import h5py
import numpy as np
import pytest
import zarr

from ilastik_lazy.cli import main
from ilastik_lazy.demo import sample
from ilastik_lazy.storage import isolation
from tests.support.makers import write_hdf5_export

# Whole numbers, so that they may be classes.
DATA = np.random.default_rng(7).random((4, 24, 20, 1), "f4").round()


def run(capsys, *arguments):
    """Exit code and output of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    written = capsys.readouterr()
    return ended.value.code, written.out, written.err


@pytest.fixture
def referring(tmp_path):
    """An HDF5 file and a Zarr folder whose data lie in another folder."""
    (tmp_path / "there").mkdir()
    write_hdf5_export(tmp_path / "there" / "data.h5", DATA, chunks=(2, 12, 12, 1), filters="gzip")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = h5py.ExternalLink(str(tmp_path / "there" / "data.h5"), "exported_data")
    zarr.create_array(tmp_path / "a.zarr", shape=DATA.shape, chunks=(2, 12, 12, 1), dtype=DATA.dtype)[...] = DATA
    os.rename(tmp_path / "a.zarr" / "c", tmp_path / "there" / "c")
    (tmp_path / "a.zarr" / "c").symlink_to(tmp_path / "there" / "c")
    return tmp_path


COMMANDS = {
    "info": lambda file, out: ["info", file],
    "reduce": lambda file, out: ["reduce", file, "max", "--quiet"],
    "objects": lambda file, out: ["objects", file, "--threshold", "0.5", "--quiet"],
    "classes": lambda file, out: ["classes", file, "--kind", "segmentation", "--quiet"],
    "convert": lambda file, out: ["convert", file, out / "o.zarr", "--quiet"],
    "dry run": lambda file, out: ["convert", file, out / "o.zarr", "--dry-run"],
    "export": lambda file, out: ["export", file, out / "o.h5", "--quiet"],
    "plot": lambda file, out: ["plot", file, "--out", out / "o.png", "--overwrite", "--dpi", "20", "--quiet"],
    "verify": lambda file, out: ["verify", out / "made.zarr", file, "--quiet"],
}
every_command = pytest.mark.parametrize("command", COMMANDS)


@every_command
@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_where_a_file_may_lead_is_told_to_every_command(referring, capsys, command, name):
    if command == "verify":
        assert run(capsys, "convert", referring / "there" / "data.h5", referring / "made.zarr", "--quiet")[0] == 0
    arguments = [*COMMANDS[command](referring / name, referring), "--axes", "zyxc"]
    code, _, said = run(capsys, *arguments)
    assert code == 2
    assert "pass --allow-external FOLDER with a folder that you trust" in said
    (referring / "other").mkdir()
    allowed = ["--allow-external", referring / "other", "--allow-external", referring / "there"]
    code, out, said = run(capsys, *arguments, *allowed)
    assert code == 0, said
    if command == "reduce":
        assert float(out) == pytest.approx(float(DATA.max()))


def test_only_folders_can_be_allowed(referring, capsys):
    code, _, said = run(capsys, "reduce", referring / "a.h5", "max", "--allow-external", referring / "nowhere")
    assert code == 2
    assert "--allow-external names" in said
    assert "not a folder" in said


@pytest.fixture
def children(monkeypatch):
    """The processes that were started, or used again, for files from strangers."""
    used = []

    def exchanged(*arguments):
        used.append(arguments)
        return real(*arguments)

    real = isolation._exchanged
    monkeypatch.setattr(isolation, "_exchanged", exchanged)
    return used


@every_command
def test_files_from_strangers_are_left_to_a_child_where_that_is_asked_for(tmp_path, capsys, children, command):
    write_hdf5_export(tmp_path / "a.h5", DATA, chunks=(2, 12, 12, 1), filters="gzip")
    assert run(capsys, "convert", tmp_path / "a.h5", tmp_path / "made.zarr", "--quiet")[0] == 0
    assert not children
    arguments = COMMANDS[command](tmp_path / "a.h5", tmp_path)
    for trust, isolated in (("untrusted", True), ("local", False)):
        children.clear()
        code, _, said = run(capsys, *arguments, "--trust", trust)
        assert code == 0, said
        assert bool(children) is isolated
        for made in ("o.h5", "o.zarr"):
            if (tmp_path / made).exists():
                (tmp_path / made).rename(tmp_path / f"{trust}-{made}")
    children.clear()
    assert run(capsys, *arguments)[0] == 0
    assert bool(children) is (command == "info")


def test_the_kind_that_is_told_makes_the_pyramid(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.arange(64 * 600, dtype="u2").reshape(64, 600) % 3)
    options = ["--axes", "yx", "--quiet"]
    code, _, said = run(capsys, "convert", tmp_path / "a.npy", tmp_path / "o.zarr", *options, "--kind", "segmentation")
    assert code == 0, said
    group = zarr.open_group(tmp_path / "o.zarr", mode="r")
    assert "image-label" in group.attrs["ome"]
    code, _, said = run(capsys, "export", tmp_path / "a.npy", tmp_path / "o.h5", *options, "--kind", "density")
    assert code == 2
    assert "floating-point" in said
    code, _, said = run(capsys, "reduce", tmp_path / "a.npy", "max", *options, "--kind", "nonsense")
    assert code == 2
    assert "--kind nonsense: expected one of probabilities, segmentation" in said


@pytest.mark.filterwarnings("ignore:.*does not state the shape of its image")
def test_images_of_a_project_are_found_below_the_folder_that_is_named(tmp_path, capsys):
    shutil.copy(sample("project"), tmp_path / "p.ilp")
    assert "missing" in run(capsys, "info", tmp_path / "p.ilp")[1]
    roots = ["--source-root", tmp_path, "--source-root", os.path.dirname(sample("project"))]
    code, out, said = run(capsys, "info", tmp_path / "p.ilp", *roots)
    assert code == 0, said
    assert "Raw Data: nuclei.h5/data: uint8, z 40" in out


def test_a_table_of_a_stranger_is_left_to_a_child(tmp_path, capsys, children):
    rows = np.zeros(3, [("object_id", "i8"), ("timestep", "i8"), ("labelimage_oid", "i8"), ("Size in pixels", "f4")])
    with h5py.File(tmp_path / "a_table.h5", "w") as file:
        file["table"] = rows
    for trust in ("untrusted", "local"):
        code, out, said = run(capsys, "table", tmp_path / "a_table.h5", "--trust", trust)
        assert code == 0, said
        assert "objects: 3 rows, 4 columns" in out
        assert bool(children) is (trust == "untrusted")
        children.clear()
