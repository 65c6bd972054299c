"""Filters that HDF5 itself lacks: files are listed, errors name the filter, and plugins of the caller decode."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

import ilastik_lazy as il
from ilastik_lazy.core.options import OpenOptions
from ilastik_lazy.errors import UnsupportedFilterError
from ilastik_lazy.formats import open_sources
from ilastik_lazy.formats.location import Location
from tests.support.children import run_command

ZSTD = 32015


def write(path, number=40000):
    """One dataset with a filter that nobody has, one that is plain."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3, 3))
    plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1,))
    with h5py.File(path, "w") as file:
        made = h5py.h5d.create(file.id, b"odd", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3, 3)), plist)
        made.write_direct_chunk((0, 0), b"compressed")
        file["plain"] = np.arange(9, dtype="f4").reshape(3, 3)


@pytest.mark.parametrize("trust", ["local", "untrusted"])
def test_a_filter_that_nobody_decodes_does_not_hide_the_other_images(tmp_path, trust):
    write(tmp_path / "a.h5")
    assert il.open_dataarray(tmp_path / "a.h5", "plain", axes="yx", trust=trust)[1, 1] == 4
    images = il.open_dataset(tmp_path / "a.h5", axes="yx", trust=trust)
    assert float(images["plain"].sum()) == 36
    with pytest.raises(UnsupportedFilterError, match="odd is compressed with HDF5 filter 40000"):
        images["odd"].values  # noqa: B018
    with pytest.raises(UnsupportedFilterError, match="HDF5 filter 40000"):
        il.open_dataarray(tmp_path / "a.h5", "odd", axes="yx", trust=trust)


@pytest.mark.skipif("hdf5plugin" in sys.modules, reason="hdf5plugin is loaded, and decodes it")
def test_the_error_names_the_filter_and_the_package(tmp_path, monkeypatch):
    # Another test of this process may have loaded the plugin.
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    monkeypatch.delenv("HDF5_PLUGIN_PATH", raising=False)
    write(tmp_path / "a.h5", ZSTD)
    with pytest.raises(UnsupportedFilterError, match=r"zstd \(HDF5 filter 32015\).*: import hdf5plugin"):
        il.open_dataarray(tmp_path / "a.h5", "odd", axes="yx")
    with pytest.raises(UnsupportedFilterError, match="trust='local'"):
        il.open_dataarray(tmp_path / "a.h5", "odd", axes="yx", trust="untrusted")
    shown = run_command("info", tmp_path / "a.h5")
    assert shown.returncode == 0, shown.stderr
    assert "zstd" in shown.stdout
    assert "plain" in shown.stdout
    refused = run_command("reduce", tmp_path / "a.h5", "max", "--dataset", "odd", "--axes", "yx")
    assert refused.returncode != 0
    # A library that the command imports may bring the plugin (netCDF4 does); it finds that these chunks are damaged.
    assert "HDF5_PLUGIN_PATH" in refused.stderr or "filter returned failure" in refused.stderr


def test_a_plugin_that_the_caller_loaded_decodes_trusted_files_only(tmp_path):
    plugin = pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed")
    data = np.arange(64, dtype="u2").reshape(8, 8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=data, chunks=(4, 4), **plugin.Zstd())
    [source] = open_sources(Location.parse(tmp_path / "a.h5"), None, OpenOptions("yx"))
    np.testing.assert_array_equal(source.read((slice(0, 8), slice(0, 8))), data)
    assert source.spec.storage.access == "h5py (zstd filter)"
    with pytest.raises(UnsupportedFilterError, match="trust"):
        il.open_dataarray(tmp_path / "a.h5", axes="yx", trust="untrusted")
