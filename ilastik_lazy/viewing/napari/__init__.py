"""The plugin of napari, which finds it by ``napari.yaml``; neither napari nor Qt is imported here.

``napari x.h5 --plugin ilastik-lazy``, ``viewer.open("x.h5", plugin="ilastik-lazy")`` and drag and drop call
`get_reader`; the menu *Open Sample* calls functions of `ilastik_lazy.demo`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ilastik_lazy.errors import IlastikLazyError
from ilastik_lazy.formats import format_of
from ilastik_lazy.formats.hdf5.superblock import has_signature
from ilastik_lazy.formats.location import Location

if TYPE_CHECKING:
    from ilastik_lazy.viewing.napari.layers import LayerData

__all__ = ["get_reader", "read_layers"]

_FORMATS = ("HDF5", "Zarr", "N5")


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the function that reads a file for napari; None for what is not HDF5, N5, Zarr or a project.

    Only the first bytes of a file, or the metadata of a folder, are looked at.

    Parameters
    ----------
    path
        A file or folder; a list of them is a stack.

    Examples
    --------
    >>> from ilastik_lazy.demo import sample
    >>> get_reader("notes.txt") is None
    True
    >>> read = get_reader(sample("probabilities"))
    >>> for data, options, kind in read(sample("probabilities")):
    ...     print(kind, options["name"], options["colormap"], options["units"], data.shape)
    image nucleus #ffc800 ('micrometer', 'micrometer', 'micrometer') (40, 128, 160)
    image background #3c50a0 ('micrometer', 'micrometer', 'micrometer') (40, 128, 160)
    """
    paths = list(path) if isinstance(path, list | tuple) else [path]
    return read_layers if paths and all(map(_is_ours, paths)) else None


def _is_ours(path: str) -> bool:
    try:
        location = Location.parse(path)
        if os.path.isfile(location.path):
            return has_signature(location.path)
        return format_of(location).name in _FORMATS
    except IlastikLazyError:
        return False


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Return the layers of a file or a stack; no voxel is read."""
    # `get_reader` is also asked about files of other programs, which must not wait for xarray and dask.
    from ilastik_lazy.viewing.napari.images import images_at
    from ilastik_lazy.viewing.napari.layers import layers_of

    return layers_of(images_at(path))
