"""`export` and `reduce` write OME-TIFF, and `export` adds a dataset to a file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

from ilastik_lazy.cli import cli
from ilastik_lazy.errors import IlastikLazyError
from tests.support.makers import some_data, write_hdf5_export


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    return write_hdf5_export(
        tmp_path / "x.h5", some_data((3, 40, 50), "u2"), axes="zyx", resolution={"y": 0.5, "x": 0.5}
    )


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, IlastikLazyError)
    return result


def test_export_writes_a_tiff_with_levels(data: np.ndarray) -> None:
    result = run("export", "x.h5", "x.ome.tif", "--levels", "2", "--compression", "none", "--workers", "1")
    assert result.exit_code == 0, result.output
    assert "2 levels, z/y/x: 3x40x50, 3x20x25; made by mean" in result.output
    with tifffile.TiffFile("x.ome.tif") as file:
        assert [level.shape for level in file.series[0].levels] == [(3, 40, 50), (3, 20, 25)]
        np.testing.assert_array_equal(file.asarray(), data, strict=True)


def test_export_to_a_tiff_keeps_what_exists(data: np.ndarray) -> None:
    Path("x.tif").write_bytes(b"mine")
    result = run("export", "x.h5", "x.tif", "-q")
    assert "already exists" in str(result.exception)
    assert "--overwrite" in str(result.exception)
    assert Path("x.tif").read_bytes() == b"mine"
    assert run("export", "x.h5", "x.tif", "-q", "--overwrite").exit_code == 0
    np.testing.assert_array_equal(tifffile.imread("x.tif"), data)


def test_another_command_writes_zarr(data: np.ndarray) -> None:
    result = run("export", "x.h5", "x.zarr", "-q")
    assert str(result.exception).endswith(".h5 or .n5, or in .ome.tif; ilastik-lazy convert writes OME-Zarr")


def test_a_reduction_comes_after_its_files(data: np.ndarray) -> None:
    result = run("reduce", "mean", "x.h5")
    assert result.exit_code == 2
    assert "'x.h5' is a file: name the files first, then what to do" in result.output
    assert "'media' is not one of 'mean'" in run("reduce", "x.h5", "media").output


def test_levels_are_for_tiff_only(data: np.ndarray) -> None:
    result = run("export", "x.h5", "y.h5", "--levels", "2")
    assert result.exit_code == 2
    assert "are for a TARGET that is a TIFF" in result.output


def test_reduce_writes_an_image_as_tiff(data: np.ndarray) -> None:
    result = run("reduce", "x.h5", "max", "--over", "z", "--out", "m.tif", "-q")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(tifffile.imread("m.tif"), data.max(axis=0), strict=True)
    assert 'PhysicalSizeX="0.5"' in tifffile.tiffcomment("m.tif")


@pytest.mark.parametrize("arguments", [["mean", "--over", "y"], ["histogram"]])
def test_reduce_refuses_to_write_what_is_no_image_as_tiff(data: np.ndarray, arguments: list[str]) -> None:
    result = run("reduce", "x.h5", *arguments, "--out", "m.tif", "-q")
    assert "no image with y and x, as a TIFF is: write .npy or .zarr" in str(result.exception)
    assert not Path("m.tif").exists()


def test_export_adds_a_dataset_to_a_file(data: np.ndarray) -> None:
    assert run("export", "x.h5", "y.h5", "-q").exit_code == 0
    assert run("export", "x.h5", "y.h5/volume/copy", "-q").exit_code == 0
    assert "already exists" in str(run("export", "x.h5", "y.h5/volume/copy", "-q").exception)
    with h5py.File("y.h5") as file:
        np.testing.assert_array_equal(file["exported_data"], data)
        np.testing.assert_array_equal(file["volume/copy"], data)
