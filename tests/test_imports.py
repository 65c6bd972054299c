"""What is imported when: a second of waiting belongs to those who need what they wait for."""

from __future__ import annotations

import json

import pytest

from tests.support.children import run_python
from tests.support.makers import some_data, write_hdf5_export

HEAVY = ["dask", "dask.array", "distributed", "zarr", "xarray", "h5py", "numpy", "pandas", "matplotlib", "rich"]


def imported_by(code, *arguments):
    """Those of `HEAVY` that `code` brings in, in a new process."""
    shown = f"import sys, json\n{code}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    return set(json.loads(run_python(shown, *arguments)))


def test_the_package_alone_imports_nothing_heavy():
    assert imported_by("import ilastik_lazy; ilastik_lazy.__version__; dir(ilastik_lazy)") == set()
    assert imported_by("import ilastik_lazy as il; il.errors; il.Limits") == set()


def test_the_sample_is_found_without_anything_heavy():
    assert imported_by("from ilastik_lazy.demo import sample; sample('raw')") == set()


def test_the_commands_are_listed_without_anything_heavy():
    code = """
import contextlib, io
from ilastik_lazy.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""
    assert imported_by(code) == set()


@pytest.fixture
def export(tmp_path):
    write_hdf5_export(tmp_path / "a.h5", some_data((4, 5)), axes="yx", chunks=(2, 2), filters="gzip")
    return str(tmp_path / "a.h5")


def test_metadata_and_voxels_are_read_without_dask_zarr_and_xarray(export):
    code = """
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats import open_source
open_source(Location.parse(sys.argv[1])).read((slice(0, 4), slice(0, 5)))
"""
    assert imported_by(code, export) == {"h5py", "numpy"}


def test_the_engine_is_found_without_h5py_and_dask(tmp_path):
    code = "import xarray; before = set(sys.modules); import ilastik_lazy.engine as b; e = b.IlastikBackendEntrypoint()"
    shown = f"{code}; e.guess_can_open(sys.argv[1]); new = set(sys.modules) - before"
    run_python(
        f"import sys; {shown}; assert not new & {{'h5py', 'dask.array', 'zarr', 'zarr.core'}}, new", str(tmp_path)
    )


def test_opening_without_dask_arrays_needs_no_zarr(export):
    assert "zarr" not in imported_by("import ilastik_lazy as il; il.open_dataarray(sys.argv[1], chunks=None)", export)


def test_the_mean_of_an_image_is_printed_without_dask_zarr_and_xarray(export):
    code = """
import contextlib, io
from ilastik_lazy.cli import main
with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
    main(["reduce", sys.argv[1], "mean", "--quiet"])
assert float(printed.getvalue())
"""
    assert imported_by(code, export) == {"h5py", "numpy"}
