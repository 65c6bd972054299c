"""Look at images: pictures, napari, Neuroglancer."""

__all__: list[str] = []
