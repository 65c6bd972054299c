"""The waist: what is known of an array before it is read, and the contract of reading it.

Formats meet dask, reductions, the OME-Zarr writer and the command line here and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from ilastik_lazy.core.axes import Axis, axis_names
from ilastik_lazy.core.grid import Region, grid_shape
from ilastik_lazy.core.views.packing import Packing
from ilastik_lazy.errors import MetadataError

__all__ = [
    "COMPUTED",
    "ArraySource",
    "ArraySpec",
    "CountedChunks",
    "EncodedChunks",
    "Keep",
    "Kind",
    "Region",
    "Storage",
]

Kind = Literal[
    "probabilities",
    "segmentation",
    "uncertainty",
    "features",
    "labels",
    "object identities",
    "object predictions",
    "object probabilities",
    "tracking",
    "density",
    "intensity",
]


COMPUTED = "dask"
"""`Storage.access` of what is stored nowhere."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How an array lies on the disk: for people, and for those who choose blocks."""

    location: str
    """File and internal path, as one would type them."""

    path: str = ""
    """The file alone; empty where there is none."""

    layout: Literal["chunked", "contiguous", "virtual"] = "chunked"

    compression: str = "none"
    """Names of the filters in the order of writing, such as ``shuffle+gzip``; ``computed`` for blocks of dask."""

    access: str = "direct"
    """``direct`` where chunks are read past h5py; otherwise who reads them, and why."""

    order: tuple[int, ...] = ()
    """For each axis of the spec its place in a stored chunk, where the axes were moved; else empty."""

    buffers: int = 2
    """Chunks' worth of memory that reading one takes beside the result: as stored, and between its filters."""

    version: str = ""
    """Version of the data where `path` is not a file, such as an ETag; empty where unknown."""

    @property
    def is_remote(self) -> bool:
        """Whether each read is a request to a server."""
        return "://" in self.location


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpec:
    """What is known of an array before any voxel is read."""

    name: str
    """Last part of the internal path, such as ``exported_data``."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[Axis, ...]
    chunks: tuple[int, ...]
    """Chunk shape of the storage; for an array without chunks, the pieces that it is read in."""

    storage: Storage
    axes_guessed: bool = False
    """Whether the axes are a guess from the shape alone."""

    likelier_axes: str = ""
    """Names of axes that are likelier than the guess, where the program that wrote the file has a rule of its own."""

    channel_names: tuple[str, ...] = ()
    """Class names along ``c``; empty where unknown."""

    channel_colors: tuple[tuple[int, int, int], ...] = ()
    """RGB of each class, 0..255; empty where unknown."""

    kind: Kind | None = None
    """What the numbers mean, if the file or its name states it."""

    may_hold_ids: bool = False
    """Whether the values may be classes or ids though `kind` is None, as after a computation from probabilities."""

    drange: tuple[float, float] | None = None
    """Range for display that ilastik noted; not the range of the values."""

    display_mode: str = ""

    packing: Packing | None = None
    """How the stored numbers become values."""

    is_unpacked: bool = False
    """Whether a read gives the values, and not the numbers that `packing` is for."""

    remarks: tuple[str, ...] = ()
    """What the file states of axes and positions that was not understood, and is not used."""

    is_inherited: bool = False
    """Whether `drange`, `kind` and the names of classes are those of the array that this one was computed from."""

    def __post_init__(self) -> None:
        if not len(self.shape) == len(self.axes) == len(self.chunks):
            raise MetadataError(
                f"{self.storage.location}: {len(self.shape)} dimensions, "
                f"{len(self.axes)} axes, {len(self.chunks)} chunk lengths"
            )
        if any(length < 1 for length in self.chunks):
            raise MetadataError(f"{self.storage.location}: chunk shape {self.chunks} has an empty axis")
        # numpy has two types of 64-bit integers, equal to each other; zarr and tifffile know ``long`` only.
        if self.dtype.kind in "iu":
            object.__setattr__(self, "dtype", np.dtype(self.dtype.str))

    def __dask_tokenize__(self) -> str:
        # It holds every field.  dask's own way through nested dataclasses takes 0.3 ms, for each file of a stack.
        return repr(self)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes, as xarray calls them."""
        return axis_names(self.axes)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def channels(self) -> int:
        """Length of the axis ``c``; 1 without one."""
        return self.shape[self.dims.index("c")] if "c" in self.dims else 1

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded array."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of storage chunks along each axis."""
        return grid_shape(self.shape, self.chunks)

    def agreeing(self, low: float, high: float) -> ArraySpec:
        """Drop inherited metadata that values from `low` to `high` contradict: ``prob * 100`` is not a probability."""
        if not self.is_inherited:
            return self
        ends = self.drange or (-np.inf, np.inf)
        names = self.channel_names if not self.holds_classes or 0 <= low <= high <= len(self.channel_names) else ()
        return replace(
            self,
            drange=self.drange if ends[0] <= low <= high <= ends[1] else None,
            kind=None if self.kind == "probabilities" and not 0 <= low <= high <= 1 else self.kind,
            channel_names=names,
            channel_colors=self.channel_colors if names == self.channel_names else (),
        )

    @property
    def is_label_image(self) -> bool:
        """Whether the values are ids or classes, so that no mean of them makes sense."""
        return self.holds_classes or self.kind in ("object identities", "tracking")

    @property
    def holds_classes(self) -> bool:
        """Whether each value is the number of a class, from 1 on."""
        return self.kind in ("segmentation", "labels", "object predictions")


@runtime_checkable
class ArraySource(Protocol):
    """A stored array that can be read piece by piece.

    Safe to share: `read` may run in many threads at once, and a pickled copy reads the same
    data in another process.  So a source keeps no open handle, and no large state, in itself.
    """

    @property
    def spec(self) -> ArraySpec: ...

    def __hash__(self) -> int:
        """Equal sources read the same data: caches are shared between them."""
        ...

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Read `region`: for each axis of `spec` a slice with bounds inside its shape, and no step (or 1).

        The result is a new, writeable array that belongs to the caller.

        Raises
        ------
        SourceChangedError
            The file is not the one that was opened.
        CorruptChunkError
            A chunk cannot be decoded.  Never are zeros returned for data that could not be read.
        """
        ...


Keep = Callable[[tuple[int, ...], bytes, np.ndarray[Any, Any]], None]
"""Called with the position of a chunk in the grid, its bytes as stored, and all its decoded bytes."""


class EncodedChunks(ABC):
    """Base of sources that can also hand over their chunks as stored, so that they need not be compressed again."""

    __slots__ = ()

    @property
    @abstractmethod
    def chunk_codec(self) -> str:
        """Such as ``zlib``: each chunk is one stream of it, decoded to C order; empty where that is not so."""

    @abstractmethod
    def read_encoded(self, region: Region, keep: Keep) -> np.ndarray[Any, Any]:
        """Read `region` (see `ArraySource.read`), and hand each chunk that it touches to `keep`.

        Left out are chunks that were never written, and those that are not encoded as `chunk_codec` says.
        What `keep` is given as decoded is overwritten by the next chunk.
        """

    @abstractmethod
    def encoded(self, chunk: tuple[int, ...]) -> bytes | None:
        """Return the chunk at a position in the grid as stored, without decoding it.

        None if it was never written, or is not encoded as `chunk_codec` says.  Nothing but its length is checked.
        """


class CountedChunks(ABC):
    """Base of the sources of a format whose writers write all chunks: a missing one was never written."""

    __slots__ = ()

    @abstractmethod
    def count_absent(self) -> int:
        """Count the chunks that were never written; may have to read an index."""
