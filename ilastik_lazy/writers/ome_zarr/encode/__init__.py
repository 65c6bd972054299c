"""Chunks and shards as they are stored in Zarr."""

__all__: list[str] = []
