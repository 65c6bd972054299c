"""The options of opening as one value, `OpenOptions`, and `Limits`, the sizes beyond which a file is refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["DEFAULTS", "Limits", "OpenOptions", "Trust"]

Trust = Literal["local", "untrusted"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for, the argument ``limits=`` of all ``open_*`` functions.

    ilastik's own files stay three orders of magnitude below what is set here: a 1 TB export has 2 million
    chunks of 0.5 MB, and attributes of a few kB.  Beyond a limit, `LimitExceededError` is raised before memory
    is taken.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> il.open_dataarray(sample("probabilities"), limits=il.Limits(chunk_bytes=2**30)).shape    # chunks of up to 1 GiB
    (40, 128, 160, 2)
    >>> il.open_dataarray(sample("probabilities"), limits=il.Limits(chunk_bytes=100_000))
    Traceback (most recent call last):
    ...
    ilastik_lazy.errors.LimitExceededError: ...
    """

    chunk_bytes: int = 512 * 2**20
    """Decoded size of one chunk."""

    chunk_count: int = 50_000_000
    """Chunks of one dataset; their index takes 16 bytes each."""

    axis_length: int = 10_000_000
    """Elements along one axis; each has a coordinate."""

    unallocated_bytes: int = 2**30
    """Decoded size of an array of which nothing was written."""

    attribute_bytes: int = 2**20
    """Text of one attribute."""

    members: int = 200_000
    """Groups and datasets of one file."""

    depth: int = 64
    """Groups inside groups."""


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to open the images of a file, and what the file may ask for.

    `ilastik_lazy.storage.allowed.checked_options` makes one from the arguments of a caller.

    Examples
    --------
    >>> OpenOptions(axes="zyx", trust="untrusted").in_child
    OpenOptions(axes='zyx', limits=Limits(...), trust='local', external_roots=())
    """

    axes: str | None = None
    """Names of the axes in storage order, where the caller knows better than the file."""

    limits: Limits = field(default_factory=Limits)
    """Sizes beyond which the file is refused."""

    trust: Trust = "local"
    """``untrusted``: the HDF5 library sees the file in another process only (see `storage.isolation`)."""

    external_roots: tuple[str, ...] = ()
    """Folders, without symbolic links, whose files may be referred to."""

    @property
    def in_child(self) -> OpenOptions:
        """The same options for a child process, in which the HDF5 library may see the file."""
        return replace(self, trust="local")


DEFAULTS = OpenOptions()
"""The options of a caller who gives none."""
