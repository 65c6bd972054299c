"""Open the images of objects beside a table in HDF5: mask and raw image of each object."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import h5py
import xarray as xr

from ilastik_lazy.core.options import Limits
from ilastik_lazy.core.spec import ArraySource, ArraySpec, Storage
from ilastik_lazy.errors import DatasetNotFoundError, MetadataError
from ilastik_lazy.formats import open_source
from ilastik_lazy.formats.hdf5.attributes import text_attribute
from ilastik_lazy.formats.hdf5.file import dataset_at, open_hdf5
from ilastik_lazy.formats.hdf5.h5py_source import H5pySource
from ilastik_lazy.formats.location import Location
from ilastik_lazy.formats.metadata.axistags import parse_axistags
from ilastik_lazy.lazy.dataset import to_dataset
from ilastik_lazy.storage.files import stamp_of

__all__ = ["ObjectImages", "open_object_images"]


@dataclass(frozen=True, slots=True)
class ObjectImages(Mapping[int, xr.Dataset]):
    """Lazy images of objects by their ``object_id``, which is the row of the table.

    Each is a Dataset of ``labeling`` (0 and 1) and ``raw``, both over the object's bounding box and its margin; ``raw``
    is missing if the export includes the whole raw image.  Dims are in ilastik's order: ``x`` comes first, and dims of
    length 1 are missing.
    """

    path: str
    count: int
    has_raw: bool
    """Whether the file holds the whole raw image instead of a crop for each object."""

    @property
    def raw(self) -> xr.DataArray | None:
        """The whole raw image, dims as stored (``x`` first); None if each object has a crop of it."""
        if not self.has_raw:
            return None
        return to_dataset({"raw": open_source(Location(self.path, "images/raw"))})["raw"]

    def __getitem__(self, object_id: int) -> xr.Dataset:
        if object_id not in self:
            raise DatasetNotFoundError(f"{self.path} has images of the objects 0 to {self.count - 1}, not {object_id}")
        names = ("labeling",) if self.has_raw else ("labeling", "raw")
        return to_dataset({name: _source_of(Location(self.path, f"images/{object_id}/{name}")) for name in names})

    def __contains__(self, object_id: object) -> bool:
        return object_id in range(self.count)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count


def open_object_images(path: str | os.PathLike[str]) -> ObjectImages:
    """Open the images of the objects of a table in HDF5; each is found and read when it is accessed.

    Parameters
    ----------
    path
        File of the table.

    Raises
    ------
    DatasetNotFoundError
        The file holds no ``images``.

    Examples
    --------
    >>> open_object_images("brain_table.h5")[7]["labeling"]                 # doctest: +SKIP
    <xarray.DataArray 'labeling' (x: 12, y: 8)> ...
    """
    location = Location.parse(path)
    with open_hdf5(location.path) as file:
        link = file.get("images", getlink=True)
        group = file["images"] if isinstance(link, h5py.HardLink) else None
        if not isinstance(group, h5py.Group):
            raise DatasetNotFoundError(f"{location.path} holds no images of objects: no group 'images'")
        raw = isinstance(group.get("raw", getlink=True), h5py.HardLink)
        return ObjectImages(location.path, len(group) - raw, raw)


def _source_of(location: Location) -> ArraySource:
    """Open an image of one object, also one with fewer than 2 dims: ilastik squeezes objects one pixel wide."""
    stamp = stamp_of(location.path)
    with open_hdf5(location.path) as file:
        assert location.internal_path is not None
        dataset = dataset_at(file, location.internal_path)
        if dataset.shape is None or dataset.ndim >= 2 or dataset.dtype.kind not in "biuf" or dataset.chunks is not None:
            tags = None
        else:
            tags = text_attribute(dataset, "axistags", Limits())
        if tags is not None:
            if (axes := parse_axistags(tags, dataset.ndim, location)) is None:
                raise MetadataError(f"{location} has an axis without a name")
            spec = ArraySpec(
                name=location.internal_path.rsplit("/", 1)[-1],
                shape=dataset.shape,
                dtype=dataset.dtype,
                axes=axes,
                chunks=tuple(max(1, length) for length in dataset.shape),
                storage=Storage(str(location), location.path, "contiguous", access="h5py (contiguous layout)"),
            )
            return H5pySource(spec, location, stamp)
    return open_source(location)
