"""Reductions of sources, block by block, without xarray and dask: `reductions` adds the labels."""

__all__: list[str] = []
