"""The options of opening as one value, `OpenOptions`, and `Limits`, the sizes beyond which a file is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

__all__ = ["DEFAULTS", "Axes", "Limits", "OpenOptions", "Trust", "is_called"]

Axes = str | Mapping[str, str]
"""Names of the axes of every image, or by the names of the images."""

Trust = Literal["local", "untrusted"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for, the argument ``limits=`` of all ``open_*`` functions.

    ilastik's own files stay far below what is set here: a 1 TB export has 2 million chunks of 0.5 MB, and
    attributes of a few kB.  Beyond a limit, `LimitExceededError` is raised before memory
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
    OpenOptions(axes='zyx', limits=Limits(...), trust='local', external_roots=(), axes_by_name=(), kind='')
    """

    axes: str | None = None
    """Names of the axes in storage order, where the caller knows better than the file."""

    limits: Limits = field(default_factory=Limits)
    """Sizes beyond which the file is refused."""

    trust: Trust = "local"
    """``untrusted``: the HDF5 library sees the file in another process only (see `storage.isolation`)."""

    external_roots: tuple[str, ...] = ()
    """Folders, without symbolic links, whose files may be referred to."""

    axes_by_name: tuple[tuple[str, str], ...] = ()
    """Where `axes` is None: names of images, and the axes of each (see `axes_of`)."""

    kind: str = ""
    """What the numbers mean, where the caller states it: the indices of a palette may be classes."""

    def axes_of(self, internal_path: str | None) -> str | None:
        """Return the axes that the caller names for the image at a path: by its path, its last part, or a pattern.

        >>> OpenOptions(axes_by_name=(("label*", "zyx"), ("raw", "czyx"))).axes_of("t0/raw")
        'czyx'
        """
        if self.axes is not None or internal_path is None:
            return self.axes
        exact = dict(self.axes_by_name).get(internal_path)
        return exact or next((axes for name, axes in self.axes_by_name if is_called(internal_path, name)), None)

    @property
    def in_child(self) -> OpenOptions:
        """The same options for a child process, in which the HDF5 library may see the file."""
        return replace(self, trust="local")


def is_called(internal_path: str, name: str) -> bool:
    """Whether the path of an image, or its last part, is `name` or fits it as a pattern."""
    return name == internal_path or any(
        map(fnmatchcase, (internal_path, internal_path.rsplit("/", 1)[-1]), (name,) * 2)
    )


DEFAULTS = OpenOptions()
"""The options of a caller who gives none."""
