"""Patterns in quotes: many images to every command, or one with ``--stack``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ilastik_lazy.cli import main
from ilastik_lazy.writers.ome_zarr.convert import to_ome_zarr
from tests.support.makers import write_hdf5_export


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in a folder with ``t1.h5``, ``t2.h5`` and ``t10.h5``, of 1, 2 and 10 slices."""
    for number in (1, 2, 10):
        write_hdf5_export(tmp_path / f"t{number}.h5", np.full((4, 8, 9), number, "u1"), axes="zyx")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        written = capsys.readouterr()
        return ended.value.code, written.out, written.err

    return call


@pytest.mark.parametrize(("pattern", "count"), [("t*.h5", 3), ("t[12].h5", 2), ("t1.h5/exp*", 1)])
def test_info_describes_each_image_of_a_pattern(run, pattern, count):
    code, out, errors = run("info", pattern, "--json", "--trust", "local")
    assert code == 0, errors
    paths = [each["location"] if "location" in each else each["path"] for each in json.loads(out)]
    assert len(paths) == count
    assert all(f"t{number}.h5" in path for number, path in zip((1, 2, 10), paths, strict=False))


@pytest.mark.parametrize(
    ("options", "shapes"), [([], [(4, 8, 9)] * 3), (["--stack", "t", "--order", "text"], [(3, 4, 8, 9)])]
)
def test_serve_and_view_show_each_image_of_a_pattern_or_one_stack(run, monkeypatch, options, shapes):
    shown = []

    def remember(*sources, **_):
        shown.append([source.spec.shape for source in sources])
        raise KeyboardInterrupt

    monkeypatch.setattr("ilastik_lazy.serving.serve", remember)
    monkeypatch.setattr("ilastik_lazy.viewing.neuroglancer.view", remember)
    for command in ("serve", "view"):
        run(command, "t*.h5", *options)
    assert shown == [shapes] * 2


def test_plot_draws_one_image_and_states_how_several_become_one(run, tmp_path):
    code, _, errors = run("plot", "t*.h5", "--out", "p.png")
    assert code == 2
    assert "3 images cannot all become p.png: plot them one by one, or pass --stack" in errors
    assert run("plot", "t*.h5", "--stack", "t", "--order", "text", "--out", "p.png", "-q")[0] == 0
    assert (tmp_path / "p.png").stat().st_size > 0


def test_verify_compares_each_image_of_a_pattern(run, tmp_path):
    for number in (1, 2):
        to_ome_zarr(f"t{number}.h5", f"t{number}.zarr")
    assert run("verify", "t*.zarr")[1].splitlines()[-1].startswith("2 of 2 files verified")
    next(path for path in sorted((tmp_path / "t1.zarr" / "scale0").rglob("c/**/*")) if path.is_file()).write_bytes(b"0")
    code, out, errors = run("verify", "t*.zarr")
    assert code == 1
    assert "t1.zarr: failed" in out
    assert "1 of 2 files could not be verified" in errors
    assert run("verify", "t*.zarr", "t1.h5")[0] == 2
