"""What the package writes: ilastik's own formats, and OME-Zarr."""

__all__: list[str] = []
