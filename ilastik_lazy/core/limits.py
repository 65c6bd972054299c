"""Limit what a file may ask for: sizes beyond which it is refused."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


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
