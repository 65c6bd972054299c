"""`info`: what is in files, as a value that shows itself in a terminal and in a notebook."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ilastik_lazy.core.options import Axes, Limits, OpenOptions, Trust
from ilastik_lazy.core.spec import ArraySpec
from ilastik_lazy.errors import IlastikLazyError, MetadataWarning, printable
from ilastik_lazy.formats.location import Location, checked_path
from ilastik_lazy.formats.patterns import is_pattern, matching
from ilastik_lazy.listing.contents import Contents, Images, contents_of
from ilastik_lazy.listing.entries import html_of, lines_of, values_of
from ilastik_lazy.showing.html import html_table
from ilastik_lazy.storage.allowed import Folders, checked_options
from ilastik_lazy.storage.object_store import is_url

__all__ = ["Listing", "info"]


@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """What is in files; its text is that of the command ``info``."""

    files: tuple[Contents, ...]
    """What each file holds: `Images`, a `Table`, a `Project`, or the `Fields` of a plate."""

    failed: Mapping[str, IlastikLazyError] = field(default_factory=dict)
    """Why a file of several could not be opened, by its name."""

    @property
    def images(self) -> tuple[ArraySpec, ...]:
        """What is known of each image: its ``shape``, ``dims``, ``dtype``, ``axes``, ``kind``, ``chunks``, ...."""
        return tuple(source.spec for found in self.files if isinstance(found, Images) for source in found.sources)

    def as_json(self) -> list[dict[str, Any]]:
        """Return plain JSON values: an object for each image, table, project or plate."""
        return [value for found in self.files for value in values_of(found)]

    def __repr__(self) -> str:
        lines = [line for found in self.files for line in lines_of(found)]
        return "\n".join([*lines, *(f"{printable(name)}: {error}" for name, error in self.failed.items())])

    def _repr_html_(self) -> str:
        failed = [html_table(name, [("", str(error))]) for name, error in self.failed.items()]
        return "".join([*map(html_of, self.files), *failed])


def info(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    internal_path: str | None = None,
    *,
    axes: Axes | None = None,
    project: str | os.PathLike[str] | None = None,
    source_roots: Sequence[str] = (),
    memory: str = "4GB",
    storage_options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    trust: Trust = "local",
    allow_external: Folders = (),
) -> Listing:
    """List what is in a file: size, axes, voxel size, classes, and how it is stored; only metadata are read.

    Parameters
    ----------
    path
        File, with or without an internal path after it, or a URL.  Many files are a pattern such as
        ``"exports/*.h5"``, or a list: one that cannot be opened is listed as such.
    source_roots
        If the file is a project: further folders that may hold its images.
    memory
        Size of the largest table to read.
    internal_path, axes, project, storage_options, limits, trust, allow_external
        See `open_dataarray`.

    Returns
    -------
    Listing
        Its text and, in a notebook, its table show everything; its `images` are values to compute with.

    Raises
    ------
    IlastikLazyError
        A single file cannot be opened (see `open_dataarray`); of several, `failed` has the errors.

    Examples
    --------
    >>> import ilastik_lazy as il
    >>> from ilastik_lazy.demo import sample
    >>> listing = il.info(sample("probabilities"), project=sample("project"))
    >>> listing.images[0].dims, listing.images[0].shape, listing.images[0].kind
    (('z', 'y', 'x', 'c'), (40, 128, 160, 2), 'probabilities')
    >>> print("\\n".join(str(listing).splitlines()[1:5]))
      exported_data
        image    probabilities, float32, 6.55 MB in memory
        size     z 40  y 128  x 160  c 2
        voxel    z 0.8 micrometer  y 0.25 micrometer  x 0.25 micrometer
    """
    options = checked_options(limits, trust, allow_external, axes)
    names = _names_of(path, options)
    opened: list[Contents] = []
    failed: dict[str, IlastikLazyError] = {}
    for name in names:
        try:
            with warnings.catch_warnings():
                # The listing already says that the axes are guessed.
                warnings.filterwarnings("ignore", ".* names no axes", MetadataWarning)
                location = Location.parse(name, internal_path, storage_options if is_url(name) else None)
                opened.append(contents_of(location, options, project=project, source_roots=source_roots, memory=memory))
        except IlastikLazyError as error:
            if len(names) == 1:
                raise
            failed[name] = error
    return Listing(tuple(opened), failed)


def _names_of(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], options: OpenOptions) -> list[str]:
    """Return the files that a name, a pattern or a list stands for."""
    if isinstance(path, list | tuple):
        return [name for each in path for name in _names_of(each, options)]
    name = checked_path(path)
    if is_url(name) or not is_pattern(name):
        return [name]
    return ["/".join(filter(None, image)) for image in matching(name, options)]
