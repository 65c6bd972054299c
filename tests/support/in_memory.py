"""Sources over numpy arrays, for reductions and histograms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from xarray.backends import BackendArray
from xarray.core import indexing

from ilastik_lazy.core.axes import Axis
from ilastik_lazy.core.grid import Region
from ilastik_lazy.core.spec import ArraySpec, Storage

DTYPES = ["bool", "u1", "i1", "u2", ">i2", "u4", "i8", "f2", "f4", ">f4", "f8"]


class ArrayInMemory:
    """A source over a numpy array; `before` is called with each region before it is read."""

    def __init__(
        self,
        data: np.ndarray[Any, Any],
        names: str,
        chunks: tuple[int, ...],
        before: Callable[[Region], None] = lambda region: None,
        **known: Any,
    ) -> None:
        axes = tuple(Axis(name, scale=0.5, unit="micrometer") if name in "zyx" else Axis(name) for name in names)
        self.spec = ArraySpec(
            name="data",
            shape=data.shape,
            dtype=data.dtype,
            axes=axes,
            chunks=chunks,
            storage=Storage("memory"),
            **known,
        )
        self.data, self.before = data, before

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        self.before(region)
        return self.data[region].copy()


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], str, tuple[int, ...]]:
    names = "".join(draw(st.permutations("tzyxc"))[: draw(st.integers(2, 5))])
    shape = tuple(draw(st.integers(1, 9)) for _ in names)
    chunks = tuple(draw(st.integers(1, 10)) for _ in names)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype.kind == "f":
        return (rng.normal(3, 2, shape)).astype(dtype), names, chunks
    return rng.integers(0, 2 if dtype.kind == "b" else 120, shape).astype(dtype), names, chunks


class LazyInMemory(BackendArray):
    """What a backend of xarray gives: an array that is indexed lazily, without dask."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, ...]) -> Any:
        found = self.values
        for axis in reversed(range(found.ndim)):
            found = found[(slice(None),) * axis + (key[axis],)]
        return found
