"""What ``engine="ilastik"`` opens, computed by something other than dask's own arrays."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr

import ilastik_lazy as il
from ilastik_lazy.errors import ArgumentError
from tests.support.children import run_python
from tests.support.makers import CHUNKS, SHAPE, write_hdf5_export


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "a_Probabilities.h5"
    return path, write_hdf5_export(path, np.random.default_rng(0).random(SHAPE, "f4"), chunks=CHUNKS, filters="gzip")


def test_cubed_reduces_and_writes_what_the_engine_opens(export, tmp_path):
    pytest.importorskip("cubed_xarray", reason="pip install cubed cubed-xarray")
    import cubed

    path, data = export
    spec = cubed.Spec(work_dir=str(tmp_path / "work"), allowed_mem="200MB")
    dataset = xr.open_dataset(
        path, engine="ilastik", chunked_array_type="cubed", chunks={}, from_array_kwargs={"spec": spec}
    )
    image = dataset["exported_data"]
    assert isinstance(image.data, cubed.Array)
    assert tuple(max(lengths) for lengths in image.chunks) == CHUNKS
    np.testing.assert_allclose(image.mean("z").values, data.mean(0), rtol=1e-6)
    for variable in dataset.variables.values():
        variable.encoding.clear()
    dataset.to_zarr(tmp_path / "a.zarr", consolidated=False)
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a.zarr", consolidated=False)["exported_data"], data)
    with pytest.raises(ArgumentError, match=r"chunks of cubed.*chunks='auto'"):
        il.to_ome_zarr(image, tmp_path / "b.zarr")


# A process of its own: both change what xarray does with every array.
EXPRESSIONS = """
import sys
import numpy as np, xarray as xr, ilastik_lazy as il
path, data, target = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
dataset = xr.open_dataset(path, engine="ilastik", chunks={})
image = dataset["exported_data"]
assert type(image.data).__module__.startswith(MODULE), type(image.data)
np.testing.assert_array_equal(image.isel(z=2).compute().values, data[2])
for number, array in enumerate((image, image * 2)):
    il.to_ome_zarr(array, f"{target}{number}.zarr")
    found = il.open_dataarray(f"{target}{number}.zarr", chunks=None).transpose(*image.dims)
    np.testing.assert_array_equal(found.values, data * (number + 1))
"""


def run_with_expressions(start, module, more, export, tmp_path):
    path, data = export
    np.save(tmp_path / "data.npy", data)
    code = start + EXPRESSIONS.replace("MODULE", repr(module)) + more
    run_python(code, path, tmp_path / "data.npy", tmp_path / "out")


def test_array_expressions_of_dask_cut_and_convert_what_the_engine_opens(export, tmp_path):
    start = "import dask\ndask.config.set({'array.query-planning': True})\n"
    run_with_expressions(start, "dask.array._array_expr", "", export, tmp_path)


# An import of dask-array in this process would change dask's tokens in all tests that follow.
@pytest.mark.skipif(find_spec("dask_array") is None, reason="pip install dask-array")
def test_dask_array_reduces_writes_and_converts_what_the_engine_opens(export, tmp_path):
    more = """
np.testing.assert_allclose((image * 2).mean("z").isel(y=3).values, 2 * data.mean(0)[3], rtol=1e-6)
for variable in dataset.variables.values():
    variable.encoding.clear()
dataset.to_zarr(target, consolidated=False)
np.testing.assert_array_equal(xr.open_zarr(target, consolidated=False)["exported_data"].values, data)
"""
    start = "import dask_array.xarray\ndask_array.xarray.register()\n"
    run_with_expressions(start, "dask_array", more, export, tmp_path)
