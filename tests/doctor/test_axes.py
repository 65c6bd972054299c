"""Axes that are guessed, voxel sizes and units that are missing, and remedies that work as they are worded."""

from __future__ import annotations

import shlex
import subprocess
import sys

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy import errors
from ilastik_lazy.doctor.axes import unknown_units
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.location import Location
from tests.support.n5_makers import write_n5


def test_an_export_that_states_everything_has_no_findings(export, found):
    assert found(export(), full=True) == {}
    assert found(export("t.h5", (3, 6, 8, 10), "tzyx", chunks=(1, 3, 4, 5))) == {}


def test_guessed_axes_are_found_with_the_guess(export, found):
    path = export(axes=None, units=None, resolution=None, attributes={"element_size_um": [1.0, 1.0, 1.0]})
    with h5py.File(path, "r+") as file:
        file["b"] = np.zeros((4, 5, 3), "u1")
        file["b"].attrs["element_size_um"] = [1.0, 1.0]
    assert "axes-guessed" not in found(path, "exported_data")  # three voxel sizes imply zyx
    guess = found(path, "b")["axes-guessed"]
    assert "yxc are guessed from the shape (4, 5, 3)" in guess.what
    assert guess.where == ("b",)
    assert "axes='yxc'" in guess.remedy
    assert "axes-guessed" not in found(path, "b", axes="yxc")


@pytest.mark.parametrize(("axes", "shape", "missing"), [("zyx", (6, 8, 10), "z, y, x"), ("zyx", (1, 8, 10), "y, x")])
def test_a_missing_voxel_size_is_found_along_axes_with_more_than_one_voxel(export, found, axes, shape, missing):
    path = export(shape=shape, axes=axes, chunks=(1, 4, 5), resolution=None, units=None)
    assert found(path)["voxel-size"].what == f"the file states no voxel size along {missing}"


def test_the_voxel_size_of_one_axis_is_not_that_of_all(export, found):
    finding = found(export(resolution={"z": 2.0}, units={"z": "nm"}))["voxel-size"]
    assert finding.what == "the file states no voxel size along y, x (z 2 nanometer)"


def test_channels_and_frames_need_no_voxel_size(export, found):
    assert found(export(shape=(3, 8, 10, 2), axes="tyxc", chunks=(1, 4, 5, 1), resolution={"y": 1.0, "x": 1.0})) == {}


def test_the_command_that_gives_a_voxel_size_gives_it(export, found, monkeypatch):
    path = export('it\'s a "b".h5', shape=(6, 8, 10, 2), axes="xyzc", chunks=(3, 4, 5, 1), resolution=None, units=None)
    monkeypatch.setattr(errors, "audience", "shell")
    remedy = found(path)["voxel-size"].remedy
    assert "along z, y, x" in remedy
    command = remedy[remedy.index("python -c ") :].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(command, shell=True, check=True)
    assert found(path) == {}
    assert [float(il.open_dataarray(path)[dim][1]) for dim in "zyx"] == [0.8, 0.25, 0.25]


def opened_as_advised(path, remedy):
    return eval(f"il.open_dataarray(path, {remedy[remedy.index('voxel_size=') :]})", {"il": il, "path": path})


def test_the_code_that_gives_a_voxel_size_gives_it(export, found, tmp_path):
    path = export(resolution=None, units=None)
    remedy = found(path)["voxel-size"].remedy
    exec(remedy[remedy.index("with h5py") :], {"h5py": h5py})
    assert found(path) == {}
    write_n5(tmp_path / "b.n5", np.ones((4, 5, 6), "u1"), axes="zyx", chunks=(2, 3, 4))
    remedy = found(tmp_path / "b.n5")["voxel-size"].remedy
    il.to_ilastik(opened_as_advised(tmp_path / "b.n5", remedy), tmp_path / "c.h5")
    assert found(tmp_path / "c.h5") == {}


def test_a_voxel_size_without_a_unit_is_found(export, found, tmp_path):
    path = export(units={"z": "µm"})
    finding = found(path)["unit"]
    assert finding.what == "the voxel size has no unit: y 0.25, x 0.25"
    il.to_ilastik(opened_as_advised(path, finding.remedy), tmp_path / "b.h5")
    assert found(tmp_path / "b.h5") == {}


@pytest.mark.parametrize(("units", "shown"), [({"z": "furlong"}, "z 'furlong'"), ({"x": "s"}, "x 'second'")])
def test_a_unit_that_is_none_of_length_is_found(export, units, shown):
    path = export(units={"z": "µm", "y": "µm", "x": "µm"} | units)
    (finding,) = unknown_units(open_source(Location.parse(path)).spec)
    assert finding.what == f"the unit is not understood: {shown}"


def test_what_was_not_understood_is_said_once(export, found):
    path = export(resolution=None, units=None, attributes={"resolution": [1.0, -1.0, 1.0]})
    named = found(path)
    assert set(named) == {"voxel-size"}
    assert "not understood: resolution is [1.0, -1.0, 1.0]" in named["voxel-size"].what
