"""A conversion of a computed array goes on only where the computation gives what it gave before."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import ilastik_lazy as il
from ilastik_lazy.errors import ResumeMismatchError
from ilastik_lazy.writers.ome_zarr import to_ome_zarr
from tests.support.children import run_forked
from tests.support.makers import some_data, write_hdf5_export


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An array through a function of a module, whose text is what is given."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def array(text: str) -> xr.DataArray:
        (tmp_path / "my_filters.py").write_text(f"import numpy as np\n\ndef smooth(block):\n    return {text}\n")
        sys.modules.pop("my_filters", None)
        importlib.invalidate_caches()
        smooth = importlib.import_module("my_filters").smooth
        plain = da.zeros((64, 512, 512), chunks=(64, 128, 128), dtype="u1")
        return xr.DataArray(plain.map_blocks(smooth, dtype="u1"), dims=("z", "y", "x"), name="smoothed")

    yield array
    sys.modules.pop("my_filters", None)


def stopped(array: xr.DataArray, target: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_ome_zarr(array, target, memory="60MB", workers=2, progress=stop)


def test_a_function_that_was_edited_is_noticed(edited: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    stopped(edited("block + 1"), target)
    with pytest.raises(ResumeMismatchError, match=r"a\.zarr.*overwrite=True"):
        to_ome_zarr(edited("block + 2"), target, memory="60MB", workers=2, resume=True)
    report = to_ome_zarr(edited("block + 1"), target, memory="60MB", workers=2, resume=True)
    assert report.resumed > 0
    assert np.unique(zarr.open_array(target / "scale0/image", mode="r")[...]).tolist() == [1]


def test_of_a_finished_image_too(edited: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    to_ome_zarr(edited("block + 1"), target)
    with pytest.raises(ResumeMismatchError, match="overwrite=True"):
        to_ome_zarr(edited("block + 2"), target, resume=True)
    assert to_ome_zarr(edited("block + 1"), target, resume=True).resumed > 0
    to_ome_zarr(edited("block + 2"), target, overwrite=True)
    assert np.unique(zarr.open_array(target / "scale0/image", mode="r")[...]).tolist() == [2]


def test_numbers_that_are_drawn_anew_are_noticed(edited: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    drawn = "np.random.default_rng().integers(0, 255, block.shape, 'u1')"
    stopped(edited(drawn), target)
    with pytest.raises(ResumeMismatchError, match="each time"):
        to_ome_zarr(edited(drawn), target, memory="60MB", workers=2, resume=True)


def test_nan_is_what_it_was(edited: Any, tmp_path: Path) -> None:
    array = xr.DataArray(da.full((64, 256, 256), np.nan, chunks=(32, 128, 128), dtype="f4") + 1, dims=("z", "y", "x"))
    to_ome_zarr(array, tmp_path / "a.zarr")
    assert to_ome_zarr(array, tmp_path / "a.zarr", resume=True).resumed > 0


_CACHED = """
import sys
import ilastik_lazy as il
array = il.open_dataarray(sys.argv[1], cache="1MB") + 1
def stop(done, total):
    if done >= total // 2:
        raise KeyboardInterrupt
try:
    il.to_ome_zarr(array, sys.argv[2], memory="60MB", workers=2, progress=stop)
except KeyboardInterrupt:
    pass
"""


def test_another_process_goes_on_with_what_was_computed_from_cached_arrays(tmp_path: Path) -> None:
    path, target = tmp_path / "a.h5", tmp_path / "a.zarr"
    write_hdf5_export(path, some_data((64, 256, 256), "uint8"), axes="zyx", chunks=(16, 128, 128))
    run = run_forked(_CACHED, path, target)
    assert run.returncode == 0, run.stderr
    arrays = [il.open_dataarray(path, cache="1MB") for _ in range(2)]
    assert arrays[0].data.name != arrays[1].data.name
    # Chunks that either holds may have been written again since.
    with pytest.raises(ResumeMismatchError):
        to_ome_zarr(arrays[1] + 1, target, memory="60MB", workers=2, resume=True)
    report = to_ome_zarr(arrays[0] + 1, target, memory="60MB", workers=2, resume=True, verify=True)
    assert report.resumed > 0
