"""Between sources and xarray: lazily indexed Datasets, dask arrays, and the way back."""

__all__: list[str] = []
