"""The files of an OME-Zarr that are not voxels."""

__all__: list[str] = []
