"""Chunks of HDF5 files, found and decoded without the HDF5 library."""

__all__: list[str] = []
