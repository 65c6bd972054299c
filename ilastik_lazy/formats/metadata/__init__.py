"""What files state about their images: values, voxel sizes, conventions of other programs."""

__all__: list[str] = []
