"""Imports the package and what its parts import when they are called; for processes from which others are forked."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil

import ilastik_lazy

# Forks have no threads of BLAS, and their address space, which is limited for untrusted files, would hold its buffers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

LATE = (
    "dask.array", "encodings.ascii", "h5py", "h5py._hl.dims", "imagecodecs", "imagecodecs._deflate",
    "imagecodecs._zlib", "matplotlib.backends.backend_agg", "matplotlib.figure", "pandas", "pandas.io.formats.csvs",
    "pandas.io.formats.string", "pint", "pyarrow.pandas_compat", "rich.progress", "scipy.ndimage",
    "scipy.sparse.csgraph", "skimage.measure", "tifffile", "xarray", "zarr",
)  # fmt: skip

for name in (*LATE, *(module.name for module in pkgutil.walk_packages(ilastik_lazy.__path__, "ilastik_lazy."))):
    # Some are extras. `__main__` is no module to import.
    with contextlib.suppress(ImportError):
        if not name.endswith("__main__"):
            importlib.import_module(name)
