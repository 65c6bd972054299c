"""Everything in an OME-Zarr except the voxels."""

__all__: list[str] = []
